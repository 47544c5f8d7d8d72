//! Looks at request heads before hyper does, for what hyper does not tell. It cuts a raw `#` and what follows off the
//! target, and would so answer for another key. And it takes a body in chunks that has a length as well, of which a
//! proxy in front may believe the length: then the two see different requests (RFC 9112, 11.2).
//!
//! A scanner watches the bytes of a connection go by and notes one [`Seen`] per request head, in order; hyper serves
//! the requests of a connection in the same order. It has to know where a body ends only when the body has a length:
//! after a chunked one the connection is closed, so what follows is never served.

use std::{
    collections::VecDeque,
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::patience::{Patience, WaitsFor};

/// Heads beyond this are refused by hyper, whose buffer is this large.
pub(crate) const HEAD_BYTES_MAX: usize = 128 * 1024;

/// More headers than hyper accepts.
const HEADERS_MAX: usize = 128;

/// What a request head holds that hyper does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The target had a raw `#`.
    pub(crate) fragment: bool,
    /// The body is chunked: the connection has to be closed after the answer.
    pub(crate) chunked: bool,
    /// The body is chunked and has a length too: where it ends is a matter of opinion.
    pub(crate) two_lengths: bool,
}

/// What was seen and not yet asked for, shared between the two ends of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeenHeads(Arc<Mutex<VecDeque<Seen>>>);

impl SeenHeads {
    /// What was seen in the head of the next request.
    pub(crate) fn next(&self) -> Seen {
        self.0.lock().expect("no holder panics").pop_front().unwrap_or_default()
    }

    fn note(&self, seen: Seen) {
        self.0.lock().expect("no holder panics").push_back(seen);
    }
}

/// A connection whose heads are looked at.
pub(crate) struct Watched<T> {
    inner: T,
    scanner: Scanner,
    seen: SeenHeads,
    patience: Patience,
    has_sent: bool,
}

impl<T> Watched<T> {
    pub(crate) fn new(inner: T) -> (Self, SeenHeads) {
        let seen = SeenHeads::default();
        let scanner = Scanner::Head(Vec::new());
        (Self { inner, scanner, seen: seen.clone(), patience: Patience::default(), has_sent: false }, seen)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.inner).poll_read(context, buffer) {
            Poll::Ready(read) => {
                read?;
                this.has_sent |= before < buffer.filled().len();
                this.scanner.watch(&buffer.filled()[before..], |seen| this.seen.note(seen));
                this.patience.read(this.scanner.waits_for());
                Poll::Ready(Ok(()))
            }
            // Whoever opens a connection is expected to say something soon.
            Poll::Pending if !this.has_sent => this.patience.poll_read(WaitsFor::RestOfHead, context),
            Poll::Pending => this.patience.poll_read(this.scanner.waits_for(), context),
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(context, parts)
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

/// Where in the stream of requests a connection is.
#[derive(Debug)]
enum Scanner {
    /// In a head, of which these bytes have come.
    Head(Vec<u8>),
    /// In a body, of which this much is to come.
    Body(u64),
    /// Where bodies end is not known any more; the connection will be closed.
    Lost,
}

impl Scanner {
    /// What the next byte belongs to.
    const fn waits_for(&self) -> WaitsFor {
        match self {
            Self::Head(head) if head.is_empty() => WaitsFor::Request,
            Self::Head(_) => WaitsFor::RestOfHead,
            Self::Body(_) | Self::Lost => WaitsFor::Body,
        }
    }

    fn watch(&mut self, mut bytes: &[u8], mut note: impl FnMut(Seen)) {
        while !bytes.is_empty() {
            match self {
                Self::Lost => return,
                Self::Body(left) => {
                    let passed = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= passed as u64;
                    bytes = &bytes[passed..];
                    if *left == 0 {
                        *self = Self::Head(Vec::new());
                    }
                }
                Self::Head(head) => {
                    let had = head.len();
                    // Nearly every head comes in one piece, and is not copied then.
                    let whole = if had == 0 {
                        bytes
                    } else {
                        head.extend_from_slice(bytes);
                        &*head
                    };
                    match parse(whole) {
                        Parsed::Partial if whole.len() <= HEAD_BYTES_MAX => {
                            if had == 0 {
                                head.extend_from_slice(bytes);
                            }
                            return;
                        }
                        Parsed::Partial | Parsed::Malformed => *self = Self::Lost,
                        Parsed::Head { bytes: head_bytes, body_bytes, seen } => {
                            note(seen);
                            // The head ended within the new bytes, or it would have been parsed before.
                            bytes = &bytes[head_bytes - had..];
                            *self = match body_bytes {
                                _ if seen.chunked => Self::Lost,
                                0 => Self::Head(Vec::new()),
                                body_bytes => Self::Body(body_bytes),
                            };
                        }
                    }
                }
            }
        }
    }
}

/// What the bytes of a head amount to.
enum Parsed {
    Partial,
    /// hyper parses with the same library, and refuses it too.
    Malformed,
    Head {
        bytes: usize,
        body_bytes: u64,
        seen: Seen,
    },
}

fn parse(head: &[u8]) -> Parsed {
    // Not filled in before: that would take longer than the parsing.
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let bytes = match request.parse_with_uninit_headers(head, &mut headers) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(_) => return Parsed::Malformed,
    };
    let named = |name: &'static str| {
        request
            .headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    };
    let body_bytes = named("content-length").next().and_then(|value| std::str::from_utf8(value).ok());
    let body_bytes = body_bytes.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let fragment = request.path.is_some_and(|target| target.contains('#'));
    let chunked = named("transfer-encoding").next().is_some();
    let two_lengths = chunked && named("content-length").next().is_some();
    Parsed::Head { bytes, body_bytes, seen: Seen { fragment, chunked, two_lengths } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: Seen = Seen { fragment: false, chunked: false, two_lengths: false };
    const FRAGMENT: Seen = Seen { fragment: true, ..PLAIN };
    const CHUNKED: Seen = Seen { chunked: true, ..PLAIN };

    fn seen_in<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
        let (mut scanner, mut seen) = (Scanner::Head(Vec::new()), Vec::new());
        for piece in pieces {
            scanner.watch(piece, |one| seen.push(one));
        }
        seen
    }

    #[test]
    fn each_head_is_noted_once_and_bodies_are_passed_over() {
        let stream = b"\r\nGET /a#b HTTP/1.1\r\n\r\nPOST /c HTTP/1.1\r\ncontent-LENGTH: 7\r\n\r\n# \r\n\r\n#\
            GET /d HTTP/1.1\r\nx: #\r\n\r\nPOST /e HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /# HTTP/1.1\r\n\r\n";
        assert_eq!(seen_in([&stream[..]]), [FRAGMENT, PLAIN, PLAIN, CHUNKED]);
    }

    #[test]
    fn two_lengths_are_noted_in_either_order() {
        let ambiguous = Seen { two_lengths: true, ..CHUNKED };
        for head in [
            &b"POST /a HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
            b"POST /a HTTP/1.1\r\ntransfer-encoding: x\r\nh: v\r\ncontent-length: 0\r\n\r\n",
        ] {
            assert_eq!(seen_in([head]), [ambiguous]);
        }
    }

    #[test]
    fn what_cannot_be_parsed_is_left_to_hyper() {
        assert_eq!(seen_in([&b"GET\0 /# HTTP/1.1\r\n\r\n"[..]]), []);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_are_cut(cuts in prop::collection::vec(0..200_usize, 0..20)) {
            let stream = b"GET /a# HTTP/1.1\r\nh: v\r\n\r\nPOST /c HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /d HTTP/1.1\r\n\r\n";
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(stream.len())).chain([0, stream.len()]).collect();
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
            prop_assert_eq!(seen_in(pieces), vec![FRAGMENT, PLAIN, PLAIN]);
        }

        #[test]
        fn any_bytes_are_watched_without_a_panic(pieces: Vec<Vec<u8>>) {
            let _whatever = seen_in(pieces.iter().map(Vec::as_slice));
        }
    }
}
