//! All states that a world can come to, breadth first, so that the first broken promise has the shortest history.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{Hash, Hasher},
    time::{Duration, Instant},
};

use super::{promises::Broken, state::State, step::Step, world::Model};

/// What a search came to.
#[derive(Debug)]
pub(super) struct Found {
    /// States, each counted once.
    pub(super) states: usize,
    /// Steps of the longest of all shortest histories.
    pub(super) depth: usize,
    /// How many states were first reached by a step of this kind.
    pub(super) kinds: BTreeMap<&'static str, usize>,
    pub(super) took: Duration,
    /// The first promise that is broken, and how.
    pub(super) broken: Option<(Broken, Vec<Step>)>,
}

/// Goes through all states.
pub(super) fn search(model: &Model) -> Found {
    let began = Instant::now();
    let mut visited = Visited::default();
    visited.add(State::default(), NONE);
    let (mut kinds, mut depth, mut level_ends, mut broken) = (BTreeMap::new(), 0, 1, None);
    let mut at = 0;
    while at < visited.states.len() && broken.is_none() {
        if at == level_ends {
            (depth, level_ends) = (depth + 1, visited.states.len());
        }
        let state = visited.states[at];
        let from = u32::try_from(at).expect("fewer states than that");
        if !model.world.in_full && model.is_settled(&state) {
            at += 1;
            continue;
        }
        let mut is_end = true;
        model.steps(&state, &mut |step, next| {
            is_end = false;
            if broken.is_some() || !visited.add(next, from) {
                return;
            }
            if let Some(kind) = step.kind() {
                *kinds.entry(kind).or_default() += 1;
            }
            broken = model.broken(step, &next).map(|broken| (broken, visited.states.len() - 1));
        });
        if is_end && broken.is_none() {
            broken = model.broken_at_the_end(&state).map(|broken| (broken, at));
        }
        at += 1;
    }
    let broken = broken.map(|(broken, at)| (broken, visited.history(model, at)));
    Found { states: visited.states.len(), depth: depth + 1, kinds, took: began.elapsed(), broken }
}

/// The states, each once, in the order in which they were found: an open hash table of places in that order.
#[derive(Default)]
struct Visited {
    states: Vec<State>,
    /// The place of the state that each was found from.
    parents: Vec<u32>,
    /// Places of states, or [`NONE`]. Its length is a power of two.
    table: Vec<u32>,
}

/// No state is there.
const NONE: u32 = u32::MAX;

impl Visited {
    /// Says whether it is new.
    fn add(&mut self, state: State, parent: u32) -> bool {
        if self.table.len() <= 2 * self.states.len() {
            self.grow();
        }
        let slot = self.slot_of(&state);
        if self.table[slot] != NONE {
            return false;
        }
        self.table[slot] = u32::try_from(self.states.len()).expect("fewer states than that");
        self.states.push(state);
        self.parents.push(parent);
        true
    }

    fn slot_of(&self, state: &State) -> usize {
        let mask = self.table.len() - 1;
        let mut hasher = Mixer::default();
        state.hash(&mut hasher);
        let mut slot = hasher.finish() as usize & mask;
        while self.table[slot] != NONE && self.states[self.table[slot] as usize] != *state {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        self.table = vec![NONE; (4 * self.table.len()).max(1 << 16)];
        for place in 0..self.states.len() {
            let slot = self.slot_of(&self.states[place]);
            self.table[slot] = u32::try_from(place).expect("fewer states than that");
        }
    }

    /// The steps that lead to a state: of each pair in a row, one that leads from the first to the second.
    fn history(&self, model: &Model, at: usize) -> Vec<Step> {
        let mut places = vec![at];
        while let Some(parent) = places.last().map(|place| self.parents[*place]).filter(|it| *it != NONE) {
            places.push(parent as usize);
        }
        places.reverse();
        let step = |pair: &[usize]| {
            let mut found = None;
            model.steps(&self.states[pair[0]], &mut |step, next| {
                if next == self.states[pair[1]] {
                    found.get_or_insert(step);
                }
            });
            found.expect("it was found so")
        };
        places.windows(2).map(step).collect()
    }
}

/// Multiplies and rotates: states are ours, so nobody chooses them to collide.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u16(&mut self, n: u16) {
        self.write_u64(n.into());
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, depth, kinds, took, broken } = self;
        write!(f, "{states} states, {depth} steps deep, in {:.1} s; {kinds:?}", took.as_secs_f64())?;
        if let Some((broken, history)) = broken {
            write!(f, "\n{broken}, after")?;
            for (n, step) in (1..).zip(history) {
                write!(f, "\n  {n:2} {step}")?;
            }
        }
        Ok(())
    }
}
