use api::Rates;
use schemas::SessionTtl;

use super::*;

const EXAMPLE: &str = include_str!("../../../testdata/config/config-example.yaml");

#[test]
fn the_example_asks_for_what_is_not_built_yet_and_for_nothing_wrong() {
    let expected = "\
audit: known, not built yet (leave it out)
stores.anon.scope: known, not built yet (use `mirrored`)
stores.anon.quota_bytes: known, not built yet (leave it out)
";
    assert_eq!(report_of(EXAMPLE), expected);
    assert_eq!(parse(EXAMPLE).warnings, []);
}

/// The example without what is not built yet.
fn built() -> String {
    let later = ["audit:", "  anon:"];
    let keep = |line: &&str| !later.iter().any(|key| line.starts_with(key));
    let text: String = EXAMPLE.lines().filter(keep).map(|line| format!("{line}\n")).collect();
    text
}

#[test]
fn every_built_key_of_the_example_arrives() {
    let store = |base_uri: &str, read_consistency| StoreConfig {
        base_uri: base_uri.parse().unwrap(),
        default_ttl: SessionTtl::from_seconds(86_400),
        max_ttl: SessionTtl::from_seconds(86_400),
        read_consistency,
        max_value_bytes: 1_048_576,
        accept_put: false,
        compress_above_bytes: 512,
        rates: Rates::default(),
        tombstone_retention: Duration::from_secs(30 * 86_400),
    };
    let ring = |id: u32, file: &str| RingFile { id: id.try_into().unwrap(), file: file.into() };
    let expected = Config {
        checkpoints: Some(CheckpointsConfig::default()),
        peers: Some(PeersConfig {
            listen: "127.0.0.1:7081".parse().unwrap(),
            tls: Some(TlsFiles {
                cert: "/etc/solera/peer.pem".into(),
                key: "/etc/solera/peer.key".into(),
                client_ca: Some("/etc/solera/peers-ca.pem".into()),
            }),
            dcs: vec![(
                "codfw".parse().unwrap(),
                PeerConfig {
                    urls: vec!["https://127.0.0.1:7082".parse().unwrap()],
                    tls_name: Some("codfw.solera.example".parse().unwrap()),
                },
            )],
        }),
        telemetry: Telemetry {
            service_name: "sessions".to_owned(),
            log_level: LogLevel::Info,
            log_format: LogFormat::Kask,
        },
        listener: Listener {
            address: "127.0.0.1".to_owned(),
            port: 8081,
            openapi_spec: Some("/etc/solera/openapi.yaml".into()),
            tls: Some(TlsFiles {
                cert: "/etc/solera/cert.pem".into(),
                key: "/etc/solera/key.pem".into(),
                client_ca: Some("/etc/solera/clients.pem".into()),
            }),
            tokens_file: None,
        },
        admin: AdminConfig { listen: "127.0.0.1:9081".parse().unwrap(), tls: None, tokens_file: None },
        dc: "eqiad".parse().unwrap(),
        data_dir: "/var/lib/solera".into(),
        memory_mb: 320,
        log: LogConfig::Kafka(KafkaConfig {
            bootstrap_servers: "127.0.0.1:19092".to_owned(),
            replication: 3,
            partitions: schemas::PartitionCount::new(12).unwrap(),
            compaction_lag: Duration::from_secs(21_600),
            options: [("security.protocol".to_owned(), "plaintext".to_owned())].into(),
        }),
        secrets: SecretsConfig::Files {
            index: "/etc/solera/index-secret".into(),
            ring: vec![ring(2, "/etc/solera/secret-2"), ring(1, "/etc/solera/secret-1")],
        },
        limits: Limits {
            max_connections: 10_000,
            request_timeout: Duration::from_millis(2500),
            max_key_bytes: 1024,
        },
        read_patience: Duration::from_millis(2000),
        serve_in_outage_for: Duration::from_secs(60),
        stores: vec![
            ("sessions".parse().unwrap(), store("/sessions/v1/", ReadConsistency::Dc)),
            ("central".parse().unwrap(), store("/central/v1/", ReadConsistency::Dc)),
        ],
    };
    assert_eq!(read_well(&built()), expected);
}

/// Each key that comes later, well formed, with every key below it.
#[test]
fn a_key_that_comes_later_gives_one_line_however_much_is_below_it() {
    let rows = [
        ("audit", "audit: { secret_file: /a }"),
        ("audit", "audit: { secret_file: /a, changes_topic: true }"),
        ("stores.a.scope", "stores: { a: { base_uri: a, scope: local } }"),
        ("stores.a.seal", "stores: { a: { base_uri: a, seal: false } }"),
        ("stores.a.conditions", "stores: { a: { base_uri: a, conditions: true } }"),
        ("stores.a.renew_on_read", "stores: { a: { base_uri: a, renew_on_read: true } }"),
        ("stores.a.max_lifetime", "stores: { a: { base_uri: a, max_lifetime: 1 } }"),
        ("stores.a.principals_uri", "stores: { a: { base_uri: a, principals_uri: /p/v1 } }"),
        ("stores.a.drain_from", "stores: { a: { base_uri: a, drain_from: b } }"),
    ];
    for (key, more) in rows {
        let report = report_with(more);
        assert_eq!(report.lines().count(), 1, "{more}\n{report}");
        assert!(report.starts_with(&format!("{key}: known, not built yet (")), "{more}\n{report}");
    }
}
