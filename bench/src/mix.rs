//! Which kinds of requests, in which shares.

use std::{fmt, str::FromStr};

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Reads a session.
    Get,
    /// Overwrites a session.
    Post,
    /// Writes a session that never was: a flood of strangers.
    New,
    /// Deletes a session.
    Delete,
}

impl Kind {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Get, "get"), (Self::Post, "post"), (Self::New, "new"), (Self::Delete, "delete")];
}

/// Weights of the kinds: `get=74,post=25,delete=1`. Only their proportions count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mix {
    weights: Vec<(Kind, u32)>,
}

impl Mix {
    /// The sum of the weights.
    pub(crate) fn total(&self) -> u32 {
        self.weights.iter().map(|(_, weight)| weight).sum()
    }

    /// The kind that a roll of `0..total` falls on.
    pub(crate) fn pick(&self, roll: u32) -> Kind {
        let mut left = roll;
        for (kind, weight) in &self.weights {
            if left < *weight {
                return *kind;
            }
            left -= weight;
        }
        unreachable!("a roll of {roll} is not below {}", self.total())
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut weights: Vec<(Kind, u32)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) =
                part.split_once('=').ok_or(format!("`{part}` is not of the form kind=weight"))?;
            let (kind, _) = Kind::ALL
                .into_iter()
                .find(|(_, known)| *known == name)
                .ok_or(format!("`{name}` is none of get, post, new, delete"))?;
            let weight = weight
                .parse()
                .ok()
                .filter(|weight| *weight <= 1_000_000)
                .ok_or(format!("the weight of {name} is a whole number up to 1000000"))?;
            if weights.iter().any(|(known, _)| *known == kind) {
                return Err(format!("{name} stands there twice"));
            }
            weights.push((kind, weight));
        }
        if weights.iter().all(|(_, weight)| *weight == 0) {
            return Err("at least one weight must be above zero".to_owned());
        }
        Ok(Self { weights })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (kind, weight)) in self.weights.iter().enumerate() {
            let name = Kind::ALL.iter().find(|(known, _)| known == kind).map_or("", |(_, name)| name);
            write!(f, "{}{name}={weight}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_roll_falls_on_a_kind_in_the_shares_that_were_asked_for() {
        let mix: Mix = "get=74,post=25,delete=1".parse().unwrap();
        let rolls: Vec<_> = (0..mix.total()).map(|roll| mix.pick(roll)).collect();
        let count = |kind| rolls.iter().filter(|picked| **picked == kind).count();
        assert_eq!(
            (count(Kind::Get), count(Kind::Post), count(Kind::New), count(Kind::Delete)),
            (74, 25, 0, 1)
        );
    }

    #[test]
    fn what_is_read_is_written_the_same() {
        for text in ["get=74,post=25,delete=1", "new=1", "post=0,get=3"] {
            assert_eq!(text.parse::<Mix>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in ["", "get", "put=1", "get=-1", "get=x", "get=1,get=2", "get=0,post=0", "get=9000000"] {
            assert!(text.parse::<Mix>().is_err(), "{text}");
        }
    }
}
