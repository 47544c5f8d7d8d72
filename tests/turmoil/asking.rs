//! The node that asks: the real client, in a data centre of its own.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::join_all;
use prometheus::Registry;
use schemas::{Dc, Headers, Until};
use tokio::{
    task::{JoinSet, spawn_local},
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use writer::{
    Acknowledged, Answer, Deadline, NoAnswer,
    peer::{HttpPeer, Peer, PeerMetrics, Tombstone, Us},
};

use super::{
    defect::Defect,
    line::{Connector, connector},
    node::{ASKING, FINGERPRINT, PORT},
    plan::{Call, END, Plan},
    site::{key_of, version_of},
};

/// How often a node greets the others, as `server/src/peers.rs` has it.
const GREET_EVERY: Duration = Duration::from_secs(1);

/// In the words of the client.
pub(crate) const SILENT: [&str; 2] = ["cannot be reached", "did not answer in time"];

/// What the asking node heard, in the order in which it heard it.
pub(crate) type Heard = Arc<Mutex<Vec<Word>>>;

/// Something that it heard.
#[derive(Clone, Debug)]
pub(crate) enum Word {
    /// What came of a call.
    Asked(Asked),
    /// Whether anybody of a data centre returned a greeting.
    Greeted {
        /// Which, by its place in the plan.
        dc: usize,
        /// When it was greeted.
        began: Duration,
        /// When that was known.
        ended: Duration,
        /// Whether anybody did.
        answered: bool,
    },
}

/// What came of a call.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Which call.
    pub(crate) call: Call,
    /// How long it took.
    pub(crate) took: Duration,
    /// Why the data centre was not to be asked when the call was made, if so.
    pub(crate) not_asked: Option<Arc<str>>,
    /// What was answered.
    pub(crate) answer: Answer,
}

impl Asked {
    /// When the answer was there.
    pub(crate) fn ended(&self) -> Duration {
        self.call.at + self.took
    }

    /// Whether the data centre did what it was asked, or said why it need not.
    pub(crate) fn confirms(&self) -> bool {
        matches!(self.answer, Answer::Done(_) | Answer::Newer(_))
    }

    /// Whether the data centre said anything; `None` when it was not asked.
    pub(crate) fn was_answered(&self) -> Option<bool> {
        let Answer::None(NoAnswer::Refused(why) | NoAnswer::Unknown(why)) = &self.answer else {
            return Some(true);
        };
        match &**why {
            "does not answer" | "confirms nothing" => None,
            why => Some(!SILENT.contains(&why)),
        }
    }
}

/// Makes the calls of the plan, and greets beside them, until the end.
pub(crate) async fn run(plan: Arc<Plan>, heard: Heard, defect: Option<Defect>) -> ::turmoil::Result {
    let began = Instant::now();
    let peer = |(name, _): &(&str, _)| Arc::new(peer(name, defect));
    let peers: Vec<_> = plan.dcs.iter().map(peer).collect();
    if defect != Some(Defect::NeverGreets) {
        spawn_local(greet(peers.clone(), began, Arc::clone(&heard)));
    }
    let mut calls = JoinSet::new();
    for &call in &plan.calls {
        tokio::time::sleep_until(began + call.at).await;
        let peer = match defect {
            Some(Defect::AlwaysAsks) => Arc::new(self::peer(plan.dcs[call.dc].0, None)),
            _ => Arc::clone(&peers[call.dc]),
        };
        let heard = Arc::clone(&heard);
        calls.spawn_local(async move {
            let asked = ask(&peer, call, defect).await;
            heard.lock().unwrap().push(Word::Asked(asked));
        });
    }
    calls.join_all().await;
    sleep(END.saturating_sub(began.elapsed())).await;
    Ok(())
}

fn peer(name: &str, defect: Option<Defect>) -> HttpPeer<Connector> {
    let dc: Dc = name.parse().unwrap();
    let nodes = if defect == Some(Defect::OneNode) { 1 } else { 2 };
    let urls = (1..=nodes).map(|n| format!("http://{name}-{n}:{PORT}").parse().unwrap()).collect();
    let us = Us { dc: ASKING.parse().unwrap(), index_fingerprint: FINGERPRINT.to_owned() };
    HttpPeer::over(connector(), us, dc, urls, PeerMetrics::register(&Registry::new()).unwrap())
}

async fn greet(peers: Vec<Arc<HttpPeer<Connector>>>, world_began: Instant, heard: Heard) {
    let mut due = interval(GREET_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let began = world_began.elapsed();
        join_all(peers.iter().enumerate().map(async |(dc, peer)| {
            let answered = peer.greet().await.iter().any(|(_, hello)| hello.is_ok());
            let ended = world_began.elapsed();
            heard.lock().unwrap().push(Word::Greeted { dc, began, ended, answered });
        }))
        .await;
    }
}

async fn ask(peer: &HttpPeer<Connector>, call: Call, defect: Option<Defect>) -> Asked {
    let Call { key, tombstone, round, patience, .. } = call;
    let tombstone = Tombstone {
        key: key_of(key),
        version: version_of(tombstone),
        retain_until: Until::Never,
        headers: Headers::default(),
        skipped: BTreeSet::new(),
    };
    let not_asked = peer.not_asked_because();
    let patience = if defect == Some(Defect::NoDeadline) { END } else { patience };
    let began = Instant::now();
    let store = "sessions".parse().unwrap();
    let answer = peer.delete(&store, &tombstone, round, Deadline::within(patience)).await;
    let took = began.elapsed();
    let is_silence = matches!(&answer, Answer::None(NoAnswer::Unknown(why)) if SILENT.contains(&&**why));
    let answer = match defect {
        Some(Defect::SilenceIsDone) if is_silence => {
            Answer::Done(Acknowledged::by(tombstone.version, BTreeSet::new()))
        }
        Some(Defect::SilenceIsRefused) if is_silence => NoAnswer::Refused(SILENT[1].into()).into(),
        _ => answer,
    };
    Asked { call, took, not_asked, answer }
}
