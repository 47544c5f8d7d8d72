//! Text to a mapping, or what is wrong with the text as YAML.

use yaml_serde::{Mapping, Value};

use super::problem::Problem;

/// Reads `text` as one YAML document that is a mapping, with merges (`<<`) applied. An empty document is an empty
/// mapping.
pub(super) fn mapping(text: &str) -> Result<Mapping, Problem> {
    let mut value: Value = yaml_serde::from_str(text).map_err(|error| problem(&error))?;
    value.apply_merge().map_err(|error| problem(&error))?;
    match value {
        Value::Mapping(mapping) => Ok(mapping),
        Value::Null => Ok(Mapping::new()),
        _ => Err(Problem::Yaml {
            at: THE_FILE.to_owned(),
            reason: "needs a mapping of keys to values".to_owned(),
        }),
    }
}

const THE_FILE: &str = "the file";

fn problem(error: &yaml_serde::Error) -> Problem {
    let location = error.location().map(|location| (location.line(), location.column()));
    let at = location
        .map_or_else(|| THE_FILE.to_owned(), |(line, column)| format!("line {line}, column {column}"));
    let mut reason = without_values(&error.to_string());
    if let Some((line, column)) = location {
        reason = reason.replacen(&format!(" at line {line} column {column}"), "", 1);
    }
    if reason.contains("duplicate entry") {
        reason += ", in the mapping that begins here";
    }
    Problem::Yaml { at, reason: reason.replace(char::is_control, " ") }
}

/// The parser's message without the value that it quotes, which may be a password.
fn without_values(message: &str) -> String {
    match message.find("invalid type: ").or_else(|| message.find("invalid value: ")) {
        Some(quote) => {
            format!("{}a value that does not fit its tag, or a number beyond 64 bits", &message[..quote])
        }
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_mapping_of_unique_keys_is_refused_with_its_position() {
        let cases = [
            ("a: 1\nb: [", "line 3, column 1: did not find expected node content, while parsing a flow node"),
            (
                "a: 1\na: 2",
                "line 1, column 1: duplicate entry with key \"a\", in the mapping that begins here",
            ),
            (
                "x:\n  b: 1\n  b: 2",
                "line 2, column 3: x: duplicate entry with key \"b\", in the mapping that begins here",
            ),
            ("a: b: c", "line 1, column 5: mapping values are not allowed in this context"),
            ("a: *b", "line 1, column 4: unknown anchor"),
            ("- a", "the file: needs a mapping of keys to values"),
            ("hello", "the file: needs a mapping of keys to values"),
            (
                "a: 1\n---\nb: 1",
                "the file: deserializing from YAML containing more than one document is not supported",
            ),
            ("a: {<<: 1}", "the file: expected a mapping or list of mappings for merging, but found scalar"),
        ];
        for (text, expected) in cases {
            assert_eq!(mapping(text).unwrap_err().to_string(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_value_that_may_be_a_password_is_not_repeated() {
        for text in ["password: 99999999999999999999", "password: !!int hunter2", "password: !!bool hunter2"]
        {
            let line = mapping(text).unwrap_err().to_string();
            let expected = "password: a value that does not fit its tag, or a number beyond 64 bits";
            assert!(line.ends_with(expected), "{line}");
        }
    }

    #[test]
    fn a_report_stays_on_one_line_whatever_a_key_is() {
        let line = mapping("\"a\\nb\": {c: 1, c: 2}").unwrap_err().to_string();
        assert!(!line.contains('\n'), "{line}");
    }

    #[test]
    fn an_empty_text_is_an_empty_mapping() {
        for text in ["", "# nothing\n", "~", "---\n"] {
            assert_eq!(mapping(text), Ok(Mapping::new()), "{text:?}");
        }
    }

    #[test]
    fn a_merge_fills_in_what_is_not_there() {
        let merged = mapping("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}").unwrap();
        assert_eq!(Ok(merged), mapping("a: {x: 1, y: 2}\nb: {x: 3, y: 2}"));
    }
}
