//! The id by which a request can be found in logs and records.

use http::HeaderMap;
use schemas::caps::REQUEST_ID_BYTES_MAX;

const HEADER: &str = "x-request-id";

/// What stands for a request that has no usable id.
const ZERO: &str = "00000000-0000-0000-0000-000000000000";

/// `[A-Za-z0-9._-]{1,36}`: safe in logs, headers and JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId {
    bytes: [u8; REQUEST_ID_BYTES_MAX],
    len: usize,
}

impl RequestId {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let sent = headers.get(HEADER).and_then(|value| value.to_str().ok()).filter(|text| is_safe(text));
        let text = sent.unwrap_or(ZERO);
        let mut bytes = [0; REQUEST_ID_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self { bytes, len: text.len() }
    }

    /// The id that the client sent, if it sent a usable one.
    pub(crate) fn given(&self) -> Option<&str> {
        Some(self.as_str()).filter(|id| *id != ZERO)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).expect("what is safe is ASCII")
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_safe(text: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !text.is_empty() && text.len() <= REQUEST_ID_BYTES_MAX && text.bytes().all(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_safe_id_is_carried() {
        let id = |text: &[u8]| {
            let value = http::HeaderValue::from_bytes(text).unwrap();
            RequestId::of(&HeaderMap::from_iter([(http::HeaderName::from_static(HEADER), value)])).to_string()
        };
        assert_eq!(id(b"0b4f2a5e-1c1d-4f8e-9a61-0123456789ab"), "0b4f2a5e-1c1d-4f8e-9a61-0123456789ab");
        assert_eq!(id(b"a._-Z9"), "a._-Z9");
        for unsafe_id in [&b""[..], b"a b", b"a\"", b"\xff", b"0123456789012345678901234567890123456"] {
            assert_eq!(id(unsafe_id), ZERO);
        }
        let none = RequestId::of(&HeaderMap::new());
        assert_eq!((none.as_str(), none.given()), (ZERO, None));
    }
}
