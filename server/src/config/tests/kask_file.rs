use schemas::SessionTtl;

use super::*;

/// As it is rendered for the session store in production: every key that Kask has.
const PRODUCTION: &str = "\
service_name: sessionstore
base_uri: sessions/v1
listen_address: 0.0.0.0
listen_port: 8081
default_ttl: 86400
log_level: info
openapi_spec: /srv/service/openapi.yaml
tls:
  cert: \"\"
  key: \"\"
cassandra:
  hosts:
    - sessionstore1004-a.eqiad.wmnet
    - sessionstore1005-a.eqiad.wmnet
    - sessionstore1006-a.eqiad.wmnet
  port: 9042
  keyspace: sessions
  table: values
  local_dc: eqiad
  query_timeout_ms: 12000
  connect_timeout_ms: 5000
  authentication:
    username: sessions
    password: \"1234567890\"
  tls:
    ca: /etc/kask/ca.crt
    enable_host_verification: false
";

#[test]
fn the_file_of_production_works_as_it_is() {
    let config = read_well(PRODUCTION);
    assert_eq!(config.telemetry.service_name, "sessionstore");
    assert_eq!((config.listener.address.as_str(), config.listener.port), ("0.0.0.0", 8081));
    assert_eq!(config.listener.openapi_spec, Some("/srv/service/openapi.yaml".into()));
    assert_eq!(config.admin.listen, "127.0.0.1:9081".parse().unwrap());
    assert_eq!(config.dc.as_str(), "default");
    assert_eq!(config.data_dir, PathBuf::from("/var/lib/solera"));
    assert_eq!(config.secrets, SecretsConfig::MadeInDataDir);
    let [(name, store)] = &config.stores[..] else { panic!("one store") };
    assert_eq!((name.as_str(), store.base_uri.as_str()), ("sessions", "/sessions/v1/"));
    assert_eq!((store.default_ttl, store.max_ttl), (SessionTtl::KASK, SessionTtl::KASK));
}

#[test]
fn cassandra_is_ignored_with_one_warning_that_names_its_keys() {
    let lines: Vec<_> = parse(PRODUCTION).warnings.iter().map(ToString::to_string).collect();
    let keys =
        "hosts, port, keyspace, table, local_dc, query_timeout_ms, connect_timeout_ms, authentication, tls";
    assert_eq!(lines, [format!("cassandra: ignored, sessions are kept in a log of their own ({keys})")]);

    for text in ["cassandra: ", "cassandra: 1", "cassandra: [a]", "cassandra: { 1: {} }"] {
        assert_eq!(parse(text).warnings.len(), 1, "{text}");
        read_well(text);
    }
    assert_eq!(parse(&format!("{LEAST}cassandra: {{}}")).warnings.len(), 1);
}

#[test]
fn an_empty_file_has_the_defaults_of_kask() {
    let config = read_well("");
    assert_eq!(
        config.telemetry,
        Telemetry { service_name: "kask".to_owned(), log_level: LogLevel::Info, log_format: LogFormat::Kask }
    );
    let address = "localhost".to_owned();
    let listener = Listener { address, port: 8080, openapi_spec: None, tls: None, tokens_file: None };
    assert_eq!(config.listener, listener);
    assert_eq!(config.admin.listen, "127.0.0.1:9080".parse().unwrap());
    assert_eq!(
        config.stores,
        stores::only(Some("/v1/".parse().unwrap()), Some(SessionTtl::KASK), ReadConsistency::Node)
    );
}

#[test]
fn what_kask_takes_is_taken() {
    for text in [
        "service_name: ''",
        "openapi_spec: ''",
        "base_uri: /",
        "default_ttl: 0",
        "default_ttl: 31536000",
        "log_level: WARNING",
        "log_level: Fatal",
        "listen_address: '[::1]'",
        "tls: ",
        "listen_port: ",
        "{default_ttl: , tls: {cert: , key: }}",
    ] {
        read_well(text);
    }
    assert_eq!(read_well("openapi_spec: ''").listener.openapi_spec, None);
    assert_eq!(read_well("listen_address: '[::1]'").listener.address, "::1");
    let files = TlsFiles { cert: "/c".into(), key: "/k".into(), client_ca: None };
    assert_eq!(read_well("tls: { cert: /c, key: /k }").listener.tls, Some(files));
}

#[test]
fn what_kask_takes_by_mistake_is_refused() {
    let rows = [
        ("listen_port: -5", "listen_port: found -5, needs a whole number from 1 to 65535 (for example 8080)"),
        (
            "listen_port: 99999",
            "listen_port: found 99999, needs a whole number from 1 to 65535 (for example 8080)",
        ),
        (
            "default_ttl: 86400.5",
            "default_ttl: found 86400.5, needs a whole number of seconds (0 = never expires) from 0 to 3162240000 \
             (write 86400)",
        ),
        ("baseuri: /v1", "baseuri: unknown key (did you mean `base_uri`?)"),
        ("dcc: eqiad", "dcc: unknown key (did you mean `dc`?)"),
        (
            "tls: { cert: /c, key: '' }",
            "tls.key: found an empty text, needs the path of a file or folder (for example /etc/solera/key.pem)",
        ),
        (
            "tls: { cert: /c }",
            "tls.key: found nothing, needs the path of a file or folder (for example /etc/solera/key.pem)",
        ),
        (
            "listen_port: 64536",
            "admin.listen: found nothing, needs an address, as `listen_port` + 1000 is over 65535 (or lower `listen_port`)",
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(report_of(text), format!("{expected}\n"), "{text}");
    }
}

#[test]
fn one_key_of_ours_makes_our_rules_apply() {
    for key in kask::OWN_KEYS.into_iter().filter(|&key| key != "dc") {
        let report = report_of(&format!("{key}: "));
        assert!(report.contains("dc: found nothing, needs the name of this data centre"), "{key}\n{report}");
        assert!(report.contains("secrets: found nothing, needs a mapping"), "{key}\n{report}");
        assert!(!report.contains("unknown key"), "{key}\n{report}");
    }
    assert_eq!(read_well(LEAST).telemetry.service_name, "solera");
}
