//! Deletes: every data centre holds the same tombstone, or the answer says who does not.
//!
//! ```text
//!   v = next version
//!   round 1   every dc: look; a cell newer than v -> Newer(w), append nothing; else append tombstone(v), fence -> Done
//!   all Done                -> DeletedEverywhere
//!   some Newer(w)           -> round 2: v2 above every w; every dc appends tombstone(v2), fence -> Done
//!   there is never a third: what beats v2 was appended after the delete began
//! ```

use std::sync::Arc;

use futures::future::{join, join_all};
use schemas::{Dc, Headers, KeyId, Version};

use crate::{
    Deadline, Stored, WriteError, Writer,
    peer::{Round, Tombstone},
};

/// The part of the time for a delete that its first round may take.
const FIRST_ROUND: f64 = 0.6;

/// What one data centre answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The tombstone is durable and applied there: this is the proof.
    Done(Acknowledged),
    /// It holds something newer, and appended nothing.
    Newer(Version),
    /// Not confirmed.
    None(NoAnswer),
}

/// A data centre's word that a tombstone is durable in its own log, and that no read there misses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged(Version);

/// Why a data centre did not confirm, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nothing is stored there.
    Refused(Arc<str>),
    /// Nothing is stored there: too much is waiting.
    Overloaded(Arc<str>),
    /// The tombstone is durable there, but may not be read yet.
    Stored(Arc<str>),
    /// Nobody knows.
    Unknown(Arc<str>),
}

/// Proof that every data centre that was asked holds the tombstone, durable and applied.
///
/// `conclude` is the only place that makes one, and `204 No Content` takes one by value: a false 204 does not compile.
#[derive(Debug, PartialEq, Eq)]
pub struct DeletedEverywhere(());

/// What the answers of a round amount to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Conclusion {
    /// All done.
    Everywhere(DeletedEverywhere),
    /// Some data centre holds something newer: ask again, above this version.
    AskAgain {
        /// The newest version that was reported.
        above: Version,
    },
    /// Not confirmed by all.
    Failed(DeleteError),
}

/// A delete that cannot be answered with success. Repeating it is safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// Nothing is stored anywhere.
    #[error("nothing was deleted: {0}")]
    Refused(Arc<str>),
    /// Nothing is stored anywhere, because everywhere too much is waiting.
    #[error("nothing was deleted: {0}")]
    Overloaded(Arc<str>),
    /// Some data centres confirmed, others did not.
    #[error("some data centres did not confirm the delete")]
    Unconfirmed(Unconfirmed),
    /// The tombstone is durable in the only data centre there is, but a read may still miss it.
    #[error("the delete is stored, but not applied yet: {0}")]
    NotVisible(Arc<str>),
    /// Nobody knows whether anything was deleted.
    #[error("nobody knows whether anything was deleted: {0}")]
    Unknown(Arc<str>),
}

/// Who confirmed a delete and who did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unconfirmed {
    /// Data centres that hold the tombstone.
    pub acknowledged: Vec<Dc>,
    /// The others, with the reason.
    pub unconfirmed: Vec<(Dc, Arc<str>)>,
}

impl Writer {
    /// Deletes a session in every data centre.
    ///
    /// # Errors
    /// Each kind says what is known to have happened where.
    pub async fn delete(
        &self,
        key: KeyId,
        headers: Headers,
        deadline: Deadline,
    ) -> Result<DeletedEverywhere, DeleteError> {
        let first = self.tombstone(key, None, headers.clone());
        // A peer that is silent must not use up what a second round needs.
        let first_ends = if self.peers().is_empty() { deadline } else { deadline.sooner(FIRST_ROUND) };
        let first = self.ask_every(first, Round::First, first_ends).await;
        let above = match conclude(Round::First, first.clone()) {
            Conclusion::Everywhere(proof) => return Ok(proof),
            Conclusion::Failed(error) => return Err(error),
            Conclusion::AskAgain { above } => above,
        };
        let second = self.tombstone(key, Some(above), headers);
        if second.version <= above {
            return Err(DeleteError::Unknown("the versions of this session have come to their end".into()));
        }
        let second = self.ask_every(second, Round::Second, deadline).await;
        match conclude(Round::Second, remembering(&first, second)) {
            Conclusion::Everywhere(proof) => Ok(proof),
            Conclusion::Failed(error) => Err(error),
            Conclusion::AskAgain { .. } => unreachable!("the second round reports nothing newer"),
        }
    }

    /// Asks every data centre of the store at once, this one among them.
    async fn ask_every(&self, tombstone: Tombstone, round: Round, deadline: Deadline) -> Vec<(Dc, Answer)> {
        let here = async { (self.origin().clone(), self.accept(tombstone.clone(), round, deadline).await) };
        let there = join_all(self.peers().iter().map(async |peer| {
            (peer.dc().clone(), peer.delete(self.store(), &tombstone, round, deadline).await)
        }));
        let (here, mut answers) = join(here, there).await;
        answers.insert(0, here);
        answers
    }

    /// What this data centre does when it is asked to delete, by itself or by another one. Never answers
    /// [`Answer::Newer`] in the second round.
    pub async fn accept(&self, tombstone: Tombstone, round: Round, deadline: Deadline) -> Answer {
        if round == Round::First {
            match self.look(tombstone.key, deadline).await {
                Ok(Some(newest)) if tombstone.version < newest => return Answer::Newer(newest),
                Ok(_) => {}
                Err(error) => return Answer::None(error.into()),
            }
        }
        if let Some(why) = self.is_kept_too_briefly(&tombstone) {
            return Answer::None(NoAnswer::Refused(why));
        }
        match self.append_tombstone(tombstone, deadline).await {
            Ok(stored) => Answer::Done(stored.into()),
            Err(error) => Answer::None(error.into()),
        }
    }
}

impl Acknowledged {
    /// What a peer said of a tombstone of this version.
    pub const fn by_peer(version: Version) -> Self {
        Self(version)
    }

    /// Of the tombstone.
    pub const fn version(self) -> Version {
        self.0
    }
}

impl From<Stored> for Acknowledged {
    fn from(stored: Stored) -> Self {
        Self(stored.version())
    }
}

/// Weighs the answers of a round. Pure, so that every combination of them is a test.
///
/// # Panics
/// When there is no answer at all, or the second round reports something newer: only a bug asks nobody, or looks again.
pub(crate) fn conclude(round: Round, answers: Vec<(Dc, Answer)>) -> Conclusion {
    assert!(!answers.is_empty(), "a delete asks at least its own data centre");
    let newest = answers.iter().filter_map(|(_, answer)| match answer {
        Answer::Newer(version) => Some(*version),
        Answer::Done(_) | Answer::None(_) => None,
    });
    if let Some(above) = newest.max() {
        assert_eq!(round, Round::First, "the second round appends without a look");
        return Conclusion::AskAgain { above };
    }
    if answers.iter().all(|(_, answer)| matches!(answer, Answer::Done(_))) {
        return Conclusion::Everywhere(DeletedEverywhere(()));
    }
    Conclusion::Failed(weigh(answers))
}

/// The second round's answers, with what is known from the first: where something was or may have been stored then,
/// "nothing is stored" is not true any more.
fn remembering(first: &[(Dc, Answer)], second: Vec<(Dc, Answer)>) -> Vec<(Dc, Answer)> {
    let before = |dc: &Dc| first.iter().find(|(of, _)| of == dc).map(|(_, answer)| answer);
    let remember = |(dc, answer): (Dc, Answer)| {
        let answer = match (answer, before(&dc)) {
            (
                Answer::None(NoAnswer::Refused(why) | NoAnswer::Overloaded(why)),
                Some(Answer::Done(_) | Answer::None(NoAnswer::Stored(_) | NoAnswer::Unknown(_))),
            ) => Answer::None(NoAnswer::Unknown(why)),
            (answer, _) => answer,
        };
        (dc, answer)
    };
    second.into_iter().map(remember).collect()
}

/// The most that can be said when not everybody confirmed, and nobody has something newer.
fn weigh(answers: Vec<(Dc, Answer)>) -> DeleteError {
    let only_dc = answers.len() == 1;
    let (mut acknowledged, mut failed) = (Vec::new(), Vec::new());
    for (dc, answer) in answers {
        match answer {
            Answer::None(no_answer) => failed.push((dc, no_answer)),
            Answer::Done(_) | Answer::Newer(_) => acknowledged.push(dc),
        }
    }
    if !acknowledged.is_empty() {
        let unconfirmed = failed.into_iter().map(|(dc, no_answer)| (dc, no_answer.reason())).collect();
        return DeleteError::Unconfirmed(Unconfirmed { acknowledged, unconfirmed });
    }
    let reason =
        failed.iter().map(|(dc, no_answer)| format!("{dc}: {}", no_answer.reason())).collect::<Vec<_>>();
    let reason = reason.join("; ").into();
    let all = |is: fn(&NoAnswer) -> bool| failed.iter().all(|(_, no_answer)| is(no_answer));
    if all(|no_answer| matches!(no_answer, NoAnswer::Overloaded(_))) {
        DeleteError::Overloaded(reason)
    } else if all(|no_answer| matches!(no_answer, NoAnswer::Refused(_) | NoAnswer::Overloaded(_))) {
        DeleteError::Refused(reason)
    } else if only_dc && all(|no_answer| matches!(no_answer, NoAnswer::Stored(_))) {
        DeleteError::NotVisible(reason)
    } else {
        DeleteError::Unknown(reason)
    }
}

impl NoAnswer {
    fn reason(&self) -> Arc<str> {
        match self {
            Self::Refused(reason)
            | Self::Overloaded(reason)
            | Self::Stored(reason)
            | Self::Unknown(reason) => Arc::clone(reason),
        }
    }
}

impl From<NoAnswer> for Answer {
    fn from(no_answer: NoAnswer) -> Self {
        Self::None(no_answer)
    }
}

impl From<WriteError> for NoAnswer {
    fn from(error: WriteError) -> Self {
        let reason = error.to_string().into();
        match error {
            WriteError::CannotLook(_) | WriteError::Refused(_) => Self::Refused(reason),
            WriteError::Overloaded => Self::Overloaded(reason),
            WriteError::NotVisible(_) => Self::Stored(reason),
            WriteError::Unknown(_) => Self::Unknown(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Hlc, WriterId};

    use super::*;

    fn version(n: u64) -> Version {
        Version { hlc: Hlc::from_bits(n), writer: WriterId(1) }
    }

    fn all_answers() -> Vec<Answer> {
        let why: Arc<str> = "why".into();
        vec![
            Answer::Done(Acknowledged(version(1))),
            Answer::Newer(version(5)),
            Answer::Newer(version(9)),
            Answer::None(NoAnswer::Refused(Arc::clone(&why))),
            Answer::None(NoAnswer::Overloaded(Arc::clone(&why))),
            Answer::None(NoAnswer::Stored(Arc::clone(&why))),
            Answer::None(NoAnswer::Unknown(why)),
        ]
    }

    /// Every combination of answers of up to three data centres.
    fn combinations() -> Vec<Vec<(Dc, Answer)>> {
        let mut all: Vec<Vec<(Dc, Answer)>> = vec![Vec::new()];
        let mut found = Vec::new();
        for dc in ["eqiad", "codfw", "esams"] {
            let dc: Dc = dc.parse().unwrap();
            let extend = |so_far: &Vec<(Dc, Answer)>, answer| [&so_far[..], &[(dc.clone(), answer)]].concat();
            all = all
                .iter()
                .flat_map(|so_far| all_answers().into_iter().map(move |a| extend(so_far, a)))
                .collect();
            found.extend(all.clone());
        }
        found
    }

    #[test]
    fn only_a_complete_set_of_acknowledgements_is_a_proof() {
        for answers in combinations() {
            let complete = answers.iter().all(|(_, answer)| matches!(answer, Answer::Done(_)));
            let conclusion = conclude(Round::First, answers.clone());
            assert_eq!(matches!(conclusion, Conclusion::Everywhere(_)), complete, "{answers:?}");
        }
    }

    /// Every pair of rounds over two data centres.
    #[test]
    fn what_the_first_round_stored_is_not_forgotten_by_the_second() {
        let two = || combinations().into_iter().filter(|answers| answers.len() == 2);
        let asks_again =
            |first: &Vec<_>| matches!(conclude(Round::First, first.clone()), Conclusion::AskAgain { .. });
        let has_newer =
            |answers: &Vec<(Dc, Answer)>| answers.iter().any(|(_, a)| matches!(a, Answer::Newer(_)));
        for first in two().filter(asks_again) {
            for second in two().filter(|second| !has_newer(second)) {
                let complete = second.iter().all(|(_, answer)| matches!(answer, Answer::Done(_)));
                let nothing_stored = |answers: &[(Dc, Answer)]| {
                    answers.iter().all(|(_, answer)| {
                        matches!(
                            answer,
                            Answer::Newer(_) | Answer::None(NoAnswer::Refused(_) | NoAnswer::Overloaded(_))
                        )
                    })
                };
                match conclude(Round::Second, remembering(&first, second.clone())) {
                    Conclusion::Everywhere(_) => assert!(complete, "{first:?} {second:?}"),
                    Conclusion::Failed(DeleteError::Refused(_) | DeleteError::Overloaded(_)) => {
                        assert!(nothing_stored(&first) && nothing_stored(&second), "{first:?} {second:?}");
                    }
                    Conclusion::Failed(_) => assert!(!complete, "{first:?} {second:?}"),
                    Conclusion::AskAgain { .. } => panic!("there is no third round"),
                }
            }
        }
    }

    #[test]
    fn something_newer_anywhere_asks_again_above_the_newest() {
        for answers in combinations() {
            let newer =
                |(_, answer): &(Dc, Answer)| if let Answer::Newer(v) = answer { Some(*v) } else { None };
            let newest = answers.iter().filter_map(newer).max();
            let asked = match conclude(Round::First, answers.clone()) {
                Conclusion::AskAgain { above } => Some(above),
                Conclusion::Everywhere(_) | Conclusion::Failed(_) => None,
            };
            assert_eq!(asked, newest, "{answers:?}");
        }
    }

    #[test]
    fn refused_means_that_nobody_stored_anything_and_partial_names_everybody() {
        for answers in combinations() {
            let Conclusion::Failed(error) = conclude(Round::First, answers.clone()) else { continue };
            let done = answers.iter().filter(|(_, answer)| matches!(answer, Answer::Done(_))).count();
            let overloaded = |(_, a): &(Dc, Answer)| matches!(a, Answer::None(NoAnswer::Overloaded(_)));
            let refused =
                |a: &(Dc, Answer)| overloaded(a) || matches!(a.1, Answer::None(NoAnswer::Refused(_)));
            match error {
                DeleteError::Overloaded(_) => assert!(answers.iter().all(overloaded), "{answers:?}"),
                DeleteError::Refused(_) => {
                    assert!(answers.iter().all(refused) && !answers.iter().all(overloaded), "{answers:?}");
                }
                DeleteError::Unconfirmed(Unconfirmed { acknowledged, unconfirmed }) => {
                    assert!(0 < done, "{answers:?}");
                    assert_eq!(
                        (acknowledged.len(), unconfirmed.len()),
                        (done, answers.len() - done),
                        "{answers:?}"
                    );
                }
                DeleteError::NotVisible(_) => assert_eq!((answers.len(), done), (1, 0), "{answers:?}"),
                DeleteError::Unknown(_) => assert!(done == 0 && !answers.iter().all(refused), "{answers:?}"),
            }
        }
    }
}
