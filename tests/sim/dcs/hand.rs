//! What happens to nodes while they work: crashes, disks that are lost or replaced by an old copy, clocks that are stepped,
//! lines that are cut. And to what lies between data centres.

use std::{rc::Rc, sync::atomic::Ordering};

use rand::Rng;
use tokio::time::sleep;

use super::{
    super::{
        chance::{one_in, some_ms},
        node::empty_disk,
    },
    pause::Role,
    world::{World, some_ahead_ms},
};

/// How many processes a phase or a pause loses while they repair.
const KILLED_REPAIRING_MAX: usize = 2;

impl World {
    /// Never ends.
    pub(super) async fn hand(self: &Rc<Self>) {
        loop {
            sleep(some_ms(&self.chance, 2_500)).await;
            let n = self.some_node();
            let kind = self.chance.lock().unwrap().random_range(0..10);
            match kind {
                // While it serves.
                0 | 1 => self.step_clock(n),
                2 => self.nodes[n].machine.copy_disk(),
                3 => {
                    self.note(format!("node {n} is cut off from its broker"));
                    self.nodes[n].machine.line.cut();
                    sleep(some_ms(&self.chance, 800)).await;
                    self.heal(n);
                }
                4 => {
                    let dc = self.nodes[n].at.0;
                    self.note(format!("the power of {dc} is cut"));
                    self.crash_all(dc);
                    sleep(some_ms(&self.chance, 1_000)).await;
                    self.start_all();
                }
                _ => {
                    self.crash(n);
                    // While it is down.
                    if kind == 5 {
                        self.step_clock(n);
                    }
                    self.lose_disk(n);
                    let down_ms = if one_in(&self.chance, 6) { 5_000 } else { 300 };
                    sleep(some_ms(&self.chance, down_ms)).await;
                    self.start(n);
                }
            }
        }
    }

    /// All nodes of a data centre crash at once.
    pub(super) fn crash_all(&self, dc: usize) {
        (0..self.nodes.len()).filter(|n| self.nodes[*n].at.0 == dc).for_each(|n| self.crash(n));
    }

    /// What befalls mirrors and the lines between data centres. Never ends.
    pub(super) async fn weather(self: &Rc<Self>) {
        loop {
            sleep(some_ms(&self.chance, 1_500)).await;
            let mirror = self.some_mirror();
            let name = format!("the mirror from {} to {}", mirror.from, mirror.to);
            let kind = self.chance.lock().unwrap().random_range(0..8);
            match kind {
                0 | 1 => {
                    self.note(format!("{name} goes back"));
                    mirror.go_back();
                    if one_in(&self.chance, 2) {
                        mirror.go_back();
                    }
                }
                2..5 => {
                    let lag_ms = if one_in(&self.chance, 2) { 20 } else { 2_000 };
                    self.note(format!("{name} is {lag_ms} ms late at most"));
                    mirror.lag_ms.set(lag_ms);
                }
                5 => {
                    self.note(format!("{name} stands still"));
                    mirror.line.cut();
                    sleep(some_ms(&self.chance, 3_000)).await;
                    self.let_mirror_go_on(mirror);
                }
                _ => {
                    let (one, other) = self.some_pair();
                    self.note(format!("{one} and {other} do not hear each other"));
                    self.cables.cut(one, other);
                    sleep(some_ms(&self.chance, 1_500)).await;
                    self.let_hear(one, other);
                }
            }
        }
    }

    /// Kills processes while a repair of theirs is on its way. Never ends.
    pub(super) async fn kill_who_repairs(&self) {
        let mut left = KILLED_REPAIRING_MAX;
        loop {
            self.repair_began.notified().await;
            sleep(some_ms(&self.chance, 9)).await;
            let repairs = |n: &usize| 0 < self.nodes[*n].machine.line.repairs();
            let Some(n) = (0..self.nodes.len()).find(repairs) else { continue };
            if left == 0 || one_in(&self.chance, 2) {
                continue;
            }
            left -= 1;
            self.crash(n);
            self.lose_disk(n);
            sleep(some_ms(&self.chance, 300)).await;
            self.start(n);
        }
    }

    /// Sets a node's wall clock wrong, or right again.
    pub(super) fn step_clock(&self, n: usize) {
        let ahead_ms = some_ahead_ms(&self.chance, self.ahead_ms_max);
        self.note(format!("the clock of node {n} is set {ahead_ms} ms ahead"));
        self.nodes[n].machine.ahead_ms.store(ahead_ms, Ordering::Relaxed);
        self.nodes[n].stepped.set(true);
    }

    /// Sometimes a node that is down comes back with an empty view, or with an old copy of it.
    pub(super) fn lose_disk(&self, n: usize) {
        let node = &self.nodes[n];
        if node.running.borrow().is_some() {
            return;
        }
        let kind = self.chance.lock().unwrap().random_range(0..6);
        let (what, disk) = match kind {
            0 => ("an empty view", empty_disk(&self.dcs[node.at.0].site)),
            1 => {
                let copies = node.machine.copies.lock().unwrap();
                if copies.is_empty() {
                    return;
                }
                let chosen = self.chance.lock().unwrap().random_range(0..copies.len());
                ("an old view", copies[chosen].clone())
            }
            _ => return,
        };
        self.note(format!("node {n} comes back with {what}"));
        self.seen.note(what);
        *node.machine.disk.lock().unwrap() = disk;
        self.forget_what_readers_were_told(n);
    }

    /// Connects a node again, unless it is to be cut off.
    pub(super) fn heal(&self, n: usize) {
        if self.nodes[n].role.get() != Role::Cut {
            self.nodes[n].machine.line.heal();
        }
    }
}
