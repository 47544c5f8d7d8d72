//! A model of the delete: all histories of a few writes, deletes and orders of an operator, in a few data centres.
//!
//! ```text
//!   state      what stands in the logs, how far it was read, what is on its way; log, stamp: records and versions in a few bits
//!   world      how much may happen; defect: mistakes that the promises must catch; step: what happens, in words
//!   reading    looks and folds            writes, deletes, calls, orders   who takes steps, by which rules
//!   promises   what holds in every state  search                           all states, breadth first
//! ```
//!
//! ```text
//!   SOLERA_MODEL=large cargo test --profile ci --workspace --locked --test solera model:: -- --nocapture --test-threads 1
//! ```

mod state;

mod log;
mod stamp;
mod step;

mod defect;
mod world;

mod calls;
mod deletes;
mod orders;
mod reading;
mod writes;

mod promises;
mod search;

use std::collections::BTreeSet;

use schemas::DcState::{Down, Up};

use defect::Defect;
use promises::Broken;
use search::{Found, search};
use step::Step;
use world::{Model, Reads, World};

/// Two clocks that are as far apart as two can be that are each clamped to a log's time.
const CLOCKS: &[u16] = &[1, 11];

const TWO: World = World {
    name: "2 data centres of several nodes",
    dcs: 2,
    reads: Reads::Dc,
    writes: 2,
    deletes: 1,
    orders: &[],
    lost: 2,
    renewed: 0,
    clocks: CLOCKS,
    in_full: false,
};

const THREE: World = World { name: "3 data centres of one node", dcs: 3, reads: Reads::Node, lost: 1, ..TWO };

const TWO_DOWN: World = World {
    name: "2 data centres of several nodes, one is down and up",
    orders: &[(1, Down), (1, Up)],
    writes: 1,
    lost: 2,
    renewed: 1,
    ..TWO
};

const TWO_DOWN_WRITES: World = World {
    name: "the same with two writes, and no call that is lost",
    writes: 2,
    lost: 0,
    renewed: 0,
    ..TWO_DOWN
};

const THREE_DOWN: World = World {
    name: "3 data centres of one node, one is down and up",
    orders: &[(2, Down), (2, Up)],
    writes: 1,
    lost: 0,
    ..THREE
};

const TWO_DOWN_ONE_UP: World = World {
    name: "3 data centres of one node, two are down and one comes up",
    orders: &[(1, Down), (2, Down), (1, Up)],
    ..THREE_DOWN
};

const TWO_OF_THREE_DOWN: World = World {
    name: "3 data centres of one node, two are down and come up together",
    orders: &[(1, Down), (2, Down), (1, Up), (2, Up)],
    ..THREE_DOWN
};

const TWO_TWICE: World = World {
    name: "2 data centres of several nodes, one is down twice, two deletes",
    deletes: 2,
    orders: &[(1, Down), (1, Up), (1, Down)],
    writes: 1,
    lost: 0,
    ..TWO
};

/// What `make test` goes through, and how many states each has at least: where that drops, less happens than was meant to.
const WORLDS: [(World, usize); 7] = [
    (TWO, 160_000),
    (THREE, 1_400_000),
    (TWO_DOWN, 700_000),
    (TWO_DOWN_WRITES, 500_000),
    (THREE_DOWN, 900_000),
    (TWO_DOWN_ONE_UP, 1_000_000),
    (TWO_TWICE, 8_000_000),
];

/// What `make nightly` goes through besides.
const LARGE: [(World, usize); 5] = [
    (TWO_OF_THREE_DOWN, 50_000_000),
    (
        World { name: "2 data centres, three clocks, four lost calls", lost: 4, clocks: &[1, 6, 11], ..TWO },
        600_000,
    ),
    (World { name: "3 data centres, two lost calls", lost: 2, ..THREE }, 8_000_000),
    (
        World {
            name: "2 data centres, one is down and up, two writes, a lost call",
            lost: 1,
            ..TWO_DOWN_WRITES
        },
        4_000_000,
    ),
    (World { name: "3 data centres, one is down and up, a lost call", lost: 1, ..THREE_DOWN }, 18_000_000),
];

#[test]
fn no_history_breaks_a_promise() {
    let happens = search_all(&WORLDS);
    // Where nothing happens nothing breaks.
    for kind in [
        "204",
        "503",
        "a lost call",
        "something newer",
        "a second round",
        "204 that skipped",
        "a second round that skips",
        "asked after all",
        "a return",
        "told of others",
        "a coordinator that died",
        "declared again",
    ] {
        assert!(happens.contains(kind), "{kind}");
    }
}

#[test]
fn no_history_of_larger_worlds_breaks_a_promise() {
    if std::env::var("SOLERA_MODEL").as_deref() == Ok("large") {
        assert!(search_all(&LARGE).contains("an order that was lost"));
    }
}

/// What happens in these worlds, in none of which anything breaks.
fn search_all(worlds: &[(World, usize)]) -> BTreeSet<&'static str> {
    let (mut happens, mut states, mut small) = (BTreeSet::new(), 0, Vec::new());
    for (world, at_least) in worlds {
        let found = run(*world, None);
        assert!(found.broken.is_none(), "{}: {found}", world.name);
        small.extend((found.states < *at_least).then_some(world.name));
        states += found.states;
        happens.extend(found.kinds.into_keys());
    }
    println!("{states} states");
    assert!(small.is_empty(), "less happens than was meant to: {small:?}");
    happens
}

/// Where a mistake shows, in a world that is as small as that allows.
const fn shows_in(defect: Defect) -> World {
    match defect {
        Defect::NoSecondRound
        | Defect::PeerDoesNotLook
        | Defect::SecondVersionTooLow
        | Defect::SilentDoesNotLook => TWO,
        Defect::AnswersBeforeItApplied => World { writes: 1, ..THREE },
        Defect::SkipDecidedBefore
        | Defect::NoMargin
        | Defect::BackAtNoMark
        | Defect::KnownToOneNode
        | Defect::HoldsByPlace => World { lost: 0, ..TWO_DOWN },
        Defect::BackAtOneMark => TWO_OF_THREE_DOWN,
        Defect::NoStep => TWO_TWICE,
    }
}

#[test]
fn every_mistake_is_caught() {
    for defect in [
        Defect::NoSecondRound,
        Defect::PeerDoesNotLook,
        Defect::AnswersBeforeItApplied,
        Defect::SecondVersionTooLow,
        Defect::SilentDoesNotLook,
        Defect::BackAtNoMark,
        Defect::BackAtOneMark,
        Defect::SkipDecidedBefore,
        Defect::NoMargin,
        Defect::NoStep,
        Defect::KnownToOneNode,
        Defect::HoldsByPlace,
    ] {
        let found = run(shows_in(defect), Some(defect));
        let (broken, history) = found.broken.unwrap_or_else(|| panic!("{defect:?} is not caught"));
        assert!(matches!(broken, Broken::Returned { .. }), "{defect:?} shows otherwise: {broken}");
        assert!(
            history.iter().any(|step| matches!(step, Step::Deleted { .. })),
            "{defect:?} needs no delete"
        );
    }
}

/// What is left out of the searches because it cannot matter does not: deliveries that nobody looks at, and what comes after the last
/// moment in which something can break.
#[test]
fn nothing_that_is_left_out_changes_a_verdict() {
    let small = |world| World { writes: 1, lost: 0, in_full: true, ..world };
    for world in [TWO, TWO_DOWN] {
        let found = run(small(world), None);
        assert!(found.broken.is_none() && 1_000 < found.states, "{}: {found}", world.name);
    }
    for defect in [
        Defect::NoSecondRound,
        Defect::PeerDoesNotLook,
        Defect::SecondVersionTooLow,
        Defect::SkipDecidedBefore,
        Defect::NoMargin,
        Defect::BackAtNoMark,
        Defect::KnownToOneNode,
        Defect::HoldsByPlace,
    ] {
        let found = run(small(shows_in(defect)), Some(defect));
        assert!(found.broken.is_some(), "{defect:?}: {found}");
    }
}

fn run(world: World, defect: Option<Defect>) -> Found {
    let found = search(&Model::of(world, defect));
    let with = defect.map(|defect| format!(", with {defect:?}")).unwrap_or_default();
    println!("{}{with}: {found}", world.name);
    found
}
