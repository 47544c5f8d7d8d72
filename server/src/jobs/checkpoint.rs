//! A copy of the view to start from, should the view be lost.

use super::Workplace;

/// Makes one, and removes those that are too old. Blocks on the disk.
pub(super) fn make(store: &Workplace) -> anyhow::Result<String> {
    let view = store.generation.borrow().clone();
    let made = store.checkpoints.make(&view, store.clock.now())?;
    Ok(format!("a checkpoint in {}", made.display()))
}
