//! What is done to two data centres: how, to whom, and what shows that it happened.

use std::{
    process::{Command, ExitStatus},
    sync::Arc,
    thread,
    time::Duration,
};

use rand::{Rng, rngs::StdRng};

use super::{
    history::{At, Dc, Key},
    judge::Harm,
    load::Clients,
    sites::Sites,
};
use crate::{
    faults::clocks::library,
    harness::{Node, Proxy, eventually},
};

/// A round trip of 150 ms, as between continents.
const ONE_WAY: Duration = Duration::from_millis(75);

/// So slow that a delete which is seen on its way is on its way when its node is killed.
const CRAWLING: Duration = Duration::from_millis(200);

/// How far wrong clocks are.
const SKEW_S: i32 = 600;

/// The nodes whose clocks are wrong, and which way.
const SKEWED: [(At, i32); 2] = [(At(Dc::Eqiad, 1), SKEW_S), (At(Dc::Codfw, 1), -SKEW_S)];

/// The node that is killed.
const KILLED: At = At(Dc::Codfw, 0);

/// What goes wrong, until it is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Neither data centre reaches the other's nodes. Mirrors go on.
    CutBothWays,
    /// Nor do mirrors copy: nothing is left between the two.
    CutAll,
    /// The nodes of this one cannot be reached from the other.
    CutOneWay(Dc),
    /// What the nodes of this one are asked they do, and no answer comes back.
    LoseAnswers(Dc),
    /// Connections to the nodes of this one are taken, and nothing arrives.
    HalfOpen(Dc),
    SlowDown,
    KillMirror(Dc),
    FreezeMirror(Dc),
    KillBroker(Dc),
    FreezeBroker(Dc),
    /// While it waits for the other data centre's answers to deletes.
    KillNodeAmidDeletes,
    SkewClocks,
    /// One cut after the other, each of a kind, at a place and for a time of chance.
    RandomCuts,
}

/// A fault that lasts.
#[derive(Debug)]
pub(super) struct Begun {
    fault: Fault,
    pieces_before: u64,
    canaries: Vec<(Dc, Key)>,
}

impl Fault {
    /// Whom it hits while it lasts.
    pub(super) fn harm(self) -> Harm {
        let unconfirmed_by = |dc: Dc| (dc.other(), dc);
        match self {
            Self::CutBothWays | Self::CutAll | Self::RandomCuts => {
                Harm { sick: vec![], unconfirmed: Dc::BOTH.map(unconfirmed_by).to_vec() }
            }
            Self::CutOneWay(dc) | Self::LoseAnswers(dc) | Self::HalfOpen(dc) => {
                Harm { sick: vec![], unconfirmed: vec![unconfirmed_by(dc)] }
            }
            Self::KillBroker(dc) | Self::FreezeBroker(dc) => {
                Harm { sick: dc.nodes().to_vec(), unconfirmed: vec![unconfirmed_by(dc)] }
            }
            Self::KillNodeAmidDeletes => Harm { sick: vec![KILLED], unconfirmed: vec![] },
            Self::SlowDown | Self::KillMirror(_) | Self::FreezeMirror(_) | Self::SkewClocks => {
                Harm::default()
            }
        }
    }

    /// Whom it hits while it begins or ends, beside those whom it hits while it lasts.
    pub(super) fn harm_of_change(self) -> Harm {
        match self {
            Self::SkewClocks => Harm { sick: SKEWED.map(|(at, _)| at).to_vec(), unconfirmed: vec![] },
            _ => self.harm(),
        }
    }

    /// How far the versions that nodes choose may be apart: what the clamp lets through, either way.
    pub(super) const fn clocks_apart(self) -> Duration {
        match self {
            Self::SkewClocks => Duration::from_secs(10),
            _ => Duration::from_millis(50),
        }
    }

    pub(super) fn begin(self, sites: &mut Sites, clients: &Arc<Clients>) -> Begun {
        let pieces_before = pieces(sites);
        match self {
            Self::CutBothWays => sites.cables().iter().for_each(Proxy::cut),
            Self::CutAll => {
                sites.cables().iter().for_each(Proxy::cut);
                Dc::BOTH.into_iter().for_each(|dc| sites.mirror(dc).freeze());
            }
            Self::CutOneWay(dc) => sites.cables_to(dc).into_iter().for_each(Proxy::cut),
            Self::LoseAnswers(dc) => sites.cables_to(dc).into_iter().for_each(Proxy::lose_answers),
            Self::HalfOpen(dc) => sites.cables_to(dc).into_iter().for_each(Proxy::lose_all),
            Self::SlowDown => sites.cables().iter().for_each(|cable| cable.slow_down(ONE_WAY)),
            Self::KillMirror(dc) => sites.mirror_mut(dc).kill9(),
            Self::FreezeMirror(dc) => sites.mirror(dc).freeze(),
            Self::KillBroker(dc) => sites.broker(dc).kill9(),
            Self::FreezeBroker(dc) => sites.broker(dc).freeze(),
            Self::KillNodeAmidDeletes => {
                sites.cables().iter().for_each(|cable| cable.slow_down(CRAWLING));
                eventually("a delete is on its way", Duration::from_secs(30), || {
                    (0 < clients.deletes_at(KILLED)).then_some(())
                });
                let before = pieces(sites);
                eventually("others are asked", Duration::from_secs(30), || {
                    (before < pieces(sites) && 0 < clients.deletes_at(KILLED)).then_some(())
                });
                sites.node_mut(KILLED).kill9();
                sites.cables().iter().for_each(Proxy::mend);
            }
            Self::SkewClocks => SKEWED.into_iter().for_each(|(at, by_s)| skew(sites.node_mut(at), by_s)),
            Self::RandomCuts => {}
        }
        let stopped = match self {
            Self::CutAll => Dc::BOTH.to_vec(),
            Self::KillMirror(dc) | Self::FreezeMirror(dc) => vec![dc],
            _ => vec![],
        };
        let canaries =
            stopped.into_iter().map(|into| (into.other(), sites.send_canary(clients, into.other())));
        Begun { fault: self, pieces_before, canaries: canaries.collect() }
    }
}

impl Begun {
    /// What shows that it happens: pieces of what data centres say to each other that were held up or lost, sessions that
    /// did not arrive, clocks that are wrong. Of brokers and nodes the failures of their clients tell.
    pub(super) fn fired(&self, sites: &Sites, clients: &Arc<Clients>) -> u64 {
        let missing = self.canaries.iter().filter(|(dc, key)| !sites.has_arrived(clients, *dc, *key)).count();
        let wrong = SKEWED.into_iter().filter(|(at, by_s)| {
            ahead_s(sites.node(*at)).is_some_and(|ahead| (ahead - f64::from(*by_s)).abs() < 60.0)
        });
        let wrong = wrong.count();
        pieces(sites) - self.pieces_before + (missing + wrong) as u64
    }

    /// All is in order again, but for what it takes to notice.
    pub(super) fn end(&self, sites: &mut Sites) {
        sites.cables().iter().for_each(Proxy::mend);
        match self.fault {
            Fault::CutAll => Dc::BOTH.into_iter().for_each(|dc| sites.mirror(dc).thaw()),
            Fault::KillMirror(dc) => sites.mirror_mut(dc).restart(),
            Fault::FreezeMirror(dc) => sites.mirror(dc).thaw(),
            Fault::KillBroker(dc) => sites.broker(dc).restart(),
            Fault::FreezeBroker(dc) => sites.broker(dc).thaw(),
            Fault::KillNodeAmidDeletes => sites.node_mut(KILLED).restart(),
            Fault::SkewClocks => SKEWED.into_iter().for_each(|(at, _)| {
                sites.node_mut(at).through(None);
                sites.node_mut(at).restart();
            }),
            _ => {}
        }
    }
}

/// One cut of a kind, at a place and for a time of chance, and a pause of chance.
pub(super) fn cut_somewhere(sites: &Sites, chance: &mut StdRng) {
    let dc = Dc::BOTH[chance.random_range(0..2)];
    let cables: Vec<&Proxy> = match chance.random_range(0..3) {
        0 => sites.cables().iter().collect(),
        1 => sites.cables_to(dc).to_vec(),
        // One node of two: the other is asked instead.
        _ => vec![sites.cables_to(dc)[chance.random_range(0..2)]],
    };
    let kind = match chance.random_range(0..4) {
        0 => Proxy::lose_answers,
        1 => Proxy::lose_all,
        2 => |cable: &Proxy| cable.slow_down(ONE_WAY),
        _ => Proxy::cut,
    };
    // Neither is a wait for anything: how long both last is what is drawn.
    cables.iter().for_each(|cable| kind(cable));
    thread::sleep(Duration::from_millis(chance.random_range(10..800)));
    cables.iter().for_each(|cable| cable.mend());
    thread::sleep(Duration::from_millis(chance.random_range(0..600)));
}

/// How many pieces of bytes were held up or lost between the data centres so far.
fn pieces(sites: &Sites) -> u64 {
    sites.cables().iter().map(Proxy::faults).sum()
}

/// Ends a node, and starts it with a wall clock that is so far ahead. Its monotonic clock is left alone.
fn skew(node: &mut Node, by_s: i32) {
    let shim = node.data_dir().with_file_name("cnd_timedwait.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/two_dcs/cnd_timedwait.c");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&shim).arg(source).status();
    assert!(compiled.as_ref().is_ok_and(ExitStatus::success), "{source}: {compiled:?}");
    let preloaded = format!("{} {}", shim.display(), library().display());
    let clock = format!("FAKETIME={by_s:+} DONT_FAKE_MONOTONIC=1 LD_PRELOAD='{preloaded}'");
    node.through(Some(&format!("{clock} exec \"$@\"")));
    node.restart();
}

/// How far a node says that its wall clock is ahead of its log.
fn ahead_s(node: &Node) -> Option<f64> {
    let metrics = node.get("/metrics");
    let ahead = metrics.text().lines().find_map(|line| line.strip_prefix("solera_clock_ahead_seconds{"))?;
    ahead.split_whitespace().last()?.parse().ok()
}
