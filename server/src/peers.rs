//! The other data centres: whom deletes ask, whether they fit, and who may ask this one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use api::{App, Fingerprints, Latch, PeerApp, Tls};
use eventlog::{Clock, SystemClock};
use prometheus::Registry;
use schemas::{Dc, SessionTtl, caps::DOWN_AHEAD_MAX};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use writer::peer::{
    self, HttpPeer, Peer, PeerMetrics, PeerTls, TlsName,
    messages::{Hello, INDEX_SECRET, StoreRules},
};

use crate::{
    config::{Config, LogConfig, PeerConfig, PeersConfig},
    tls::{FileTls, Shown},
};

/// How often a peer is asked what it is: also how soon one that was silent is found again.
const GREET_EVERY: Duration = Duration::from_secs(1);

/// Clocks that differ by more than this are spoken of.
const CLOCKS_APART_MAX: Duration = Duration::from_millis(500);

/// The other data centres of a node.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    all: Vec<Arc<HttpPeer>>,
    /// For which name each must show a certificate, if any.
    names: BTreeMap<Dc, Option<TlsName>>,
    /// What the peer listener speaks, if not plain HTTP.
    shown: Option<Arc<Tls>>,
    /// What this node shows them when it asks, now and later.
    shows: Option<watch::Receiver<Arc<Shown>>>,
    us: Arc<Us>,
}

/// What was said of a peer last.
#[derive(Debug, Default)]
struct Said {
    not_asked: Option<Arc<str>>,
    clocks_apart: bool,
    versions_ahead: bool,
}

/// What all data centres have to agree on, as this node has it.
#[derive(Clone, Debug)]
struct Us {
    fingerprints: Fingerprints,
    log: &'static str,
    dcs: BTreeSet<String>,
    rules: BTreeMap<String, StoreRules>,
}

impl Peers {
    /// Connects to nobody yet.
    ///
    /// # Errors
    /// When a certificate cannot be used, or their metrics are registered already.
    pub(crate) fn of(
        config: &Config,
        peers: &PeersConfig,
        tls: Option<&FileTls>,
        fingerprints: &Fingerprints,
        registry: &Registry,
    ) -> anyhow::Result<Self> {
        let metrics = PeerMetrics::register(registry).context("register the metrics of peers")?;
        let shown = tls.map(FileTls::listener);
        let shows = tls.and_then(FileTls::shows);
        let first = shows.as_ref().map(|shows| Arc::clone(&shows.borrow()));
        let peer = |(dc, peer): &(Dc, PeerConfig)| {
            let tls = first.clone().zip(peer.tls_name.clone()).map(|(config, name)| PeerTls { config, name });
            let asks = peer::Us { dc: config.dc.clone(), index_fingerprint: fingerprints.index().to_owned() };
            Arc::new(HttpPeer::new(asks, dc.clone(), peer.urls.clone(), tls, metrics.clone()))
        };
        let names = peers
            .dcs
            .iter()
            .map(|(dc, peer)| (dc.clone(), peer.tls_name.clone().filter(|_| shown.is_some())));
        Ok(Self {
            all: peers.dcs.iter().map(peer).collect(),
            names: names.collect(),
            shown,
            shows,
            us: Arc::new(Us {
                fingerprints: fingerprints.clone(),
                log: log_kind(config),
                dcs: peers.dcs.iter().map(|(dc, _)| dc).chain([&config.dc]).map(Dc::to_string).collect(),
                rules: rules(config),
            }),
        })
    }

    /// As deletes see them.
    pub(crate) fn for_deletes(&self) -> Vec<Arc<dyn Peer>> {
        self.all.iter().map(|peer| Arc::clone(peer) as Arc<dyn Peer>).collect()
    }

    /// As mirrors and orders see them.
    pub(crate) fn all(&self) -> &[Arc<HttpPeer>] {
        &self.all
    }

    /// What the peer listener speaks.
    pub(crate) fn tls(&self) -> Option<Arc<Tls>> {
        self.shown.clone()
    }

    /// What the peer listener answers with.
    pub(crate) fn listener(&self, config: &Config, app: App) -> PeerApp {
        PeerApp {
            app,
            dc: config.dc.clone(),
            peers: self.names.clone(),
            fingerprints: self.us.fingerprints.clone(),
            log: self.us.log,
            rules: self.us.rules.clone(),
            wall_ms,
        }
    }

    /// Shows this to each of them from the next connection on.
    fn show(&self, config: &Arc<Shown>) {
        for peer in &self.all {
            let name = self.names.get(peer.dc()).cloned().flatten();
            peer.show_tls(name.map(|name| PeerTls { config: Arc::clone(config), name }));
        }
        tracing::info!("New calls to other data centres show the new certificate");
    }

    /// Compares this node with each of them until `stop`. Holds `latch` until every one that answers fits: after that, one that
    /// does not is not asked any more, and this node goes on.
    pub(crate) async fn watch(self, latch: Latch, stop: CancellationToken) -> anyhow::Result<()> {
        let mut greet = interval(GREET_EVERY);
        greet.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut latch, mut said) =
            (Some(latch), self.all.iter().map(|_| Said::default()).collect::<Vec<_>>());
        let mut shows = self.shows.clone();
        while stop.run_until_cancelled(greet.tick()).await.is_some() {
            if let Some(shows) = shows.as_mut().filter(|shows| shows.has_changed().unwrap_or(false)) {
                let config = Arc::clone(&shows.borrow_and_update());
                self.show(&config);
            }
            let greeted = futures::future::join_all(self.all.iter().map(|peer| peer.greet()));
            let Some(greeted) = stop.run_until_cancelled(greeted).await else { break };
            let mut all_fit = true;
            for ((peer, said), hellos) in self.all.iter().zip(&mut said).zip(greeted) {
                // One node that does not fit is enough: a delete may come to it.
                let hellos: Vec<_> = hellos.into_iter().filter_map(|(_, hello)| hello.ok()).collect();
                let misfit = hellos.iter().find_map(|hello| self.us.misfit(hello));
                if let Some(why) = &misfit {
                    all_fit = false;
                    if let Some(latch) = &latch {
                        latch.waits_for(&format!("{} does not fit: {why}", peer.dc()));
                    }
                }
                // One that is silent may be the misfit that it was.
                if !hellos.is_empty() {
                    // Data centres are added one node after the other: that must keep none from coming up.
                    let misfit =
                        misfit.or_else(|| hellos.iter().find_map(|hello| self.us.knows_others(hello)));
                    peer.misfits(misfit.map(|why| format!("config_mismatch: {why}").into()));
                }
                speak_of(peer, &hellos, said);
            }
            if all_fit && let Some(latch) = latch.take() {
                latch.release();
            }
        }
        Ok(())
    }
}

impl Us {
    /// Why a peer cannot be worked with, if so: what the first of the differences is.
    fn misfit(&self, there: &Hello) -> Option<String> {
        for (name, ours) in self.fingerprints.all() {
            match there.secret_fingerprints.get(&name) {
                Some(theirs) if *theirs != ours => {
                    return Some(format!("the secret `{name}` is {ours} here and {theirs} there"));
                }
                // A ring that is being rotated has secrets that the other side lacks.
                None if name == INDEX_SECRET => return Some("it names no index secret".to_owned()),
                _ => {}
            }
        }
        if self.log != there.log {
            return Some(format!("the log is {} here and {} there", self.log, there.log));
        }
        for (store, ours) in &self.rules {
            let Some(theirs) = there.stores.get(store) else {
                return Some(format!("the store {store} is here and not there"));
            };
            if ours.max_ttl != theirs.max_ttl {
                return Some(format!(
                    "max_ttl of the store {store} is {} here and {} there",
                    ours.max_ttl, theirs.max_ttl
                ));
            }
            if ours.partitions != theirs.partitions {
                return Some(format!(
                    "the topics of the store {store} have {} partitions here and {} there",
                    ours.partitions, theirs.partitions
                ));
            }
        }
        None
    }
}

impl Us {
    /// A delete that a peer takes is asked of those that it knows, and of no others.
    fn knows_others(&self, there: &Hello) -> Option<String> {
        let list = |dcs: &BTreeSet<String>| dcs.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let differ =
            || format!("the data centres are {} here and {} there", list(&self.dcs), list(&there.dcs));
        (self.dcs != there.dcs).then(differ)
    }
}

/// Says once what has changed with a peer.
fn speak_of(peer: &HttpPeer, hellos: &[Hello], said: &mut Said) {
    let dc = peer.dc();
    let now = wall_ms();
    let apart = hellos.iter().map(|hello| Duration::from_millis(hello.wall_ms.abs_diff(now))).max();
    if let Some(apart) = apart {
        let are_apart = CLOCKS_APART_MAX < apart;
        if are_apart && !said.clocks_apart {
            tracing::warn!("The clocks of {dc} and of this node are about {} ms apart", apart.as_millis());
        }
        said.clocks_apart = are_apart;
    }
    if let Some(reach) = hellos.iter().filter_map(|hello| hello.versions_ms).max() {
        let ahead = Duration::from_millis(reach.saturating_sub(now));
        let are_ahead = DOWN_AHEAD_MAX < ahead;
        if are_ahead && !said.versions_ahead {
            tracing::warn!(
                "What {dc} acknowledges is {} s ahead of this node's clock: it could not be declared down now",
                ahead.as_secs()
            );
        }
        said.versions_ahead = are_ahead;
    }
    let now = peer.not_asked_because();
    if now == said.not_asked {
        return;
    }
    match &now {
        Some(why) => tracing::error!("Deletes are not confirmed by {dc} any more: {why}"),
        None => tracing::info!("{dc} answers again"),
    }
    said.not_asked = now;
}

fn rules(config: &Config) -> BTreeMap<String, StoreRules> {
    let partitions = match &config.log {
        LogConfig::Embedded { partitions } => partitions.get(),
        LogConfig::Kafka(kafka) => kafka.partitions.get(),
    };
    let seconds = |ttl: SessionTtl| ttl.duration().map_or(0, |ttl| ttl.as_secs());
    let rules =
        |store: &crate::config::StoreConfig| StoreRules { max_ttl: seconds(store.max_ttl), partitions };
    config.stores.iter().map(|(name, store)| (name.to_string(), rules(store))).collect()
}

fn log_kind(config: &Config) -> &'static str {
    match &config.log {
        LogConfig::Embedded { .. } => "embedded",
        LogConfig::Kafka(_) => "kafka",
    }
}

fn wall_ms() -> u64 {
    SystemClock::start().wall().as_millis()
}

#[cfg(test)]
mod tests {
    use api::{Ring, RingSecret, Secret};

    use super::*;

    type Change = fn(&mut Hello);

    fn us() -> Us {
        let secret = RingSecret { id: 1, secret: Secret::new(vec![1; 32].into()).unwrap() };
        Us {
            fingerprints: Fingerprints::of("aa", Arc::new(Ring::of(&[secret]).unwrap())),
            log: "kafka",
            dcs: ["codfw", "eqiad"].map(str::to_owned).into(),
            rules: [("sessions".to_owned(), StoreRules { max_ttl: 60, partitions: 4 })].into(),
        }
    }

    fn hello() -> Hello {
        let Us { fingerprints, log, dcs, rules } = us();
        Hello {
            dc: "codfw".parse().unwrap(),
            wall_ms: 1,
            versions_ms: Some(1),
            ready: true,
            version: "0".to_owned(),
            secret_fingerprints: fingerprints.all(),
            dcs,
            log: log.to_owned(),
            stores: rules,
            declared: BTreeMap::new(),
            declared_by: BTreeMap::new(),
        }
    }

    #[test]
    fn data_centres_fit_that_agree_on_secrets_and_on_what_lives_how_long_where() {
        assert_eq!(us().misfit(&hello()), None);
        let mut rotating = hello();
        rotating.secret_fingerprints.insert("ring-2".to_owned(), "cc".to_owned());
        rotating.secret_fingerprints.remove("ring-1");
        assert_eq!(
            us().misfit(&rotating),
            None,
            "one side has a new secret already, the other still an old one"
        );
        assert_eq!(us().knows_others(&hello()), None);
        let mut more = hello();
        more.dcs.insert("esams".to_owned());
        assert!(
            us().knows_others(&more).unwrap().contains("codfw, eqiad here and codfw, eqiad, esams there")
        );
        assert_eq!(us().misfit(&more), None, "it keeps none from coming up");
        let change: [(&str, Change); 6] = [
            ("the log is kafka here and embedded", |there| there.log = "embedded".to_owned()),
            ("`index`", |there| drop(there.secret_fingerprints.insert("index".to_owned(), "ab".to_owned()))),
            ("no index", |there| drop(there.secret_fingerprints.remove("index"))),
            ("`ring-1`", |there| drop(there.secret_fingerprints.insert("ring-1".to_owned(), "b".to_owned()))),
            ("not there", |there| there.stores.clear()),
            ("max_ttl", |there| there.stores.values_mut().for_each(|rules| rules.max_ttl = 61)),
        ];
        for (expected, change) in change {
            let mut there = hello();
            change(&mut there);
            let misfit = us().misfit(&there);
            assert!(misfit.as_ref().is_some_and(|why| why.contains(expected)), "{expected}: {misfit:?}");
        }
        let mut there = hello();
        there.stores.values_mut().for_each(|rules| rules.partitions = 5);
        assert!(us().misfit(&there).unwrap().contains("partitions"));
    }
}
