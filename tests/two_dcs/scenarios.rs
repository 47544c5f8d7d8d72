//! Which faults happen, one after the other, for how long, and how soon all is as it should be again.

use std::time::Duration;

use super::{
    faults::Fault,
    history::Dc::{Codfw, Eqiad},
};

/// One fault, under load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) fault: Fault,
    /// How long it lasts at least.
    pub(super) lasts: Duration,
    /// How many requests begin under it at least.
    pub(super) requests: u64,
    /// From its end to the same answers from all nodes.
    pub(super) converges_within: Duration,
}

/// From the last fault to the same answers everywhere.
const CONVERGES: Duration = Duration::from_secs(10);

/// From the start of MirrorMaker, which takes 15 s to begin, or of its tasks.
const MIRROR_CONVERGES: Duration = Duration::from_secs(30);

/// The same where tests run beside it: most of these 15 s are work.
const MIRROR_CONVERGES_IN_TESTS: Duration = Duration::from_secs(90);

/// Under each fault; the whole of a brief run has some thousands.
const BRIEFLY: u64 = 200;

const AT_LENGTH: u64 = 1000;

/// Every kind of fault once, for so long as it takes to bite.
pub(super) fn brief() -> Vec<Scenario> {
    vec![
        of("cut both ways", Fault::CutBothWays, 5, CONVERGES),
        of("cut one way", Fault::CutOneWay(Codfw), 3, CONVERGES),
        of("answers lost after the append", Fault::LoseAnswers(Codfw), 3, CONVERGES),
        of("150 ms more there and back", Fault::SlowDown, 3, CONVERGES),
        of("half open", Fault::HalfOpen(Eqiad), 3, CONVERGES),
        of("node killed amid deletes", Fault::KillNodeAmidDeletes, 1, CONVERGES),
        of("clocks 10 minutes off", Fault::SkewClocks, 4, CONVERGES),
        of("MirrorMaker frozen", Fault::FreezeMirror(Codfw), 4, CONVERGES),
        of("broker of codfw frozen", Fault::FreezeBroker(Codfw), 5, CONVERGES),
        of("broker of eqiad killed", Fault::KillBroker(Eqiad), 2, CONVERGES),
        of("MirrorMaker killed", Fault::KillMirror(Eqiad), 2, MIRROR_CONVERGES_IN_TESTS),
    ]
}

/// All of them in both data centres, and longer: past the sessions that brokers and MirrorMaker keep with each other.
pub(super) fn whole() -> Vec<Scenario> {
    let mut all = vec![
        of("cut both ways", Fault::CutBothWays, 20, CONVERGES),
        of("cut both ways, and mirrors", Fault::CutAll, 20, CONVERGES),
        of("150 ms more there and back", Fault::SlowDown, 20, CONVERGES),
        of("node killed amid deletes", Fault::KillNodeAmidDeletes, 5, CONVERGES),
        of("clocks 10 minutes off", Fault::SkewClocks, 20, CONVERGES),
    ];
    for dc in [Eqiad, Codfw] {
        all.extend([
            of("cut one way", Fault::CutOneWay(dc), 10, CONVERGES),
            of("answers lost after the append", Fault::LoseAnswers(dc), 10, CONVERGES),
            of("half open", Fault::HalfOpen(dc), 10, CONVERGES),
            of("MirrorMaker frozen", Fault::FreezeMirror(dc), 15, CONVERGES),
            of("MirrorMaker killed", Fault::KillMirror(dc), 10, MIRROR_CONVERGES),
            // MirrorMaker loses its session with that broker, and starts its tasks anew.
            of("broker frozen", Fault::FreezeBroker(dc), 30, MIRROR_CONVERGES),
            of("broker killed", Fault::KillBroker(dc), 10, CONVERGES),
        ]);
    }
    all.into_iter().map(|scenario| Scenario { requests: AT_LENGTH, ..scenario }).collect()
}

/// One cut after the other, until so many deletes were asked for.
pub(super) const fn random_cuts() -> Scenario {
    of("cuts of chance", Fault::RandomCuts, 0, CONVERGES)
}

const fn of(name: &'static str, fault: Fault, lasts_s: u64, converges_within: Duration) -> Scenario {
    Scenario { name, fault, lasts: Duration::from_secs(lasts_s), requests: BRIEFLY, converges_within }
}
