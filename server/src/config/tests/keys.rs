use super::*;

#[test]
fn the_least_file_has_every_default() {
    let config = read_well(LEAST);
    assert_eq!(config.memory_mb, 320);
    assert_eq!(config.data_dir, PathBuf::from("/var/lib/solera"));
    assert_eq!(config.log, LogConfig::DEFAULT);
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.read_patience, Duration::from_secs(2));
    assert_eq!(config.admin.listen, "127.0.0.1:9080".parse().unwrap());
}

#[test]
fn what_is_well_formed_is_accepted_up_to_its_limits() {
    for more in [
        "listen_port: 1",
        "listen_port: 64535",
        "listen_port: 65535\nadmin: { listen: '127.0.0.1:1' }",
        "admin: {}",
        "admin: { listen: '[::1]:9081' }",
        "admin: { listen: '127.8.8.8:9081' }",
        "tokens_file: /t",
        "admin: { tokens_file: /t }",
        "admin: { tls: { cert: /c, key: /k, client_ca: /a } }",
        "admin: { listen: '10.0.0.1:9081', tls: { cert: /c, key: /k }, tokens_file: /t }",
        "memory_mb: 64",
        "memory_mb: 1048576",
        "log_format: text",
        "log_level: TRACE",
        "log: {}",
        "log: { embedded: {} }",
        "log: { embedded: { partitions: 1024 } }",
        "limits: {}",
        "limits: { max_connections: 1, request_timeout_ms: 10, max_key_bytes: 16 }",
        "limits: { max_connections: 1000000, request_timeout_ms: 600000, max_key_bytes: 16384 }",
        "read_patience_ms: 0",
        "read_patience_ms: 2499",
        "base_uri: /",
        "default_ttl: 0",
        "default_ttl: 3162240000",
    ] {
        read_well(&format!("{LEAST}{more}"));
    }
}

#[test]
fn a_value_out_of_range_or_of_another_type_is_named_with_what_is_needed() {
    check_reports(&[
        (
            "listen_port: 0",
            &["listen_port: found 0, needs a whole number from 1 to 65535 (for example 8080)"],
        ),
        (
            "listen_port: '81'",
            &["listen_port: found \"81\", needs a whole number from 1 to 65535 (write 81)"],
        ),
        ("listen_port: 81.0", &["listen_port: found 81.0, needs a whole number from 1 to 65535 (write 81)"]),
        (
            "listen_port: [1]",
            &["listen_port: found a list, needs a whole number from 1 to 65535 (for example 8080)"],
        ),
        ("listen_port: ", &[]),
        ("service_name: 1", &["service_name: found 1, needs a text (put it in quotes)"]),
        (
            "listen_address: ''",
            &[
                "listen_address: found \"\", needs a name or an IP address, without a port; 0.0.0.0 or :: is every \
               address of this machine (for example localhost)",
            ],
        ),
        (
            "log_level: warn",
            &[
                "log_level: found \"warn\", needs debug, info, warning, error, fatal or trace (did you mean `warning`?)",
            ],
        ),
        (
            "log_level: 3",
            &["log_level: found 3, needs debug, info, warning, error, fatal or trace (for example debug)"],
        ),
        ("log_format: json", &["log_format: found \"json\", needs kask or text (for example kask)"]),
        ("log_format: Kask", &["log_format: found \"Kask\", needs kask or text (did you mean `kask`?)"]),
        (
            "memory_mb: 63",
            &["memory_mb: found 63, needs a whole number of MiB from 64 to 1048576 (for example 320)"],
        ),
        (
            "memory_mb: 1048577",
            &["memory_mb: found 1048577, needs a whole number of MiB from 64 to 1048576 (for example 320)"],
        ),
        (
            "memory_mb: .nan",
            &["memory_mb: found .nan, needs a whole number of MiB from 64 to 1048576 (for example 320)"],
        ),
        (
            "data_dir: ",
            &["data_dir: found nothing, needs the path of a file or folder (for example /var/lib/solera)"],
        ),
        ("limits: 5", &["limits: found a number, needs a mapping of keys (write `key: value` below it)"]),
        (
            "limits: { max_connections: 0 }",
            &["limits.max_connections: found 0, needs a whole number from 1 to 1000000 (for example 10000)"],
        ),
        (
            "limits: { request_timeout_ms: 9 }",
            &[
                "limits.request_timeout_ms: found 9, needs a whole number of milliseconds from 10 to 600000 (for example 2500)",
            ],
        ),
        (
            "limits: { max_key_bytes: 16385 }",
            &[
                "limits.max_key_bytes: found 16385, needs a whole number of bytes from 16 to 16384 (for example 1024)",
            ],
        ),
        (
            "log: { embedded: { partitions: 1025 } }",
            &["log.embedded.partitions: found 1025, needs a whole number from 1 to 1024 (for example 4)"],
        ),
        (
            "log: { embedded: }",
            &["log.embedded: found nothing, needs a mapping of keys (write `key: value` below it)"],
        ),
        (
            "admin: { listen: 'localhost:9081' }",
            &[
                "admin.listen: found \"localhost:9081\", needs an IP address and a port (for example 127.0.0.1:9081)",
            ],
        ),
        (
            "admin: { listen: '127.0.0.1:0' }",
            &[
                "admin.listen: found \"127.0.0.1:0\", needs an IP address and a port (for example 127.0.0.1:9081)",
            ],
        ),
        (
            "base_uri: /a%20b",
            &[
                "base_uri: found \"/a%20b\", needs a path of ASCII letters, digits, / and -._~!$&'()*+,;=:@ (for example /sessions/v1/)",
            ],
        ),
        (
            "base_uri: /metrics",
            &[
                "base_uri: found \"/metrics\", needs a path that is not reserved, as /healthz, /livez, /readyz, /startupz, /metrics \
               and /openapi are (for example /sessions/v1/)",
            ],
        ),
        (
            "default_ttl: 1d",
            &[
                "default_ttl: found \"1d\", needs a whole number of seconds (0 = never expires) from 0 to 3162240000 (for example 86400)",
            ],
        ),
        (
            "default_ttl: 3162240001",
            &[
                "default_ttl: found 3162240001, needs a whole number of seconds (0 = never expires) from 0 to 3162240000 (for example 86400)",
            ],
        ),
    ]);
}

#[test]
fn an_unknown_key_is_named_with_its_full_path_and_its_neighbour() {
    check_reports(&[
        ("stroes: {}", &["stroes: unknown key (did you mean `stores`?)"]),
        ("log: { embeded: {} }", &["log.embeded: unknown key (did you mean `embedded`?)"]),
        (
            "limits: { zzz: 1 }",
            &["limits.zzz: unknown key (known here: max_connections, request_timeout_ms, max_key_bytes)"],
        ),
        (
            "1: 2",
            &[
                "1: unknown key (known here: service_name, log_level, log_format, listen_port, listen_address, openapi_spec, \
                    tls, tokens_file, admin, dc, data_dir, memory_mb, log, secrets, limits, read_patience_ms, on_log_outage, checkpoints, base_uri, \
                    default_ttl, stores, peers, audit, cassandra)",
            ],
        ),
        (
            "stores: { a: { base_uri: a, quotabytes: 1 } }",
            &["stores.a.quotabytes: unknown key (did you mean `quota_bytes`?)"],
        ),
        (
            "admin: { tls: { cert: /c, key: /k, \"a b\\n\": 1 } }",
            &["admin.tls.\"a b\\n\": unknown key (known here: cert, key, client_ca)"],
        ),
    ]);
}

#[test]
fn a_malformed_key_that_comes_later_says_what_is_wrong_instead() {
    check_reports(&[
        ("tls: {}", &[]),
        (
            "audit: {}",
            &[
                "audit.secret_file: found nothing, needs the path of a file or folder (for example /etc/solera/audit-secret)",
            ],
        ),
        (
            "audit: { secret_file: /a, changes_topic: 'no' }",
            &["audit.changes_topic: found \"no\", needs true or false (write it without quotes)"],
        ),
        (
            "on_log_outage: 60",
            &["on_log_outage: found a number, needs a mapping of keys (write `key: value` below it)"],
        ),
        (
            "log: { kafka: { partitions: 0, options: { a: [] } } }",
            &[
                "log.kafka.partitions: found 0, needs a whole number from 1 to 1024 (for example 12)",
                "log.kafka.options: found a mapping, needs names with a text, a number or true or false each (for example { \
                 security.protocol: plaintext })",
                "log.kafka.bootstrap_servers: found nothing, needs host:port, or several with commas between (for example \
                 127.0.0.1:19092)",
            ],
        ),
        (
            "log: { kafka: { bootstrap_servers: 'a:1', compaction_lag_s: 0, options: { acks: 1 } } }",
            &[
                "log.kafka.compaction_lag_s: found 0, needs a whole number of seconds from 1 to 2592000 (for example 21600)",
                "log.kafka.options: found `acks`, needs options that no promise rests on (leave it out: Solera sets it itself)",
            ],
        ),
        (
            "stores: { a: { base_uri: a, scope: all } }",
            &["stores.a.scope: found \"all\", needs mirrored or local (for example mirrored)"],
        ),
        (
            "stores: { a: { base_uri: a, scope: Local } }",
            &["stores.a.scope: found \"Local\", needs mirrored or local (did you mean `local`?)"],
        ),
        (
            "stores: { a: { base_uri: a, seal: 1 } }",
            &["stores.a.seal: found 1, needs true or false (write it without quotes)"],
        ),
        (
            "stores: { a: { base_uri: a, principals_uri: /a//b } }",
            &[
                "stores.a.principals_uri: found \"/a//b\", needs a path without empty segments, `.` and `..` (for example /sessions/v1/)",
            ],
        ),
        (
            "stores: { a: { base_uri: a, max_lifetime: 0 } }",
            &[
                "stores.a.max_lifetime: found 0, needs a whole number of seconds from 1 to 3162240000 (for example 86400)",
            ],
        ),
    ]);
}

#[test]
fn what_may_be_a_secret_is_not_repeated() {
    for text in [
        "dc: a\nsecrets: hunter2",
        "dc: a\nsecrets: { index: hunter2, ring: hunter2 }",
        "dc: a\nsecrets: { index: { file: [ hunter2 ] }, ring: [ hunter2 ] }",
        "dc: a\nsecrets: { index: { file: { hunter2: 1 } }, ring: [ { id: 1, file: { hunter2: 1 } } ] }",
        "audit: hunter2",
        "audit: { secret_file: [ hunter2 ] }",
        "admin: { tokens_file: [ hunter2 ] }",
        "tls: hunter2",
        "tls: { cert: /c, key: [ hunter2 ] }",
        "log: { kafka: { bootstrap_servers: 'a:1', options: hunter2 } }",
        "log: { kafka: { bootstrap_servers: 'a:1', options: { sasl.password: [ hunter2 ] } } }",
        "cassandra: { authentication: { password: hunter2 } }\nlisten_port: 0",
        "cassandra: { authentication: { password: !!int hunter2 } }",
    ] {
        let Parsed { config, warnings } = parse(text);
        let report = report(&config.expect_err("something is wrong in each"));
        assert!(!report.contains("hunter2"), "{text}\n{report}");
        assert!(!warnings.iter().any(|warning| warning.to_string().contains("hunter2")), "{text}");
    }
}

#[test]
fn all_problems_are_reported_in_the_order_of_the_file() {
    let text = "\
stores: { a: { max_ttl: -1, base_uri: /v1/ }, b: { bse_uri: b } }
listen_port: 0
zzz: 1
log_level: warn
dc: EQIAD
";
    let paths: Vec<_> =
        report_of(text).lines().map(|line| line.split(": ").next().unwrap().to_owned()).collect();
    let expected = [
        "stores.a.max_ttl",
        "stores.b.bse_uri",
        "stores.b.base_uri",
        "listen_port",
        "zzz",
        "log_level",
        "dc",
        "secrets",
    ];
    assert_eq!(paths, expected);
}

#[test]
fn checkpoints_are_made_when_they_are_asked_for() {
    let checkpoints = |text: &str| read_well(&format!("{LEAST}{text}")).checkpoints;
    assert_eq!(checkpoints(""), None);
    assert_eq!(checkpoints("checkpoints: {}"), Some(CheckpointsConfig::default()));
    let (every, keep) = (Duration::from_secs(60), 5);
    assert_eq!(checkpoints("checkpoints: { every_s: 60, keep: 5 }"), Some(CheckpointsConfig { every, keep }));
    check_reports(&[(
        "checkpoints: { every_s: 0, keep: 0 }",
        &[
            "checkpoints.every_s: found 0, needs a whole number of seconds from 1 to 604800 (for example 600)",
            "checkpoints.keep: found 0, needs a whole number from 1 to 100 (for example 2)",
        ],
    )]);
}
