//! What lies between data centres: calls that are lost before they took effect or after it, that come late or twice, that
//! break off, that meet a node which is not ready or dies of them; and lines that are cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use eventlog::EventLog;
use futures::future::{BoxFuture, Either, select};
use rand::{Rng, seq::SliceRandom};
use schemas::{Dc, DcState, Declaration, StoreName};
use server::store::StoreNode;
use tokio::{
    sync::{
        mpsc::{self, UnboundedReceiver, UnboundedSender},
        oneshot, watch,
    },
    task::JoinSet,
    time::{sleep, timeout},
};
use writer::{
    Acknowledged, Answer, Deadline, NoAnswer, Writer, declare_here,
    peer::{NodeStanding, Peer, Round, Standing, Telling, Told, Tombstone},
};

use super::super::{
    chance::{Chance, one_in, some_ms},
    defect::Defect,
    log::Line,
    node::{RETENTION_RULE, State},
    seen::Seen,
};

/// The part of what is left that an answer needs to get back: a peer is told to be done before.
const WAY_BACK: Duration = Duration::from_millis(100);

/// A call that nobody waits for any more comes this late at most.
const LATE_MS_MAX: u64 = 20_000;

/// A data centre and one of its nodes.
pub(super) type Address = (usize, usize);

/// All lines between the data centres of a world.
pub(super) struct Cables {
    chance: Chance,
    seen: Arc<Seen>,
    defect: Option<Defect>,
    /// All nodes that there are.
    addresses: Vec<Address>,
    /// The nodes that run.
    doors: Mutex<BTreeMap<Address, UnboundedSender<Call>>>,
    /// Pairs of data centres, the lower number first, that do not hear each other.
    cut: Mutex<BTreeSet<(usize, usize)>>,
    late: UnboundedSender<Late>,
    late_calls: AtomicUsize,
    /// Learns who is to die while it is asked, and how soon.
    doomed: UnboundedSender<(Address, Duration)>,
}

/// What a node is asked by another data centre, and for how long somebody waits.
#[derive(Debug)]
pub(super) struct Call {
    ask: Ask,
    patience: Duration,
}

#[derive(Debug)]
enum Ask {
    /// "Hold this tombstone."
    Delete(Tombstone, Round, oneshot::Sender<Answer>),
    /// "Hold this declaration."
    Declare(Declaration, oneshot::Sender<Told>),
    /// "How do you see your own data centre?"
    Standing(oneshot::Sender<Standing>),
}

/// A call that arrives when nobody waits for its answer any more.
struct Late {
    after: Duration,
    to: Address,
    call: Call,
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    /// The same, but it takes its time.
    Slow,
    /// Two nodes are asked at once. The first answer counts.
    Twice,
    /// It never arrives.
    Lost,
    /// It arrives, and the answer is lost.
    AnswerLost,
    /// It arrives, and the connection breaks at once.
    BreaksOff,
    /// It arrives when nobody waits any more.
    Late,
    /// Whoever is asked dies of it.
    Dies,
}

impl Fate {
    fn choose(chance: &Chance) -> Self {
        match chance.lock().unwrap().random_range(0..40) {
            0 => Self::Lost,
            1 => Self::AnswerLost,
            2 => Self::BreaksOff,
            3 => Self::Late,
            4 => Self::Dies,
            5 | 6 => Self::Twice,
            7 | 8 => Self::Slow,
            _ => Self::Answered,
        }
    }
}

impl Cables {
    /// Whole lines, and what runs beside them.
    pub(super) fn new(
        chance: &Chance,
        seen: &Arc<Seen>,
        defect: Option<Defect>,
        addresses: Vec<Address>,
        doomed: UnboundedSender<(Address, Duration)>,
    ) -> (Arc<Self>, impl Future<Output = ()> + use<>) {
        let (late, arriving) = mpsc::unbounded_channel();
        let cables = Arc::new(Self {
            chance: Arc::clone(chance),
            seen: Arc::clone(seen),
            defect,
            addresses,
            doors: Mutex::default(),
            cut: Mutex::default(),
            late,
            late_calls: AtomicUsize::new(0),
            doomed,
        });
        let work = bring_what_is_late(Arc::clone(&cables), arriving);
        (cables, work)
    }

    /// A node can be asked from now on, and gets what is.
    pub(super) fn open(&self, at: Address) -> UnboundedReceiver<Call> {
        let (door, calls) = mpsc::unbounded_channel();
        self.doors.lock().unwrap().insert(at, door);
        calls
    }

    /// A node is gone.
    pub(super) fn close(&self, at: Address) {
        self.doors.lock().unwrap().remove(&at);
    }

    /// Two data centres do not hear each other from now on.
    pub(super) fn cut(&self, one: usize, other: usize) {
        self.cut.lock().unwrap().insert((one.min(other), one.max(other)));
    }

    /// Two data centres hear each other again.
    pub(super) fn heal(&self, one: usize, other: usize) {
        self.cut.lock().unwrap().remove(&(one.min(other), one.max(other)));
    }

    /// How many calls are to come late.
    pub(super) fn late_calls(&self) -> usize {
        self.late_calls.load(Ordering::Relaxed)
    }

    fn is_cut(&self, one: usize, other: usize) -> bool {
        self.cut.lock().unwrap().contains(&(one.min(other), one.max(other)))
    }

    /// The nodes of a data centre that run, in an order of chance.
    fn nodes_of(&self, dc: usize) -> Vec<Address> {
        let mut nodes: Vec<_> =
            self.doors.lock().unwrap().keys().filter(|(of, _)| *of == dc).copied().collect();
        nodes.shuffle(&mut *self.chance.lock().unwrap());
        nodes
    }

    /// Whoever is not there takes nothing, and drops what would carry the answer.
    fn deliver(&self, to: Address, call: Call) {
        if let Some(door) = self.doors.lock().unwrap().get(&to) {
            let _gone = door.send(call);
        }
    }
}

/// Never ends.
async fn bring_what_is_late(cables: Arc<Cables>, mut arriving: UnboundedReceiver<Late>) {
    let mut late = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(Late { after, to, call }) = arriving.recv() => {
                let cables = Arc::clone(&cables);
                late.spawn_local(async move {
                    sleep(after).await;
                    cables.deliver(to, call);
                    cables.late_calls.fetch_sub(1, Ordering::Relaxed);
                });
            }
            Some(brought) = late.join_next() => brought.unwrap(),
        }
    }
}

/// One data centre, as another one sees it.
#[derive(Debug)]
pub(super) struct Cable {
    pub(super) cables: Arc<Cables>,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) dc: Dc,
}

impl Cable {
    /// Brings what `ask` makes to a node or two, and the answer back; `elsewhere` is what an answer is worth where another node
    /// was asked too. Says why if there is no answer; does not return where nothing comes back.
    async fn carry<A>(
        &self,
        ask: impl Fn(oneshot::Sender<A>) -> Ask,
        elsewhere: fn(A) -> A,
        deadline: Deadline,
    ) -> Result<A, NoAnswer> {
        let Cables { chance, seen, .. } = &*self.cables;
        if self.is_cut() {
            // Nobody takes the connection.
            sleep(some_ms(chance, 300)).await;
            return Err(refused("it cannot be reached"));
        }
        let fate = Fate::choose(chance);
        self.travel(fate).await;
        if fate == Fate::Lost || self.is_cut() {
            seen.note("a call that was lost before it took effect");
            return pending().await;
        }
        let mut nodes = self.cables.nodes_of(self.to).into_iter();
        let Some(first) = nodes.next() else { return Err(refused("it cannot be reached")) };
        let make = || {
            let left = deadline.left();
            let (answer, answered) = oneshot::channel();
            (Call { ask: ask(answer), patience: left - WAY_BACK.min(left / 4) }, answered)
        };
        if fate == Fate::Late {
            seen.note("a call that came late");
            let (call, _nobody_waits) = make();
            self.cables.late_calls.fetch_add(1, Ordering::Relaxed);
            let late = Late { after: deadline.left() + some_ms(chance, LATE_MS_MAX), to: first, call };
            self.cables.late.send(late).expect("the cables outlive their world's nodes");
            return pending().await;
        }
        let (sent, answer) = make();
        self.cables.deliver(first, sent);
        let answer = match fate {
            Fate::BreaksOff => return Err(unknown("it broke off")),
            Fate::Twice => {
                seen.note("a call that was made twice");
                let (sent, again) = make();
                self.cables.deliver(nodes.next().unwrap_or(first), sent);
                let (Either::Left((answer, _)) | Either::Right((answer, _))) = select(answer, again).await;
                answer.map(elsewhere)
            }
            Fate::Dies => {
                let within = some_ms(chance, 60);
                self.cables.doomed.send((first, within)).expect("a world outlives its cables");
                answer.await
            }
            _ => answer.await,
        };
        let answer = match (answer, nodes.next()) {
            (Ok(answer), _) => answer,
            (Err(_), Some(next)) if one_in(chance, 2) => {
                seen.note("another node of a peer was asked when one had died");
                let (sent, answer) = make();
                self.cables.deliver(next, sent);
                elsewhere(answer.await.map_err(|_| unknown("they broke off"))?)
            }
            (Err(_), _) => {
                seen.note("a peer that died while it was asked");
                return Err(unknown("it broke off"));
            }
        };
        self.travel(fate).await;
        if fate == Fate::AnswerLost || self.is_cut() {
            seen.note("a call whose answer was lost");
            return pending().await;
        }
        Ok(answer)
    }

    /// One way.
    async fn travel(&self, fate: Fate) {
        let takes_ms_at_most = if fate == Fate::Slow { 250 } else { 25 };
        sleep(some_ms(&self.cables.chance, takes_ms_at_most)).await;
    }

    fn is_cut(&self) -> bool {
        self.cables.is_cut(self.from, self.to)
    }

    /// What the data centre that asked makes of an answer.
    fn understand(&self, answer: Answer, asked: &Tombstone) -> Answer {
        let Answer::Newer(_) = answer else { return answer };
        self.cables.seen.note("a peer that had something newer");
        match self.cables.defect {
            Some(Defect::NoSecondRound) => Answer::Done(Acknowledged::by(asked.version, BTreeSet::new())),
            Some(Defect::SecondVersionTooLow) => Answer::Newer(asked.version.successor()),
            _ => answer,
        }
    }
}

impl Peer for Cable {
    fn dc(&self) -> &Dc {
        &self.dc
    }

    fn delete<'a>(
        &'a self,
        _: &'a StoreName,
        tombstone: &'a Tombstone,
        round: Round,
        deadline: Deadline,
    ) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            if round == Round::Second {
                self.cables.seen.note("a second round");
            }
            let ask = |answer| Ask::Delete(tombstone.clone(), round, answer);
            let answer = timeout(deadline.left(), self.carry(ask, but_elsewhere, deadline)).await;
            let answer = answer.unwrap_or_else(|_| Err(unknown("it did not answer in time")));
            self.understand(answer.unwrap_or_else(Answer::from), tombstone)
        })
    }

    fn declare<'a>(&'a self, telling: Telling<'a>, deadline: Deadline) -> BoxFuture<'a, Told> {
        Box::pin(async move {
            let ask = |answer| Ask::Declare(telling.declaration.clone(), answer);
            let told = timeout(deadline.left(), self.carry(ask, |told| told, deadline)).await;
            told.unwrap_or_else(|_| Err(unknown("it did not answer in time"))).unwrap_or_else(Told::None)
        })
    }

    fn standing(&self) -> BoxFuture<'_, Vec<NodeStanding>> {
        Box::pin(async move {
            let mut all = Vec::new();
            for at in self.cables.addresses.iter().filter(|(dc, _)| *dc == self.to) {
                let (answer, answered) = oneshot::channel();
                self.travel(Fate::Answered).await;
                if !self.is_cut() {
                    self.cables.deliver(*at, Call { ask: Ask::Standing(answer), patience: Duration::ZERO });
                }
                all.push((
                    format!("node {}", at.1),
                    answered.await.map_err(|_| "it cannot be reached".into()),
                ));
            }
            all
        })
    }
}

fn refused(why: &str) -> NoAnswer {
    NoAnswer::Refused(why.into())
}

fn unknown(why: &str) -> NoAnswer {
    NoAnswer::Unknown(why.into())
}

/// The answer of a node where another one, that was asked too, may have done what this one says was not done.
fn but_elsewhere(answer: Answer) -> Answer {
    match answer {
        Answer::None(NoAnswer::Refused(why) | NoAnswer::Overloaded(why)) => NoAnswer::Unknown(why).into(),
        answer => answer,
    }
}

/// How a node answers.
#[derive(Clone)]
pub(super) struct Porter {
    pub(super) writer: Arc<Writer>,
    pub(super) store: Arc<StoreNode>,
    pub(super) line: Arc<Line>,
    pub(super) us: Dc,
    pub(super) state: watch::Receiver<State>,
    pub(super) defect: Option<Defect>,
}

impl Porter {
    /// Answers what other data centres ask, whether or not they still wait. Never ends.
    pub(super) async fn answer_all(self, mut calls: UnboundedReceiver<Call>) {
        let mut answering = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(call) = calls.recv() => drop(answering.spawn_local(self.clone().answer(call))),
                Some(answered) = answering.join_next() => answered.unwrap(),
                else => pending().await,
            }
        }
    }

    async fn answer(self, Call { ask, patience }: Call) {
        // One whose data centre is declared down takes part all the same.
        let takes_part = matches!(*self.state.borrow(), State::Ready | State::DeclaredDown);
        match ask {
            Ask::Delete(_, _, answer) if !takes_part => drop(answer.send(refused("not ready").into())),
            Ask::Declare(_, answer) if !takes_part => drop(answer.send(Told::None(refused("not ready")))),
            Ask::Delete(tombstone, round, answer) => {
                let answered = self.delete(tombstone, round, Deadline::within(patience)).await;
                let _gone = answer.send(answered);
            }
            Ask::Declare(declaration, answer) => {
                let deadline = Deadline::within(patience);
                let telling = Telling { declaration: &declaration, waited: true, request_id: None };
                let told = declare_here(&[Arc::clone(&self.store.writer)], None, telling, deadline).await;
                let _gone = answer.send(told);
            }
            Ask::Standing(answer) => drop(answer.send(self.standing())),
        }
    }

    async fn delete(&self, mut tombstone: Tombstone, mut round: Round, deadline: Deadline) -> Answer {
        self.line.asks_for(tombstone.version);
        match self.defect {
            Some(Defect::PeerDoesNotLook) => round = Round::Second,
            Some(Defect::RetainUntilRecomputed) => {
                let now = self.store.reads.clock.last_read_now();
                tombstone.retain_until = RETENTION_RULE.of_delete(tombstone.version, now);
            }
            _ => {}
        }
        self.writer.accept(tombstone, round, deadline).await
    }

    fn standing(&self) -> Standing {
        let said_by = |log: &Arc<dyn EventLog>| {
            let word = self.store.declared.word(log.topic(), log.partitions(), &self.us)?;
            let state = if word.down_in_some { DcState::Down } else { DcState::Up };
            Some((log.topic().origin.clone(), (state, word.oldest_id)))
        };
        Standing {
            ready: *self.state.borrow() == State::Ready,
            declared_by: self.store.mirrored.iter().filter_map(said_by).collect(),
        }
    }
}

impl fmt::Debug for Cables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cables")
    }
}
