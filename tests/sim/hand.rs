//! What happens to machines while they work: crashes, disks that are lost or replaced by an old copy, clocks that are
//! stepped, lines that are cut.

use std::{future::pending, rc::Rc, sync::atomic::Ordering};

use rand::Rng;
use tokio::time::sleep;

use super::{
    chance::{one_in, some_ms},
    node::empty_disk,
    world::World,
};

/// How far a clock that is stepped may be off from then on.
const STEPPED_MS_MAX: i64 = 26 * 3_600_000;

/// How many processes a phase or a pause loses while they repair.
const KILLED_REPAIRING_MAX: usize = 3;

impl World {
    /// Never ends.
    pub(super) async fn hand(self: &Rc<Self>) {
        loop {
            sleep(some_ms(&self.site.chance, 1_500)).await;
            let n = self.some_machine();
            let kind = self.site.chance.lock().unwrap().random_range(0..10);
            match kind {
                // While it serves.
                0 | 1 => self.step_clock(n),
                2 => self.machines[n].copy_disk(),
                3 => {
                    self.note(format!("machine {n} is cut off"));
                    self.machines[n].line.cut();
                    sleep(some_ms(&self.site.chance, 800)).await;
                    self.note(format!("machine {n} is reached again"));
                    self.heal(n);
                }
                4 => {
                    self.cut_the_power().await;
                }
                _ => {
                    self.crash(n);
                    // While it is down.
                    if kind == 5 {
                        self.step_clock(n);
                    }
                    self.lose_disk(n);
                    let down_ms = if one_in(&self.site.chance, 6) { 5_000 } else { 300 };
                    sleep(some_ms(&self.site.chance, down_ms)).await;
                    self.start(n);
                }
            }
        }
    }

    /// All machines crash at once.
    async fn cut_the_power(&self) {
        self.note("the power is cut".into());
        (0..self.machines.len()).for_each(|n| self.crash(n));
        sleep(some_ms(&self.site.chance, 1_000)).await;
        self.start_all();
    }

    /// Once, perhaps, within the time in which a debt is not paid yet. Never ends.
    pub(super) async fn cut_the_power_soon(&self) {
        if one_in(&self.site.chance, 2) {
            sleep(some_ms(&self.site.chance, 12_000)).await;
            self.cut_the_power().await;
        }
        pending().await
    }

    /// Kills processes while a repair of theirs is on its way. Never ends.
    pub(super) async fn kill_who_repairs(&self) {
        let mut left = KILLED_REPAIRING_MAX;
        loop {
            self.site.repair_began.notified().await;
            sleep(some_ms(&self.site.chance, 9)).await;
            let repairs = |n: &usize| 0 < self.machines[*n].line.repairs();
            let Some(n) = (0..self.machines.len()).find(repairs) else { continue };
            if left == 0 || one_in(&self.site.chance, 2) {
                continue;
            }
            left -= 1;
            self.crash(n);
            self.lose_disk(n);
            sleep(some_ms(&self.site.chance, 300)).await;
            self.start(n);
        }
    }

    /// Sets a machine's wall clock wrong, or right again.
    pub(super) fn step_clock(&self, n: usize) {
        let ahead_ms = {
            let mut chance = self.site.chance.lock().unwrap();
            if chance.random() { chance.random_range(-STEPPED_MS_MAX..=STEPPED_MS_MAX) } else { 0 }
        };
        self.note(format!("the clock of machine {n} is set {ahead_ms} ms ahead"));
        self.machines[n].ahead_ms.store(ahead_ms, Ordering::Relaxed);
        self.stepped.borrow_mut()[n] = true;
    }

    /// Sometimes a machine that is down comes back with an empty disk, or with an old copy of it.
    pub(super) fn lose_disk(&self, n: usize) {
        if self.running[n].borrow().is_some() {
            return;
        }
        let machine = &self.machines[n];
        let kind = self.site.chance.lock().unwrap().random_range(0..8);
        let (what, disk) = match kind {
            0 => ("an empty view", empty_disk(&self.site)),
            1 => {
                let copies = machine.copies.lock().unwrap();
                if copies.is_empty() {
                    return;
                }
                let chosen = self.site.chance.lock().unwrap().random_range(0..copies.len());
                ("an old view", copies[chosen].clone())
            }
            _ => return,
        };
        self.note(format!("machine {n} comes back with {what}"));
        self.site.seen.note(what);
        *machine.disk.lock().unwrap() = disk;
        self.forget_what_readers_were_told(n);
    }
}
