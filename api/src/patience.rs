//! How long a connection may keep its place: a client that sends nothing, or takes nothing, is let go.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep, sleep_until},
};

/// Between two requests. Above the hour after which Envoy lets go of an idle connection by default: whoever sends must
/// be the one who closes, or a request meets a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(65 * 60);

/// From the first byte of a request head to its last, however many come in between.
const HEAD: Duration = Duration::from_secs(60);

/// Without a byte of an answer being taken.
const STALLED: Duration = Duration::from_secs(30);

/// What the next byte from the client belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// A request that has not begun.
    Request,
    /// A head that has begun.
    RestOfHead,
    /// A body, which has a limit of its own where it is read.
    Body,
}

impl WaitsFor {
    const fn at_most(self) -> Option<Duration> {
        match self {
            Self::Request => Some(IDLE),
            Self::RestOfHead => Some(HEAD),
            Self::Body => None,
        }
    }
}

/// The clock of what a client sends.
///
/// One timer for the life of a connection: it is set again only when it goes off too early, or too late, since a timer
/// costs more than all else that a request asks of this clock.
#[derive(Default)]
pub(crate) struct Patience {
    /// What is waited for, and since when.
    waits: Option<(WaitsFor, Instant)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Bytes have come. What is waited for now may be the same as before: a head that drips in has one time for all of it.
    pub(crate) fn read(&mut self, now: WaitsFor) {
        if self.waits.is_some_and(|(before, _)| before != now || now == WaitsFor::Request) {
            self.waits = None;
        }
    }

    /// Nothing has come yet.
    pub(crate) fn poll_read(&mut self, what: WaitsFor, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(at_most) = what.at_most() else { return Poll::Pending };
        let since = match self.waits {
            Some((before, since)) if before == what => since,
            _ => {
                let now = Instant::now();
                self.waits = Some((what, now));
                now
            }
        };
        let due = since + at_most;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if due < timer.deadline() {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(context).is_ready() {
            if due <= Instant::now() {
                return Poll::Ready(Err(gone("sent nothing")));
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

/// A socket whose client has to take what is written to it.
///
/// Directly on the socket, and so below TLS, which buffers: there a write succeeds although nothing was taken, and a
/// flush is pending although bytes move.
pub(crate) struct Taking<T> {
    inner: T,
    writing: Option<Pin<Box<Sleep>>>,
}

impl<T> Taking<T> {
    pub(crate) const fn new(inner: T) -> Self {
        Self { inner, writing: None }
    }

    /// Passes on how a write went, and fails it when nothing was taken for too long.
    fn judge(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.writing = None;
            return written;
        }
        let timer = self.writing.get_or_insert_with(|| Box::pin(sleep(STALLED)));
        timer.as_mut().poll(context).map(|()| Err(gone("took nothing")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Taking<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Taking<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(context, bytes);
        this.judge(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(context, parts);
        this.judge(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

fn gone(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("the client {what} for too long"))
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn is_gone<T>(poll: Poll<io::Result<T>>) -> bool {
        matches!(poll, Poll::Ready(Err(_)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_drips_in_has_one_time_for_all_of_it() {
        let (mut patience, mut context) = (Patience::default(), Context::from_waker(Waker::noop()));
        let begun = Instant::now();
        let mut let_go = None;
        for _ in 0..100 {
            patience.read(WaitsFor::RestOfHead);
            if is_gone(patience.poll_read(WaitsFor::RestOfHead, &mut context)) {
                let_go = Some(begun.elapsed());
                break;
            }
            advance(SECOND).await;
        }
        let let_go = let_go.expect("it is let go");
        assert!(HEAD <= let_go && let_go <= HEAD + 2 * SECOND, "{let_go:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_kept_for_longer_than_a_proxy_keeps_it_and_each_request_begins_anew() {
        let (mut patience, mut context) = (Patience::default(), Context::from_waker(Waker::noop()));
        for _ in 0..3 {
            assert!(!is_gone(patience.poll_read(WaitsFor::Request, &mut context)));
            advance(Duration::from_secs(3_600)).await;
            assert!(!is_gone(patience.poll_read(WaitsFor::Request, &mut context)));
            patience.read(WaitsFor::Request);
        }
        assert!(!is_gone(patience.poll_read(WaitsFor::Request, &mut context)));
        advance(IDLE + SECOND).await;
        assert!(is_gone(patience.poll_read(WaitsFor::Request, &mut context)));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_nothing_is_let_go_and_a_byte_is_enough_to_go_on() {
        let (mut taking, mut context) = (Taking::new(()), Context::from_waker(Waker::noop()));
        for _ in 0..3 {
            assert!(!is_gone(taking.judge(Poll::Pending, &mut context)));
            advance(STALLED - SECOND).await;
            assert!(!is_gone(taking.judge(Poll::Pending, &mut context)));
            assert!(matches!(taking.judge(Poll::Ready(Ok(1)), &mut context), Poll::Ready(Ok(1))));
        }
        assert!(!is_gone(taking.judge(Poll::Pending, &mut context)));
        advance(STALLED + SECOND).await;
        assert!(is_gone(taking.judge(Poll::Pending, &mut context)));
    }
}
