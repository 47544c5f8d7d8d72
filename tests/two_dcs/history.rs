//! What clients asked, what they were told, and when: all that the judge knows of a run.

use std::{fmt, time::Duration};

/// Since the beginning of the run.
pub(super) type Moment = Duration;

/// One of the two data centres.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dc {
    Eqiad,
    Codfw,
}

/// One of the four nodes: its data centre, and which of the two there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At(pub(super) Dc, pub(super) usize);

/// Which session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(pub(super) u64);

/// What a session holds. No two writes of a run have the same, so it tells which write was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Value(pub(super) u64);

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Set(Value),
    Delete,
    Get,
}

/// What the client knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// A write or a delete is acknowledged.
    Done,
    /// A read says what the session holds, if there is one.
    Found(Option<Value>),
    /// Nothing is stored, for this reason; or nobody listened.
    Refused(String),
    /// These data centres did not confirm the delete. Others did.
    Unconfirmed(Vec<Dc>),
    /// It may be stored, now or later, for this reason; or no answer came.
    Unknown(String),
    /// No answer that a store should ever give.
    Strange(String),
}

/// A request with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Op {
    pub(super) key: Key,
    pub(super) at: At,
    pub(super) asked: Asked,
    pub(super) told: Told,
    /// Before the first byte of it was sent.
    pub(super) invoked: Moment,
    /// After the last byte of the answer came; [`Moment::MAX`] if the client gave up, and the node may be at it yet.
    pub(super) ended: Moment,
}

impl Dc {
    pub(super) const BOTH: [Self; 2] = [Self::Eqiad, Self::Codfw];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Eqiad => "eqiad",
            Self::Codfw => "codfw",
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Eqiad => Self::Codfw,
            Self::Codfw => Self::Eqiad,
        }
    }

    pub(super) fn nodes(self) -> [At; 2] {
        [At(self, 0), At(self, 1)]
    }
}

impl At {
    pub(super) const ALL: [Self; 4] =
        [Self(Dc::Eqiad, 0), Self(Dc::Eqiad, 1), Self(Dc::Codfw, 0), Self(Dc::Codfw, 1)];

    /// Its place in [`Self::ALL`].
    pub(super) const fn number(self) -> usize {
        let Self(dc, node) = self;
        2 * dc as usize + node
    }
}

impl Op {
    /// Whether it has taken place, or may have, or may yet.
    pub(super) fn may_have_happened(&self) -> bool {
        !matches!(self.told, Told::Refused(_))
    }

    /// Whether it ran at some moment between these two.
    pub(super) fn ran_within(&self, from: Moment, until: Moment) -> bool {
        self.invoked < until && from < self.ended
    }

    /// What went wrong with it, other than a delete that says who did not confirm.
    pub(super) fn failure(&self) -> Option<&str> {
        match &self.told {
            Told::Done | Told::Found(_) | Told::Unconfirmed(_) => None,
            Told::Refused(why) | Told::Unknown(why) | Told::Strange(why) => Some(why),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, at: At(dc, node), asked, told, invoked, ended } = self;
        let ended =
            if *ended == Moment::MAX { "never".to_owned() } else { format!("{:.4}", ended.as_secs_f64()) };
        write!(
            f,
            "{:.4} to {ended} s, session {}, {} {node}: {asked:?} -> {told:?}",
            invoked.as_secs_f64(),
            key.0,
            dc.name()
        )
    }
}
