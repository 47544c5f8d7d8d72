//! Bodies that tell what they are, so that a wrong or torn one is noticed.
//!
//! ```text
//!    0        4          8            16         20            24
//!   ┌────────┬──────────┬────────────┬──────────┬─────────────┬──────────────────────────────┐
//!   │ "SBN1" │ length   │ key number │ run      │ sequence    │ noise, made of the 24 before │
//!   └────────┴──────────┴────────────┴──────────┴─────────────┴──────────────────────────────┘
//! ```
//! Little-endian. The noise does not compress, and is checked byte by byte.

use thiserror::Error;

const MAGIC: [u8; 4] = *b"SBN1";
/// Bytes of the smallest body: the head alone.
pub(crate) const BYTES_MIN: usize = 24;
/// The key of a floor's body, which is the answer to every question.
pub(crate) const ANY_KEY: u64 = u64::MAX;

/// What a body says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The number of the session.
    pub(crate) key: u64,
    /// Which run wrote it.
    pub(crate) run: u32,
    /// The how many-th write of this session in that run; counts from 1.
    pub(crate) sequence: u32,
}

/// Why a body is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Corrupt {
    #[error("a body that no run wrote")]
    Foreign,
    #[error("a body of another length than it says")]
    Length,
    #[error("the body of another session")]
    OtherKey,
    #[error("a body whose bytes are not all those that were written")]
    Torn,
}

/// Appends a body of `length` bytes, at least [`BYTES_MIN`].
pub(crate) fn append(to: &mut Vec<u8>, stamp: Stamp, length: usize) {
    let start = to.len();
    to.extend_from_slice(&MAGIC);
    to.extend_from_slice(&u32::try_from(length).expect("sizes are below 16 MiB").to_le_bytes());
    to.extend_from_slice(&stamp.key.to_le_bytes());
    to.extend_from_slice(&stamp.run.to_le_bytes());
    to.extend_from_slice(&stamp.sequence.to_le_bytes());
    let mut noise = Noise::of(stamp);
    while to.len() + 8 <= start + length {
        to.extend_from_slice(&noise.next().to_le_bytes());
    }
    let last = noise.next().to_le_bytes();
    to.extend_from_slice(&last[..start + length - to.len()]);
}

/// What the body says of itself, if it is whole and of this session.
pub(crate) fn check(body: &[u8], key: u64) -> Result<Stamp, Corrupt> {
    let (head, rest) = body.split_first_chunk::<BYTES_MIN>().ok_or(Corrupt::Foreign)?;
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let stamp = Stamp {
        key: u64::from(number(8)) | u64::from(number(12)) << 32,
        run: number(16),
        sequence: number(20),
    };
    if head[..4] != MAGIC {
        return Err(Corrupt::Foreign);
    }
    if number(4) as usize != body.len() {
        return Err(Corrupt::Length);
    }
    if stamp.key != key && stamp.key != ANY_KEY {
        return Err(Corrupt::OtherKey);
    }
    let mut noise = Noise::of(stamp);
    let (words, last) = rest.as_chunks::<8>();
    let whole = words.iter().all(|word| u64::from_le_bytes(*word) == noise.next());
    if !whole || noise.next().to_le_bytes()[..last.len()] != *last {
        return Err(Corrupt::Torn);
    }
    Ok(stamp)
}

/// SplitMix64: the n-th word does not wait for the one before.
struct Noise(u64);

impl Noise {
    fn of(stamp: Stamp) -> Self {
        Self(mix(stamp.key) ^ mix(u64::from(stamp.run) << 32 | u64::from(stamp.sequence)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { key: 0x0123_4567_89AB_CDEF, run: 5, sequence: 9 };

    fn body(length: usize) -> Vec<u8> {
        let mut body = Vec::new();
        append(&mut body, STAMP, length);
        assert_eq!(body.len(), length);
        body
    }

    #[test]
    fn a_body_of_any_length_says_what_it_is() {
        for length in (BYTES_MIN..60).chain([2048, 65_537]) {
            assert_eq!(check(&body(length), STAMP.key), Ok(STAMP), "{length}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let whole = body(61);
        for bit in 0..61 * 8 {
            let mut torn = whole.clone();
            torn[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&torn, STAMP.key).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn what_is_cut_swapped_or_strange_is_noticed() {
        let whole = body(2048);
        assert_eq!(check(&whole[..2047], STAMP.key), Err(Corrupt::Length));
        assert_eq!(check(&whole, 7), Err(Corrupt::OtherKey));
        assert_eq!(check(b"hello", 7), Err(Corrupt::Foreign));
        assert_eq!(check(&[0; 2048], 7), Err(Corrupt::Foreign));
        let mut halves = Vec::new();
        append(&mut halves, Stamp { sequence: 10, ..STAMP }, 2048);
        halves[..1024].copy_from_slice(&whole[..1024]);
        assert_eq!(check(&halves, STAMP.key), Err(Corrupt::Torn));
    }

    #[test]
    fn a_floors_body_fits_every_key() {
        let mut any = Vec::new();
        append(&mut any, Stamp { key: ANY_KEY, run: 0, sequence: 0 }, 100);
        assert!(check(&any, 1).is_ok() && check(&any, 2).is_ok());
    }
}
