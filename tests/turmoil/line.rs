//! Connections of the simulated network, as the peers' HTTP client makes them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use ::turmoil::net::TcpStream;
use futures::future::BoxFuture;
use hyper::{
    Uri,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::time::timeout;
use tower::util::ServiceFn;
use writer::peer::CONNECT_PATIENCE;

/// Makes connections.
pub(crate) type Connector = ServiceFn<fn(Uri) -> BoxFuture<'static, io::Result<Line>>>;

/// One that is tried for as long as the product's own tries.
pub(crate) fn connector() -> Connector {
    tower::service_fn(connect as fn(Uri) -> _)
}

fn connect(to: Uri) -> BoxFuture<'static, io::Result<Line>> {
    Box::pin(async move {
        let host = to.host().expect("a host").to_owned();
        let connecting = TcpStream::connect((host, to.port_u16().expect("a port")));
        let stream = timeout(CONNECT_PATIENCE, connecting).await.map_err(|_| io::ErrorKind::TimedOut)??;
        Ok(Line(TokioIo::new(stream)))
    })
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Line(TokioIo<TcpStream>);

impl Connection for Line {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl Write for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
