//! An operator's word on a data centre, into every partition of every other data centre's own logs.
//!
//! ```text
//!   id = above every declaration about C that is known
//!   this dc   declare in every partition of every store, applied
//!   others    the same, each in its own logs; not C itself, nor who is declared down, but for an `up`
//!   somebody has a later id -> again, above that
//!   down      not where the versions of C were far ahead: deletes without it would not cover what it acknowledged
//!   up        then tell C what was declared of others meanwhile, and wait until every node of C says that it has applied
//!             each of the words about it, and is ready
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::future::{join, join_all};
use schemas::{Dc, DcState, Declaration, Version, caps::DOWN_AHEAD_MAX};
use tokio::time::{Instant, sleep};

use crate::{
    Deadline, NoAnswer, WriteError, Writer,
    peer::{Peer, Standing, Telling, Told},
};

/// How often an order is given again because another one was given at the same time.
const TRIES: usize = 3;

/// The part of the time for an order that one may take which is down itself.
const FOR_WHO_IS_DOWN: f64 = 0.1;

/// How often a data centre that is to come back is asked whether it is there yet.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// An order that was not carried out, or not all of it. To give it again is safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeclareError {
    /// Nobody of that name is known.
    #[error("no data centre {0} is known here")]
    NoSuchDc(Dc),
    /// Whoever is down does not delete alone: deletes go on without it.
    #[error("{0} is declared down itself: nothing was declared. Give the order to a data centre that is up")]
    OursIsDown(Dc),
    /// Some data centres hold it, others are not known to.
    #[error("{} hold it; not confirmed by {}", list(.held), reasons(.missing))]
    Unconfirmed {
        /// Who holds it.
        held: Vec<Dc>,
        /// Who may not, and why.
        missing: BTreeMap<Dc, Arc<str>>,
    },
    /// Other orders about the same data centre came in between, again and again.
    #[error("another order about the same data centre is given at the same time")]
    Contested,
    /// It is back as far as the others know. These are declared down themselves, and did not hold the order: what they may have
    /// deleted without it, and nobody else, nobody knows.
    #[error("it is back, but for what these may have deleted alone, which are down and did not confirm: {}. Pool it only if they deleted nothing without it", reasons(.0))]
    Unheard(BTreeMap<Dc, Arc<str>>),
    /// It is declared up everywhere, and does not say that it is back.
    #[error("it is declared up, and is not back yet: {}", .0.iter().map(|(node, why)| format!("{node} {why}")).collect::<Vec<_>>().join("; "))]
    NotBack(BTreeMap<String, Arc<str>>),
}

/// The writers of every mirrored store of this data centre, and its peers.
#[derive(Clone, Copy, Debug)]
pub struct Everybody<'a> {
    /// One for each store. At least one.
    pub writers: &'a [Arc<Writer>],
    /// The other data centres.
    pub peers: &'a [Arc<dyn Peer>],
    /// Whether nobody declares this data centre down. Who is down is not told what is declared of others, must not tell it, and declares
    /// nobody down.
    pub are_we_up: bool,
}

/// An operator's order about a data centre.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Which one.
    pub dc: &'a Dc,
    /// What it is from now on.
    pub state: DcState,
    /// The operator's word that what a data centre acknowledged whose versions were ahead is behind all clocks by now.
    pub waited: bool,
    /// The order's request, if it has a name.
    pub request_id: Option<&'a str>,
}

impl Everybody<'_> {
    /// Declares a data centre down or up everywhere but there. For `up`, waits until it is back, `deadline` at most.
    ///
    /// # Errors
    /// Each kind says how far it came.
    ///
    /// # Panics
    /// Without a writer.
    pub async fn declare(&self, order: Order<'_>, deadline: Deadline) -> Result<Declaration, DeclareError> {
        let Order { dc, state, .. } = order;
        let subject = self.peers.iter().find(|peer| peer.dc() == dc);
        let subject = subject.ok_or_else(|| DeclareError::NoSuchDc(dc.clone()))?;
        // To declare up is let through: where two declare each other down nobody else can.
        if state == DcState::Down && !self.are_we_up {
            return Err(DeclareError::OursIsDown(self.writers[0].origin().clone()));
        }
        let mut above = None;
        for _ in 0..TRIES {
            above = above.max(newest(self.writers, dc).map(|declaration| declaration.id));
            let id = self.writers[0].declaration_id(above);
            let declaration = Declaration { dc: dc.clone(), state, id };
            match self.tell_all(&**subject, &declaration, order, deadline).await? {
                Outcome::Held { by, unheard } => {
                    if state == DcState::Up {
                        self.tell_of_others(&**subject, order.request_id, deadline).await?;
                        is_back(&**subject, &by, id, deadline).await?;
                    }
                    return if unheard.is_empty() {
                        Ok(declaration)
                    } else {
                        Err(DeclareError::Unheard(unheard))
                    };
                }
                Outcome::Newer(id) => above = Some(id),
            }
        }
        Err(DeclareError::Contested)
    }

    async fn tell_all(
        &self,
        subject: &dyn Peer,
        declaration: &Declaration,
        order: Order<'_>,
        deadline: Deadline,
    ) -> Result<Outcome, DeclareError> {
        let us = self.writers[0].origin();
        let telling = Telling { declaration, waited: order.waited, request_id: order.request_id };
        let told = declare_here(self.writers, Some(subject), telling, deadline).await;
        if told != Told::Done {
            return outcome(vec![(us.clone(), told)]);
        }
        // Who serves nobody need not hear of another one, and applies this before it serves again.
        let down =
            self.writers.iter().map(|writer| writer.down_everywhere()).reduce(|all, also| &all & &also);
        let down = down.unwrap_or_default();
        let others = self.peers.iter().filter(|peer| *peer.dc() != declaration.dc);
        let (down, others): (Vec<_>, Vec<_>) = others.partition(|peer| down.contains(peer.dc()));
        // But it may have declared the same one down before, and deleted without it, alone: that one waits for its word.
        let down = down.into_iter().filter(|_| declaration.state == DcState::Up);
        let down = down.map(async |peer| {
            (peer.dc().clone(), peer.declare(telling, deadline.sooner(FOR_WHO_IS_DOWN)).await)
        });
        let others =
            others.into_iter().map(async |peer| (peer.dc().clone(), peer.declare(telling, deadline).await));
        let (told, told_down) = join(join_all(others), join_all(down)).await;
        let outcome = outcome([(us.clone(), Told::Done)].into_iter().chain(told).collect())?;
        Ok(outcome.beside(told_down))
    }

    /// Has one that comes back hold what was declared of others: it was not told while it was down, and its deletes go by its own
    /// logs. After it is declared up here: what is declared from then on it is told like everybody.
    async fn tell_of_others(
        &self,
        subject: &dyn Peer,
        request_id: Option<&str>,
        deadline: Deadline,
    ) -> Result<(), DeclareError> {
        // Of us, too: it may have declared us down.
        let all = self.peers.iter().map(|peer| peer.dc()).chain([self.writers[0].origin()]);
        let others = all.filter(|dc| self.are_we_up && *dc != subject.dc());
        for declaration in others.filter_map(|dc| newest(self.writers, dc)) {
            // Its clocks were looked at when it was ordered.
            let telling = Telling { declaration: &declaration, waited: true, request_id };
            while let Told::None(why) = subject.declare(telling, deadline).await {
                if deadline.left().is_zero() {
                    let Declaration { dc, state, .. } = declaration;
                    let why = format!("does not take that {dc} is declared {state}: {}", why.reason());
                    return Err(DeclareError::NotBack([(subject.dc().to_string(), why.into())].into()));
                }
                sleep(ASK_AGAIN_AFTER).await;
            }
        }
        Ok(())
    }
}

/// The newest declaration about `dc` that is known.
fn newest(writers: &[Arc<Writer>], dc: &Dc) -> Option<Declaration> {
    let known = writers.iter().filter_map(|writer| writer.newest_declaration(dc));
    known.max_by_key(|declaration| declaration.id)
}

/// Why a data centre should not be declared down, if so: deletes that go on without it are stamped ahead of our clocks, and would be behind
/// what it acknowledged.
///
/// # Panics
/// Without a writer.
fn too_far_ahead(writers: &[Arc<Writer>], subject: &dyn Peer, state: DcState) -> Option<Arc<str>> {
    let heard = subject.heard().filter(|_| state == DcState::Down)?;
    let ours = writers.iter().map(|writer| writer.versions_reach()).min().expect("a store");
    let ahead = heard.reach_by(Instant::now()).since(ours);
    let why = || {
        let (dc, us, s) = (subject.dc(), writers[0].origin(), ahead.as_secs());
        format!(
            "what {dc} acknowledges is {s} s ahead of {us}: set its clock right, wait for so long, and give the order with --i-have-waited"
        )
    };
    (DOWN_AHEAD_MAX < ahead).then(|| why().into())
}

/// Puts a declaration into every partition of this data centre's own logs, and says whether it holds there. Refuses `down` of a
/// `subject` that is too far ahead, unless it is told that the operator has waited.
///
/// # Panics
/// Without a writer.
pub async fn declare_here(
    writers: &[Arc<Writer>],
    subject: Option<&dyn Peer>,
    telling: Telling<'_>,
    deadline: Deadline,
) -> Told {
    let Telling { declaration, waited, request_id } = telling;
    let why = subject.and_then(|subject| too_far_ahead(writers, subject, declaration.state));
    if let Some(why) = why.filter(|_| !waited) {
        return Told::None(NoAnswer::Refused(why));
    }
    let newer = || {
        let newest = newest(writers, &declaration.dc).map(|newest| newest.id);
        newest.filter(|newest| declaration.id < *newest)
    };
    // An order that comes late need not stand behind the one that replaced it.
    if let Some(newest) = newer() {
        return Told::Newer(newest);
    }
    let all = writers.iter().map(|writer| writer.declare(declaration, request_id, deadline));
    for declared in join_all(all).await {
        match declared {
            Ok(()) => {}
            Err(WriteError::Refused(why)) => return Told::None(NoAnswer::Refused(why)),
            Err(error) => return Told::None(error.into()),
        }
    }
    // Applied, so that everything before it in those partitions is known.
    newer().map_or(Told::Done, Told::Newer)
}

/// What telling everybody came to.
#[derive(Debug)]
enum Outcome {
    Held {
        /// Who.
        by: BTreeSet<Dc>,
        /// Of those that are down themselves, who does not, and why.
        unheard: BTreeMap<Dc, Arc<str>>,
    },
    /// Somebody holds a later one.
    Newer(Version),
}

impl Outcome {
    /// The same, with what those said that are down themselves.
    fn beside(self, told: Vec<(Dc, Told)>) -> Self {
        let Self::Held { mut by, mut unheard } = self else { return self };
        for (dc, told) in told {
            match told {
                Told::None(why) => drop(unheard.insert(dc, why.reason())),
                Told::Done | Told::Newer(_) => drop(by.insert(dc)),
            }
        }
        Self::Held { by, unheard }
    }
}

fn outcome(told: Vec<(Dc, Told)>) -> Result<Outcome, DeclareError> {
    let newer = told.iter().filter_map(|(_, told)| match told {
        Told::Newer(id) => Some(*id),
        Told::Done | Told::None(_) => None,
    });
    if let Some(id) = newer.max() {
        return Ok(Outcome::Newer(id));
    }
    let (mut held, mut missing) = (Vec::new(), BTreeMap::new());
    for (dc, told) in told {
        match told {
            Told::None(no_answer) => drop(missing.insert(dc, no_answer.reason())),
            Told::Done | Told::Newer(_) => held.push(dc),
        }
    }
    if missing.is_empty() {
        return Ok(Outcome::Held { by: held.into_iter().collect(), unheard: BTreeMap::new() });
    }
    Err(DeclareError::Unconfirmed { held, missing })
}

/// Waits until every node of the data centre has applied what each of `held` declared, and is ready.
async fn is_back(
    subject: &dyn Peer,
    held: &BTreeSet<Dc>,
    id: Version,
    deadline: Deadline,
) -> Result<(), DeclareError> {
    loop {
        let nodes = subject.standing().await;
        let not_back: BTreeMap<_, _> = nodes
            .into_iter()
            .filter_map(|(node, standing)| Some((node, why_not_back(standing, held, id)?)))
            .collect();
        if not_back.is_empty() {
            return Ok(());
        }
        if deadline.left().is_zero() {
            return Err(DeclareError::NotBack(not_back));
        }
        sleep(ASK_AGAIN_AFTER).await;
    }
}

/// Why a node is not back, if so. Pure.
fn why_not_back(standing: Result<Standing, Arc<str>>, held: &BTreeSet<Dc>, id: Version) -> Option<Arc<str>> {
    let standing = match standing {
        Ok(standing) => standing,
        Err(why) => return Some(why),
    };
    let has_heard = |dc: &&Dc| {
        let heard = standing.declared_by.get(dc);
        heard
            .is_some_and(|(state, oldest)| *state == DcState::Up && oldest.is_some_and(|oldest| id <= oldest))
    };
    if let Some(dc) = held.iter().find(|dc| !has_heard(dc)) {
        return Some(format!("has not applied all that {dc} wrote").into());
    }
    (!standing.ready).then(|| "is not ready".into())
}

fn list(dcs: &[Dc]) -> String {
    if dcs.is_empty() { "none".to_owned() } else { dcs.iter().map(Dc::as_str).collect::<Vec<_>>().join(", ") }
}

fn reasons(missing: &BTreeMap<Dc, Arc<str>>) -> String {
    missing.iter().map(|(dc, why)| format!("{dc} ({why})")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
