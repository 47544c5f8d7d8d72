//! Time in which nobody asks anything: seconds in which debts are paid, minutes in which the log is compacted, hours in
//! which sessions expire, a day and more in which the log forgets. What passes without an event is passed over at once.

use std::{rc::Rc, time::Duration};

use rand::Rng;
use tokio::time::{advance, sleep, timeout};

use super::{
    broker::{CLEANED_WITHIN, COMPACTION_LAG, RETENTION},
    chance::{one_in, some_ms},
    defect::Defect,
    world::World,
};

/// Within this time all debts are paid, whoever is killed meanwhile; what a log may drop before that is the compaction
/// lag's business.
const QUIET_WITHIN: Duration = Duration::from_secs(180);

/// So long nothing is owed and nothing on its way before it counts as quiet: what was sent last has been applied then.
const QUIET_SECONDS: usize = 3;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What a machine does for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Goes on.
    Up,
    /// Is down, from before the last debt is paid.
    Down,
    /// Is down, too, with all others, which an operator may do when nothing is owed.
    DownWhenQuiet,
    /// Is cut off from the log.
    Cut,
}

impl World {
    /// Waits as long as chance wants.
    pub(super) async fn pause(self: &Rc<Self>) {
        let kind = self.site.chance.lock().unwrap().random_range(0..12);
        let (from, to) = match kind {
            // The next phase begins where the last has ended.
            0 | 1 => return self.come_back(),
            // Debts come due, and are paid or not.
            2 | 3 => (Duration::ZERO, MINUTE),
            // The log may be compacted; sessions live on.
            4..8 => (COMPACTION_LAG, 40 * MINUTE),
            // Sessions expire.
            8 | 9 => (HOUR, 8 * HOUR),
            _ => (RETENTION - HOUR, 2 * RETENTION),
        };
        let length = from + some_ms(&self.site.chance, u64::try_from((to - from).as_millis()).unwrap());
        let roles = self.roles.borrow().clone();
        let is_one_away = roles.iter().any(|&role| role != Role::Up);
        let roles = if is_one_away { roles } else { self.some_roles() };
        self.take(roles.clone());
        self.note(format!("a pause of {length:?}, {roles:?}"));
        let is_awake = |n: &usize| matches!(roles[*n], Role::Up | Role::DownWhenQuiet);
        let awake: Vec<_> = (0..roles.len()).filter(is_awake).collect();
        awake.iter().for_each(|&n| self.start(n));
        self.settle(&awake).await;
        let quiet = |role| if role == Role::DownWhenQuiet { Role::Down } else { role };
        self.take(roles.iter().copied().map(quiet).collect());
        self.pass(length).await;
        self.come_back();
    }

    /// Sometimes one of several machines is away for a whole phase, and for the pause after it.
    pub(super) fn choose_who_is_away(&self) {
        let all = self.machines.len();
        if all == 1 || one_in(&self.site.chance, 2) {
            return;
        }
        let away = self.some_machine();
        let role = if one_in(&self.site.chance, 2) { Role::Down } else { Role::Cut };
        self.note(format!("machine {away} is away: {role:?}"));
        self.take((0..all).map(|n| if n == away { role } else { Role::Up }).collect());
    }

    /// Whoever was away is back, perhaps without its disk.
    pub(super) fn come_back(&self) {
        let roles = self.roles.replace(vec![Role::Up; self.machines.len()]);
        for (n, role) in roles.into_iter().enumerate() {
            if role != Role::Up {
                self.lose_disk(n);
            }
            self.heal(n);
        }
        self.start_all();
    }

    /// Connects a machine again, unless it is to be cut off.
    pub(super) fn heal(&self, n: usize) {
        if self.roles.borrow()[n] != Role::Cut {
            self.machines[n].line.heal();
        }
    }

    fn take(&self, roles: Vec<Role>) {
        self.roles.replace(roles.clone());
        for (n, role) in roles.into_iter().enumerate() {
            match role {
                Role::Up | Role::DownWhenQuiet => self.heal(n),
                Role::Down => self.crash(n),
                Role::Cut => self.machines[n].line.cut(),
            }
        }
    }

    /// At least one goes on until nothing is owed.
    fn some_roles(&self) -> Vec<Role> {
        let mut chance = self.site.chance.lock().unwrap();
        let all = self.machines.len();
        if chance.random_ratio(1, 6) {
            return vec![Role::DownWhenQuiet; all];
        }
        let stays = chance.random_range(0..all);
        let other = [Role::Up, Role::Down, Role::Cut][chance.random_range(0..3)];
        (0..all).map(|n| if n == stays { Role::Up } else { other }).collect()
    }

    /// Until nothing is owed, and nothing is on its way.
    pub(super) async fn settle(&self, awake: &[usize]) {
        let quiet = async {
            let mut seconds = 0;
            while seconds < QUIET_SECONDS {
                sleep(Duration::from_secs(1)).await;
                seconds = if self.is_quiet(awake) { seconds + 1 } else { 0 };
            }
        };
        tokio::select! {
            biased;
            became_quiet = timeout(QUIET_WITHIN, quiet) => if became_quiet.is_err() {
                let why: Vec<_> = awake.iter().map(|&n| self.unrest(n)).collect();
                self.violate(format!("no rest within {QUIET_WITHIN:?}: {why:?}"));
            },
            () = self.kill_who_repairs() => {}
            () = self.cut_the_power_soon() => {}
        }
    }

    fn is_quiet(&self, awake: &[usize]) -> bool {
        let broker = &self.site.broker;
        broker.late_records() == 0 && awake.iter().all(|&n| self.unrest(n).is_none())
    }

    /// Why a machine has no rest yet, if so.
    fn unrest(&self, n: usize) -> Option<String> {
        let running = self.running[n].borrow();
        let Some(running) = running.as_ref() else { return Some("it is down".into()) };
        let (debts, sent) = (running.process.store.debts.count(), self.machines[n].line.on_their_way());
        // With this defect nobody ever pays.
        let is_owing = 0 < debts && self.site.defect != Some(Defect::NoRepair);
        let is_ready = running.process.is_ready();
        (is_owing || 0 < sent || !is_ready)
            .then(|| format!("ready {is_ready}, {debts} debts, {sent} records on their way"))
    }

    /// Time passes in a few leaps. Between them everybody who is up works for some seconds, and something may happen.
    async fn pass(&self, length: Duration) {
        let leaps = self.site.chance.lock().unwrap().random_range(2..=6);
        for _ in 0..leaps {
            advance(length / leaps).await;
            let n = self.some_machine();
            if one_in(&self.site.chance, 3) {
                self.step_clock(n);
            }
            if one_in(&self.site.chance, 3) {
                self.machines[n].copy_disk();
            }
            if self.roles.borrow()[n] == Role::Up && one_in(&self.site.chance, 4) {
                self.crash(n);
                self.start(n);
            }
            // Long enough for the broker to clean at least once.
            sleep(CLEANED_WITHIN + some_ms(&self.site.chance, 3_000)).await;
        }
    }
}
