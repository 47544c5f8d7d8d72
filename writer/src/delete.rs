//! Deletes: every data centre holds the same tombstone, or the answer says who does not.
//!
//! ```text
//!   v = next version
//!   round 1   every dc: look; a cell newer than v -> Newer(w), append nothing; else append tombstone(v), fence -> Done
//!   all Done                -> DeletedEverywhere
//!   some Newer(w)           -> round 2: v2 above every w; every dc appends tombstone(v2), fence -> Done
//!   there is never a third: what beats v2 was appended after the delete began
//!   a dc whose first answer is missing looks in the second round, and one that has something newer then fails the delete
//!
//!   a dc that is declared down here is not asked; v lies a margin ahead of all clocks then
//!   every dc says whether it is down at the tombstone's place in its own log, too; if not, it is asked after all
//! ```

use std::{collections::BTreeSet, sync::Arc};

use futures::future::{join, join_all};
use schemas::{Dc, Headers, KeyId, Version, caps::SKIP_STEP};

use crate::{
    Deadline, WriteError, Writer,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    version: Version,
    /// Of the data centres that the tombstone goes on without, those that are not down at its place in that log.
    not_down: BTreeSet<Dc>,
}

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
        let skipped = self.down_peers(key);
        let first = self.tombstone(key, None, headers.clone(), skipped);
        // A peer that is silent must not use up what a second round needs.
        let first_ends = if self.peers().is_empty() { deadline } else { deadline.sooner(FIRST_ROUND) };
        let answers = self.ask_every(first.clone(), &[], first_ends).await;
        // The look of the first round has brought what was declared meanwhile by way of another node.
        let down = self.down_peers(key);
        let above = match after_first(&answers, first.version, &down) {
            Conclusion::Everywhere(proof) => return Ok(proof),
            Conclusion::Failed(error) => return Err(error),
            Conclusion::AskAgain { above } => above,
        };
        let second = self.tombstone(key, Some(above), headers, down);
        if second.version <= above {
            return Err(DeleteError::Unknown("the versions of this session have come to their end".into()));
        }
        let again = self.ask_every(second, &answers, deadline).await;
        match after_second(&answers, again) {
            Conclusion::Everywhere(proof) => Ok(proof),
            Conclusion::Failed(error) => Err(error),
            Conclusion::AskAgain { .. } => unreachable!("the second round reports nothing newer"),
        }
    }

    /// The peers that are declared down where the tombstones of `key` stand in the own log.
    fn down_peers(&self, key: KeyId) -> BTreeSet<Dc> {
        let down = self.down_for(key);
        self.peers().iter().map(|peer| peer.dc()).filter(|dc| down.contains(dc)).cloned().collect()
    }

    /// Asks every data centre of the store at once, this one among them, but for those that the tombstone goes on without: of
    /// these, whoever is not down at the tombstone's place in some log is asked after all.
    async fn ask_every(
        &self,
        tombstone: Tombstone,
        before: &[(Dc, Answer)],
        deadline: Deadline,
    ) -> Vec<(Dc, Answer)> {
        let here = self.origin();
        let ask_here =
            async { (here.clone(), self.accept(tombstone.clone(), round_of(here, before), deadline).await) };
        let ask_there = |is_asked: &dyn Fn(&Dc) -> bool| {
            let asked = self.peers().iter().filter(|peer| is_asked(peer.dc()));
            join_all(asked.map(async |peer| {
                let round = round_of(peer.dc(), before);
                (peer.dc().clone(), peer.delete(self.store(), &tombstone, round, deadline).await)
            }))
        };
        let (here, mut answers) = join(ask_here, ask_there(&|dc| !tombstone.skipped.contains(dc))).await;
        answers.insert(0, here);
        let not_down: BTreeSet<Dc> =
            answers.iter().flat_map(|(_, answer)| not_down(answer)).cloned().collect();
        answers.extend(ask_there(&|dc| tombstone.skipped.contains(dc) && not_down.contains(dc)).await);
        answers
    }

    /// What this data centre does when it is asked to delete, by itself or by another one. Never answers
    /// [`Answer::Newer`] in the second round.
    pub async fn accept(&self, tombstone: Tombstone, round: Round, deadline: Deadline) -> Answer {
        if round == Round::First {
            match self.look(tombstone.key, deadline).await {
                Ok(Some(newest)) => {
                    let newest = reaches(newest, &tombstone);
                    if tombstone.version < newest {
                        return Answer::Newer(newest);
                    }
                }
                Ok(None) => {}
                Err(error) => return Answer::None(error.into()),
            }
        }
        if let Some(why) = self.is_kept_too_briefly(&tombstone) {
            return Answer::None(NoAnswer::Refused(why));
        }
        let (key, skipped) = (tombstone.key, tombstone.skipped.clone());
        match self.append_tombstone(tombstone, deadline).await {
            // IMPORTANT: after the fence. What was down before the tombstone may be up at its place in the log, and has perhaps
            // applied all that came before. What is down now was down at that place or is so since, and applies the
            // tombstone before it serves again.
            Ok(stored) => Answer::Done(Acknowledged::by(stored.version(), &skipped - &self.down_for(key))),
            Err(error) => Answer::None(error.into()),
        }
    }
}

/// How far what is held may reach. One that is gone on without may have written over it, a tick above, and be down again before
/// anybody has heard of that; and if it is itself a delete that was stamped ahead, by a clock that was ahead of ours, the margin is not
/// above it.
fn reaches(newest: Version, tombstone: &Tombstone) -> Version {
    if tombstone.skipped.is_empty() { newest } else { newest.later(SKIP_STEP) }
}

/// Who has looked in this delete need not look again: what it holds above that was appended after the delete began.
fn round_of(dc: &Dc, before: &[(Dc, Answer)]) -> Round {
    let has_looked = |(of, answer): &(Dc, Answer)| of == dc && !matches!(answer, Answer::None(_));
    if before.iter().any(has_looked) { Round::Second } else { Round::First }
}

/// What the answers of the first round amount to, whose version was `asked`, as one that knows `down` to be declared down. Pure.
fn after_first(answers: &[(Dc, Answer)], asked: Version, down: &BTreeSet<Dc>) -> Conclusion {
    match conclude(answers.to_vec()) {
        Conclusion::Failed(_) if only_down_are_silent(answers, down) => Conclusion::AskAgain { above: asked },
        Conclusion::AskAgain { above } => Conclusion::AskAgain { above: above.max(asked) },
        conclusion => conclusion,
    }
}

/// What the answers of both rounds amount to. Pure; never [`Conclusion::AskAgain`].
fn after_second(first: &[(Dc, Answer)], second: Vec<(Dc, Answer)>) -> Conclusion {
    conclude(remembering(first, second))
}

/// Whether all that is missing are answers of data centres which are now known to be declared down.
fn only_down_are_silent(answers: &[(Dc, Answer)], down: &BTreeSet<Dc>) -> bool {
    answers.iter().all(|(dc, answer)| !matches!(answer, Answer::None(_)) || down.contains(dc))
}

fn not_down(answer: &Answer) -> &BTreeSet<Dc> {
    static NONE: BTreeSet<Dc> = BTreeSet::new();
    match answer {
        Answer::Done(acknowledged) => &acknowledged.not_down,
        Answer::Newer(_) | Answer::None(_) => &NONE,
    }
}

impl Acknowledged {
    /// Of a tombstone of this version, and of those that it goes on without and that are not down there.
    pub const fn by(version: Version, not_down: BTreeSet<Dc>) -> Self {
        Self { version, not_down }
    }

    /// Of the tombstone.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Of the data centres that the tombstone goes on without, those that must be asked after all.
    pub const fn not_down(&self) -> &BTreeSet<Dc> {
        &self.not_down
    }
}

/// Weighs the answers of a round. Pure, so that every combination of them is a test.
///
/// # Panics
/// When there is no answer at all: only a bug asks nobody.
pub(crate) fn conclude(mut answers: Vec<(Dc, Answer)>) -> Conclusion {
    assert!(!answers.is_empty(), "a delete asks at least its own data centre");
    let newest = answers.iter().filter_map(|(_, answer)| match answer {
        Answer::Newer(version) => Some(*version),
        Answer::Done(_) | Answer::None(_) => None,
    });
    if let Some(above) = newest.max() {
        return Conclusion::AskAgain { above };
    }
    let must_answer: BTreeSet<Dc> =
        answers.iter().flat_map(|(_, answer)| not_down(answer)).cloned().collect();
    for dc in must_answer {
        if answers.iter().all(|(of, _)| *of != dc) {
            answers.push((dc, NoAnswer::Refused("it was not asked".into()).into()));
        }
    }
    if answers.iter().all(|(_, answer)| matches!(answer, Answer::Done(_))) {
        return Conclusion::Everywhere(DeletedEverywhere(()));
    }
    Conclusion::Failed(weigh(answers))
}

/// The second round's answers, with what is known from the first: where something was or may have been stored then,
/// "nothing is stored" is not true any more. What looked only now, and found something newer, has nothing to be asked again
/// with.
fn remembering(first: &[(Dc, Answer)], second: Vec<(Dc, Answer)>) -> Vec<(Dc, Answer)> {
    let before = |dc: &Dc| first.iter().find(|(of, _)| of == dc).map(|(_, answer)| answer);
    let remember = |(dc, answer): (Dc, Answer)| {
        let answer = match answer {
            Answer::Newer(_) => {
                NoAnswer::Refused("it holds something newer, and did not say so in the first round".into())
                    .into()
            }
            answer => answer,
        };
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
    /// In words.
    pub(crate) fn reason(&self) -> Arc<str> {
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

#[cfg(feature = "test-util")]
pub mod decisions;
#[cfg(test)]
mod tests;
