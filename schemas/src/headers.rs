//! Headers of a record: an ordered list of (name, value), kept byte for byte.
//!
//! In memory, in the embedded log and in the view they are one run of bytes:
//!
//! ```text
//!   ┌──────────┬──────┬───────────────┬───────┐
//!   │ name len │ name │ value len     │ value │ ...
//!   │ u8       │ UTF-8│ u16 big-endian│ bytes │
//!   └──────────┴──────┴───────────────┴───────┘
//! ```

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// An ordered list of (name, value). Names may repeat; unknown ones are kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Bytes);

/// Room for what a request adds to an event: a seal id and a request id.
const TYPICAL_BYTES: usize = 64;

/// Room for the headers of nearly every record, MAC and lengths included: what a session's record has is about 230 bytes.
const RECORD_BYTES: usize = 288;

/// A name and its value.
type Header<'a> = (&'a str, &'a [u8]);

/// The bytes are not a list of headers, or a header does not fit into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadersError {
    /// The run of bytes ends inside a header, or a name is not UTF-8.
    #[error("the headers are malformed")]
    Malformed,
    /// A name over 255 bytes or a value over 65,535.
    #[error("a header is too long")]
    TooLong,
}

impl Headers {
    /// Makes headers from names and values.
    ///
    /// # Errors
    /// [`HeadersError::TooLong`].
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, HeadersError> {
        let mut headers = HeadersMut(BytesMut::with_capacity(TYPICAL_BYTES));
        for (name, value) in pairs {
            headers.put(name, value)?;
        }
        Ok(headers.freeze())
    }

    /// More can be put after them, without a copy if nobody else holds them.
    pub(crate) fn into_mut(self) -> HeadersMut {
        HeadersMut(BytesMut::from(self.0))
    }

    /// Reads what [`as_bytes`](Self::as_bytes) gave, without copying.
    ///
    /// # Errors
    /// [`HeadersError::Malformed`].
    pub fn from_bytes(bytes: Bytes) -> Result<Self, HeadersError> {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            (_, rest) = split_first(rest).ok_or(HeadersError::Malformed)?;
        }
        Ok(Self(bytes))
    }

    /// The run of bytes.
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (header, after) = split_first(rest)?;
            rest = after;
            Some(header)
        })
    }

    /// The value of the first header of this name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|&(n, _)| n == name).map(|(_, value)| value)
    }

    /// Bytes of all names and values together, which [`HEADER_BYTES_MAX`](crate::caps::HEADER_BYTES_MAX) bounds.
    pub fn content_bytes(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// Headers that are being written.
pub(crate) struct HeadersMut(BytesMut);

impl HeadersMut {
    /// None yet, with room for all of a record.
    pub(crate) fn of_record() -> Self {
        Self(BytesMut::with_capacity(RECORD_BYTES))
    }

    /// One more.
    pub(crate) fn put(&mut self, name: &str, value: &[u8]) -> Result<(), HeadersError> {
        self.put_name(name)?;
        self.0.put_u16(u16::try_from(value.len()).map_err(|_| HeadersError::TooLong)?);
        self.0.put_slice(value);
        Ok(())
    }

    /// One more, as text.
    pub(crate) fn put_text(&mut self, name: &str, value: impl fmt::Display) -> Result<(), HeadersError> {
        self.put_name(name)?;
        let at = self.0.len();
        self.0.put_u16(0);
        fmt::Write::write_fmt(&mut self.0, format_args!("{value}")).map_err(|_| HeadersError::TooLong)?;
        let value_len = u16::try_from(self.0.len() - at - 2).map_err(|_| HeadersError::TooLong)?;
        self.0[at..at + 2].copy_from_slice(&value_len.to_be_bytes());
        Ok(())
    }

    fn put_name(&mut self, name: &str) -> Result<(), HeadersError> {
        self.0.put_u8(u8::try_from(name.len()).map_err(|_| HeadersError::TooLong)?);
        self.0.put_slice(name.as_bytes());
        Ok(())
    }

    /// That was all.
    pub(crate) fn freeze(self) -> Headers {
        Headers(self.0.freeze())
    }
}

/// The first header of `bytes` and what follows it. `None` at the end, or when the header is malformed.
fn split_first(bytes: &[u8]) -> Option<(Header<'_>, &[u8])> {
    let (&name_len, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(name_len))?;
    let (value_len, rest) = rest.split_first_chunk()?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*value_len)))?;
    Some(((std::str::from_utf8(name).ok()?, value), rest))
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name, value.escape_ascii().to_string())))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_run_that_ends_inside_a_header_is_refused() {
        let whole = Headers::from_pairs([("op", &b"set"[..]), ("q", b"1")]).unwrap();
        let first_header_ends_at = 1 + 2 + 2 + 3;
        for len in 1..whole.as_bytes().len() {
            let cut = Headers::from_bytes(whole.as_bytes().slice(..len));
            assert_eq!(cut.is_ok(), len == first_header_ends_at, "cut at {len}");
        }
    }

    #[test]
    fn a_name_that_is_not_text_is_refused() {
        let bytes = Bytes::from_static(&[1, 0xff, 0, 0]);
        assert_eq!(Headers::from_bytes(bytes), Err(HeadersError::Malformed));
    }

    #[test]
    fn a_value_that_does_not_fit_is_refused() {
        assert_eq!(Headers::from_pairs([("a", &[0; 65_536][..])]), Err(HeadersError::TooLong));
    }

    proptest! {
        #[test]
        fn order_repeats_and_bytes_are_kept(
            pairs in prop::collection::vec(("[a-z~é]{0,9}", prop::collection::vec(any::<u8>(), 0..40)), 0..8)
        ) {
            let headers = Headers::from_pairs(pairs.iter().map(|(n, v)| (n.as_str(), v.as_slice()))).unwrap();
            let again = Headers::from_bytes(headers.as_bytes().clone()).unwrap();
            let read: Vec<_> = again.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Ok(headers) = Headers::from_bytes(Bytes::from(bytes.clone())) {
                let written = Headers::from_pairs(headers.iter()).unwrap();
                prop_assert_eq!(&written.as_bytes()[..], &bytes[..]);
            }
        }
    }
}
