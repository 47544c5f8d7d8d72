//! What a delete decides between its calls, without the calls: for a search through all of its histories (feature `test-util`).
//!
//! No proof comes out of here: that a delete is done stays something that only the delete itself can say.

use super::{
    Answer, BTreeSet, Conclusion, Dc, Round, Tombstone, Version, after_first, after_second, reaches, round_of,
};

/// What a delete does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is answered with success.
    Deleted,
    /// It asks again, above this version.
    AskAgain {
        /// The newest version that was reported, or asked with.
        above: Version,
    },
    /// It is answered with an error.
    Failed,
}

/// After the answers of the first round, which asked with version `asked`, where `down` is known to be declared down.
pub fn after_the_first(answers: &[(Dc, Answer)], asked: Version, down: &BTreeSet<Dc>) -> Next {
    Next::of(after_first(answers, asked, down))
}

/// After the answers of the second round, given those of the first.
pub fn after_the_second(first: &[(Dc, Answer)], second: Vec<(Dc, Answer)>) -> Next {
    Next::of(after_second(first, second))
}

/// In which round `dc` is asked, given what was answered before.
pub fn is_asked_in(dc: &Dc, before: &[(Dc, Answer)]) -> Round {
    round_of(dc, before)
}

/// How far what a data centre holds may reach, as it weighs that against `tombstone`.
pub fn held_reaches(newest: Version, tombstone: &Tombstone) -> Version {
    reaches(newest, tombstone)
}

impl Next {
    fn of(conclusion: Conclusion) -> Self {
        match conclusion {
            Conclusion::Everywhere(_) => Self::Deleted,
            Conclusion::AskAgain { above } => Self::AskAgain { above },
            Conclusion::Failed(_) => Self::Failed,
        }
    }
}
