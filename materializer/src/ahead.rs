//! Reads and checks a log on a thread of its own, ahead of whoever folds it: about half of what a fold costs.

use std::{io, sync::Arc, thread};

use eventlog::{EventLog, Frontier, ReadError};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use schemas::MacKey;
use tokio::{runtime::Handle, sync::mpsc};

use crate::CheckedBatch;

/// How many batches may wait for the fold. More than a few would only take memory: one side is slower, always.
const WAITING_MAX: usize = 2;

/// What `log` holds from `from` on. Ends early if the thread panics.
///
/// # Errors
/// When the system has no thread.
pub(crate) fn read_ahead(
    log: Arc<dyn EventLog>,
    from: Frontier,
    mac: MacKey,
) -> io::Result<BoxStream<'static, Result<CheckedBatch, ReadError>>> {
    let (sender, mut receiver) = mpsc::channel(WAITING_MAX);
    let read = async move {
        let mut batches = Arc::clone(&log).read(from);
        loop {
            tokio::select! {
                // Nobody wants more: the log may have nothing for a long time.
                () = sender.closed() => return,
                batch = batches.next() => {
                    let Some(batch) = batch else { return };
                    let checked = batch.map(|batch| CheckedBatch::of(log.topic(), &mac, batch));
                    if sender.send(checked).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    let runtime = Handle::current();
    thread::Builder::new().name("read-ahead".to_owned()).spawn(move || runtime.block_on(read))?;
    Ok(stream::poll_fn(move |context| receiver.poll_recv(context)).boxed())
}
