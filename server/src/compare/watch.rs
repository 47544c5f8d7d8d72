//! Compares with another data centre all the time, and says when they begin to differ.

use std::{collections::BTreeSet, time::Duration};

use eventlog::{Clock, SystemClock};
use prometheus::{IntGaugeVec, Opts, Registry};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use writer::peer::Peer;

use super::{Effort, Outcome, Pair, Untold};

/// How often data centres are compared. Two sums of a few kilobytes each, while they agree.
const COMPARE_EVERY: Duration = Duration::from_secs(30);

/// How soon it is tried again where it has never come to anything: one of them may be starting.
const FIRST_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Of how many keys a line tells.
const TOLD: usize = 10;

/// Whether data centres agree.
#[derive(Clone, Debug)]
pub(crate) struct AgreeMetrics {
    /// 1 or 0 since the first comparison that came to something.
    agree: IntGaugeVec,
    /// Unix seconds of the last one that did; 0 before.
    compared: IntGaugeVec,
}

impl AgreeMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name, help| IntGaugeVec::new(Opts::new(name, help), &["store", "peer"]);
        let agree = gauge(
            "solera_dcs_agree",
            "1 while another data centre holds the same of a store as this one, 0 while keys differ.",
        )?;
        let compared = gauge(
            "solera_dcs_compared_timestamp_seconds",
            "When the two were last compared, in Unix seconds; 0 when they have not been yet.",
        )?;
        registry.register(Box::new(agree.clone()))?;
        registry.register(Box::new(compared.clone()))?;
        Ok(Self { agree, compared })
    }
}

/// Compares until `stop`.
pub(crate) async fn watch(pair: Pair, metrics: AgreeMetrics, stop: CancellationToken) -> anyhow::Result<()> {
    let labels = [pair.name().as_str(), pair.peer.dc().as_str()];
    let last = metrics.compared.with_label_values(&labels);
    let (mut agreed, mut differed, mut turn) = (None, BTreeSet::new(), 0);
    loop {
        let compared = pair.compare(Effort::SLIGHT, &differed, turn);
        let Some(outcome) = stop.run_until_cancelled(compared).await else { break };
        match &outcome {
            Ok(outcome) => {
                turn = turn.wrapping_add(outcome.buckets_looked_at);
                let agrees = outcome.differing.is_empty();
                speak_of(&pair, agreed, outcome);
                agreed = Some(agrees);
                // Looked at every time, until nothing in them differs any more.
                differed.clone_from(&outcome.buckets);
                metrics.agree.with_label_values(&labels).set(i64::from(agrees));
                let now = SystemClock::start().wall().as_seconds();
                last.set(i64::try_from(now).unwrap_or(i64::MAX));
            }
            // What keeps it from answering is spoken of elsewhere, and how old the last comparison is can be seen.
            Err(untold) => tracing::debug!("{pair} were not compared: {untold}"),
        }
        let pause = match (agreed, outcome) {
            (None, Err(Untold::Silent(..) | Untold::NotCounted(_))) => FIRST_AGAIN_AFTER,
            _ => COMPARE_EVERY,
        };
        if stop.run_until_cancelled(sleep(pause)).await.is_none() {
            break;
        }
    }
    Ok(())
}

/// Says it when it changes.
fn speak_of(pair: &Pair, agreed: Option<bool>, outcome: &Outcome) {
    let (store, differing) = (pair.name(), &outcome.differing);
    match (agreed, differing.is_empty()) {
        (None | Some(true), false) => {
            let told: Vec<_> = differing.keys().take(TOLD).map(|key| format!("~{key}")).collect();
            tracing::error!(
                "{pair} do not hold the same of {} keys of {store}, such as {}: `solera diff` says what each has",
                differing.len(),
                told.join(" ")
            );
        }
        (Some(false), true) => tracing::info!("{pair} hold the same of {store} again"),
        _ => {}
    }
}
