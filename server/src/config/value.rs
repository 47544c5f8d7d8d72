//! Readers of single values: a YAML scalar to a type that cannot be wrong, or what is wrong with it.

use std::{fmt::Display, net::SocketAddr, ops::RangeInclusive, path::PathBuf};

use yaml_serde::Value;

use super::{
    nearest,
    section::{Item, Read},
};

/// Characters of a text that a problem repeats.
const SHOWN_CHARS_MAX: usize = 60;

/// Why a value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What stands there. Never a secret.
    pub(super) found: String,
    /// What must stand there.
    pub(super) need: String,
    /// What to write instead.
    pub(super) suggestion: String,
}

impl Refusal {
    pub(super) fn new(
        found: impl Into<String>,
        need: impl Into<String>,
        suggestion: impl Into<String>,
    ) -> Self {
        Self { found: found.into(), need: need.into(), suggestion: suggestion.into() }
    }
}

/// A value in words: itself when it is short and simple, else its kind.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => show_text(text),
        _ => show_kind(value).to_owned(),
    }
}

/// The kind of a value in words, where the value itself may be a secret.
pub(super) fn show_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(text) if text.is_empty() => "an empty text",
        Value::String(_) => "a text",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a mapping",
        Value::Tagged(_) => "a value with a tag",
    }
}

/// A key as a step of a path.
pub(super) fn key_text(key: &Value) -> String {
    match key.as_str() {
        Some(text) if is_plain(text) => text.to_owned(),
        _ => show(key),
    }
}

fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    !text.is_empty() && text.chars().count() <= SHOWN_CHARS_MAX && text.chars().all(plain)
}

fn show_text(text: &str) -> String {
    let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let rest = if shown.len() < text.len() { "…" } else { "" };
    format!("{shown:?}{rest}")
}

/// A reader of any text.
pub(super) fn text(item: &mut Item<'_>) -> Read<String> {
    match item.value {
        Value::String(text) => Ok(text.clone()),
        value => Err(item.refuse(Refusal::new(show(value), "a text", "put it in quotes"))),
    }
}

/// A reader of a text that `parse` accepts. `need` and `example` are for an operator whose text it refused.
pub(super) fn text_as<T>(
    need: &str,
    example: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> impl Fn(&mut Item<'_>) -> Read<T> {
    move |item| match item.value.as_str().and_then(&parse) {
        Some(value) => Ok(value),
        None => Err(item.refuse(Refusal::new(show(item.value), need, format!("for example {example}")))),
    }
}

/// A reader of a path. A value that is none is not repeated: it may be the secret that belongs into the file.
pub(super) fn path(example: &str) -> impl Fn(&mut Item<'_>) -> Read<PathBuf> {
    move |item| match item.value.as_str() {
        Some(text) if !text.is_empty() => Ok(PathBuf::from(text)),
        _ => Err(item.refuse(Refusal::new(
            show_kind(item.value),
            "the path of a file or folder",
            format!("for example {example}"),
        ))),
    }
}

/// A reader of `true` or `false`.
pub(super) fn flag(item: &mut Item<'_>) -> Read<bool> {
    match item.value {
        Value::Bool(flag) => Ok(*flag),
        value => Err(item.refuse(Refusal::new(show(value), "true or false", "write it without quotes"))),
    }
}

/// A reader of one word out of a few.
pub(super) fn choice<T: Copy>(words: &[(&str, T)]) -> impl Fn(&mut Item<'_>) -> Read<T> {
    move |item| {
        let text = item.value.as_str().unwrap_or_default();
        match words.iter().find(|&&(word, _)| word == text) {
            Some(&(_, value)) => Ok(value),
            None => Err(item.refuse(no_choice(item.value, words))),
        }
    }
}

/// Why a value is none of the words.
pub(super) fn no_choice<T>(value: &Value, words: &[(&str, T)]) -> Refusal {
    let words: Vec<&str> = words.iter().map(|&(word, _)| word).collect();
    let suggestion = match nearest::nearest(value.as_str().unwrap_or_default(), words.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("for example {}", words[0]),
    };
    Refusal::new(show(value), one_of(&words), suggestion)
}

fn one_of(words: &[&str]) -> String {
    match words {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => words.concat(),
    }
}

/// A reader of a whole number. `what` names it with its unit, such as `a whole number of seconds`.
pub(super) fn number<N>(what: &str, range: RangeInclusive<N>, example: N) -> impl Fn(&mut Item<'_>) -> Read<N>
where
    N: Copy + Display + PartialOrd + TryFrom<u64>,
{
    let need = format!("{what} from {} to {}", range.start(), range.end());
    let fit = move |number: u64| N::try_from(number).ok().filter(|number| range.contains(number));
    move |item| match item.value.as_u64().and_then(&fit) {
        Some(number) => Ok(number),
        None => {
            let suggestion = near_number(item.value).and_then(&fit);
            let suggestion =
                suggestion.map_or(format!("for example {example}"), |number| format!("write {number}"));
            Err(item.refuse(Refusal::new(show(item.value), need.clone(), suggestion)))
        }
    }
}

/// The whole number that somebody meant who wrote a fraction or put it in quotes.
fn near_number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        // The cast saturates, and what it gives is checked against a range.
        Value::Number(number) => number.as_f64().filter(|number| 1.0 <= *number).map(|number| number as u64),
        _ => None,
    }
}

/// A reader of an IP address with a port other than 0.
pub(super) fn socket_address(example: &str) -> impl Fn(&mut Item<'_>) -> Read<SocketAddr> {
    let parse = |text: &str| text.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
    text_as("an IP address and a port", example, parse)
}
