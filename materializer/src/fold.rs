//! A batch of a log as the changes it makes to a view: values in, values out.

use std::collections::BTreeMap;

use schemas::{KeyId, Message, Offset, Timestamp, Version};

use crate::{Cell, Checked, Refusal, Verdict, ViewError, judge};

/// What a batch changes.
#[derive(Debug, Default)]
pub struct Changes {
    /// Cells of the events that won.
    pub cells: BTreeMap<KeyId, Cell>,
    /// What becomes of debts. The last word of a key counts.
    pub debts: BTreeMap<KeyId, DebtChange>,
    /// The newest version among the events, winners or not.
    pub newest_version: Option<Version>,
    /// The newest append time among the records.
    pub newest_append: Timestamp,
    /// Records that were set aside, and why. They are never applied.
    pub refused: Vec<(Offset, Refusal)>,
}

/// What an own-origin record means for the debt of its key.
///
/// Two writes that ran at the same time may stand in the log in the other order than their versions. The last record
/// of the key is then not the winner, and log compaction would keep the wrong one: the log owes the winner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebtChange {
    /// The record lost: the key's winner has to be appended again.
    Began,
    /// The record is the winner, at the end of the key's history: nothing is owed.
    Paid,
}

/// Folds `entries`, in order, on top of what `version_in_view` says. `is_own`: this data centre wrote the log that they
/// are from. Only such records make or pay debts.
///
/// # Errors
/// When the view cannot be read.
pub fn fold(
    is_own: bool,
    entries: impl IntoIterator<Item = Checked>,
    mut version_in_view: impl FnMut(&KeyId) -> Result<Option<Version>, ViewError>,
) -> Result<Changes, ViewError> {
    let mut changes = Changes::default();
    for Checked { offset, append_time, message } in entries {
        changes.newest_append = changes.newest_append.max(append_time);
        let event = match message {
            Ok(Message::Event { event, sequence: _ }) => event,
            Ok(Message::Control(_)) => continue,
            Err(refusal) => {
                changes.refused.push((offset, refusal));
                continue;
            }
        };

        changes.newest_version = changes.newest_version.max(Some(event.version));
        let known = match changes.cells.get(&event.key) {
            Some(cell) => Some(cell.version),
            None => version_in_view(&event.key)?,
        };
        let verdict = judge(known, event.version);
        if is_own {
            let change = if verdict == Verdict::Lost { DebtChange::Began } else { DebtChange::Paid };
            changes.debts.insert(event.key, change);
        }
        if verdict == Verdict::Won {
            changes.cells.insert(event.key, Cell::of(event));
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests;
