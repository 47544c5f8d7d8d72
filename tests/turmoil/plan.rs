//! What a seed has in store: who calls when, and what happens to whom meanwhile. Pure.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use writer::peer::Round;

/// Faults begin after the first calls have been answered, and the last of them ends here.
pub(crate) const HEALED: Duration = Duration::from_millis(7_000);

/// From here on all peers must do what they are asked.
pub(crate) const SETTLED: Duration = HEALED.saturating_add(RECOVERY_MAX);

/// Who was silent or confirmed nothing is asked again within so long after it could answer: once a second, and the attempt
/// before that may have been a moment too early and takes a second to fail.
pub(crate) const RECOVERY_MAX: Duration = Duration::from_millis(2_500);

/// When the last call is made.
pub(crate) const LAST_CALL: Duration = Duration::from_millis(10_500);

/// The longest that a call may take, and a bit.
pub(crate) const END: Duration = LAST_CALL.saturating_add(Duration::from_millis(2_600));

/// Below it are keys of which every data centre holds something newer than any call asks for.
pub(crate) const NEWER_KEYS: u8 = 2;

const KEYS: u8 = 12;

/// Everything that happens in a world.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The data centres that are asked, and each one's two nodes.
    pub(crate) dcs: Vec<(&'static str, [NodePlan; 2])>,
    /// In the order of their times.
    pub(crate) calls: Vec<Call>,
}

/// What happens to a node, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct NodePlan {
    /// How long a message to or from it takes.
    pub(crate) latency: Duration,
    /// What befalls it.
    pub(crate) faults: Vec<Fault>,
}

/// Something is wrong for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// What.
    pub(crate) kind: Kind,
    /// From when on, since the world began.
    pub(crate) from: Duration,
    /// Until when.
    pub(crate) until: Duration,
}

/// What can be wrong with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing goes to it or comes from it.
    Cut,
    /// Nothing goes to it.
    Deaf,
    /// Nothing comes from it: it acts, and nobody hears of it.
    Mute,
    /// What goes to it or comes from it stands still, and arrives when this is over.
    Held,
    /// A message takes so long.
    Slow(Duration),
    /// The machine is gone, with all that was in memory. When it is back, it takes so long to start.
    Gone(Duration),
    /// The process is gone, and the machine refuses connections. When it is back, it takes so long to start.
    Dead(Duration),
    /// Its log takes records, and does not say what became of them.
    Stuck,
    /// Its log takes nothing.
    Full,
}

/// A delete that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// Of which data centre, by its place in the plan.
    pub(crate) dc: usize,
    /// When.
    pub(crate) at: Duration,
    /// How long whoever asks waits.
    pub(crate) patience: Duration,
    /// Of which session.
    pub(crate) key: u8,
    /// Which tombstone: later ones are of later calls. Some are asked for twice.
    pub(crate) tombstone: u64,
    /// In which round.
    pub(crate) round: Round,
}

impl Plan {
    /// What `seed` has in store.
    pub(crate) fn of(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let count = if chance.random_ratio(1, 4) { 2 } else { 1 };
        let dcs: Vec<_> =
            ["codfw", "esams"].into_iter().take(count).map(|dc| (dc, nodes(&mut chance))).collect();
        let mut calls: Vec<_> = (0..count).flat_map(|dc| calls(&mut chance, dc)).collect();
        calls.sort_by_key(|call| call.at);
        Self { dcs, calls }
    }
}

/// Two nodes of a data centre, which suffer apart or, one time in three, together.
fn nodes(chance: &mut StdRng) -> [NodePlan; 2] {
    let latency = Duration::from_millis(chance.random_range(1..40));
    let first = faults(chance);
    let second = if chance.random_ratio(1, 3) { first.clone() } else { faults(chance) };
    [first, second].map(|faults| NodePlan { latency, faults })
}

fn faults(chance: &mut StdRng) -> Vec<Fault> {
    let some_ms = |chance: &mut StdRng, from, to| Duration::from_millis(chance.random_range(from..to));
    let mut faults = Vec::new();
    let mut from = some_ms(chance, 500, 3_000);
    while from < HEALED {
        let kind = match chance.random_range(0..10) {
            0 => Kind::Cut,
            1 => Kind::Deaf,
            2 => Kind::Mute,
            3 | 4 => Kind::Held,
            5 => Kind::Slow(some_ms(chance, 50, 1_500)),
            6 => Kind::Gone(some_ms(chance, 0, 1_000)),
            7 => Kind::Dead(some_ms(chance, 0, 1_000)),
            8 => Kind::Stuck,
            _ => Kind::Full,
        };
        let lasts = if chance.random_ratio(1, 3) { 2_000..6_000 } else { 50..2_000 };
        let until = from.saturating_add(some_ms(chance, lasts.start, lasts.end)).min(HEALED);
        // It is back early enough to be ready by then.
        let kind = match kind {
            Kind::Gone(starts) => Kind::Gone(starts.min(until - from)),
            Kind::Dead(starts) => Kind::Dead(starts.min(until - from)),
            other => other,
        };
        faults.push(Fault { kind, from, until: until - kind.starts_for() });
        from = until + some_ms(chance, 50, 2_500);
    }
    faults
}

fn calls(chance: &mut StdRng, dc: usize) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut at = Duration::from_millis(chance.random_range(50..150));
    while at < LAST_CALL {
        let patience = Duration::from_millis(match chance.random_range(0..4) {
            0 => chance.random_range(1..300),
            1 => 2_500,
            _ => 1_500,
        });
        let key = chance.random_range(0..KEYS);
        let round = if chance.random_ratio(1, 8) { Round::Second } else { Round::First };
        let tombstone = u64::try_from(at.as_millis()).expect("a time of the plan");
        let new = Call { dc, at, patience, key, tombstone, round };
        let again = calls.last().filter(|_| chance.random_ratio(1, 8));
        calls.push(again.map_or(new, |last| Call { at, patience, ..*last }));
        at += Duration::from_millis(chance.random_range(1..160));
    }
    calls
}

impl Kind {
    /// How long the node is not ready when this is over.
    fn starts_for(self) -> Duration {
        match self {
            Self::Gone(starts_for) | Self::Dead(starts_for) => starts_for,
            _ => Duration::ZERO,
        }
    }
}

impl Fault {
    /// Whether anything of it falls into that time.
    pub(crate) fn touches(&self, from: Duration, until: Duration) -> bool {
        self.from <= until && from <= self.until + self.kind.starts_for()
    }
}
