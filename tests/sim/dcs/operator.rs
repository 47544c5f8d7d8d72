//! Somebody who sees that a data centre is away, sends no clients there any more, declares it down, and calls it back later.

use std::{sync::Arc, time::Duration};

use schemas::{Dc, DcState};
use tokio::time::{sleep, timeout};
use writer::{Deadline, Everybody, Order};

use super::{
    super::{
        chance::{one_in, some_ms},
        defect::Defect,
    },
    pause::Role,
    world::{NAMES, World},
};

/// How long an order may take before it is given again: a mirror that is late brings `up` in some seconds.
const ORDER_WITHIN: Duration = Duration::from_secs(20);

/// How long it may take until a data centre is back: mirrors lose records, `up` among them, and then it is declared again.
const BACK_WITHIN: Duration = Duration::from_secs(600);

const LOOK_EVERY: Duration = Duration::from_millis(10);

impl World {
    /// Never ends.
    pub(super) async fn operator(&self) {
        if !self.has_operator {
            return std::future::pending().await;
        }
        loop {
            sleep(some_ms(&self.chance, 300)).await;
            // Declared down in an earlier phase, and perhaps for longer still.
            if let Some(dc) = self.depooled.get() {
                if one_in(&self.chance, 2) {
                    self.let_lines_of(dc);
                    self.call_back().await;
                }
                continue;
            }
            let dc = self.some_pair().0;
            if !self.is_anybody_up_beside(dc) {
                continue;
            }
            let is_cut = one_in(&self.chance, 2);
            if is_cut {
                self.cut_lines_of(dc);
                // What is written there meanwhile is heard of nowhere.
                sleep(some_ms(&self.chance, 200)).await;
            }
            self.depool(dc).await;
            if one_in(&self.chance, 4) {
                self.crash_all(dc);
            }
            // An order that is not confirmed holds in some places all the same.
            let _unconfirmed = self.order(dc, DcState::Down).await;
            sleep(some_ms(&self.chance, 500)).await;
            if is_cut {
                self.let_lines_of(dc);
            }
            self.start_all();
            self.call_back().await;
        }
    }

    /// Declares the data centre up that is not, until it is back, and sends clients there again.
    pub(super) async fn call_back(&self) {
        let Some(dc) = self.depooled.get() else { return };
        self.is_declared.set(false);
        let back = async {
            while !self.order(dc, DcState::Up).await {
                sleep(some_ms(&self.chance, 200)).await;
            }
        };
        // Within a phase nodes may be away for all of it.
        if timeout(BACK_WITHIN, back).await.is_err() {
            self.violate(format!("{} is not back after {BACK_WITHIN:?}", NAMES[dc]));
        }
        self.note(format!("clients are sent to {dc} again"));
        self.seen.note("a data centre that came back");
        self.depooled.set(None);
    }

    /// Whether clients can be sent anywhere else.
    fn is_anybody_up_beside(&self, dc: usize) -> bool {
        self.nodes.iter().any(|node| node.at.0 != dc && node.role.get() == Role::Up)
    }

    /// No client is sent there any more, and none waits for it.
    async fn depool(&self, dc: usize) {
        self.note(format!("no client is sent to {dc} any more"));
        self.depooled.set(Some(dc));
        while 0 < self.dcs[dc].asked.get() {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Gives an order at some node elsewhere. Says whether it was carried out.
    async fn order(&self, dc: usize, state: DcState) -> bool {
        let n = self.some_node();
        if self.nodes[n].at.0 == dc {
            return false;
        }
        let Some((store, crashed)) = self.ready(n) else { return false };
        if self.defect == Some(Defect::DownKnownToOneNodeOnly) {
            self.whisper(n, dc, state);
            return true;
        }
        self.note(format!("node {n} is told that {dc} is {state:?}"));
        let site = &self.dcs[self.nodes[n].at.0].site;
        let (writers, subject) = ([Arc::clone(&store.writer)], NAMES[dc].parse().unwrap());
        // It declares one at a time, and asks none that is down.
        let everybody = Everybody { writers: &writers, peers: &site.peers, are_we_up: true };
        let order = Order { dc: &subject, state, waited: false, request_id: None };
        let told = everybody.declare(order, Deadline::within(ORDER_WITHIN));
        let told = crashed.run_until_cancelled(told).await;
        let outcome = match &told {
            Some(Ok(_)) => "done".to_owned(),
            Some(Err(why)) => why.to_string(),
            None => "it crashed".to_owned(),
        };
        self.note(format!("{dc} is declared {state:?} at node {n}: {outcome}"));
        let is_done = matches!(told, Some(Ok(_)));
        if is_done && state == DcState::Down {
            self.seen.note("a data centre that was declared down");
            self.is_declared.set(true);
        }
        is_done
    }

    /// Tells a node alone; or all, that it is not so any more.
    fn whisper(&self, n: usize, dc: usize, state: DcState) {
        let subject: Dc = NAMES[dc].parse().unwrap();
        match state {
            DcState::Down => drop(self.nodes[n].machine.whispered.lock().unwrap().insert(subject)),
            DcState::Up => self.nodes.iter().for_each(|node| {
                node.machine.whispered.lock().unwrap().remove(&subject);
            }),
        }
    }

    /// No call and no mirror gets there or comes from there.
    pub(super) fn cut_lines_of(&self, dc: usize) {
        self.note(format!("nothing gets to {dc} or comes from there"));
        (0..self.dcs.len()).filter(|other| *other != dc).for_each(|other| self.cables.cut(dc, other));
        self.mirrors.iter().filter(|mirror| mirror.is_of(dc)).for_each(|mirror| mirror.line.cut());
    }

    fn let_lines_of(&self, dc: usize) {
        self.note(format!("{dc} is connected again"));
        (0..self.dcs.len()).filter(|other| *other != dc).for_each(|other| self.cables.heal(dc, other));
        self.mirrors.iter().filter(|mirror| mirror.is_of(dc)).for_each(|mirror| mirror.line.heal());
    }
}
