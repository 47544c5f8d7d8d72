//! Two data centres on real Kafka with MirrorMaker between them, two nodes each, under load, while cables are cut,
//! MirrorMakers, brokers and nodes are killed and frozen, and clocks are wrong. No 204 is false, nothing comes back, nothing
//! that was acknowledged is lost, and whoever is not hit meets no error.
//!
//! ```text
//!   make chaos                       every fault in both data centres, and 10,000 deletes under cuts of chance
//!   SOLERA_CHAOS=all                 the same, of `cargo test`; without it each kind of fault once, and briefly
//!   SOLERA_CHAOS_DELETES=10000       so many deletes under cuts of chance
//!   SOLERA_CHAOS_ONLY=broker         only the faults with this word in their names
//!   SOLERA_CHAOS_SEED=7              which cuts, and what clients ask
//!   SOLERA_KAFKA=none                leaves these tests out
//! ```
//!
//! ```text
//!   eqiad                                    codfw
//!   node 0, node 1  ── calls, by cables ──▶  node 0, node 1
//!                   ◀── of this test ──────
//!   broker ─────────── MirrorMaker ───────▶  broker
//!          ◀────────── MirrorMaker ────────
//! ```

mod history;

mod judge;

mod declared;
mod faults;
mod load;
mod report;
mod run;
mod scenarios;
mod sites;

use std::env;

use run::Run;

/// A run of fewer requests says nothing.
const REQUESTS_MIN: usize = 1000;

/// Deletes under cuts of chance, briefly.
const DELETES: u64 = 500;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
struct Extent {
    is_whole: bool,
    deletes: u64,
    seed: u64,
}

impl Extent {
    fn asked_for() -> Self {
        let number = |name| env::var(name).ok().map(|number| number.parse().expect("a number"));
        let is_whole = env::var("SOLERA_CHAOS").is_ok_and(|extent| extent == "all");
        let deletes = number("SOLERA_CHAOS_DELETES").unwrap_or(if is_whole { 10_000 } else { DELETES });
        Self { is_whole, deletes, seed: number("SOLERA_CHAOS_SEED").unwrap_or(1) }
    }
}

#[test]
fn faults_of_two_data_centres_break_no_promise_and_no_request_that_they_do_not_hit() {
    if crate::kafka::left_out() {
        return;
    }
    let Extent { is_whole, deletes, seed } = Extent::asked_for();
    println!("seed {seed}");
    let mut run = Run::start(seed);
    let scenarios = if is_whole { scenarios::whole() } else { scenarios::brief() };
    let only = env::var("SOLERA_CHAOS_ONLY").unwrap_or_default();
    for scenario in scenarios.iter().filter(|scenario| scenario.name.contains(&only)) {
        run.scenario(scenario);
    }
    let cuts = run.random_cuts(deletes);
    assert!(0 < cuts.confirmed && 0 < cuts.unconfirmed, "deletes met cuts, and missed them: {cuts:?}");
    run.without_codfw();
    let (requests, sessions) = run.end();
    assert!(REQUESTS_MIN <= requests, "too few to say anything: {requests}");
    println!(
        "{requests} requests; {sessions} sessions are the same in all four nodes at the end, and as acknowledged"
    );
}
