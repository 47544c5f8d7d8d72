//! A batch of a log as the changes it makes to a view: values in, values out.

use std::collections::BTreeMap;

use schemas::{Control, Dc, Event, KeyId, Message, Offset, Timestamp, Version};

use crate::{Cell, Checked, Noted, Refusal, Verdict, ViewError, judge};

/// What a batch changes.
#[derive(Debug, Default)]
pub struct Changes {
    /// Cells of the events that won.
    pub cells: BTreeMap<KeyId, Cell>,
    /// What becomes of debts. The last word of a key counts.
    pub debts: BTreeMap<KeyId, DebtChange>,
    /// What was declared, in order.
    pub declared: Vec<Noted>,
    /// The newest version among the events, winners or not, as clocks learn it.
    pub newest_version: Option<Version>,
    /// The newest append time among the records.
    pub newest_append: Timestamp,
    /// Records that were set aside, and why. They are never applied.
    pub refused: Vec<(Offset, Refusal)>,
}

/// Whose log a batch is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'a> {
    /// This data centre writes it.
    Own,
    /// Another one does, and this one is called so.
    Mirrored {
        /// This data centre.
        us: &'a Dc,
    },
}

/// What a record means for the debt of its key.
///
/// Two writes that ran at the same time may stand in the log in the other order than their versions. The last record
/// of the key is then not the winner, and log compaction would keep the wrong one: the log owes the winner. It owes a
/// tombstone, too, that another data centre made without asking this one, which was declared down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebtChange {
    /// The key's winner has to be appended, or appended again.
    Began,
    /// The own record is the winner, at the end of the key's history: nothing is owed.
    Paid,
}

/// Folds `entries`, in order, on top of what `version_in_view` says.
///
/// # Errors
/// When the view cannot be read.
pub fn fold(
    whose: Whose<'_>,
    entries: impl IntoIterator<Item = Checked>,
    mut version_in_view: impl FnMut(&KeyId) -> Result<Option<Version>, ViewError>,
) -> Result<Changes, ViewError> {
    let mut changes = Changes::default();
    for Checked { offset, append_time, message } in entries {
        changes.newest_append = changes.newest_append.max(append_time);
        let event = match message {
            Ok(Message::Event { event, sequence: _ }) => event,
            Ok(Message::Control(Control::Declared(declaration))) => {
                changes.declared.push(Noted { declaration, appended: append_time });
                continue;
            }
            Ok(Message::Control(Control::Heartbeat { .. } | Control::Other)) => continue,
            Err(refusal) => {
                changes.refused.push((offset, refusal));
                continue;
            }
        };

        changes.newest_version = changes.newest_version.max(event.version_for_clocks(append_time));
        let known = match changes.cells.get(&event.key) {
            Some(cell) => Some(cell.version),
            None => version_in_view(&event.key)?,
        };
        let verdict = judge(known, event.version);
        if let Some(change) = debt_change(whose, verdict, &event) {
            changes.debts.insert(event.key, change);
        }
        if verdict == Verdict::Won {
            changes.cells.insert(event.key, Cell::of(event));
        }
    }
    Ok(changes)
}

fn debt_change(whose: Whose<'_>, verdict: Verdict, event: &Event) -> Option<DebtChange> {
    match whose {
        Whose::Own if verdict == Verdict::Lost => Some(DebtChange::Began),
        Whose::Own => Some(DebtChange::Paid),
        Whose::Mirrored { us } => {
            let went_on_without_us = || event.headers.skipped().any(|dc| dc == *us);
            (verdict == Verdict::Won && went_on_without_us()).then_some(DebtChange::Began)
        }
    }
}

#[cfg(test)]
mod tests;
