//! What a store's log, view and follower tell of their end, as tasks of the node.

use std::{sync::Arc, thread, time::Duration};

use anyhow::{Context, anyhow, bail};
use api::{Jobs, Readiness, Task};
use eventlog::{
    EventLog,
    embedded::EmbeddedLog,
    kafka::{KafkaLog, topics::TopicPlan},
};
use materializer::{Follower, Freshness, Outage, Reads, sessions::SessionView};
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use writer::{Rhythm, Writer};

use crate::store::StoreNode;

/// The follower on a thread of its own, as a task that ends with it.
pub(crate) fn follow(
    follower: Follower,
    stop: CancellationToken,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + Send + 'static> {
    let (sender, ended) = oneshot::channel();
    let runtime = Handle::current();
    let run = move || {
        let _node_is_gone = sender.send(runtime.block_on(follower.run(stop)));
    };
    thread::Builder::new().name("follower".to_owned()).spawn(run).context("start the follower's thread")?;
    Ok(async { Ok(ended.await.context("the follower panicked")??) })
}

/// Ends when the log has failed, with its reason.
pub(crate) async fn watch_log(log: Arc<EmbeddedLog>) -> anyhow::Result<()> {
    let mut failure = log.failure();
    match failure.wait_for(Option::is_some).await {
        Ok(reason) => Err(anyhow!("{}: {}", log.topic(), reason.as_deref().unwrap_or_default())),
        // The log was closed in order.
        Err(_) => Ok(()),
    }
}

/// Says "alive" to a log that others read, and what became of numbers that no record has.
pub(crate) async fn beat(writer: Arc<Writer>, rhythm: Rhythm, stop: CancellationToken) -> anyhow::Result<()> {
    let mut due = interval(BEAT_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(due.tick()).await.is_some() {
        // A partition that does not answer must not hold up the heartbeats of the others: they run to their end without us.
        match stop.run_until_cancelled(timeout(BEAT_EVERY, writer.beat(rhythm))).await {
            Some(Ok(Err(error))) => tracing::debug!("No heartbeat: {error}"),
            Some(Err(_)) => tracing::debug!("No heartbeat within {BEAT_EVERY:?} in every partition"),
            Some(Ok(Ok(()))) => {}
            None => break,
        }
    }
    Ok(())
}

/// How often it is looked whether there is something to say.
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// Has the view made anew when a log does not have any more what it would go on with. The node is unready meanwhile.
pub(crate) async fn watch_for_loss(
    store: Arc<StoreNode>,
    jobs: Jobs,
    readiness: Arc<Readiness>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let name = &store.reads.own.store;
    let check = format!("store {name}");
    let watch = async {
        let mut lost = store.lost.subscribe();
        while let Ok(why) = lost.wait_for(Option::is_some).await.map(|why| why.clone()) {
            readiness.fail(&check, &format!("its view is made anew: {}", why.unwrap_or_default()));
            loop {
                // Refused while another job runs; one that failed is ordered again.
                let _busy = jobs.order(Task::Rebuild, Some(name.clone()));
                match timeout(ORDER_EVERY, lost.wait_for(Option::is_none)).await {
                    Ok(Ok(_)) => break,
                    Ok(Err(_)) => return,
                    Err(_) => {}
                }
            }
            tokio::select! {
                () = caught_up(&store) => readiness.pass(&check),
                // Lost again.
                _ = lost.wait_for(Option::is_some) => {}
            }
        }
    };
    let _node_stops = stop.run_until_cancelled(watch).await;
    Ok(())
}

async fn caught_up(store: &StoreNode) {
    while let Err(error) = store.catch_up().await {
        tracing::error!("The new view of {} has not caught up: {error}", store.reads.own.store);
        sleep(ORDER_EVERY).await;
    }
}

/// How often a view that is lost is ordered anew, until it is there.
const ORDER_EVERY: Duration = Duration::from_secs(1);

/// Looks for a log that does not answer, and makes the node unready when none of it has for too long. A partition alone
/// does not: every node lacks it, and none could take the place of this one.
pub(crate) async fn watch_for_an_outage(
    reads: Arc<Reads>,
    readiness: Arc<Readiness>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Freshness::Dc { outage, .. } = &reads.freshness else {
        stop.cancelled().await;
        return Ok(());
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = reads.look_for_the_log() => {}
        () = judge_outages(&reads, outage, &readiness) => {}
    }
    Ok(())
}

async fn judge_outages(reads: &Reads, outage: &Outage, readiness: &Readiness) {
    let (own, all, serve_for) = (&reads.own, reads.partitions.get() as usize, outage.serve_for());
    let name = format!("log {own}");
    let mut silent = outage.subscribe();
    while let Ok(partitions) = silent.wait_for(|silent| !silent.is_empty()).await.map(|silent| silent.len()) {
        let meanwhile = match serve_for {
            Duration::ZERO => "reads and writes of their sessions are refused".to_owned(),
            _ => format!(
                "for {serve_for:?} reads are answered from what was applied last, and writes are refused"
            ),
        };
        tracing::error!("{own} does not answer for {partitions} of {all} partitions or more: {meanwhile}");
        let mut is_unready = false;
        loop {
            let now = silent.borrow_and_update().clone();
            if now.is_empty() {
                break;
            }
            let refused_from = now.values().max().filter(|_| now.len() == all).map(|last| *last + serve_for);
            let is_over = refused_from.is_some_and(|moment| moment <= Instant::now());
            if is_over && !is_unready {
                tracing::error!("{own} has not answered for {serve_for:?}: reads are refused");
                readiness.fail(&name, "it does not answer");
            } else if !is_over && is_unready {
                readiness.pass(&name);
            }
            is_unready = is_over;
            let changed = match refused_from {
                Some(moment) if !is_over => timeout_at(moment, silent.changed()).await.unwrap_or(Ok(())),
                _ => silent.changed().await,
            };
            if changed.is_err() {
                return;
            }
        }
        if is_unready {
            readiness.pass(&name);
        }
        tracing::info!("{own} answers again");
    }
}

/// Looks at a topic again and again. Ends when it was deleted and made again: positions say nothing of it, and the next
/// start makes the view anew. A setting that was changed, and breaks a promise now, is said and no more: to stop would end
/// every session, and the promise may not have been needed yet.
pub(crate) async fn watch_topic(
    log: Arc<KafkaLog>,
    plan: TopicPlan,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut said = Vec::new();
    while stop.run_until_cancelled(sleep(LOOK_AT_TOPIC_EVERY)).await.is_some() {
        let asked = Arc::clone(&log);
        let look = spawn_blocking(move || asked.is_still_itself(LOOK_AT_TOPIC_EVERY));
        let Some(is_itself) = stop.run_until_cancelled(look).await else { break };
        if is_itself.context("look at the topic")? == Some(false) {
            bail!("the topic {} was deleted and made again: what it held is gone", log.topic());
        }
        let describe = log.cluster().describe(&plan.topic);
        let Some(Ok(Some(found))) = stop.run_until_cancelled(describe).await else { continue };
        let differences = plan.compare(&found);
        let broken: Vec<_> = differences.iter().filter(|difference| difference.breaks).collect();
        let broken: Vec<_> = broken.into_iter().map(ToString::to_string).collect();
        for difference in broken.iter().filter(|difference| !said.contains(*difference)) {
            tracing::error!("{difference}: it was changed under this node. `solera topics apply` mends it");
        }
        if broken.is_empty() && !said.is_empty() {
            tracing::info!("The topic {} keeps every promise again", log.topic());
        }
        said = broken;
    }
    Ok(())
}

/// How often a topic is looked at, and how long an answer may take.
const LOOK_AT_TOPIC_EVERY: Duration = Duration::from_secs(10);

/// Ends when the view that is served is known to be damaged, with what is: the next start makes it anew.
pub(crate) async fn watch_view(
    mut generation: watch::Receiver<Arc<SessionView>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let (dir, mut damage) = {
            let view = generation.borrow_and_update();
            (view.dir().to_owned(), view.damage())
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            what = damage.wait_for(Option::is_some) => if let Ok(what) = what {
                let (dir, what) = (dir.display(), what.as_deref().unwrap_or_default());
                return Err(anyhow!("the view in {dir} is damaged; the next start makes it anew: {what}"));
            },
            changed = generation.changed() => changed.context("nobody serves a view any more")?,
        }
    }
}
