//! The numbers of all appenders in one partition of a copied log, as they came. Pure.
//!
//! An appender that is heard of for the first time is one of three: it has begun (its first heartbeat comes before its
//! first record), it was there before anybody looked, or its beginning is lost. The last is believed only once everybody
//! who lives must have been heard of.

use std::{collections::BTreeMap, time::Duration};

use schemas::{Control, Message, Offset, Timestamp, WriterId};

use super::track::{Gap, GapState, Moment, Sight, Track};
use crate::{Checked, CheckedBatch};

/// Appenders of a partition that are remembered: those that were heard of last. Each start of a node is one, and those
/// that live are heard of all the time.
const APPENDERS_MAX: usize = 32;

/// What is to be known of a log to judge what is missing in its copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapRules {
    /// For so long the original and the copy keep every record, superseded or not; `None` is for ever. A number that may
    /// be older is not missed.
    pub kept_for: Option<Duration>,
    /// Whoever writes is heard of so often, whether or not it has something to write.
    pub heard_every: Duration,
    /// A partition of which nothing has come for longer stands still.
    pub silent_after: Duration,
}

/// The numbers in one partition of a copied log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// The first offset that was not looked at.
    pub(crate) up_to: Offset,
    /// When the looking began.
    pub(crate) began: Timestamp,
    /// The latest moment that an appender said it was there.
    pub(crate) since: Timestamp,
    pub(crate) appenders: BTreeMap<WriterId, Track>,
}

/// What of a batch is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Records that had come before.
    pub(crate) repeated: u64,
    /// Numbers that were counted as lost, and came, or were taken back.
    pub(crate) closed: u64,
}

impl Numbers {
    /// Looks from `up_to` on, and knows nothing of what was before.
    pub(crate) const fn begin(up_to: Offset, began: Timestamp) -> Self {
        Self { up_to, began, since: Timestamp::EPOCH, appenders: BTreeMap::new() }
    }

    /// Looks at a batch, as far as it has not been looked at.
    pub(crate) fn look(&mut self, batch: &CheckedBatch, rules: GapRules, now: Timestamp) -> Counts {
        let mut counts = Counts::default();
        let from = self.up_to;
        for entry in batch.entries.iter().filter(|entry| from <= entry.offset) {
            self.look_at(entry, rules, now, &mut counts);
        }
        self.up_to = self.up_to.max(batch.up_to);
        self.forget_some();
        counts
    }

    /// What has been missing for so long that it will not come by itself, by appender, as it is judged.
    pub(crate) fn lapse(&mut self, now: Timestamp) -> Vec<(WriterId, Gap)> {
        let judged = self.appenders.iter_mut().flat_map(|(&id, track)| {
            let judged = track.lapse(now);
            judged.into_iter().map(move |gap| (id, gap))
        });
        judged.collect()
    }

    /// How many numbers are lost.
    pub(crate) fn lost(&self) -> u64 {
        self.appenders.values().map(Track::lost).sum()
    }

    fn look_at(&mut self, entry: &Checked, rules: GapRules, now: Timestamp, counts: &mut Counts) {
        let Checked { offset, append_time, message } = entry;
        let at = Moment { offset: *offset, appended: *append_time, now, kept_for: rules.kept_for };
        match message {
            Ok(Message::Event { sequence, event }) => {
                let track = self.track(sequence.appender, sequence.number - 1, rules, at);
                match track.see(sequence.number, event.version, at) {
                    Sight::Repeated => counts.repeated += 1,
                    Sight::Late(GapState::Lost) => counts.closed += 1,
                    Sight::New | Sight::Late(_) => {}
                }
            }
            Ok(Message::Control(Control::Heartbeat { appender, heartbeat, .. })) => {
                let Some(reach) = heartbeat.reach else {
                    // One that does not say how far it is begins nothing.
                    if let Some(track) = self.appenders.get_mut(appender) {
                        counts.closed += track.hear(heartbeat, at);
                    }
                    return;
                };
                counts.closed += self.track(*appender, reach.number, rules, at).hear(heartbeat, at);
                self.since = self.since.max(reach.at.min(*append_time));
            }
            // Whoever wrote what cannot be believed, it is not what is missing.
            Ok(Message::Control(Control::Declared(_) | Control::Other)) | Err(_) => {}
        }
    }

    /// That of an appender which says that it has given `before` numbers before.
    fn track(&mut self, appender: WriterId, before: u64, rules: GapRules, at: Moment) -> &mut Track {
        let GapRules { heard_every, .. } = rules;
        // Before, it may be one that has not been heard of yet.
        let all_were_heard_of = self.began.saturating_add(heard_every) <= at.now;
        let since = self.since.saturating_sub(heard_every);
        self.appenders.entry(appender).or_insert_with(|| {
            if all_were_heard_of && Timestamp::EPOCH < since {
                Track::after(0, since, at.offset)
            } else {
                Track::after(before, Timestamp::EPOCH, at.offset)
            }
        })
    }

    /// Those that have been silent for longest, and of which nothing is missing.
    fn forget_some(&mut self) {
        while APPENDERS_MAX < self.appenders.len() {
            let silent = self.appenders.iter().min_by_key(|(_, track)| (0 < track.lost(), track.heard));
            let Some((&silent, _)) = silent else { return };
            self.appenders.remove(&silent);
        }
    }
}

#[cfg(test)]
mod tests;
