use api::Rates;
use schemas::SessionTtl;

use super::*;

#[test]
fn without_stores_there_is_one_under_the_keys_of_kask() {
    let config = read_well(&format!("{LEAST}base_uri: a\ndefault_ttl: 0"));
    assert_eq!(
        config.stores,
        stores::only(Some("/a/".parse().unwrap()), Some(SessionTtl::Never), ReadConsistency::Node)
    );
}

#[test]
fn stores_come_in_file_order_after_the_one_that_kasks_key_names() {
    let names = |kasks_key: &str| {
        let stores = "stores: { b: { base_uri: /b }, c: { base_uri: /c }, a: { base_uri: /a } }";
        let config = read_well(&format!("{LEAST}{kasks_key}{stores}"));
        config.stores.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>().concat()
    };
    assert_eq!(names(""), "bca");
    assert_eq!(names("base_uri: /a\n"), "abc");
}

#[test]
fn a_store_has_defaults_for_all_but_its_path() {
    let config = read_well(&format!("{LEAST}stores: {{ anon: {{ base_uri: anon }} }}"));
    let expected = StoreConfig {
        base_uri: "/anon/".parse().unwrap(),
        default_ttl: SessionTtl::KASK,
        max_ttl: SessionTtl::KASK,
        read_consistency: ReadConsistency::Node,
        max_value_bytes: 1024 * 1024,
        accept_put: false,
        compress_above_bytes: 512,
        rates: Rates::default(),
        tombstone_retention: Duration::from_secs(30 * 86_400),
    };
    assert_eq!(config.stores, vec![("anon".parse().unwrap(), expected)]);
    let line = "stores.a.base_uri: found nothing, needs a path (for example /sessions/v1/)";
    check_reports(&[("stores: { a: {} }", &[line])]);
}

#[test]
fn no_store_has_a_name_that_mirror_maker_takes_for_its_own() {
    let line = "stores: found a store `my-heartbeats`, needs another name: MirrorMaker takes a topic that ends like this for its own, \
                and renames it (for example `beats`)";
    check_reports(&[("stores: { my-heartbeats: { base_uri: /a } }", &[line])]);
    read_well(&format!("{LEAST}stores: {{ heartbeats-of-mine: {{ base_uri: /a }} }}"));
}

#[test]
fn what_a_store_may_say_is_accepted() {
    for store in [
        "scope: mirrored",
        "read_consistency: dc",
        "read_consistency: node",
        "max_value_bytes: 1",
        "max_value_bytes: 16646144",
        "default_ttl: 60, max_ttl: 60",
        "default_ttl: 60, max_ttl: 3162240000",
        "max_ttl: 86400",
        "default_ttl: 0",
        "default_ttl: 0, max_ttl: 0",
    ] {
        read_well(&format!("{LEAST}stores: {{ a: {{ base_uri: a, {store} }} }}"));
    }
}

#[test]
fn a_store_that_contradicts_itself_is_refused() {
    let quota = "stores.a.quota_bytes: found 1, needs `scope: local`, as a quota would bring back deleted sessions of a \
                 mirrored store (leave it out)";
    let rows: [(&str, &[&str]); 9] = [
        (
            "default_ttl: 60, max_ttl: 59",
            &[
                "stores.a.max_ttl: found 59, needs `default_ttl` (60) or more (raise it, or lower `default_ttl`)",
            ],
        ),
        (
            "max_ttl: 3600",
            &[
                "stores.a.max_ttl: found 3600, needs `default_ttl` (86400) or more (raise it, or lower `default_ttl`)",
            ],
        ),
        (
            "default_ttl: 0, max_ttl: 60",
            &["stores.a.max_ttl: found 60, needs 0, as `default_ttl` is 0 (never expires) (leave it out)"],
        ),
        (
            "default_ttl: 60, max_ttl: 0",
            &[
                "stores.a.max_ttl: found 0, needs an end, as `default_ttl` has one (60) (leave it out, or set both to 0)",
            ],
        ),
        (
            "default_ttl: 1.5, max_ttl: 1",
            &[
                "stores.a.default_ttl: found 1.5, needs a whole number of seconds (0 = never expires) from 0 to 3162240000 \
               (write 1)",
            ],
        ),
        ("quota_bytes: 1", &[quota]),
        ("scope: mirrored, quota_bytes: 1", &[quota]),
        (
            "scope: mirror, quota_bytes: 1",
            &[
                "stores.a.scope: found \"mirror\", needs mirrored or local (did you mean `mirrored`?)",
                "stores.a.quota_bytes: known, not built yet (leave it out)",
            ],
        ),
        (
            "quota_bytes: 0",
            &[
                "stores.a.quota_bytes: found 0, needs a whole number of bytes from 1 to 18446744073709551615 (for example \
               1073741824)",
            ],
        ),
    ];
    for (store, expected) in rows {
        let report = report_with(&format!("stores: {{ a: {{ base_uri: a, {store} }} }}"));
        assert_eq!(report.lines().collect::<Vec<_>>(), expected, "{store}");
    }
}

#[test]
fn a_value_of_a_store_out_of_its_range_is_refused() {
    let bytes = |found: &str| {
        format!(
            "stores.a.max_value_bytes: found {found}, needs a whole number of bytes from 1 to 16646144 (for example 1048576)"
        )
    };
    let rows = [
        ("max_value_bytes: 0", bytes("0")),
        ("max_value_bytes: 16646145", bytes("16646145")),
        (
            "read_consistency: quorum",
            "stores.a.read_consistency: found \"quorum\", needs dc or node (for example dc)".to_owned(),
        ),
        (
            "rate: { writes_per_s: 0 }",
            "stores.a.rate.writes_per_s: found 0, needs a whole number of requests from 1 to 4294967295 (for example 2000)"
                .to_owned(),
        ),
        (
            "tombstone_retention: 172800",
            "stores.a.tombstone_retention: found 172800, needs `default_ttl: 0`, as the tombstones of sessions that expire live as \
             long as those may (leave it out)"
                .to_owned(),
        ),
        (
            "default_ttl: 0, tombstone_retention: 86400",
            "stores.a.tombstone_retention: found 86400, needs a whole number of seconds from 172800 to 3162240000 (for example \
             2592000)"
                .to_owned(),
        ),
    ];
    for (store, expected) in rows {
        let report = report_with(&format!("stores: {{ a: {{ base_uri: a, {store} }} }}"));
        assert_eq!(report, format!("{expected}\n"), "{store}");
    }
}

#[test]
fn no_path_is_above_or_below_anothers() {
    let both = |a: &str, b: &str| format!("stores: {{ a: {{ base_uri: {a} }}, b: {{ base_uri: {b} }} }}");
    for (a, b) in [("a", "b"), ("/a/", "/ab/"), ("/a/v1", "/a/v2")] {
        assert_eq!(report_with(&both(a, b)), "", "{a} {b}");
    }
    for (a, b, shown) in
        [("/a/", "a", "/a/"), ("/a", "/a/b", "/a/"), ("/a/b", "/a", "/a/b/"), ("/", "/a", "/")]
    {
        let line = format!(
            "stores.b.base_uri: found \"{b}\", needs a path neither above nor below another store's, {shown} (choose \
             another path)\n"
        );
        assert_eq!(report_with(&both(a, b)), line, "{a} {b}");
    }
}

#[test]
fn the_keys_of_kask_beside_stores_say_what_one_of_them_says() {
    let stores = "stores: { a: { base_uri: a, default_ttl: 60 }, b: { base_uri: b } }";
    let rows: [(&str, &[&str]); 8] = [
        ("base_uri: /a", &[]),
        ("base_uri: b/\ndefault_ttl: 86400", &[]),
        ("default_ttl: 60", &[]),
        ("", &[]),
        ("base_uri: /c", &["base_uri: found /c/, needs the `base_uri` of a store (/a/, /b/) (leave it out)"]),
        (
            "default_ttl: 61",
            &["default_ttl: found 61, needs the `default_ttl` of the same store (60, 86400) (leave it out)"],
        ),
        (
            "base_uri: b\ndefault_ttl: 60",
            &["default_ttl: found 60, needs the `default_ttl` of the same store (86400) (leave it out)"],
        ),
        (
            "base_uri: c?\ndefault_ttl: 61",
            &[
                "base_uri: found \"c?\", needs a path of ASCII letters, digits, / and -._~!$&'()*+,;=:@ (for example \
               /sessions/v1/)",
            ],
        ),
    ];
    for (more, expected) in rows {
        let report = report_with(&format!("{stores}\n{more}"));
        assert_eq!(report.lines().collect::<Vec<_>>(), expected, "{more}");
    }
}

#[test]
fn stores_have_names_that_fit() {
    check_reports(&[
        ("stores: {}", &["stores: found a mapping, needs one or more names (write `name: { … }` below it)"]),
        ("stores: ", &["stores: found nothing, needs one or more names (write `name: { … }` below it)"]),
        (
            "stores: { a: }",
            &["stores.a: found nothing, needs a mapping of keys (write `key: value` below it)"],
        ),
        (
            "stores: { changes: { base_uri: a } }",
            &[
                "stores.changes: found the name `changes`, needs another one (`local` and `changes` are reserved)",
            ],
        ),
        (
            "stores: { 1: { base_uri: a, x: 1 } }",
            &[
                "stores.1: found the name `1`, needs another one (must be 1 to 32 characters of a-z, 0-9 and -, beginning with \
                 a letter)",
                "stores.1.x: unknown key (known here: default_ttl, base_uri, max_ttl, read_consistency, max_value_bytes, \
                 accept_put, compress_above_bytes, rate, tombstone_retention, scope, quota_bytes, seal, conditions, \
                 renew_on_read, max_lifetime, principals_uri, drain_from)",
            ],
        ),
    ]);
}
