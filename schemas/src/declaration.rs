//! An operator's word on a data centre: it serves nobody, or it serves again.

use std::{fmt, str::FromStr};

use crate::{Dc, Version};

/// What a data centre was declared to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DcState {
    /// Deletes ask it.
    Up,
    /// It serves no client, says the operator: deletes go on without it.
    Down,
}

/// One declaration. Of two about the same data centre the one with the later id holds, whatever their order in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// Which data centre.
    pub dc: Dc,
    /// What it is declared to be.
    pub state: DcState,
    /// When the order was given, and by which process: the same in every log that holds it.
    pub id: Version,
}

/// The text is neither `up` nor `down`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a data centre is up or down")]
pub struct ParseDcStateError;

impl fmt::Display for DcState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

impl FromStr for DcState {
    type Err = ParseDcStateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "up" => Ok(Self::Up),
            "down" => Ok(Self::Down),
            _ => Err(ParseDcStateError),
        }
    }
}
