//! `ETag` and `If-None-Match` on reads (RFC 9110, 13.1.2).

use http::{HeaderMap, HeaderValue, header};
use schemas::Version;

/// The version as an entity tag: `"<16 hex>-<16 hex>"`.
pub(crate) fn etag(version: Version) -> HeaderValue {
    let mut text = [b'"'; Version::TEXT_BYTES + 2];
    text[1..=Version::TEXT_BYTES].copy_from_slice(&version.to_text());
    HeaderValue::from_bytes(&text).expect("a version is ASCII")
}

/// Whether the client has this version already. Compared weakly; a list in several lines is one list.
pub(crate) fn has_already(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let tags = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    tags.flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes())
}

#[cfg(test)]
mod tests {
    use schemas::{Hlc, WriterId};

    use super::*;

    #[test]
    fn a_known_tag_in_any_spelling_is_a_match() {
        let ours = etag(Version { hlc: Hlc::from_bits(1), writer: WriterId(2) });
        assert_eq!(ours, "\"0000000000000001-0000000000000002\"");
        let matches = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::IF_NONE_MATCH, HeaderValue::from_static(line));
            }
            has_already(&headers, &ours)
        };
        assert!(matches(&["\"0000000000000001-0000000000000002\""]));
        assert!(matches(&["W/\"0000000000000001-0000000000000002\""]));
        assert!(matches(&["\"a\", \"0000000000000001-0000000000000002\""]));
        assert!(matches(&["\"a\"", "*"]));
        assert!(!matches(&[]));
        assert!(!matches(&["\"0000000000000001-0000000000000003\""]));
        assert!(!matches(&["0000000000000001-0000000000000002"]));
    }
}
