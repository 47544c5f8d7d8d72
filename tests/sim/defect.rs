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
}
