//! When copies of views are made to start from.

use std::time::Duration;

use super::{
    section::{Read, Section},
    value::number,
};

/// When copies of views are made to start from, should a view be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointsConfig {
    /// How often, 1 to 604,800 s. Default 600. Low: many small files, and files that the view has replaced are kept for a
    /// while each time. High: more of the log to read after a loss.
    pub every: Duration,
    /// How many are kept, 1 to 100. Default 2. Each holds back the space of what the view has replaced since.
    pub keep: usize,
}

impl Default for CheckpointsConfig {
    fn default() -> Self {
        Self { every: Duration::from_secs(600), keep: 2 }
    }
}

/// Reads `checkpoints`.
pub(super) fn read(checkpoints: &mut Section<'_>) -> Read<CheckpointsConfig> {
    let default = CheckpointsConfig::default();
    let every = checkpoints.optional("every_s", number("a whole number of seconds", 1..=7 * 86_400, 600));
    let keep = checkpoints.or("keep", default.keep, number("a whole number", 1..=100, default.keep));
    Ok(CheckpointsConfig { every: every?.map_or(default.every, Duration::from_secs), keep: keep? })
}
