//! Whether this data centre is declared down, and who else is: readiness, log lines and metrics follow.

use std::{collections::BTreeMap, sync::Arc};

use api::{App, DECLARED_DOWN, Dcs, Latch, Readiness};
use prometheus::{IntGaugeVec, Opts, Registry};
use schemas::Dc;
use tokio_util::sync::CancellationToken;
use writer::peer::Peer;

use crate::{
    comeback::{Comeback, MayServe, word},
    renewal::renew,
    store::StoreNode,
};

/// What is shown of declarations.
#[derive(Clone, Debug)]
pub(crate) struct StandingMetrics {
    /// `solera_dc_declared_down{dc}`: 1 while any log that this node folds holds the data centre for down.
    down: IntGaugeVec,
}

impl StandingMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let down = Opts::new(
            "solera_dc_declared_down",
            "1 while a data centre is declared down: deletes go on without it.",
        );
        let down = IntGaugeVec::new(down, &["dc"])?;
        registry.register(Box::new(down.clone()))?;
        Ok(Self { down })
    }

    fn show(&self, dc: &Dc, is_down: bool) {
        self.down.with_label_values(&[dc.as_str()]).set(i64::from(is_down));
    }
}

/// All stores of a node at work, and how they see the data centres.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    stores: Arc<[Arc<StoreNode>]>,
    dcs: Dcs,
    readiness: Arc<Readiness>,
    metrics: StandingMetrics,
}

impl Standing {
    pub(crate) fn of(app: &App, stores: Vec<Arc<StoreNode>>, metrics: StandingMetrics) -> Self {
        let (dcs, readiness) = (app.dcs.clone(), Arc::clone(&app.readiness));
        Self { stores: stores.into(), dcs, readiness, metrics }
    }

    /// Keeps the node unready while another data centre's logs declare this one down, and says who else is down, until `stop`.
    /// Holds `latch` until it has looked once.
    pub(crate) async fn watch(self, latch: Latch, stop: CancellationToken) -> anyhow::Result<()> {
        let others = self.dcs.peers.iter().map(|peer| peer.dc().clone());
        let comeback = Comeback::new(Arc::clone(&self.stores), self.dcs.us.clone(), others);
        let (mut latch, mut said, mut was_down) = (Some(latch), BTreeMap::new(), false);
        let tell = |may_serve| {
            self.speak_of_others(&mut said);
            let us = &self.dcs.us;
            let is_down = matches!(may_serve, MayServe::No { .. });
            self.metrics.show(us, is_down);
            match may_serve {
                MayServe::Yes => {
                    match latch.take() {
                        Some(latch) => latch.release(),
                        None => self.readiness.pass(DECLARED_DOWN),
                    }
                    if std::mem::take(&mut was_down) {
                        tracing::warn!("{us} may serve clients again");
                    }
                }
                MayServe::No { declared_down_by } => {
                    let by = declared_down_by.iter().map(Dc::as_str).collect::<Vec<_>>().join(", ");
                    let why = format!("{us} is declared down by {by}");
                    if !std::mem::replace(&mut was_down, true) {
                        tracing::error!("{why}: this node serves nobody until it is declared up");
                    }
                    self.wait_for(latch.as_ref(), &why);
                }
                MayServe::Soon => {
                    let why = "writing down what was deleted without it";
                    if was_down {
                        tracing::warn!("{us} is declared up again: {why}");
                    }
                    self.wait_for(latch.as_ref(), why);
                }
            }
        };
        // The stores end with the node.
        let _node_stops = stop.run_until_cancelled(comeback.follow(tell)).await;
        stop.cancelled().await;
        Ok(())
    }

    /// Says why the node does not serve.
    fn wait_for(&self, latch: Option<&Latch>, why: &str) {
        match latch {
            Some(latch) => latch.waits_for(why),
            None => self.readiness.fail(DECLARED_DOWN, why),
        }
    }

    fn speak_of_others(&self, said: &mut BTreeMap<Dc, bool>) {
        for peer in self.dcs.peers.iter() {
            let dc = peer.dc();
            let word = word(&self.stores, &self.dcs.us, dc);
            let is_down = word.is_some_and(|word| word.down_in_some);
            self.metrics.show(dc, is_down);
            let before = said.insert(dc.clone(), is_down).unwrap_or(false);
            match (before, is_down) {
                (false, true) => tracing::warn!("{dc} is declared down: deletes go on without it"),
                (true, false) => tracing::warn!("{dc} is declared up: deletes ask it again"),
                _ => {}
            }
        }
    }

    /// Appends declarations again that are due, until `stop`.
    pub(crate) async fn renew(self, stop: CancellationToken) -> anyhow::Result<()> {
        stop.run_until_cancelled(renew(&self.stores)).await;
        Ok(())
    }
}
