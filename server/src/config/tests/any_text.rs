use proptest::prelude::*;

use super::*;

const EXAMPLE: &str = include_str!("../../../testdata/config/config-example.yaml");

/// Words that make generated files reach deeper than noise does.
fn word() -> impl Strategy<Value = String> {
    let keys = prop::sample::select(kask::OWN_KEYS.to_vec()).prop_map(str::to_owned);
    let others = prop::sample::select(vec![
        "base_uri",
        "default_ttl",
        "listen",
        "listen_port",
        "embedded",
        "kafka",
        "partitions",
        "ring",
        "index",
        "id",
        "file",
        "tls",
        "cert",
        "cassandra",
        "scope",
        "local",
        "dcs",
        "urls",
        "options",
        "0",
        "-1",
        "1.5",
        "''",
        "~",
        "127.0.0.1:1",
        "/v1",
        "!x y",
        "<<",
        "é",
    ]);
    prop_oneof![keys, others.prop_map(str::to_owned), "[ -~]{0,8}", "\\PC{0,4}"]
}

/// Nested mappings and lists of such words, as YAML in flow style.
fn tree() -> impl Strategy<Value = String> {
    word().prop_recursive(4, 64, 6, |inner| {
        let entry = (word(), inner.clone()).prop_map(|(key, value)| format!("{key}: {value}"));
        let mapping =
            prop::collection::vec(entry, 0..6).prop_map(|entries| format!("{{{}}}", entries.join(", ")));
        let list = prop::collection::vec(inner, 0..4).prop_map(|values| format!("[{}]", values.join(", ")));
        prop_oneof![3 => mapping, 1 => list]
    })
}

/// A report is one line for each problem, and each line reads alone.
fn check_shape(text: &str) -> Result<(), TestCaseError> {
    if let Err(problems) = parse(text).config {
        prop_assert!(!problems.is_empty());
        for problem in &problems {
            let line = problem.to_string();
            prop_assert!(!line.contains('\n') && line.contains(": "), "{line:?}");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in any::<String>()) {
        check_shape(&text)?;
    }

    #[test]
    fn no_tree_breaks_the_reader(entries in prop::collection::vec((word(), tree()), 0..8)) {
        let lines = entries.into_iter().map(|(key, value)| format!("{key}: {value}\n"));
        check_shape(&lines.collect::<String>())?;
    }

    #[test]
    fn no_value_in_place_of_another_breaks_the_reader(key in word(), value in tree(), at in any::<prop::sample::Index>()) {
        let mut lines: Vec<String> = EXAMPLE.lines().map(str::to_owned).collect();
        let line = at.index(lines.len());
        lines[line] = format!("{key}: {value}");
        check_shape(&lines.join("\n"))?;
    }

    #[test]
    fn no_cut_of_the_example_breaks_the_reader(at in any::<prop::sample::Index>()) {
        let ends: Vec<usize> = EXAMPLE.char_indices().map(|(end, _)| end).collect();
        check_shape(&EXAMPLE[..ends[at.index(ends.len())]])?;
    }
}

#[test]
fn a_text_that_grows_without_end_is_refused() {
    let deep = "[".repeat(10_000);
    assert!(parse(&deep).config.is_err());

    let mut wide = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (this, next) in ('a'..'m').zip('b'..'n') {
        wide += &format!("{next}: &{next} [{}]\n", [format!("*{this}").as_str(); 9].join(", "));
    }
    assert!(parse(&wide).config.is_err());
}
