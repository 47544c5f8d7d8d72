//! What a store's log, view and follower tell of their end, as tasks of the node.

use std::{sync::Arc, thread};

use anyhow::{Context, anyhow};
use eventlog::{EventLog, embedded::EmbeddedLog};
use materializer::{Follower, sessions::SessionView};
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
};
use tokio_util::sync::CancellationToken;

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
