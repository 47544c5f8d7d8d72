//! Where a request goes: from the raw path, as bytes, never from a framework's decoded one.

use zeroize::Zeroizing;

use crate::{SessionKey, Store, Stores};

/// What a raw path names.
#[derive(Debug)]
pub(crate) enum Target<'a> {
    /// No store begins like this.
    NoStore,
    /// A store's base URI without its last slash.
    BaseWithoutSlash(&'a Store),
    /// Something in a store.
    InStore(&'a Store, RawKey<'a>),
}

/// What follows the base URI, as it was sent.
#[derive(Clone, Copy)]
pub(crate) struct RawKey<'a>(&'a str);

/// Why a raw key names no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyError {
    /// Empty, or more than one path segment.
    NotASegment,
    /// A `%` that two hex digits do not follow.
    MalformedEscape,
}

// Not derived: what stands in it is a session key.
impl std::fmt::Debug for RawKey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawKey(hidden)")
    }
}

impl<'a> Target<'a> {
    pub(crate) fn of(stores: &'a Stores, raw_path: &'a str) -> Self {
        for store in stores.iter() {
            if let Some(rest) = raw_path.strip_prefix(store.base_uri()) {
                return Self::InStore(store, RawKey(rest));
            }
            // The base `/` has no form without its slash.
            if store.base_uri().strip_suffix('/') == Some(raw_path) && !raw_path.is_empty() {
                return Self::BaseWithoutSlash(store);
            }
        }
        Self::NoStore
    }
}

impl RawKey<'_> {
    /// The percent-decoded key, any bytes but `/`.
    pub(crate) fn decode(self) -> Result<SessionKey, KeyError> {
        if self.0.is_empty() || self.0.contains('/') {
            return Err(KeyError::NotASegment);
        }
        let decoded = percent_decode(self.0.as_bytes()).ok_or(KeyError::MalformedEscape)?;
        if decoded.contains(&b'/') {
            Err(KeyError::NotASegment)
        } else {
            Ok(SessionKey::from_decoded(decoded))
        }
    }
}

fn percent_decode(raw: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut decoded = Zeroizing::new(Vec::with_capacity(raw.len()));
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let (&[high, low], after) = rest.split_first_chunk()?;
        decoded.push(hex_digit(high)? << 4 | hex_digit(low)?);
        rest = after;
    }
    Some(decoded)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(raw: &str) -> Result<Vec<u8>, KeyError> {
        RawKey(raw).decode().map(|key| key.expose().to_vec())
    }

    #[test]
    fn a_key_is_one_decoded_segment() {
        for (raw, expected) in [
            ("cat", Ok(&b"cat"[..])),
            ("a%3Ab%20c%3F", Ok(b"a:b c?")),
            ("%00%ff%FE", Ok(b"\0\xff\xfe")),
            ("+", Ok(b"+")),
            ("..", Ok(b"..")),
            ("%2e%2E", Ok(b"..")),
            ("%25%32%35", Ok(b"%25")),
            ("", Err(KeyError::NotASegment)),
            ("a/b", Err(KeyError::NotASegment)),
            ("/", Err(KeyError::NotASegment)),
            ("a%2fb", Err(KeyError::NotASegment)),
            ("k%2Fsessions%2Fv1%2Fother", Err(KeyError::NotASegment)),
            ("%", Err(KeyError::MalformedEscape)),
            ("%4", Err(KeyError::MalformedEscape)),
            ("%zz", Err(KeyError::MalformedEscape)),
            ("%+1", Err(KeyError::MalformedEscape)),
        ] {
            assert_eq!(decode(raw), expected.map(<[u8]>::to_vec), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_but_a_slash_can_be_a_key(key in prop::collection::vec(any::<u8>().prop_filter("slash", |b| *b != b'/'), 1..80)) {
            let raw: String = key.iter().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(decode(&raw), Ok(key));
        }
    }
}
