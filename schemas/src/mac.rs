//! The record MAC: proof that a node of ours wrote this record, for this topic and partition, exactly as it stands.
//!
//! BLAKE3 keyed, its first 16 bytes, over: format byte, topic name, partition, record key, each header but `m` in
//! record order (name, value), and BLAKE3 of the value, or an empty mark for null. Every field is length-prefixed
//! (u32 big-endian), so no two records feed the hash the same bytes: the number of fields tells how many headers
//! there are.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use constant_time_eq::constant_time_eq_16;

use crate::{Partition, Record, Topic};

/// The header that carries the MAC.
pub(crate) const HEADER: &str = "m";

const MAC_BYTES: usize = 16;
const TEXT_BYTES: usize = 22;

/// What the MAC adds to a record's headers: its name and its text.
pub(crate) const HEADER_BYTES: usize = HEADER.len() + TEXT_BYTES;

/// The first field that is hashed: record format v1.
const FORMAT: u8 = 1;

/// The key that all nodes of all data centres share. Derived from the index secret, which does not rotate.
#[derive(Clone)]
pub struct MacKey([u8; blake3::KEY_LEN]);

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(hidden)")
    }
}

/// The record is not as a node of ours wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// No `m` header, or more than one.
    #[error("the record carries no MAC, or several")]
    Missing,
    /// The MAC is another record's, or of another key.
    #[error("the MAC does not fit the record")]
    Mismatch,
}

impl MacKey {
    /// Derives the key from the index secret.
    pub fn derive(index_secret: &[u8]) -> Self {
        Self(blake3::derive_key("solera 2026-11-21 record mac v1", index_secret))
    }

    /// Appends the MAC to a record that carries none yet.
    #[must_use]
    pub fn sign(&self, topic: &Topic, partition: Partition, record: Record) -> Record {
        debug_assert_eq!(record.headers.get(HEADER), None, "a record is signed once");
        let mut text = [0; TEXT_BYTES];
        let written = BASE64_URL_SAFE_NO_PAD.encode_slice(self.mac(topic, partition, &record), &mut text);
        debug_assert_eq!(written, Ok(TEXT_BYTES));

        let Record { key, headers, value } = record;
        let mut headers = headers.into_mut();
        headers.put(HEADER, &text).expect("a MAC fits into headers");
        Record { key, headers: headers.freeze(), value }
    }

    /// Checks that the record is as it was signed, for this topic and partition.
    ///
    /// # Errors
    /// When it is not.
    pub fn verify(&self, topic: &Topic, partition: Partition, record: &Record) -> Result<(), MacError> {
        let mut found = record.headers.iter().filter(|&(name, _)| name == HEADER).map(|(_, value)| value);
        let (Some(text), None) = (found.next(), found.next()) else { return Err(MacError::Missing) };
        let mut mac = [0; MAC_BYTES];
        match BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut mac) {
            Ok(MAC_BYTES) if constant_time_eq_16(&mac, &self.mac(topic, partition, record)) => Ok(()),
            _ => Err(MacError::Mismatch),
        }
    }

    fn mac(&self, topic: &Topic, partition: Partition, record: &Record) -> [u8; MAC_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        let mut parts = |parts: &[&[u8]]| {
            let len = parts.iter().map(|part| part.len()).sum::<usize>();
            let len = u32::try_from(len).expect("no field of a record reaches 4 GiB");
            hasher.update(&len.to_be_bytes());
            for part in parts {
                hasher.update(part);
            }
        };
        // As the topic is shown.
        let [origin, store] = [topic.origin.as_str(), topic.store.as_str()].map(str::as_bytes);
        parts(&[&[FORMAT]]);
        parts(&[origin, b".", store]);
        let mut field = |bytes: &[u8]| parts(&[bytes]);
        field(&partition.0.to_be_bytes());
        field(&record.key);
        for (name, value) in record.headers.iter().filter(|&(name, _)| name != HEADER) {
            field(name.as_bytes());
            field(value);
        }
        match &record.value {
            Some(value) => field(blake3::hash(value).as_bytes()),
            None => field(&[]),
        }
        let mut mac = [0; MAC_BYTES];
        hasher.finalize_xof().fill(&mut mac);
        mac
    }
}

#[cfg(test)]
mod tests;
