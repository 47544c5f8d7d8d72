//! Who is away for a phase, and time in which nobody asks anything: seconds in which debts are paid, minutes in which topics
//! are compacted, hours in which sessions expire, a day and more in which topics forget. What passes without an event is
//! passed over at once.

use std::{rc::Rc, time::Duration};

use rand::Rng;
use tokio::time::{advance, sleep, timeout};

use super::{
    super::{
        broker::{CLEANED_WITHIN, COMPACTION_LAG, RETENTION},
        chance::{one_in, some_ms},
    },
    mirror::Mirror,
    world::{Kind, World},
};

/// Within this time all debts are paid and all mirrors have caught up.
const QUIET_WITHIN: Duration = Duration::from_secs(180);

/// So long nothing is owed and nothing on its way before it counts as quiet: what was sent last has been applied then.
const QUIET_SECONDS: usize = 3;

/// How late a mirror is at most when it is to catch up.
const LAG_MS: u64 = 20;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What a node does for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Goes on.
    Up,
    /// Is down.
    Down,
    /// Is cut off from its broker.
    Cut,
}

/// What is away for a phase, and for a short pause after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    Nothing,
    /// One of several nodes of a data centre.
    Node,
    /// All of a data centre.
    Dc,
    /// A data centre, as seen from the others: no call and no mirror gets there or comes from there.
    Lines,
    /// A mirror stands still.
    Mirror,
    /// It is as it was.
    AsBefore,
}

impl World {
    /// Sometimes something is away for a whole phase.
    pub(super) fn choose_who_is_away(&self) {
        let away = match self.chance.lock().unwrap().random_range(0..12) {
            0..2 => Away::Node,
            2 => Away::Dc,
            3..5 => Away::Lines,
            5..8 => Away::Mirror,
            8 => Away::AsBefore,
            _ => Away::Nothing,
        };
        // A mirror of Kafka's topics must not stand still for longer than the compaction lag in all.
        let is_one_up = self.nodes.iter().any(|node| node.role.get() == Role::Up);
        if away == Away::AsBefore && self.kind == Kind::Embedded && is_one_up {
            return;
        }
        self.come_back();
        match away {
            Away::Nothing | Away::AsBefore => {}
            Away::Node => {
                let n = self.some_node();
                if 1 < self.nodes.iter().filter(|node| node.at.0 == self.nodes[n].at.0).count() {
                    let role = if one_in(&self.chance, 2) { Role::Down } else { Role::Cut };
                    self.take(n, role);
                }
            }
            Away::Dc => {
                // Somebody must be there to whom clients are sent.
                let dc = self.depooled.get().unwrap_or_else(|| self.some_pair().0);
                (0..self.nodes.len())
                    .filter(|n| self.nodes[*n].at.0 == dc)
                    .for_each(|n| self.take(n, Role::Down));
            }
            Away::Lines => {
                let dc = self.some_pair().0;
                self.cut_lines_of(dc);
            }
            Away::Mirror => {
                let mirror = self.some_mirror();
                self.note(format!("the mirror from {} to {} stands still", mirror.from, mirror.to));
                mirror.line.cut();
            }
        }
    }

    /// Waits as long as chance wants.
    pub(super) async fn pause(self: &Rc<Self>) {
        let kind = self.chance.lock().unwrap().random_range(0..12);
        let (from, to) = match kind {
            // The next phase begins where the last has ended.
            0..3 => return,
            // Debts come due, and are paid or not.
            3..5 => {
                let length = some_ms(&self.chance, 60_000);
                self.note(format!("a pause of {length:?}"));
                tokio::select! {
                    biased;
                    () = sleep(length) => {}
                    () = self.kill_who_repairs() => {}
                }
                return;
            }
            // Topics may be compacted; sessions live on.
            5..9 => (COMPACTION_LAG, 40 * MINUTE),
            // Sessions expire.
            9 | 10 => (HOUR, 8 * HOUR),
            _ => (RETENTION - HOUR, 2 * RETENTION),
        };
        let length = from + some_ms(&self.chance, u64::try_from((to - from).as_millis()).unwrap());
        // An embedded log drops nothing that may still matter: nobody has to be ready for it.
        if self.kind == Kind::Kafka || self.depooled.get().is_some() || one_in(&self.chance, 2) {
            self.come_back();
            self.call_back().await;
            self.settle().await;
            if let Some(difference) = self.difference() {
                self.violate(difference);
            }
        }
        self.mirrors.iter().for_each(|mirror| mirror.may_lose());
        for n in 0..self.nodes.len() {
            let role = match self.chance.lock().unwrap().random_range(0..4) {
                0 => Role::Down,
                1 => Role::Cut,
                _ => Role::Up,
            };
            self.take(n, role);
        }
        for mirror in self.mirrors.iter().filter(|_| one_in(&self.chance, 3)) {
            mirror.line.cut();
        }
        self.note(format!("a pause of {length:?}"));
        self.pass(length).await;
        if self.kind == Kind::Kafka {
            self.come_back();
        }
    }

    /// Whoever was away is back, perhaps without its disk, and all lines are whole.
    pub(super) fn come_back(&self) {
        for (n, node) in self.nodes.iter().enumerate() {
            if node.role.replace(Role::Up) != Role::Up {
                self.lose_disk(n);
            }
            self.heal(n);
        }
        for one in 0..self.dcs.len() {
            (0..one).for_each(|other| self.cables.heal(one, other));
        }
        self.mirrors.iter().for_each(|mirror| mirror.line.heal());
        self.start_all();
    }

    /// A mirror that stood still for a moment goes on.
    pub(super) fn let_mirror_go_on(&self, mirror: &Mirror) {
        self.note(format!("the mirror from {} to {} goes on", mirror.from, mirror.to));
        mirror.line.heal();
    }

    /// Two data centres that were cut off from each other for a moment hear each other again.
    pub(super) fn let_hear(&self, one: usize, other: usize) {
        self.note(format!("{one} and {other} hear each other again"));
        self.cables.heal(one, other);
    }

    fn take(&self, n: usize, role: Role) {
        self.nodes[n].role.set(role);
        match role {
            Role::Up => {
                self.heal(n);
                self.start(n);
            }
            Role::Down => self.crash(n),
            Role::Cut => {
                self.note(format!("node {n} is cut off from its broker for a while"));
                self.nodes[n].machine.line.cut();
            }
        }
    }

    /// Until nothing is owed, nothing is on its way, and all copies are whole.
    pub(super) async fn settle(&self) {
        for mirror in &self.mirrors {
            mirror.lag_ms.set(LAG_MS);
            mirror.copy_what_was_lost();
        }
        let quiet = async {
            let mut seconds = 0;
            while seconds < QUIET_SECONDS {
                sleep(Duration::from_secs(1)).await;
                seconds = if self.unrest().is_none() { seconds + 1 } else { 0 };
            }
        };
        tokio::select! {
            biased;
            became_quiet = timeout(QUIET_WITHIN, quiet) => if became_quiet.is_err() {
                self.violate(format!("no rest within {QUIET_WITHIN:?}: {:?}", self.unrest()));
            },
            () = self.kill_who_repairs() => {}
        }
    }

    /// Why there is no rest yet, if so.
    fn unrest(&self) -> Option<String> {
        let of_node = |n: usize| {
            let running = self.nodes[n].running.borrow();
            let Some(running) = running.as_ref() else { return Some(format!("node {n} is down")) };
            let store = &running.process.store;
            let debts = store.debts.count() + server::due(store).len();
            let sent = self.nodes[n].machine.line.on_their_way();
            let is_ready = running.process.is_ready();
            (0 < debts || 0 < sent || !is_ready)
                .then(|| format!("node {n}: ready {is_ready}, {debts} debts, {sent} records on their way"))
        };
        let late = self.dcs.iter().map(|dc| dc.site.broker.late_records()).sum::<usize>();
        let calls = self.cables.late_calls();
        if 0 < late + calls {
            return Some(format!("{late} late records, {calls} late calls"));
        }
        let behind = self.mirrors.iter().find(|mirror| !mirror.has_caught_up());
        let behind = behind.map(|mirror| format!("the copy of {} in {}", mirror.from, mirror.to));
        behind.or_else(|| (0..self.nodes.len()).find_map(of_node))
    }

    /// Time passes in a few leaps. Between them everybody who is up works for some seconds, and something may happen.
    async fn pass(self: &Rc<Self>, length: Duration) {
        let leaps = self.chance.lock().unwrap().random_range(2..=4);
        for _ in 0..leaps {
            advance(length / leaps).await;
            let n = self.some_node();
            if one_in(&self.chance, 3) {
                self.step_clock(n);
            }
            if one_in(&self.chance, 3) {
                self.nodes[n].machine.copy_disk();
            }
            if self.nodes[n].role.get() == Role::Up && one_in(&self.chance, 3) {
                self.crash(n);
                self.lose_disk(n);
                self.start(n);
            }
            if self.kind == Kind::Embedded && one_in(&self.chance, 2) {
                self.clean(self.nodes[n].at.0);
            }
            // Long enough for brokers to clean at least once.
            sleep(CLEANED_WITHIN + some_ms(&self.chance, 3_000)).await;
        }
    }
}
