//! The path that a store's URLs begin with.

use std::{fmt, str::FromStr};

use super::{
    section::{Item, Read},
    value::{Refusal, show},
};

/// Paths of the data listener that no store can have.
const RESERVED: [&str; 6] = ["/healthz/", "/livez/", "/readyz/", "/startupz/", "/metrics/", "/openapi/"];

/// Punctuation that a path segment may hold as it is (RFC 3986, `pchar`), besides letters and digits.
const PUNCTUATION: &str = "-._~!$&'()*+,;=:@";

/// The path of a store: begins and ends with `/`, has no empty, `.` or `..` segment, needs no percent encoding, and is
/// none of the reserved paths.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BaseUri(String);

/// Why a text is no base URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseUriError {
    /// A character that cannot stand in a path as it is.
    #[error("a path of ASCII letters, digits, / and {PUNCTUATION}")]
    Character,
    /// `//`, or a segment `.` or `..`.
    #[error("a path without empty segments, `.` and `..`")]
    Segment,
    /// A path such as `/metrics`, which the server itself answers.
    #[error(
        "a path that is not reserved, as /healthz, /livez, /readyz, /startupz, /metrics and /openapi are"
    )]
    Reserved,
}

impl BaseUri {
    /// The path, with a `/` at both ends.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether every URL below `other` lies below this one too.
    pub fn is_prefix_of(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl FromStr for BaseUri {
    type Err = BaseUriError;

    /// Adds a `/` at either end where it is missing, as Kask does.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let first = if text.starts_with('/') { "" } else { "/" };
        let last = if text.is_empty() || text.ends_with('/') { "" } else { "/" };
        check(&format!("{first}{text}{last}")).map(Self)
    }
}

impl fmt::Display for BaseUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(path: &str) -> Result<String, BaseUriError> {
    let fits = |c: char| c == '/' || c.is_ascii_alphanumeric() || PUNCTUATION.contains(c);
    if !path.chars().all(fits) {
        return Err(BaseUriError::Character);
    }
    // All but the empty texts before the first slash and after the last.
    let inner = path[1..].strip_suffix('/').map(|inner| inner.split('/'));
    if inner.into_iter().flatten().any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(BaseUriError::Segment);
    }
    if RESERVED.contains(&path) {
        return Err(BaseUriError::Reserved);
    }
    Ok(path.to_owned())
}

/// A reader of a base URI.
pub(super) fn base_uri(item: &mut Item<'_>) -> Read<BaseUri> {
    let error = match item.value.as_str().map(BaseUri::from_str) {
        Some(Ok(base_uri)) => return Ok(base_uri),
        Some(Err(error)) => error.to_string(),
        None => "a path".to_owned(),
    };
    Err(item.refuse(Refusal::new(show(item.value), error, "for example /sessions/v1/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_slashes_are_added() {
        for (text, expected) in [
            ("sessions/v1", "/sessions/v1/"),
            ("/sessions/v1", "/sessions/v1/"),
            ("sessions/v1/", "/sessions/v1/"),
            ("/sessions/v1/", "/sessions/v1/"),
            ("/", "/"),
            ("", "/"),
            ("/a.b/..c/", "/a.b/..c/"),
            ("/metrics/v1", "/metrics/v1/"),
            ("/healthzz", "/healthzz/"),
        ] {
            assert_eq!(text.parse::<BaseUri>().unwrap().as_str(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_cannot_lead_to_a_store_is_refused() {
        use BaseUriError::{Character, Reserved, Segment};
        for (text, expected) in [
            ("//", Segment),
            ("///", Segment),
            ("//v1/", Segment),
            ("/v1//", Segment),
            ("/a//b", Segment),
            (".", Segment),
            ("..", Segment),
            ("/a/./b", Segment),
            ("/a/..", Segment),
            ("/a%2Fb", Character),
            ("/a?b", Character),
            ("/a#b", Character),
            ("/é", Character),
            ("/a b", Character),
            ("/a\\b", Character),
            ("/a\n", Character),
            ("/metrics", Reserved),
            ("/metrics/", Reserved),
            ("healthz", Reserved),
            ("/livez", Reserved),
            ("/readyz", Reserved),
            ("/startupz", Reserved),
            ("/openapi/", Reserved),
        ] {
            assert_eq!(text.parse::<BaseUri>(), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn a_prefix_ends_at_a_slash() {
        let uri = |text: &str| text.parse::<BaseUri>().unwrap();
        assert!(uri("/").is_prefix_of(&uri("/a")));
        assert!(uri("/a").is_prefix_of(&uri("/a")));
        assert!(uri("/a").is_prefix_of(&uri("/a/b")));
        assert!(!uri("/a").is_prefix_of(&uri("/ab")));
        assert!(!uri("/a/b").is_prefix_of(&uri("/a")));
    }
}
