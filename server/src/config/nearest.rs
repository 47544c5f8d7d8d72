//! Did you mean: the known word that a mistyped one is nearest to.

/// How alike two words must be, from 0 to 1. Below this, suggestions are more often wrong than right.
const LIKENESS_MIN: f64 = 0.8;

/// The word of `known` that `text` is most like; `None` when it is like none of them.
pub(super) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_ascii_lowercase();
    let likeness = |word: &'a str| (strsim::jaro_winkler(&text, word), word);
    let best = known.into_iter().map(likeness).max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|&(likeness, _)| LIKENESS_MIN <= likeness).map(|(_, word)| word)
}

/// The suggestion to an operator who wrote `text`: the nearest known word, or all of them.
pub(super) fn suggestion(text: &str, known: &[&str]) -> String {
    match nearest(text, known.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None if known.is_empty() => "leave it out".to_owned(),
        None => format!("known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_finds_its_neighbour_and_a_foreign_one_none() {
        let known = ["base_uri", "default_ttl", "max_ttl", "max_value_bytes", "quota_bytes", "warning"];
        let cases = [
            ("baseuri", Some("base_uri")),
            ("base-uri", Some("base_uri")),
            ("DefaultTTL", Some("default_ttl")),
            ("max_tll", Some("max_ttl")),
            ("quotabytes", Some("quota_bytes")),
            ("warn", Some("warning")),
            ("cert", None),
            ("", None),
            ("é", None),
        ];
        for (text, expected) in cases {
            assert_eq!(nearest(text, known), expected, "{text:?}");
        }
    }

    #[test]
    fn without_a_neighbour_all_known_words_are_named() {
        assert_eq!(suggestion("zzz", &["cert", "key"]), "known here: cert, key");
        assert_eq!(suggestion("zzz", &[]), "leave it out");
    }
}
