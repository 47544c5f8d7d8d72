//! How data centres speak to each other, on a simulated network: the real client (deadline, second node, suspects) and the
//! real peer listener with the real store behind it, while links are cut, one way or both, stand still and are let go, slow
//! down, and nodes and machines die and come back.
//!
//! Hosts, links and time are turmoil's, on one thread. The same seed gives the same trace.
//!
//! ```text
//!   plan      what a seed has in store, pure     asking    the node that asks, and what it heard
//!   world     makes it happen                    node      those that are asked; site: what they share
//!   checkers  what must hold of it, pure         line, log, clock: between them
//!
//!   SOLERA_TURMOIL_SEED=17 cargo test --profile ci --workspace --test solera turmoil::one_seed -- --nocapture
//! ```

use std::collections::BTreeMap;

mod asking;
mod by_hand;
mod checkers;
mod clock;
mod defect;
mod line;
mod log;
mod node;
mod plan;
mod site;
mod world;

use defect::Defect;
use world::Outcome;

/// How many seeds `make test` runs; `SOLERA_TURMOIL_SEEDS` says another number.
const SEEDS: u64 = 500;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|number| number.parse().ok())
}

#[test]
fn no_seed_breaks_a_promise_between_peers() {
    for seed in 0..number("SOLERA_TURMOIL_SEEDS").unwrap_or(SEEDS) {
        let Outcome { trace, violations, .. } = world::run(seed, None);
        violations.first().inspect(|violation| {
            panic!(
                "{violation}\n{}\nagain: SOLERA_TURMOIL_SEED={seed} cargo test --profile ci --workspace --test solera \
                 turmoil::one_seed -- --nocapture",
                trace.join("\n")
            )
        });
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_between_peers() {
    for seed in 0..20 {
        let (first, second) = (world::run(seed, None), world::run(seed, None));
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}

/// A simulation in which nothing happens finds nothing.
#[test]
fn what_runs_are_made_for_happens_between_peers() {
    const TRIED: u64 = 60;
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..TRIED {
        let happened = world::run(seed, None).seen;
        happened.into_iter().for_each(|(what, times)| *seen.entry(what).or_default() += u64::from(0 < times));
    }
    println!("in so many of {TRIED} seeds: {seen:#?}");
    assert!(seen.values().all(|&in_seeds| 6 <= in_seeds), "{seen:#?}");
}

#[test]
fn a_call_without_a_deadline_is_caught() {
    assert_caught(Defect::NoDeadline);
}

#[test]
fn silence_taken_for_success_is_caught() {
    assert_caught(Defect::SilenceIsDone);
}

#[test]
fn silence_taken_for_a_refusal_is_caught() {
    assert_caught(Defect::SilenceIsRefused);
}

#[test]
fn a_second_node_that_is_never_asked_is_caught() {
    assert_caught(Defect::OneNode);
}

#[test]
fn a_suspect_that_is_asked_all_the_same_is_caught() {
    assert_caught(Defect::AlwaysAsks);
}

#[test]
fn a_suspect_that_is_never_asked_again_is_caught() {
    assert_caught(Defect::NeverGreets);
}

/// Runs one seed and prints what happened.
#[test]
fn one_seed() {
    let Some(seed) = number("SOLERA_TURMOIL_SEED") else {
        return;
    };
    let Outcome { trace, violations, seen } = world::run(seed, None);
    println!("{:#?}\n{}\n{seen:#?}", plan::Plan::of(seed).dcs, trace.join("\n"));
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// At least 1 % of the seeds must notice.
fn assert_caught(defect: Defect) {
    const TRIED: u64 = 30;
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 0..TRIED {
        if let Some(first) = world::run(seed, Some(defect)).violations.first() {
            let kind = first.split(':').next().unwrap_or_default();
            *found.entry(kind.to_owned()).or_default() += 1;
        }
    }
    let caught: u64 = found.values().sum();
    println!("{defect:?}: caught by {caught} of {TRIED} seeds, first as {found:?}");
    assert!(TRIED <= 100 * caught, "{defect:?} was caught by {caught} of {TRIED} seeds");
}
