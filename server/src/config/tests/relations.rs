use super::*;

#[test]
fn the_admin_listener_stays_on_loopback_unless_it_is_guarded_at_a_port_of_its_own() {
    let away = "admin.listen: found 10.0.0.1:9081, needs a loopback address, as `admin.tls` and `admin.tokens_file` do not \
                guard it (for example 127.0.0.1:9081)";
    check_reports(&[
        ("admin: { listen: '10.0.0.1:9081' }", &[away]),
        ("admin: { listen: '10.0.0.1:9081', tokens_file: /t }", &[away]),
        ("admin: { listen: '10.0.0.1:9081', tls: { cert: /c, key: /k, client_ca: /a } }", &[away]),
        ("admin: { listen: '10.0.0.1:9081', tokens_file: /t, tls: { cert: /c, key: /k } }", &[]),
        (
            "listen_port: 9081\nadmin: { listen: '127.0.0.1:9081' }",
            &[
                "admin.listen: found 127.0.0.1:9081, needs another port than `listen_port` (for example 127.0.0.1:9081)",
            ],
        ),
        (
            "listen_port: 65000",
            &[
                "admin.listen: found nothing, needs an address, as `listen_port` + 1000 is over 65535 (or lower `listen_port`)",
            ],
        ),
        (
            "listen_port: 0",
            &["listen_port: found 0, needs a whole number from 1 to 65535 (for example 8080)"],
        ),
    ]);
}

#[test]
fn a_read_is_patient_for_less_than_a_request_may_take() {
    let line = "read_patience_ms: found 1000, needs less than `limits.request_timeout_ms` (1000) (lower it, or leave it out)";
    check_reports(&[
        ("limits: { request_timeout_ms: 1000 }\nread_patience_ms: 1000", &[line]),
        ("limits: { request_timeout_ms: 1000 }\nread_patience_ms: 999", &[]),
        (
            "limits: { request_timeout_ms: 0 }\nread_patience_ms: 5000",
            &[
                "limits.request_timeout_ms: found 0, needs a whole number of milliseconds from 10 to 600000 (for example 2500)",
            ],
        ),
    ]);
    let config = read_well(&format!("{LEAST}limits: {{ request_timeout_ms: 1000 }}"));
    assert_eq!(config.read_patience, Duration::from_millis(800));
}

#[test]
fn one_log_is_the_source_of_truth() {
    check_reports(&[(
        "log: { embedded: {}, kafka: { bootstrap_servers: 'a:1' } }",
        &["log: found both `embedded` and `kafka`, needs one of them (leave one out)"],
    )]);
}

#[test]
fn a_log_that_other_nodes_write_is_asked_where_it_ends_unless_a_store_says_otherwise() {
    const STORES: &str = "stores: { a: { base_uri: a }, b: { base_uri: b, read_consistency: node } }";
    let of = |log: &str| {
        let config = read_well(&format!("{LEAST}{log}\n{STORES}"));
        config.stores.iter().map(|(_, store)| store.read_consistency).collect::<Vec<_>>()
    };
    assert_eq!(
        of("log: { kafka: { bootstrap_servers: 'a:1, b:2' } }"),
        [ReadConsistency::Dc, ReadConsistency::Node]
    );
    assert_eq!(of("log: { embedded: {} }"), [ReadConsistency::Node, ReadConsistency::Node]);
}

#[test]
fn the_secrets_are_an_index_and_a_ring_of_different_ids() {
    let rows: [(&str, &[&str]); 8] = [
        ("", &["secrets: found nothing, needs a mapping of keys (write `key: value` below it)"]),
        (
            "secrets: { ring: [ { id: 1, file: /a } ] }",
            &["secrets.index: found nothing, needs a mapping of keys (write `key: value` below it)"],
        ),
        (
            "secrets: { index: { file: /i } }",
            &["secrets.ring: found nothing, needs a list of one or more (write `[ … ]`)"],
        ),
        (
            "secrets: { index: { file: /i }, ring: [] }",
            &["secrets.ring: found a list, needs a list of one or more (write `[ … ]`)"],
        ),
        (
            "secrets: { index: { file: /i }, ring: [ { id: 0, file: /a } ] }",
            &["secrets.ring[0].id: found 0, needs a whole number from 1 to 4294967295 (for example 1)"],
        ),
        (
            "secrets: { index: { file: /i }, ring: [ { id: 4294967296, file: '' } ] }",
            &[
                "secrets.ring[0].id: found 4294967296, needs a whole number from 1 to 4294967295 (for example 1)",
                "secrets.ring[0].file: found an empty text, needs the path of a file or folder (for example /etc/solera/secret-1)",
            ],
        ),
        (
            "secrets: { index: { file: /i }, ring: [ { id: 7, file: /a }, { id: 7, file: /b } ] }",
            &[
                "secrets.ring[1].id: found 7, needs an id that no other secret of the ring has (choose another id)",
            ],
        ),
        (
            "secrets: { index: { file: /i }, ring: [ { id: 4294967295, file: /a }, { id: 1, file: /b } ] }",
            &[],
        ),
    ];
    for (secrets, expected) in rows {
        let report = report_of(&format!("dc: eqiad\n{secrets}"));
        assert_eq!(report.lines().collect::<Vec<_>>(), expected, "{secrets}");
    }
}

#[test]
fn peers_are_other_data_centres_and_meet_over_tls_off_loopback() {
    let codfw = "dcs: { codfw: { urls: [ 'https://a:1' ], tls_name: a } }";
    let here = "dcs: { codfw: { urls: [ 'http://127.0.0.1:1' ] } }";
    let tls = "tls: { cert: /c, key: /k, ca: /a }";
    let rows: [(String, &[&str]); 9] = [
        (format!("listen: '127.0.0.1:1', {here}"), &[]),
        (
            format!("listen: '127.0.0.1:1', {codfw}"),
            &[
                "peers.dcs.codfw.urls[0]: found \"https://a:1\", needs http:// and loopback where there is no `tls` (for example \
               http://127.0.0.1:7082)",
            ],
        ),
        (format!("listen: '10.0.0.1:1', {tls}, {codfw}"), &[]),
        (
            format!(
                "listen: '10.0.0.1:1', {tls}, dcs: {{ codfw: {{ urls: [ 'http://127.0.0.1:1' ], tls_name: a }} }}"
            ),
            &[
                "peers.dcs.codfw.urls[0]: found \"http://127.0.0.1:1\", needs https:// where there is `tls` (for example \
               https://127.0.0.1:7082)",
            ],
        ),
        (
            format!("listen: '10.0.0.1:1', {here}"),
            &["peers.tls: found nothing, needs a mapping of keys (write `key: value` below it)"],
        ),
        (
            "listen: '127.0.0.1:1', dcs: { eqiad: { urls: [ 'http://127.0.0.1:1' ] } }".to_owned(),
            &["peers.dcs: found `eqiad`, needs other data centres than this node's own (leave `eqiad` out)"],
        ),
        (
            "listen: '127.0.0.1:1', dcs: { Codfw: { urls: [ 'http://127.0.0.1:1' ] } }".to_owned(),
            &[
                "peers.dcs.Codfw: found the name `Codfw`, needs another one (must be 1 to 32 characters of a-z, 0-9 and -, \
               beginning with a letter)",
            ],
        ),
        (
            "listen: '127.0.0.1:1', dcs: { codfw: { urls: [ 'http://127.0.0.1:1', codfw ] } }".to_owned(),
            &["peers.dcs.codfw.urls[1]: found \"codfw\", needs a URL of scheme, host and port (for example \
               https://127.0.0.1:7082)"],
        ),
        (
            format!("listen: '10.0.0.1:1', {tls}, dcs: {{ codfw: {{ urls: [ 'https://a:1' ] }} }}"),
            &[
                "peers.dcs.codfw.tls_name: found nothing, needs the name in the peer's certificate (for example \
               codfw.solera.example)",
            ],
        ),
    ];
    for (peers, expected) in rows {
        let report = report_with(&format!("peers: {{ {peers} }}"));
        assert_eq!(report.lines().collect::<Vec<_>>(), expected, "{peers}");
    }
}
