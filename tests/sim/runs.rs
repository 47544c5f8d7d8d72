//! What is done with the runs of a world, whichever it is: many seeds, the same one twice, one by hand, and those of a broken world.

use std::{collections::BTreeMap, env};

use super::{defect::Defect, world::Outcome};

/// How many seeds are tried to find something out.
const TRIED: u64 = 300;

/// Runs so many seeds, or as many as `SOLERA_SIM_SEEDS` says. A violation is shown with what runs its seed again: the test
/// `one_seed`.
pub(crate) fn no_seed_breaks_a_promise(seeds: u64, one_seed: &str, run: impl Fn(u64) -> Outcome) {
    let seeds = env::var("SOLERA_SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(seeds);
    for seed in 0..seeds {
        let outcome = run(seed);
        outcome.violations.first().inspect(|violation| {
            let trace = outcome.trace.join("\n");
            panic!("{violation}\n{trace}\nagain: {}", command(one_seed, seed))
        });
        assert!(outcome.successes > 0, "seed {seed} did nothing");
    }
}

fn command(test: &str, seed: u64) -> String {
    format!("SOLERA_SIM_SEED={seed} cargo test --profile ci --workspace --test solera {test} -- --nocapture")
}

/// Runs each of so many seeds twice.
pub(crate) fn the_same_seed_gives_the_same_trace(seeds: u64, run: impl Fn(u64) -> Outcome) {
    for seed in 0..seeds {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}

/// A simulation in which nothing happens finds nothing: what must happen, and in how many seeds at least.
pub(crate) fn these_happen(often: &[(&str, u64)], run: impl Fn(u64) -> Outcome) {
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..TRIED {
        run(seed).seen.into_keys().for_each(|what| *seen.entry(what).or_default() += 1);
    }
    println!("in so many of {TRIED} seeds: {seen:#?}");
    for (what, at_least) in often {
        let in_seeds = seen.get(what).copied().unwrap_or_default();
        assert!(*at_least <= in_seeds, "{what}: in {in_seeds} of {TRIED} seeds");
    }
}

/// Runs the seed that `SOLERA_SIM_SEED` names, if it does, and prints what happened.
pub(crate) fn one_seed(run: impl Fn(u64) -> Outcome) {
    let Some(seed) = env::var("SOLERA_SIM_SEED").ok().and_then(|seed| seed.parse().ok()) else { return };
    let Outcome { trace, violations, successes, seen } = run(seed);
    println!("{}\n{successes} operations succeeded\n{seen:#?}", trace.join("\n"));
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// At least 1 % of the seeds must notice.
pub(crate) fn is_caught(defect: Defect, run: impl Fn(u64, Option<Defect>) -> Outcome) {
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 0..TRIED {
        if let Some(first) = run(seed, Some(defect)).violations.first() {
            let kind = first.split(':').next().unwrap_or_default();
            *found.entry(kind.to_owned()).or_default() += 1;
        }
    }
    let caught: u64 = found.values().sum();
    println!("{defect:?}: caught by {caught} of {TRIED} seeds, first as {found:?}");
    assert!(TRIED <= 100 * caught, "{defect:?} was caught by {caught} of {TRIED} seeds");
}

/// What checkers say of a history: something with this word, or nothing.
pub(crate) fn says(name: &str, found: &[String], expected: Option<&str>) {
    match expected {
        Some(word) => assert!(found.iter().any(|text| text.contains(word)), "{name}: {found:?}"),
        None => assert!(found.is_empty(), "{name}: {found:?}"),
    }
}
