//! What happens between two states, in words.

use std::fmt;

use super::{
    log::{Record, Round},
    stamp::Stamp,
    state::{DCS, Dc, Dcs, has},
};

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    WriteLooks { write: u8, dc: Dc, sees: Option<Record> },
    WriteIsAcknowledged { write: u8, dc: Dc, stamp: Stamp },
    DeleteBegins { delete: u8, dc: Dc, stamp: Stamp, skips: Dcs },
    Looks { round: Round, dc: Dc, sees: Option<Record>, is_newer: bool },
    Appends { round: Round, dc: Dc },
    Answers { round: Round, dc: Dc, not_down: Dcs },
    IsLost { round: Round, dc: Dc },
    TheSkippedAreAsked,
    SecondRound { stamp: Stamp, skips: Dcs },
    Deleted { skipped: bool },
    Failed,
    CoordinatorDies,
    OrderIsGiven { order: u8, dc: Dc, node: u8 },
    OrderIsTold { order: u8 },
    OrderIsLost,
    IsToldOfOthers { dc: Dc, order: u8 },
    IsBack { dc: Dc },
    DeclaredAgain { dc: Dc },
    Arrives { dc: Dc, log: Dc },
}

impl Step {
    /// How often of what happened, for a test that it does happen.
    pub(super) const fn kind(self) -> Option<&'static str> {
        Some(match self {
            Self::Looks { is_newer: true, .. } => "something newer",
            Self::SecondRound { skips: 0, .. } => "a second round",
            Self::SecondRound { .. } => "a second round that skips",
            Self::IsLost { .. } => "a lost call",
            Self::TheSkippedAreAsked => "asked after all",
            Self::Deleted { skipped: false } => "204",
            Self::Deleted { skipped: true } => "204 that skipped",
            Self::Failed => "503",
            Self::CoordinatorDies => "a coordinator that died",
            Self::IsBack { .. } => "a return",
            Self::IsToldOfOthers { .. } => "told of others",
            Self::OrderIsLost => "an order that was lost",
            Self::DeclaredAgain { .. } => "declared again",
            _ => return None,
        })
    }
}

/// `A`, `B`, `C`.
pub(super) fn name(dc: Dc) -> char {
    char::from(b'A' + dc)
}

fn names(dcs: Dcs) -> String {
    (0..).take(DCS).filter(|dc| has(dcs, *dc)).map(name).collect()
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = |sees: Option<Record>| sees.map_or("nothing".to_owned(), |record| record.to_string());
        let at = |round: Round| round as u8 + 1;
        let skipping =
            |skips: Dcs| if skips == 0 { String::new() } else { format!(", skips {}", names(skips)) };
        match *self {
            Self::WriteLooks { write, dc, sees } => {
                write!(f, "write {}: {} looks and sees {}", write + 1, name(dc), seen(sees))
            }
            Self::WriteIsAcknowledged { write, dc, stamp } => {
                write!(f, "write {}: {} appends {stamp}, acknowledges", write + 1, name(dc))
            }
            Self::DeleteBegins { delete, dc, stamp, skips } => {
                write!(f, "delete {}: {} begins with {stamp}{}", delete + 1, name(dc), skipping(skips))
            }
            Self::Looks { round, dc, sees, is_newer } => {
                let says = if is_newer { ", says newer" } else { "" };
                write!(f, "round {}: {} looks and sees {}{says}", at(round), name(dc), seen(sees))
            }
            Self::Appends { round, dc } => {
                write!(f, "round {}: {} appends the tombstone", at(round), name(dc))
            }
            Self::Answers { round, dc, not_down } => {
                let but =
                    if not_down == 0 { String::new() } else { format!(", but {} not down", names(not_down)) };
                write!(f, "round {}: {} says done{but}", at(round), name(dc))
            }
            Self::IsLost { round, dc } => {
                write!(f, "round {}: nobody waits for {} any more", at(round), name(dc))
            }
            Self::TheSkippedAreAsked => write!(f, "who is skipped and not down is asked after all"),
            Self::SecondRound { stamp, skips } => write!(f, "round 2 with {stamp}{}", skipping(skips)),
            Self::Deleted { .. } => write!(f, "204"),
            Self::Failed => write!(f, "503"),
            Self::CoordinatorDies => write!(f, "the node dies that was asked to delete"),
            Self::OrderIsGiven { order, dc, node } => {
                write!(f, "order {}: node {} of {} takes and appends it", order + 1, node + 1, name(dc))
            }
            Self::OrderIsTold { order } => write!(f, "order {}: the third holds it", order + 1),
            Self::OrderIsLost => write!(f, "nobody waits for who is told the order any more"),
            Self::IsToldOfOthers { dc, order } => {
                write!(f, "{} is told of order {}, and appends it", name(dc), order + 1)
            }
            Self::IsBack { dc } => write!(f, "{} is back, and serves", name(dc)),
            Self::Arrives { dc, log } => write!(f, "{} applies the next record of {}", name(dc), name(log)),
            Self::DeclaredAgain { dc } => write!(f, "{} appends again what was declared", name(dc)),
        }
    }
}
