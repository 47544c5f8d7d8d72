//! A seeded simulation of one data centre: one node or two on a log that is cleaned as Kafka cleans, clocks that are
//! skewed and stepped by hours, crashes, views that come back empty or old, pauses of up to two days.
//!
//! Everything that decides (writer, fold, fence, barrier, repair, rebuild) is the real code; the log, the view, time and
//! chance are the simulation's, on one thread with paused time. The same seed gives the same trace.
//!
//! ```text
//!   SOLERA_SIM_SEED=17 cargo test --profile ci --workspace --test solera sim::one_seed -- --nocapture
//! ```

mod broker;
mod chance;
mod checkers;
mod clock;
mod dcs;
mod defect;
mod ending;
mod hand;
mod log;
mod misled;
mod node;
mod pause;
mod runs;
mod seen;
mod small_scope;
mod view;
mod workload;
mod world;

use defect::Defect;
use world::World;

/// How many seeds `make test` runs; `SOLERA_SIM_SEEDS` says another number.
const SEEDS: u64 = 1_000;

#[test]
fn no_seed_breaks_a_promise() {
    runs::no_seed_breaks_a_promise(SEEDS, "sim::one_seed", |seed| World::run(seed, None));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    runs::the_same_seed_gives_the_same_trace(50, |seed| World::run(seed, None));
}

#[test]
fn what_runs_are_made_for_happens() {
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
    runs::these_happen(&often, |seed| World::run(seed, None));
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
    runs::one_seed(|seed| World::run(seed, None));
}

fn assert_caught(defect: Defect) {
    runs::is_caught(defect, World::run);
}
