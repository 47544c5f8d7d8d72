//! The same for two or three data centres of one node to three: clocks of brokers and nodes up to an hour off, mirrors that
//! lag, repeat and stop, calls that are lost before they took effect or after, nodes that die while they delete.
//!
//! ```text
//!   SOLERA_SIM_SEED=17 cargo test --profile ci --workspace --test solera sim::dcs::one_seed -- --nocapture
//! ```

use std::collections::BTreeMap;

mod cable;
mod checkers;
mod ending;
mod hand;
mod mirror;
mod pause;
mod small_scope;
mod world;

use super::{command, defect::Defect, world::Outcome};
use world::World;

/// How many seeds `make test` runs; `SOLERA_SIM_SEEDS` says another number.
const SEEDS: u64 = 2_000;

#[test]
fn no_seed_breaks_a_promise_among_data_centres() {
    let seeds = std::env::var("SOLERA_SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    for seed in 0..seeds {
        let outcome = World::run(seed, None);
        outcome.violations.first().inspect(|violation| {
            let trace = outcome.trace.join("\n");
            panic!("{violation}\n{trace}\nagain: {}", command("sim::dcs::one_seed", seed))
        });
        assert!(outcome.successes > 0, "seed {seed} did nothing");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_among_data_centres() {
    for seed in 0..30 {
        let (first, second) = (World::run(seed, None), World::run(seed, None));
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}

/// A simulation in which nothing happens finds nothing.
#[test]
fn what_runs_are_made_for_happens_among_data_centres() {
    const TRIED: u64 = 300;
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..TRIED {
        World::run(seed, None).seen.into_keys().for_each(|what| *seen.entry(what).or_default() += 1);
    }
    println!("in so many of {TRIED} seeds: {seen:#?}");
    let often = [
        ("a delete", 200),
        ("a delete while a mirror stood still", 60),
        ("a peer that had something newer", 100),
        ("a second round", 100),
        ("a call that was lost before it took effect", 60),
        ("a call whose answer was lost", 60),
        ("a call that came late", 50),
        ("a call that was made twice", 60),
        ("a crash in a delete", 80),
        ("a peer that died while it was asked", 30),
        ("another node of a peer was asked when one had died", 10),
        ("a record that was copied again", 80),
        ("a record that a mirror lost", 50),
        ("a mirror that lost its place", 2),
        ("a crash with a repair on its way", 40),
        ("a crash with debts", 50),
        ("an empty view", 60),
        ("an old view", 20),
        ("a view that is behind the log at a start", 5),
        ("a record that was compacted away", 60),
        ("a record that was too old", 12),
        ("a tombstone that has left the log", 4),
        ("a cell that was dropped", 12),
    ];
    for (what, at_least) in often {
        let in_seeds = seen.get(what).copied().unwrap_or_default();
        assert!(at_least <= in_seeds, "{what}: in {in_seeds} of {TRIED} seeds");
    }
}

#[test]
fn a_delete_without_a_second_round_is_caught() {
    assert_caught(Defect::NoSecondRound);
}

#[test]
fn a_second_round_below_something_newer_is_caught() {
    assert_caught(Defect::SecondVersionTooLow);
}

#[test]
fn a_peer_that_does_not_look_first_is_caught() {
    assert_caught(Defect::PeerDoesNotLook);
}

#[test]
fn a_peer_that_answers_before_it_applied_is_caught() {
    assert_caught(Defect::PeerAnswersBeforeItApplied);
}

#[test]
fn a_repair_of_a_new_version_is_caught() {
    assert_caught(Defect::RepairUsesANewVersion);
}

#[test]
fn an_end_of_retention_that_each_settles_for_itself_is_caught() {
    assert_caught(Defect::RetainUntilRecomputed);
}

#[test]
fn copies_that_are_kept_by_their_origins_time_are_caught() {
    assert_caught(Defect::CopiesByTheOriginsTime);
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
