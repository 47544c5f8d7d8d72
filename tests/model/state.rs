//! A moment of a world: what stands in the logs, how far it was read, and what is on its way.

use std::hash::{Hash, Hasher};

use super::{
    log::{DELETES, Log, ORDERS, Record, Round, WRITES},
    stamp::Stamp,
};

/// Data centres that fit.
pub(super) const DCS: usize = 3;

/// Where in an array the things of a data centre are.
pub(super) type Dc = u8;

/// Some of them, a bit each.
pub(super) type Dcs = u8;

/// Equal states have equal futures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// What each data centre has appended.
    pub(super) logs: [Log; DCS],
    /// By data centre and log, how many records are behind every read there, *at least*. How many more have come is decided
    /// when somebody looks.
    pub(super) applied: [[u8; DCS]; DCS],
    pub(super) writes: [Write; WRITES],
    pub(super) deletes: [Delete; DELETES],
    /// The calls of the delete that runs, by round and data centre.
    pub(super) calls: [[Call; DCS]; 2],
    pub(super) orders: Orders,
    /// Calls that nobody waited for.
    pub(super) lost: u8,
    /// Declarations that were appended again.
    pub(super) renewed: u8,
}

/// A client that stores a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) phase: WritePhase,
    pub(super) dc: Dc,
    /// What was seen, and once it is stored, its own.
    pub(super) stamp: Stamp,
    /// Bits of the deletes that had been answered with success when it began.
    pub(super) after: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum WritePhase {
    #[default]
    NotBegun,
    HasLooked,
    /// Durable, applied where it was asked for, and acknowledged.
    Acknowledged,
}

/// A client that deletes it, and the node that it asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Delete {
    pub(super) phase: DeletePhase,
    pub(super) dc: Dc,
    /// Which of the nodes there. It only matters when nodes know different things.
    pub(super) node: u8,
    /// Bits of the writes that had been acknowledged when it began: what it promises to end.
    pub(super) covers: u8,
    /// Its versions, by round.
    pub(super) stamps: [Stamp; 2],
    /// Which data centres it goes on without, by round.
    pub(super) skips: [Dcs; 2],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DeletePhase {
    #[default]
    NotBegun,
    InRound(Round),
    /// 204.
    Deleted,
    /// An error, which promises nothing.
    Failed,
    /// Nobody was told anything: the node died.
    Died,
}

/// What has become of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) stage: Stage,
    /// Nobody waits for it any more. It may still arrive and go on, or never: both are among the histories.
    pub(super) is_lost: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    #[default]
    NotMade,
    /// It is sent, and looks when it arrives.
    ToLook,
    /// Nothing newer was there, or it is sent to who need not look.
    ToAppend,
    /// The tombstone stands at this place of the log, and is not answered for yet.
    Appended(u8),
    /// It is answered: it stands there, where these of the skipped are not down.
    Done { not_down: Dcs },
    /// It is answered: this is newer, and nothing was appended.
    Newer(Record),
}

/// An operator, who gives one order after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Orders {
    /// How many were given.
    pub(super) given: u8,
    /// Whether the last of them is still told to somebody.
    pub(super) is_told: bool,
    /// Of each order, what has become of the call to the third data centre.
    pub(super) told: [Told; ORDERS],
    /// Of each `up` by which somebody is to come back, the data centre that took it.
    pub(super) given_at: [Dc; ORDERS],
    /// Where clients are not sent.
    pub(super) depooled: Dcs,
    /// Of these, who was declared up by all, and is not back yet.
    pub(super) returning: Dcs,
    /// By node of the first data centre, whether it holds the last one for down on its own: a mistake.
    pub(super) in_memory: [bool; 2],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Told {
    /// It is not made, or was answered.
    #[default]
    Over,
    Sent,
    Lost,
}

/// Whether it is one of them.
pub(super) const fn has(dcs: Dcs, dc: Dc) -> bool {
    dcs & 1 << dc != 0
}

impl State {
    /// Whether clients are sent there.
    pub(super) const fn serves(&self, dc: Dc) -> bool {
        !has(self.orders.depooled, dc)
    }

    pub(super) const fn log(&self, dc: Dc) -> Log {
        self.logs[dc as usize]
    }

    pub(super) fn push(&mut self, dc: Dc, record: Record) {
        self.logs[usize::from(dc)].push(record);
    }

    /// The version of a record of the session; none of an order.
    pub(super) const fn stamp(&self, record: Record) -> Option<Stamp> {
        match record {
            Record::Write(n) => Some(self.writes[n as usize].stamp),
            Record::Tombstone { delete, round } => Some(self.deletes[delete as usize].stamps[round as usize]),
            Record::Order(_) => None,
        }
    }

    /// The delete that runs, if one does.
    pub(super) fn running(&self) -> Option<(u8, Round)> {
        (0..).zip(&self.deletes).find_map(|(n, delete)| match delete.phase {
            DeletePhase::InRound(round) => Some((n, round)),
            _ => None,
        })
    }

    /// The bits of what `is` holds of.
    pub(super) fn bits<T>(of: &[T], is: impl Fn(&T) -> bool) -> u8 {
        (0..).zip(of).filter(|(_, one)| is(one)).fold(0, |bits, (n, _)| bits | 1 << n)
    }
}

impl Delete {
    /// The version that it is answered with success for, once it is.
    pub(super) fn stamp(&self) -> Stamp {
        let [first, second] = self.stamps;
        if second == Stamp::default() { first } else { second }
    }
}

impl Call {
    /// It is made, and there is an answer or nobody waits for one.
    pub(super) const fn is_over(self) -> bool {
        self.is_lost || matches!(self.stage, Stage::Done { .. } | Stage::Newer(_))
    }

    /// Of the skipped, who is not down, by this answer.
    pub(super) const fn not_down(self) -> Dcs {
        match self.stage {
            Stage::Done { not_down } => not_down,
            _ => 0,
        }
    }

    pub(super) fn is_made(self) -> bool {
        self.is_lost || self.stage != Stage::NotMade
    }

    /// The same with the answer that it came to; what it was does not matter if nobody waits.
    pub(super) const fn answered(self, answer: Stage) -> Self {
        Self { stage: if self.is_lost { Stage::NotMade } else { answer }, ..self }
    }
}

/// In a few words, each of small numbers side by side: derived, it would take most of the time of a search.
impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Self { logs, applied, writes, deletes, calls, orders, lost, renewed } = self;
        logs.iter().for_each(|log| log.hash(hasher));
        hasher.write_u64(side_by_side(4, applied.as_flattened().iter().copied()));
        for Write { phase, dc, stamp, after } in writes {
            stamp.hash(hasher);
            hasher.write_u64(side_by_side(2, [*phase as u8, *dc, *after]));
        }
        for Delete { phase, dc, node, covers, stamps, skips: [first, second] } in deletes {
            stamps.iter().for_each(|stamp| stamp.hash(hasher));
            let phase = match phase {
                DeletePhase::NotBegun => 0,
                DeletePhase::InRound(round) => 1 + *round as u8,
                DeletePhase::Deleted => 3,
                DeletePhase::Failed => 4,
                DeletePhase::Died => 5,
            };
            hasher.write_u64(side_by_side(4, [phase, *dc, *node, *covers, *first, *second]));
        }
        hasher.write_u64(side_by_side(8, calls[0].iter().map(|call| call.code())));
        hasher.write_u64(side_by_side(8, calls[1].iter().map(|call| call.code())));
        let Orders { given, is_told, told, given_at, depooled, returning, in_memory: [first, second] } =
            orders;
        let flags = [*is_told, *first, *second].map(u8::from);
        let numbers = [*given, *lost, *renewed, *depooled, *returning].into_iter().chain(flags);
        let numbers = numbers.chain(told.map(|told| told as u8));
        hasher.write_u64(side_by_side(4, numbers) << 8 | side_by_side(2, *given_at));
    }
}

impl Call {
    fn code(self) -> u8 {
        let stage = match self.stage {
            Stage::NotMade => 0,
            Stage::ToLook => 1,
            Stage::ToAppend => 2,
            Stage::Done { not_down } => 8 + not_down,
            Stage::Appended(place) => 16 + place,
            Stage::Newer(record) => 32 + record.code(),
        };
        stage | u8::from(self.is_lost) << 7
    }
}

fn side_by_side(bits: u32, numbers: impl IntoIterator<Item = u8>) -> u64 {
    numbers.into_iter().fold(0, |word, n| word << bits | u64::from(n))
}
