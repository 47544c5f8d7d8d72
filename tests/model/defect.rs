//! Mistakes in the protocol that the promises must catch.

/// One deliberate mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defect {
    /// What a data centre holds that is newer than the first version counts as deleted.
    NoSecondRound,
    /// A peer appends the tombstone of the first round whatever it holds.
    PeerDoesNotLook,
    /// A data centre says that it holds a tombstone when its view does not show it yet.
    AnswersBeforeItApplied,
    /// The version of the second round is above the first, not above what was reported.
    SecondVersionTooLow,
    /// Who gave no answer in the first round appends without a look in the second.
    SilentDoesNotLook,
    /// A data centre is back when all others hold `up`, whatever it has applied itself.
    BackAtNoMark,
    /// It is back when it has applied the `up` of one other, not of each.
    BackAtOneMark,
    /// Whether a data centre may be skipped is read before the tombstone is appended.
    SkipDecidedBefore,
    /// A delete that goes on without a data centre has a version like any other.
    NoMargin,
    /// The same, a tick above what it saw, where that lies ahead of the margin.
    NoStep,
    /// `down` stands in no log: the node that took the order remembers it.
    KnownToOneNode,
    /// Of what was declared, the last record of a log holds, not the latest order.
    HoldsByPlace,
}
