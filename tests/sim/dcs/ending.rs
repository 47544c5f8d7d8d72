//! When everybody has stopped: the views of all nodes of all data centres are equal, and a view made anew from the logs of
//! its data centre, even from what compaction leaves of them, is the view that never stopped.

use std::{collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};

use materializer::{Cell, State as CellState};
use rand::Rng;
use schemas::{Dc, DcState, KeyId, Timestamp, Until, Version};
use tokio::time::{sleep, timeout};

use super::{
    super::node::{Machine, Process, RETENTION_RULE, Site, State},
    world::{AHEAD_MS_MAX, Kind, Node, World},
};

/// What a view says of a key, apart from contents that may have been stripped already.
type Said = BTreeMap<KeyId, (Version, Until, Option<Until>)>;

/// How long a view that is made anew may take.
const REBUILT_WITHIN: Duration = Duration::from_secs(60);

/// Cells whose time is over so soon do not count: each view drops them in its own time, by the clock of its own broker, and
/// a version may come from the one that is furthest ahead.
const SOON: Duration = Duration::from_millis(2 * AHEAD_MS_MAX.unsigned_abs() + 60_000);

impl World {
    /// What is wrong with the views in the end.
    pub(super) async fn settle_and_compare(self: &Rc<Self>) -> Vec<String> {
        self.come_back();
        self.call_back().await;
        self.settle().await;
        // Killed while it repaired.
        self.start_all();
        self.settle().await;
        sleep(Duration::from_secs(1)).await;

        let mut violations = Vec::new();
        let soon = self.soon();
        violations.extend(self.difference());
        for dc in 0..self.dcs.len() {
            let before = self.said_by((dc, 0), soon);
            let again = self.rebuild(dc, soon).await;
            if again != before {
                violations.push(format!("a rebuilt view differs: {before:?}, and made anew {again:?}"));
            }
        }
        let is_compacted = self.kind == Kind::Kafka && self.chance.lock().unwrap().random();
        for dc in 0..self.dcs.len() {
            let before = self.said_by((dc, 0), soon);
            if is_compacted {
                self.dcs[dc].site.topics().for_each(|topic| topic.compact_all());
            } else {
                self.clean(dc);
            }
            let from_less = self.rebuild(dc, soon).await;
            if from_less != before {
                let what = if is_compacted { "compacted" } else { "cleaned" };
                violations
                    .push(format!("the {what} log lost a winner: {before:?}, and made anew {from_less:?}"));
            }
        }
        violations.extend(self.take_violations());
        violations
    }

    /// What the views of nodes that are ready do not agree on.
    pub(super) fn difference(&self) -> Option<String> {
        let soon = self.soon();
        let is_ready = |node: &&Node| node.running.borrow().as_ref().is_some_and(|it| it.process.is_ready());
        let ready = self.nodes.iter().filter(is_ready);
        let views: Vec<_> = ready.map(|node| (node.at, self.said_by(node.at, soon))).collect();
        let (first, agreed) = views.first()?;
        let (other, view) = views.iter().find(|(_, view)| view != agreed)?;
        Some(format!("views differ: {first:?} says {agreed:?}, and {other:?} {view:?}"))
    }

    /// What ends before this matters to nobody any more.
    fn soon(&self) -> Timestamp {
        let latest = self.dcs.iter().map(|dc| dc.site.broker.now()).max().expect("there are data centres");
        latest.saturating_add(SOON)
    }

    fn said_by(&self, at: (usize, usize), soon: Timestamp) -> Said {
        let node = self.nodes.iter().find(|node| node.at == at).expect("every data centre has a node");
        let running = node.running.borrow();
        running.as_ref().map(|running| said(&running.process, soon)).unwrap_or_default()
    }

    /// A view made from nothing but the logs of a data centre.
    async fn rebuild(&self, dc: usize, soon: Timestamp) -> Said {
        let sound = Site { defect: None, ..self.dcs[dc].site.clone() };
        let process = Process::start(&sound, &Machine::new(&sound, 0));
        // No further where data centres are spoken of: one that was pays what it owes before it serves, and a view that is made
        // anew owes more.
        let mut state = process.state();
        let has_view =
            state.wait_for(|state| *state == State::Ready || self.has_operator && *state != State::Unready);
        timeout(REBUILT_WITHIN, has_view).await.expect("a view that is made anew is there").unwrap();
        if let Some((by, whom)) = who_is_down(&process) {
            self.violate(format!("made anew, a view of {dc} has {by} declare {whom} down"));
        }
        said(&process, soon)
    }

    /// What the cleaner of embedded logs does beside other data centres: drops what the rule says.
    pub(super) fn clean(&self, dc: usize) {
        let nodes = self.nodes.iter().filter(|node| node.at.0 == dc);
        for node in nodes {
            let running = node.running.borrow();
            let Some(running) = running.as_ref() else { continue };
            let clock = Arc::clone(&running.process.store.reads.clock);
            let rule = server::droppable_beside_others(clock, RETENTION_RULE);
            for topic in self.dcs[dc].site.topics() {
                topic.log.retain(|_, entry| !rule(entry.append_time, &entry.record));
            }
        }
    }
}

/// A data centre that some log holds for down, and whose log that is: nobody is down in the end.
fn who_is_down(process: &Process) -> Option<(Dc, Dc)> {
    let noted = process.store.declared.all().into_iter();
    let mut all =
        noted.flat_map(|((topic, _), noted)| noted.into_iter().map(move |of| (topic.origin.clone(), of)));
    let (by, (whom, _)) = all.find(|(_, (_, noted))| noted.declaration.state == DcState::Down)?;
    Some((by, whom))
}

/// The cells that may still matter.
fn said(process: &Process, soon: Timestamp) -> Said {
    let of = |cell: &Cell| match cell.state {
        CellState::Live { expires_at, .. } | CellState::Stripped { expires_at } => {
            (cell.version, cell.retain_until, Some(expires_at))
        }
        CellState::Tombstone => (cell.version, cell.retain_until, None),
    };
    let matter = process.cells().into_iter().filter(|(_, cell)| cell.retain_until.is_after(soon));
    matter.map(|(key, cell)| (key, of(&cell))).collect()
}
