//! How many bytes the body of a session has.

use std::{fmt, str::FromStr};

use rand::Rng;

use crate::body;

/// The largest body, in bytes: what the store takes at most, 16 MiB.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// `2048`, or `300-2048`: every size in between is as likely as any other. Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    min: usize,
    max: usize,
}

impl Sizes {
    /// A size between the two, both included.
    pub(crate) fn draw(self, rng: &mut impl Rng) -> usize {
        if self.min == self.max { self.min } else { rng.random_range(self.min..=self.max) }
    }

    /// The largest, in bytes.
    pub(crate) fn max(self) -> usize {
        self.max
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = |text: &str| text.parse::<usize>().map_err(|_| format!("`{text}` is no number of bytes"));
        let (min, max) = match text.split_once('-') {
            Some((min, max)) => (bytes(min)?, bytes(max)?),
            None => (bytes(text)?, bytes(text)?),
        };
        if min < body::BYTES_MIN {
            return Err(format!("at least {}: what every body carries", body::BYTES_MIN));
        }
        if max < min || BYTES_MAX < max {
            return Err(format!("`min-max` with min <= max <= {BYTES_MAX}"));
        }
        Ok(Self { min, max })
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max { write!(f, "{}", self.min) } else { write!(f, "{}-{}", self.min, self.max) }
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    #[test]
    fn every_size_of_a_range_is_drawn_and_no_other() {
        let sizes: Sizes = "30-33".parse().unwrap();
        let mut rng = SmallRng::seed_from_u64(1);
        let mut drawn: Vec<_> = (0..200).map(|_| sizes.draw(&mut rng)).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn, [30, 31, 32, 33]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in ["", "x", "23", "40-30", "30-", "17000000"] {
            assert!(text.parse::<Sizes>().is_err(), "{text}");
        }
        assert_eq!("2048".parse::<Sizes>().unwrap().to_string(), "2048");
        assert_eq!("300-2048".parse::<Sizes>().unwrap().to_string(), "300-2048");
    }
}
