//! Chance, the same for everything in a world: a seed decides it all.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{Rng, rngs::StdRng};

/// Shared by everything in a world.
pub(crate) type Chance = Arc<Mutex<StdRng>>;

/// Some milliseconds below `below`.
pub(crate) fn some_ms(chance: &Chance, below: u64) -> Duration {
    Duration::from_millis(chance.lock().unwrap().random_range(0..below))
}

/// True `one` time in `of`.
pub(crate) fn one_in(chance: &Chance, of: u32) -> bool {
    chance.lock().unwrap().random_ratio(1, of)
}
