//! Copies a topic into another data centre, as MirrorMaker does: late, one way, in order, and again from an older position
//! after a crash of its own. What it copies gets the copy's offsets and the time of the copy's broker. Some lose records,
//! which are copied again, with all that came after them, before anything rests on the copy being whole.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
};

use eventlog::{Batch, EventLog, Frontier};
use futures::{FutureExt, StreamExt};
use rand::Rng;
use schemas::{Offset, Partition};
use tokio::{sync::Notify, time::sleep};

use super::super::{
    broker::Broker,
    chance::{Chance, one_in, some_ms},
    log::Line,
    seen::Seen,
};

/// It goes back by so many records at most.
const BACK_MAX: u64 = 30;

/// A mirror of one topic into one data centre.
pub(super) struct Mirror {
    /// The data centre whose topic it is.
    pub(super) from: usize,
    /// The data centre of the copy.
    pub(super) to: usize,
    /// Cut, it stands still.
    pub(super) line: Arc<Line>,
    /// How late it is at most, in milliseconds.
    pub(super) lag_ms: Cell<u64>,
    origin: Arc<Broker>,
    copy: Arc<Broker>,
    next: RefCell<Frontier>,
    furthest: RefCell<Frontier>,
    /// The first record of each partition that the copy lacks though later ones were copied.
    lost: RefCell<BTreeMap<Partition, Offset>>,
    /// Whether it ever loses any, and does at the moment.
    can_lose: bool,
    loses: Cell<bool>,
    /// How often it went back.
    life: Cell<u64>,
    went_back: Notify,
    chance: Chance,
    seen: Arc<Seen>,
}

impl Mirror {
    /// Whether it brings what `dc` wrote, or brings it something.
    pub(super) fn is_of(&self, dc: usize) -> bool {
        self.from == dc || self.to == dc
    }

    pub(super) fn new(
        (from, origin): (usize, &Arc<Broker>),
        (to, copy): (usize, &Arc<Broker>),
        can_lose: bool,
        chance: &Chance,
        seen: &Arc<Seen>,
    ) -> Rc<Self> {
        Rc::new(Self {
            from,
            to,
            line: Line::new(&Arc::default()),
            lag_ms: Cell::new(20),
            origin: Arc::clone(origin),
            copy: Arc::clone(copy),
            next: RefCell::default(),
            furthest: RefCell::default(),
            lost: RefCell::default(),
            can_lose,
            loses: Cell::new(can_lose),
            life: Cell::new(0),
            went_back: Notify::new(),
            chance: Arc::clone(chance),
            seen: Arc::clone(seen),
        })
    }

    /// Copies. Never ends.
    pub(super) async fn run(self: Rc<Self>) {
        loop {
            let life = self.life.get();
            let next = self.next.borrow().clone();
            let mut batches = Arc::clone(&self.origin.log).read(next);
            while self.life.get() == life {
                let batch = tokio::select! {
                    biased;
                    () = self.went_back.notified() => continue,
                    batch = batches.next() => batch.expect("a log in memory is never closed"),
                };
                match batch {
                    Ok(batch) => self.take(batch, life).await,
                    // What it would go on with is gone: it copies what there is.
                    Err(_) => {
                        self.seen.note("a mirror that lost its place");
                        self.goes_on_from(Frontier::empty());
                    }
                }
            }
        }
    }

    async fn take(&self, batch: Batch, life: u64) {
        let Batch { partition, entries, up_to } = batch;
        self.wait().await;
        for entry in entries {
            if self.life.get() != life {
                return;
            }
            if entry.offset < self.furthest.borrow().get(partition) {
                self.seen.note("a record that was copied again");
            }
            if self.loses.get() && one_in(&self.chance, 10) {
                self.seen.note("a record that a mirror lost");
                self.lost.borrow_mut().entry(partition).or_insert(entry.offset);
            } else {
                self.copy.append(partition, entry.record, entry.append_time);
            }
            self.advance(partition, entry.offset.next());
            if one_in(&self.chance, 8) {
                self.wait().await;
            }
        }
        if self.life.get() == life {
            self.advance(partition, up_to);
        }
    }

    async fn wait(&self) {
        sleep(some_ms(&self.chance, self.lag_ms.get())).await;
        self.line.whole().await;
    }

    fn advance(&self, partition: Partition, offset: Offset) {
        self.next.borrow_mut().advance(partition, offset);
        self.furthest.borrow_mut().advance(partition, offset);
    }

    /// Goes on from an older position, as after a crash.
    pub(super) fn go_back(&self) {
        let older = |(partition, Offset(next)): (Partition, Offset)| {
            let back = self.chance.lock().unwrap().random_range(0..=BACK_MAX.min(next));
            (partition, Offset(next - back))
        };
        let older = self.next.borrow().iter().map(older).collect();
        self.goes_on_from(older);
    }

    /// Goes back to what it lost, and loses no more.
    pub(super) fn copy_what_was_lost(&self) {
        self.loses.set(false);
        let lost = self.lost.borrow().clone();
        if !lost.is_empty() {
            let next = self.next.borrow().clone();
            let or_lost = |(partition, next): (Partition, Offset)| {
                (partition, lost.get(&partition).map_or(next, |lost| next.min(*lost)))
            };
            self.goes_on_from(next.iter().map(or_lost).collect());
        }
    }

    /// It may lose records again, if it ever does.
    pub(super) fn may_lose(&self) {
        self.loses.set(self.can_lose);
    }

    fn goes_on_from(&self, next: Frontier) {
        self.lost.borrow_mut().retain(|partition, lost| *lost < next.get(*partition));
        self.next.replace(next);
        self.life.set(self.life.get() + 1);
        self.went_back.notify_one();
    }

    /// Whether the copy holds all that the original does, and nothing is half copied again.
    pub(super) fn has_caught_up(&self) -> bool {
        let tail = self.origin.log.tail().now_or_never().expect("a log in memory answers at once");
        self.lost.borrow().is_empty() && self.next.borrow().is_at_least(&tail.unwrap())
    }
}
