//! Whether a node may serve, by what other data centres declare of its own: one that is declared down serves nobody, and one
//! that comes back first writes down what was deleted without it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt, future::select_all, stream};
use materializer::Word;
use schemas::{Dc, KeyId, Topic};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{repair::pay, store::StoreNode};

/// How soon tombstones that could not be written down are tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Tombstones that are written down at the same time: nobody else is served meanwhile.
const AT_ONCE: usize = 64;

/// What a node may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MayServe {
    /// Nobody declares its data centre down.
    Yes,
    /// These do, in some partition of some log.
    No {
        /// At least one.
        declared_down_by: Vec<Dc>,
    },
    /// Nobody does any more; what was deleted without it is being written down.
    Soon,
}

/// The stores of a node and what the others' logs say of its data centre.
#[derive(Clone, Debug)]
pub struct Comeback {
    stores: Arc<[Arc<StoreNode>]>,
    us: Dc,
    others: Arc<[Dc]>,
}

impl Comeback {
    /// Of all `stores` of a node of `us`, which must be at work. At least one.
    pub fn new(stores: Arc<[Arc<StoreNode>]>, us: Dc, others: impl IntoIterator<Item = Dc>) -> Self {
        Self { stores, us, others: others.into_iter().collect() }
    }

    /// Tells what the node may do, at once and whenever a declaration is applied. Ends when the stores do.
    pub async fn follow(&self, mut tell: impl FnMut(MayServe)) {
        let mut changes: Vec<_> = self.stores.iter().map(|store| store.declared.subscribe()).collect();
        // Whoever was spoken of may have stopped in the middle.
        let mut was_down = self.others.iter().any(|dc| word(&self.stores, dc, &self.us).is_some());
        loop {
            changes.iter_mut().for_each(|change| drop(change.borrow_and_update()));
            let declared_down_by = self.declared_down_by();
            if declared_down_by.is_empty() {
                if was_down {
                    tell(MayServe::Soon);
                    // Debts of another kind may wait for their turn.
                    if !self.write_down_what_is_owed(&mut changes).await {
                        continue;
                    }
                }
                tell(MayServe::Yes);
                was_down = false;
            } else {
                tell(MayServe::No { declared_down_by });
                was_down = true;
            }
            if !any_change(&mut changes).await {
                return;
            }
        }
    }

    fn declared_down_by(&self) -> Vec<Dc> {
        let says_down = |dc: &&Dc| word(&self.stores, dc, &self.us).is_some_and(|word| word.down_in_some);
        self.others.iter().filter(says_down).cloned().collect()
    }

    /// Appends to the own logs every tombstone that went on without this data centre. Says false when something was declared
    /// meanwhile.
    async fn write_down_what_is_owed(&self, changes: &mut [watch::Receiver<()>]) -> bool {
        let owed = |store: &StoreNode| {
            store.debts.all().into_iter().map(|(key, _)| key).collect::<BTreeSet<KeyId>>()
        };
        let mut left: Vec<_> = self.stores.iter().map(|store| owed(store)).collect();
        loop {
            let began = Instant::now();
            for (store, left) in self.stores.iter().zip(&mut left) {
                stream::iter(left.iter())
                    .for_each_concurrent(AT_ONCE, async |key| {
                        // One that cannot be paid is tried again.
                        let _paid = pay(store, *key).await;
                    })
                    .await;
                let now = owed(store);
                left.retain(|key| now.contains(key));
            }
            if changes.iter().any(|change| change.has_changed().unwrap_or(true)) {
                return false;
            }
            if left.iter().all(BTreeSet::is_empty) {
                return true;
            }
            tokio::select! {
                _ = any_change(changes) => return false,
                () = sleep_until(began + TRY_AGAIN_AFTER) => {}
            }
        }
    }
}

/// What the logs of `by` say of `dc` in all stores together, as far as they are applied here.
pub(crate) fn word(stores: &[Arc<StoreNode>], by: &Dc, dc: &Dc) -> Option<Word> {
    Word::together(stores.iter().map(|store| {
        let topic = Topic { origin: by.clone(), store: store.own.topic().store.clone() };
        store.declared.word(&topic, store.own.partitions(), dc)
    }))
}

/// Says false when there will be none: a store is gone.
async fn any_change(changes: &mut [watch::Receiver<()>]) -> bool {
    let any = changes.iter_mut().map(|change| Box::pin(change.changed()));
    select_all(any).await.0.is_ok()
}
