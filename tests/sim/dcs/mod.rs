//! The same for two or three data centres of one node to three: clocks of brokers and nodes up to an hour off, mirrors that
//! lag, repeat and stop, calls that are lost before they took effect or after, nodes that die while they delete, data centres
//! that are declared down and come back.
//!
//! ```text
//!   SOLERA_SIM_SEED=17 cargo test --profile ci --workspace --test solera sim::dcs::one_seed -- --nocapture
//! ```

mod cable;
mod checkers;
mod ending;
mod hand;
mod mirror;
mod operator;
mod pause;
mod small_scope;
mod world;

use super::{defect::Defect, runs};
use world::World;

/// How many seeds `make test` runs; `SOLERA_SIM_SEEDS` says another number.
const SEEDS: u64 = 2_000;

#[test]
fn no_seed_breaks_a_promise_among_data_centres() {
    runs::no_seed_breaks_a_promise(SEEDS, "sim::dcs::one_seed", |seed| World::run(seed, None));
}

#[test]
fn the_same_seed_gives_the_same_trace_among_data_centres() {
    runs::the_same_seed_gives_the_same_trace(30, |seed| World::run(seed, None));
}

#[test]
fn what_runs_are_made_for_happens_among_data_centres() {
    let often = [
        ("a delete", 200),
        ("a delete that went on without a data centre", 20),
        ("a data centre that was declared down", 50),
        ("a data centre that came back", 50),
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
    runs::these_happen(&often, |seed| World::run(seed, None));
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

#[test]
fn a_data_centre_that_one_node_alone_holds_for_down_is_caught() {
    assert_caught(Defect::DownKnownToOneNodeOnly);
}

/// Runs one seed and prints what happened.
#[test]
fn one_seed() {
    runs::one_seed(|seed| World::run(seed, None));
}

fn assert_caught(defect: Defect) {
    runs::is_caught(defect, World::run);
}
