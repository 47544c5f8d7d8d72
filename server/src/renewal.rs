//! Declarations that have to be appended again: those in force, before the log would drop them; and those behind which an older
//! one stands, that came late: compaction keeps the last record, and would bring back what is over.

use std::{sync::Arc, time::Duration};

use materializer::Noted;
use schemas::{DcState, Declaration, Partition, Timestamp, caps::DECLARATION_AGE_MAX};
use tokio::time::{MissedTickBehavior, interval};
use writer::Deadline;

use crate::store::StoreNode;

/// How often declarations are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How long it may take to append one again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Appends to the own logs of these stores what is due. Never ends.
pub async fn renew(stores: &[Arc<StoreNode>]) {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        for store in stores {
            for (partition, declaration) in due(store) {
                // Another node may have appended it meanwhile, or something newer.
                let noted = store.declared.get(&store.reads.own, partition, &declaration.dc);
                let now = store.reads.clock.now();
                if noted.is_none_or(|noted| noted.declaration != declaration || !is_due(&noted, now)) {
                    continue;
                }
                let deadline = Deadline::within(PATIENCE);
                let again = store.writer.declare_in(partition, &declaration, None, deadline).await;
                if let Err(error) = again {
                    tracing::warn!(
                        "Cannot declare {} {} again yet: {error}",
                        declaration.dc,
                        declaration.state
                    );
                }
            }
        }
    }
}

/// The declarations of a store's own log that are due.
pub fn due(store: &StoreNode) -> Vec<(Partition, Declaration)> {
    let now = store.reads.clock.now();
    let own = store.declared.all().into_iter().filter(|((topic, _), _)| *topic == store.reads.own);
    let noted =
        own.flat_map(|((_, partition), noted)| noted.into_values().map(move |noted| (partition, noted)));
    noted
        .filter(|(_, noted)| is_due(noted, now))
        .map(|(partition, noted)| (partition, noted.declaration))
        .collect()
}

fn is_due(Noted { declaration, appended }: &Noted, now: Timestamp) -> bool {
    let is_old = appended.saturating_add(DECLARATION_AGE_MAX) <= now;
    *appended == Noted::NOT_LAST || (declaration.state == DcState::Down && is_old)
}

#[cfg(test)]
mod tests {
    use schemas::{Hlc, Version, WriterId};

    use super::*;

    #[test]
    fn what_is_in_force_is_due_when_it_is_old_and_what_is_not_the_last_at_once() {
        let id = Version { hlc: Hlc::from_bits(7), writer: WriterId(1) };
        let noted = |state, appended| {
            let declaration = Declaration { dc: "codfw".parse().unwrap(), state, id };
            Noted { declaration, appended }
        };
        let taken = Timestamp::from_millis(1_000_000);
        let (old, young) = (taken.saturating_add(DECLARATION_AGE_MAX), taken.saturating_add(LOOK_EVERY));
        for (state, appended, now, expected) in [
            (DcState::Down, taken, young, false),
            (DcState::Down, taken, old, true),
            (DcState::Up, taken, old, false),
            (DcState::Down, Noted::NOT_LAST, young, true),
            (DcState::Up, Noted::NOT_LAST, young, true),
        ] {
            assert_eq!(is_due(&noted(state, appended), now), expected, "{state} {appended}");
        }
    }
}
