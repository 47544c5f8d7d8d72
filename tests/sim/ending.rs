//! When everybody has stopped: all machines agree, nothing is owed, and a view made anew from the log, even from what
//! compaction leaves of it, is the view that never stopped.

use std::{collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};

use materializer::{Cell, State};
use rand::Rng;
use schemas::{KeyId, Until, Version};
use tokio::time::{sleep, timeout};
use writer::Retention;

use super::{
    defect::Defect,
    node::{Machine, Process, Site, TTL_MAX},
    world::World,
};

/// What a view says of a key, apart from contents that may have been stripped already.
type Said = BTreeMap<KeyId, (Version, Option<Until>)>;

/// How long a view that is made anew may take.
const REBUILT_WITHIN: Duration = Duration::from_secs(60);

/// Cells whose time is over so soon do not count: each view drops them in its own time, and a version may be ahead of the
/// time at which its record was taken.
const SOON: Duration = Duration::from_secs(60);

impl World {
    /// What is wrong with the views in the end.
    pub(super) async fn settle_and_compare(self: &Rc<Self>) -> Vec<String> {
        self.come_back();
        let all: Vec<_> = (0..self.machines.len()).collect();
        self.settle(&all).await;
        // Killed while it repaired.
        self.start_all();
        self.settle(&all).await;
        sleep(Duration::from_secs(1)).await;

        let mut violations = self.violations.take();
        let views: Vec<_> = all.iter().map(|&n| self.said_by(n)).collect();
        if let Some(other) = views.iter().find(|view| **view != views[0]) {
            violations.push(format!("the machines disagree: {:?} and {other:?}", views[0]));
        }
        let again = self.rebuild().await;
        if again != views[0] {
            violations.push(format!("a rebuilt view differs: {:?}, and made anew {again:?}", views[0]));
        }
        // One or the other: each drops what the other would have to get right.
        let is_about_debts = matches!(self.site.defect, Some(Defect::NoRepair | Defect::DebtsInMemory));
        let is_kafkas = is_about_debts || self.site.chance.lock().unwrap().random();
        if is_kafkas {
            self.site.broker.compact_all();
        } else {
            self.clean();
        }
        let from_less = self.rebuild().await;
        if from_less != views[0] {
            let what = if is_kafkas { "compacted" } else { "cleaned" };
            violations
                .push(format!("the {what} log lost a winner: {:?}, and made anew {from_less:?}", views[0]));
        }
        violations
    }

    fn said_by(&self, n: usize) -> Said {
        let running = self.running[n].borrow();
        running.as_ref().map(|running| self.said(&running.process)).unwrap_or_default()
    }

    /// The cells that may still matter.
    fn said(&self, process: &Process) -> Said {
        let soon = self.site.broker.now().saturating_add(SOON);
        let of = |cell: &Cell| match cell.state {
            State::Live { expires_at, .. } | State::Stripped { expires_at } => {
                (cell.version, Some(expires_at))
            }
            State::Tombstone => (cell.version, None),
        };
        let matter = process.cells().into_iter().filter(|(_, cell)| cell.retain_until.is_after(soon));
        matter.map(|(key, cell)| (key, of(&cell))).collect()
    }

    /// A view made from nothing but the log.
    async fn rebuild(&self) -> Said {
        let sound = Site { defect: None, ..self.site.clone() };
        let process = Process::start(&sound, &Machine::new(&sound, 0));
        let ready = async {
            while !process.is_ready() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(REBUILT_WITHIN, ready).await.expect("a view that is made anew becomes ready");
        self.said(&process)
    }

    /// What the embedded log's cleaner does: drops what the rule says.
    fn clean(&self) {
        let running = self.running[0].borrow();
        let process = &running.as_ref().expect("everybody runs").process;
        let view = Arc::clone(&process.store.reads.serving);
        let clock = Arc::clone(&process.store.reads.clock);
        let rule = server::droppable(view, clock, Retention::Expiring { ttl_max: TTL_MAX });
        self.site.broker.log.retain(|_, entry| !rule(entry.append_time, &entry.record));
    }
}
