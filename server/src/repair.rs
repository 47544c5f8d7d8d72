//! Pays what the own log owes: appends the winning event of a key again, where a loser stands last.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use schemas::{
    KeyId, Timestamp, WriterId,
    caps::{DEBT_AGE, DEBT_JITTER_MAX, REPAIRS_PER_SECOND_MAX},
};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use writer::Deadline;

use crate::store::StoreNode;

/// How often debts are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long one repair may take before the next is tried.
const PATIENCE: Duration = Duration::from_secs(10);

/// Repairs until `stop`. Begins once the node is ready: debts of a replay count from then.
pub async fn repair(store: &StoreNode, writer_id: WriterId, stop: CancellationToken) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let since_ready = store.reads.clock.now();
    while stop.run_until_cancelled(look.tick()).await.is_some() {
        let now = store.reads.clock.now();
        let owed = store.debts.all();
        let due = owed.into_iter().filter(|&(key, since)| {
            let from = counts_from(since, since_ready, now);
            due(key, from, writer_id) <= now
        });
        let due: BTreeMap<_, _> = due.collect();
        let started = Instant::now();
        let (mut silent, mut tried) = (BTreeSet::new(), 0..REPAIRS_PER_SECOND_MAX);
        for key in due.into_keys() {
            let partition = key.partition(store.reads.partitions);
            // A partition that does not answer must not hold up what is owed to the others.
            if silent.contains(&partition) {
                continue;
            }
            let Some(n) = tried.next() else { break };
            tokio::time::sleep_until(started + n * (Duration::from_secs(1) / REPAIRS_PER_SECOND_MAX)).await;
            match stop.run_until_cancelled(pay(store, key)).await {
                Some(true) => {}
                Some(false) => drop(silent.insert(partition)),
                None => return,
            }
        }
    }
}

/// Appends the winning event of a key again. Says whether others of the partition may be tried next.
pub(crate) async fn pay(store: &StoreNode, key: KeyId) -> bool {
    let event = match store.reads.serving.view().get(&key) {
        Ok(Some(cell)) => cell.to_event(key),
        // A cell that was dropped is owed to nobody; the follower sees that too, and forgives the debt.
        Ok(None) => return true,
        Err(error) => {
            tracing::error!("Cannot repair {key}: {error}");
            return true;
        }
    };
    let paid = store.writer.repair(event, Deadline::within(PATIENCE)).await;
    match &paid {
        Ok(_) => tracing::debug!("Repaired {key}: its winning event stands last in the log again"),
        Err(error) => tracing::warn!("Cannot repair {key} yet: {error}"),
    }
    paid.is_ok()
}

/// From when on a debt counts: from when the node was ready, or from when it began after that.
///
/// A start folds its log before it has heard the log's time, and dates what it finds by the machine's clock. A date that
/// lies ahead says that this clock was wrong: to wait for it may take longer than the log keeps the winner.
fn counts_from(since: Timestamp, since_ready: Timestamp, now: Timestamp) -> Timestamp {
    if now < since { since_ready } else { since.max(since_ready) }
}

/// When a debt is to be paid: after 5 s, and up to 5 s later, so that the nodes of a data centre do not all do it.
fn due(key: KeyId, since: Timestamp, writer_id: WriterId) -> Timestamp {
    let [a, b, c, d, ..] = *key.as_bytes();
    let mixed = u64::from(u32::from_le_bytes([a, b, c, d])) ^ writer_id.0;
    let jitter_ms = mixed % u64::try_from(DEBT_JITTER_MAX.as_millis()).unwrap_or(u64::MAX);
    since.saturating_add(DEBT_AGE).saturating_add(Duration::from_millis(jitter_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debt_counts_from_when_the_node_was_ready_and_never_from_a_moment_to_come() {
        let at = Timestamp::from_millis;
        let (ready, now) = (at(1_000), at(5_000));
        assert_eq!(counts_from(at(10), ready, now), ready, "of a replay");
        assert_eq!(counts_from(at(3_000), ready, now), at(3_000));
        assert_eq!(counts_from(at(86_400_000), ready, now), ready, "dated by a clock that was a day ahead");
    }

    #[test]
    fn a_debt_is_due_after_its_age_and_within_the_jitter() {
        let since = Timestamp::from_millis(1_000_000);
        let mut seen = BTreeSet::new();
        for writer in 0..100_u64 {
            let due =
                due(KeyId::from_bytes([9; 16]), since, WriterId(writer.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            assert!(since.saturating_add(DEBT_AGE) <= due);
            assert!(due < since.saturating_add(DEBT_AGE).saturating_add(DEBT_JITTER_MAX));
            seen.insert(due);
        }
        assert!(50 < seen.len(), "nodes choose different moments");
    }
}
