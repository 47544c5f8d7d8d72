//! Mistakes that the checkers must catch.

/// One deliberate mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Versions are chosen without looking at what was acknowledged.
    NoLook,
    /// A view's positions reach the disk before its cells.
    PositionBeforeData,
    /// Nobody appends the winner again where a loser stands last.
    NoRepair,
    /// What the log owes is forgotten with the process.
    DebtsInMemory,
    /// `delete.retention.ms` is shorter than a session may live. Between 2 and 7 of 300 seeds notice; `small_scope` does
    /// for sure.
    TombstonesLeaveTheLogEarly,
    /// A view drops a tombstone when the session that it replaced would have ended.
    TombstonesLeaveTheViewEarly,
    /// `message.timestamp.type=CreateTime`: the log's time is whatever a writer's clock says.
    WritersClock,
    /// Requests are answered before the view has applied what the log held at the start.
    ReadyTooEarly,
    /// Among data centres: what a peer holds that is newer than a delete's first version counts as deleted.
    NoSecondRound,
    /// The version of the second round is above the first, not above what was reported.
    SecondVersionTooLow,
    /// A peer appends a tombstone whatever it holds.
    PeerDoesNotLook,
    /// A peer says that it holds a tombstone when its view does not show it yet.
    PeerAnswersBeforeItApplied,
    /// What is appended again is above what it repeats.
    RepairUsesANewVersion,
    /// Each data centre settles for itself how long it keeps a tombstone.
    RetainUntilRecomputed,
    /// `message.timestamp.type=CreateTime` for copies of other data centres' topics.
    CopiesByTheOriginsTime,
    /// That a data centre is down is known to the node that was told.
    DownKnownToOneNodeOnly,
}
