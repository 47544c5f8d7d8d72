//! A seeded simulation of one data centre: two nodes on one log, clocks that are skewed and stepped by hours, crashes and
//! restarts.
//!
//! Everything that decides (writer, fold, fence, barrier, repair) is the real code; the log, the view, time and chance
//! are the simulation's, on one thread with paused time. The same seed gives the same trace.
//!
//! ```text
//!   SOLERA_SIM_SEED=17 cargo test --profile ci --workspace --test solera sim::one_seed -- --nocapture
//! ```

mod checkers;
mod clock;
mod log;
mod node;
mod view;
mod workload;
mod world;

use world::{Defect, Outcome, World};

/// How many seeds `make test` runs; `SOLERA_SIM_SEEDS` says another number.
const SEEDS: u64 = 1_000;

#[test]
fn no_seed_breaks_a_promise() {
    let seeds = std::env::var("SOLERA_SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    for seed in 0..seeds {
        let outcome = World::run(seed, None);
        outcome
            .violations
            .first()
            .inspect(|violation| panic!("seed {seed}: {violation}\n{}", outcome.trace.join("\n")));
        assert!(outcome.successes > 0, "seed {seed} did nothing");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..50 {
        let (first, second) = (World::run(seed, None), World::run(seed, None));
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}

#[test]
fn a_version_chosen_without_a_look_is_caught() {
    assert_caught(Defect::NoLook);
}

#[test]
fn a_position_written_before_its_data_is_caught() {
    assert_caught(Defect::PositionBeforeData);
}

#[test]
fn a_log_compacted_without_repair_is_caught() {
    assert_caught(Defect::NoRepair);
}

/// Runs one seed and prints what happened.
#[test]
fn one_seed() {
    let Some(seed) = std::env::var("SOLERA_SIM_SEED").ok().and_then(|seed| seed.parse().ok()) else { return };
    let Outcome { trace, violations, successes } = World::run(seed, None);
    println!("{}\n{successes} operations succeeded", trace.join("\n"));
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// At least 1 % of the seeds must notice.
fn assert_caught(defect: Defect) {
    const TRIED: u64 = 300;
    let caught = (0..TRIED).filter(|&seed| !World::run(seed, Some(defect)).violations.is_empty()).count();
    println!("{defect:?}: caught by {caught} of {TRIED} seeds");
    assert!(TRIED <= 100 * caught as u64, "{defect:?} was caught by {caught} of {TRIED} seeds");
}
