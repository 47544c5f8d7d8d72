//! What a writer with a defect believes of the view.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use eventlog::{EventLog, LogClock};
use futures::future::BoxFuture;
use schemas::{Dc, Declaration, KeyId, Partition, Position, Version, WriterId};
use writer::{FenceFailed, LocalView, LookFailed, Versions, Writer};

use super::{
    defect::Defect,
    node::{RETENTION_RULE, mac},
};

/// The view, but for one mistake.
#[derive(Debug)]
pub(crate) struct Misled {
    view: Arc<dyn LocalView>,
    defect: Defect,
    whispered: Arc<Mutex<BTreeSet<Dc>>>,
}

impl Misled {
    /// `whispered` are the data centres that this node alone was told are down.
    pub(crate) fn of(
        view: Arc<dyn LocalView>,
        defect: Defect,
        whispered: &Arc<Mutex<BTreeSet<Dc>>>,
    ) -> Arc<dyn LocalView> {
        Arc::new(Self { view, defect, whispered: Arc::clone(whispered) })
    }
}

impl LocalView for Misled {
    fn look(&self, key: KeyId, patience: Duration) -> BoxFuture<'_, Result<Option<Version>, LookFailed>> {
        if self.defect == Defect::NoLook {
            return Box::pin(async { Ok(None) });
        }
        self.view.look(key, patience)
    }

    fn applied(&self, position: Position, patience: Duration) -> BoxFuture<'_, Result<(), FenceFailed>> {
        if self.defect == Defect::PeerAnswersBeforeItApplied {
            return Box::pin(async { Ok(()) });
        }
        self.view.applied(position, patience)
    }

    fn down_in(&self, partition: Partition) -> BTreeSet<Dc> {
        match self.defect {
            Defect::DownKnownToOneNodeOnly => self.whispered.lock().unwrap().clone(),
            _ => self.view.down_in(partition),
        }
    }

    fn newest_declaration(&self, dc: &Dc) -> Option<Declaration> {
        self.view.newest_declaration(dc)
    }
}

/// A writer of its own for such a view.
pub(crate) fn misled_writer(
    own: Arc<dyn EventLog>,
    view: Arc<dyn LocalView>,
    clock: &Arc<LogClock>,
) -> Arc<Writer> {
    let metrics = writer::Metrics::register(&prometheus::Registry::new()).unwrap();
    // Its number as an appender matters to nobody here, and it chooses no version.
    let versions = Versions::of(WriterId(1));
    Arc::new(Writer::new(own, view, Arc::clone(clock), mac(), RETENTION_RULE, versions, &metrics))
}
