//! A seeded simulation of one data centre: one node or two on a log that is cleaned as Kafka cleans, clocks that are
//! skewed and stepped by hours, crashes, views that come back empty or old, pauses of up to two days.
//!
//! Everything that decides (writer, fold, fence, barrier, repair, rebuild) is the real code; the log, the view, time and
//! chance are the simulation's, on one thread with paused time. The same seed gives the same trace.
//!
//! ```text
//!   SOLERA_SIM_SEED=17 cargo test --profile ci --workspace --test solera sim::one_seed -- --nocapture
//! ```

use std::collections::BTreeMap;

mod broker;
mod chance;
mod checkers;
mod clock;
mod dcs;
mod defect;
mod ending;
mod hand;
mod log;
mod node;
mod pause;
mod seen;
mod small_scope;
mod view;
mod workload;
mod world;

use defect::Defect;
use world::{Outcome, World};

/// How many seeds `make test` runs; `SOLERA_SIM_SEEDS` says another number.
const SEEDS: u64 = 1_000;

#[test]
fn no_seed_breaks_a_promise() {
    let seeds = std::env::var("SOLERA_SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    for seed in 0..seeds {
        let outcome = World::run(seed, None);
        outcome.violations.first().inspect(|violation| {
            panic!("{violation}\n{}\nagain: {}", outcome.trace.join("\n"), command("sim::one_seed", seed))
        });
        assert!(outcome.successes > 0, "seed {seed} did nothing");
    }
}

/// What runs one seed again.
fn command(test: &str, seed: u64) -> String {
    format!("SOLERA_SIM_SEED={seed} cargo test --profile ci --workspace --test solera {test} -- --nocapture")
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..50 {
        let (first, second) = (World::run(seed, None), World::run(seed, None));
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}

/// A simulation in which nothing happens finds nothing.
#[test]
fn what_runs_are_made_for_happens() {
    const TRIED: u64 = 300;
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..TRIED {
        World::run(seed, None).seen.into_keys().for_each(|what| *seen.entry(what).or_default() += 1);
    }
    println!("in so many of {TRIED} seeds: {seen:#?}");
    let often = [
        ("a crash with a repair on its way", 30),
        ("a crash with debts", 30),
        ("an empty view", 30),
        ("an old view", 30),
        ("a record that was compacted away", 150),
        ("a tombstone that has left the log", 3),
        ("a record that was too old", 30),
        ("a view that is behind the log at a start", 10),
        ("a view that is behind the log while it is served", 2),
        ("a cell that was dropped", 10),
    ];
    for (what, at_least) in often {
        let in_seeds = seen.get(what).copied().unwrap_or_default();
        assert!(at_least <= in_seeds, "{what}: in {in_seeds} of {TRIED} seeds");
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

#[test]
fn debts_that_are_forgotten_with_the_process_are_caught() {
    assert_caught(Defect::DebtsInMemory);
}

#[test]
fn tombstones_that_leave_the_view_early_are_caught() {
    assert_caught(Defect::TombstonesLeaveTheViewEarly);
}

#[test]
fn a_log_whose_time_is_the_writers_is_caught() {
    assert_caught(Defect::WritersClock);
}

#[test]
fn a_node_that_is_ready_too_early_is_caught() {
    assert_caught(Defect::ReadyTooEarly);
}

/// Runs one seed and prints what happened.
#[test]
fn one_seed() {
    let Some(seed) = std::env::var("SOLERA_SIM_SEED").ok().and_then(|seed| seed.parse().ok()) else { return };
    let Outcome { trace, violations, successes, seen } = World::run(seed, None);
    println!("{}\n{successes} operations succeeded\n{seen:#?}", trace.join("\n"));
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// At least 1 % of the seeds must notice.
fn assert_caught(defect: Defect) {
    const TRIED: u64 = 300;
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 0..TRIED {
        if let Some(first) = World::run(seed, Some(defect)).violations.first() {
            let kind = first.split(':').next().unwrap_or_default();
            *found.entry(kind.to_owned()).or_default() += 1;
        }
    }
    let caught: u64 = found.values().sum();
    println!("{defect:?}: caught by {caught} of {TRIED} seeds, first as {found:?}");
    assert!(TRIED <= 100 * caught, "{defect:?} was caught by {caught} of {TRIED} seeds");
}
