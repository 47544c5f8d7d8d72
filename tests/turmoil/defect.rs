//! Mistakes that the checkers must catch.

/// One deliberate mistake of whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Waits for an answer for however long it takes.
    NoDeadline,
    /// Takes silence for an answer.
    SilenceIsDone,
    /// Takes silence for a word that nothing was stored.
    SilenceIsRefused,
    /// Knows one node of each data centre only.
    OneNode,
    /// Asks who is silent all the same.
    AlwaysAsks,
    /// Never looks whether who was silent answers again.
    NeverGreets,
}
