//! Sessions by key id: what may be shown, logged and stored in place of the session key.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{Partition, PartitionCount, caps::KEY_ID_TEXT_BYTES};

/// 128-bit keyed hash of (store, session key); 22 characters of base64url as text.
///
/// Whoever holds it cannot find the session key without the index secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// From the 16 bytes of the hash.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The partition that holds every event of this key: the first four bytes, big-endian, modulo the count.
    pub fn partition(&self, count: PartitionCount) -> Partition {
        let [a, b, c, d, ..] = self.0;
        Partition(u32::from_be_bytes([a, b, c, d]) % count.get())
    }

    /// The 22 characters that are the record key.
    pub fn text(&self) -> KeyIdText {
        let mut text = [0; KEY_ID_TEXT_BYTES];
        let written = BASE64_URL_SAFE_NO_PAD.encode_slice(self.0, &mut text);
        debug_assert_eq!(written, Ok(KEY_ID_TEXT_BYTES));
        KeyIdText(text)
    }

    /// Reads a record key.
    ///
    /// # Errors
    /// When `text` is not the one spelling that [`text`](Self::text) gives.
    pub fn parse(text: &[u8]) -> Result<Self, ParseKeyIdError> {
        let mut bytes = [0; 16];
        match BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(16) if text.len() == KEY_ID_TEXT_BYTES => Ok(Self(bytes)),
            _ => Err(ParseKeyIdError),
        }
    }
}

/// A key id as its 22 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyIdText([u8; KEY_ID_TEXT_BYTES]);

impl KeyIdText {
    /// The characters, which are ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().0.iter().try_for_each(|&byte| fmt::Write::write_char(f, char::from(byte)))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 22 characters of base64url that encode 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key id is 22 characters of base64url")]
pub struct ParseKeyIdError;

impl FromStr for KeyId {
    type Err = ParseKeyIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_partition_is_the_first_four_bytes_modulo_the_count() {
        let mut bytes = [0xff; 16];
        bytes[..4].copy_from_slice(&[0x01, 0x02, 0x03, 0x04]);
        let count = PartitionCount::new(12).unwrap();
        assert_eq!(KeyId(bytes).partition(count), Partition(0x0102_0304 % 12));
    }

    #[test]
    fn only_the_canonical_text_is_read() {
        let text = KeyId([0xff; 16]).to_string();
        assert_eq!(text, "_____________________w");
        // The last character carries two bits; `x` would decode to the same bytes if trailing bits were ignored.
        for wrong in
            ["", "_____________________x", "_____________________w=", "____________________", "+////"]
        {
            assert_eq!(wrong.parse::<KeyId>(), Err(ParseKeyIdError), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn the_text_reads_back(bytes: [u8; 16]) {
            prop_assert_eq!(KeyId(bytes).to_string().parse(), Ok(KeyId(bytes)));
        }
    }
}
