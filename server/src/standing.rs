//! Whether this data centre is declared down, and who else is: a node of one that is serves nobody, and one that comes back
//! first writes down what was deleted without it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use api::{App, DECLARED_DOWN, Dcs, Latch, Readiness, Stores};
use futures::{StreamExt, stream};
use materializer::Word;
use prometheus::{IntGaugeVec, Opts, Registry};
use schemas::{Dc, DcState, KeyId, caps::DECLARATION_AGE_MAX};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use writer::Deadline;

use crate::{repair::pay, store::StoreNode};

/// How soon tombstones that could not be written down are tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Tombstones that are written down at the same time: nobody else is served meanwhile.
const AT_ONCE: usize = 64;

/// How often the age of declarations is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How long it may take to append one again.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is shown of declarations.
#[derive(Clone, Debug)]
pub(crate) struct StandingMetrics {
    /// `solera_dc_declared_down{dc}`: 1 while any log that this node folds holds the data centre for down.
    down: IntGaugeVec,
}

impl StandingMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let down = Opts::new(
            "solera_dc_declared_down",
            "1 while a data centre is declared down: deletes go on without it.",
        );
        let down = IntGaugeVec::new(down, &["dc"])?;
        registry.register(Box::new(down.clone()))?;
        Ok(Self { down })
    }

    fn show(&self, dc: &Dc, is_down: bool) {
        self.down.with_label_values(&[dc.as_str()]).set(i64::from(is_down));
    }
}

/// All stores of a node at work, and how they see the data centres.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    stores: Arc<[Arc<StoreNode>]>,
    served: Arc<Stores>,
    dcs: Dcs,
    readiness: Arc<Readiness>,
    metrics: StandingMetrics,
}

impl Standing {
    pub(crate) fn of(app: &App, stores: Vec<Arc<StoreNode>>, metrics: StandingMetrics) -> Self {
        let (served, dcs) = (Arc::clone(&app.stores), app.dcs.clone());
        Self { stores: stores.into(), served, dcs, readiness: Arc::clone(&app.readiness), metrics }
    }

    /// Keeps the node unready while another data centre's logs declare this one down, and says who else is down, until `stop`.
    /// Holds `latch` until it has looked once.
    pub(crate) async fn watch(self, latch: Latch, stop: CancellationToken) -> anyhow::Result<()> {
        let mut changes: Vec<_> = self.stores.iter().map(|store| store.declared.subscribe()).collect();
        let (mut latch, mut said) = (Some(latch), BTreeMap::new());
        let watch = async {
            // Whoever was spoken of may have stopped in the middle.
            let mut was_down = !self.dcs.words_of_others(&self.served).is_empty();
            let mut was_told = false;
            loop {
                changes.iter_mut().for_each(|change| drop(change.borrow_and_update()));
                self.speak_of_others(&mut said);
                let by = down_by(&self.dcs.words_of_others(&self.served));
                self.metrics.show(&self.dcs.us, !by.is_empty());
                if by.is_empty() {
                    if was_told {
                        tracing::warn!(
                            "{} is declared up again: writing down what was deleted without it",
                            self.dcs.us
                        );
                    }
                    if !self.write_down_what_is_owed(&mut changes, was_down).await {
                        continue;
                    }
                    match latch.take() {
                        Some(latch) => latch.release(),
                        None => self.readiness.pass(DECLARED_DOWN),
                    }
                    was_down = false;
                    if std::mem::take(&mut was_told) {
                        tracing::warn!("{} may serve clients again", self.dcs.us);
                    }
                } else {
                    let by = by.iter().map(Dc::as_str).collect::<Vec<_>>().join(", ");
                    let why = format!("{} is declared down by {by}", self.dcs.us);
                    if !was_told {
                        tracing::error!("{why}: this node serves nobody until it is declared up");
                    }
                    (was_down, was_told) = (true, true);
                    match &latch {
                        Some(latch) => latch.waits_for(&why),
                        None => self.readiness.fail(DECLARED_DOWN, &why),
                    }
                }
                any_change(&mut changes).await;
            }
        };
        let _node_stops = stop.run_until_cancelled(watch).await;
        Ok(())
    }

    /// Appends to the own logs every tombstone that went on without this data centre. Says false when something was declared
    /// meanwhile.
    async fn write_down_what_is_owed(
        &self,
        changes: &mut [tokio::sync::watch::Receiver<()>],
        was_down: bool,
    ) -> bool {
        // Debts of another kind may wait for their turn.
        if !was_down {
            return true;
        }
        let owed = |store: &StoreNode| {
            store.debts.all().into_iter().map(|(key, _)| key).collect::<BTreeSet<KeyId>>()
        };
        let mut left: Vec<_> = self.stores.iter().map(|store| owed(store)).collect();
        loop {
            let began = Instant::now();
            for (store, left) in self.stores.iter().zip(&mut left) {
                let now = owed(store);
                left.retain(|key| now.contains(key));
                stream::iter(left.iter())
                    .for_each_concurrent(AT_ONCE, async |key| {
                        // One that cannot be paid is tried again.
                        let _paid = pay(store, *key).await;
                    })
                    .await;
                let now = owed(store);
                left.retain(|key| now.contains(key));
            }
            if left.iter().all(BTreeSet::is_empty) {
                return true;
            }
            tokio::select! {
                () = any_change(changes) => return false,
                () = tokio::time::sleep_until(began + TRY_AGAIN_AFTER) => {}
            }
        }
    }

    fn speak_of_others(&self, said: &mut BTreeMap<Dc, bool>) {
        for peer in self.dcs.peers.iter() {
            let dc = writer::peer::Peer::dc(&**peer);
            let word = self.dcs.own_word(&self.served, dc);
            let is_down = word.is_some_and(|word| word.down_in_some);
            self.metrics.show(dc, is_down);
            let before = said.insert(dc.clone(), is_down).unwrap_or(false);
            match (before, is_down) {
                (false, true) => tracing::warn!("{dc} is declared down: deletes go on without it"),
                (true, false) => tracing::warn!("{dc} is declared up: deletes ask it again"),
                _ => {}
            }
        }
    }

    /// Appends again, before the own logs would drop them, the declarations that are in force, until `stop`.
    pub(crate) async fn renew(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(look.tick()).await.is_some() {
            for store in self.stores.iter() {
                let due = due(store);
                for (partition, declaration) in due {
                    let again =
                        store.writer.declare_in(partition, &declaration, None, Deadline::within(PATIENCE));
                    match stop.run_until_cancelled(again).await {
                        Some(Ok(())) => {}
                        Some(Err(error)) => {
                            tracing::warn!("Cannot declare {} down again yet: {error}", declaration.dc);
                        }
                        None => return Ok(()),
                    }
                }
            }
        }
        Ok(())
    }
}

/// Who declares this data centre down.
fn down_by(words: &BTreeMap<Dc, Word>) -> Vec<Dc> {
    words.iter().filter(|(_, word)| word.down_in_some).map(|(dc, _)| dc.clone()).collect()
}

/// The declarations of a store's own log that are in force, and old.
fn due(store: &StoreNode) -> Vec<(schemas::Partition, schemas::Declaration)> {
    let now = store.reads.clock.now();
    let own = &store.reads.own;
    let all = store.declared.all().into_iter().filter(|((topic, _), _)| topic == own);
    let noted =
        all.flat_map(|((_, partition), noted)| noted.into_values().map(move |noted| (partition, noted)));
    let is_due = |noted: &materializer::Noted| {
        noted.declaration.state == DcState::Down && noted.appended.saturating_add(DECLARATION_AGE_MAX) <= now
    };
    noted
        .filter(|(_, noted)| is_due(noted))
        .map(|(partition, noted)| (partition, noted.declaration))
        .collect()
}

async fn any_change(changes: &mut [tokio::sync::watch::Receiver<()>]) {
    let any = changes.iter_mut().map(|change| Box::pin(change.changed()));
    let (changed, ..) = futures::future::select_all(any).await;
    if changed.is_err() {
        // The stores are gone, and with them this task.
        sleep(PATIENCE).await;
    }
}
