//! The TLS of a listener: which certificate the next connection is shown, and what becomes of its handshake.
//!
//! Does not know where certificates and keys come from.

use std::{
    io,
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus::{IntCounterVec, Opts, Registry};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig, client::verify_server_name, pki_types::CertificateDer, server::ParsedCertificate,
    },
    server::TlsStream,
};
use writer::peer::TlsName;

use crate::patience::Taking;

/// From the connection to the end of its handshake. It holds a place meanwhile, and has yet to show that it means well.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// The first byte of a TLS connection: the type of a record that holds a handshake.
const HANDSHAKE_RECORD: u8 = 0x16;

/// What Kask says to a client that speaks plain HTTP where TLS is spoken.
const PLAIN_HTTP_ANSWER: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// What a client has shown, and an authority that the listener trusts has signed.
#[derive(Clone, Debug)]
pub(crate) struct ClientCertificate(Arc<Certificate>);

#[derive(Debug)]
struct Certificate {
    der: CertificateDer<'static>,
    /// See [`ClientCertificate::remember`]: the generation above, one more than what was found below, or 0 for nothing.
    remembered: AtomicU64,
}

impl ClientCertificate {
    /// Of a connection after its handshake, if one was shown.
    pub(crate) fn of<S>(stream: &TlsStream<S>) -> Option<Self> {
        let (_, connection) = stream.get_ref();
        let first = connection.peer_certificates()?.first()?;
        let der = first.clone().into_owned();
        Some(Self(Arc::new(Certificate { der, remembered: AtomicU64::new(0) })))
    }

    /// Whether it was issued for this name.
    pub(crate) fn is_for(&self, name: &TlsName) -> bool {
        let parsed = ParsedCertificate::try_from(&self.0.der);
        parsed.is_ok_and(|parsed| verify_server_name(&parsed, name.as_server_name()).is_ok())
    }

    /// What `find` says of it, once for each generation of what it is looked up in: a connection has many requests.
    /// Generations count from 1.
    pub(crate) fn remember(&self, generation: u32, find: impl FnOnce() -> Option<u32>) -> Option<u32> {
        let remembered = self.0.remembered.load(Ordering::Relaxed);
        let found = if remembered >> 32 == u64::from(generation) {
            remembered & u64::from(u32::MAX)
        } else {
            let found = find().map_or(0, |found| u64::from(found) + 1);
            self.0.remembered.store(u64::from(generation) << 32 | found, Ordering::Relaxed);
            found
        };
        found.checked_sub(1).and_then(|found| u32::try_from(found).ok())
    }
}

/// TLS for the connections of a listener. What it shows can be replaced while it runs.
#[derive(Debug)]
pub struct Tls {
    shown: RwLock<Arc<ServerConfig>>,
    /// `solera_tls_handshake_failures_total{reason}`: connections that did not become TLS ones.
    failures: IntCounterVec,
}

impl Tls {
    /// Shows the certificate of `config` until another is shown.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        let opts = Opts::new(
            "solera_tls_handshake_failures_total",
            "TLS handshakes that failed: too slow, plain HTTP, or refused by one of the two sides.",
        );
        let failures = IntCounterVec::new(opts, &["reason"]).expect("the name and the label are well formed");
        for reason in Failure::REASONS {
            failures.with_label_values(&[reason]);
        }
        Self { shown: RwLock::new(config), failures }
    }

    /// Shows the certificate of `config` to connections that come from now on, and holds them to its rules. Earlier
    /// ones go on as they are, and cannot be resumed under the new rules.
    pub fn show(&self, config: Arc<ServerConfig>) {
        *self.shown.write().expect("no holder panics") = config;
    }

    /// Registers the metrics.
    ///
    /// # Errors
    /// When they are registered already.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.failures.clone()))
    }

    /// The handshake of one connection. `None` when it failed; that has been counted, and nothing is left to say.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Option<TlsStream<Taking<TcpStream>>> {
        let config = Arc::clone(&self.shown.read().expect("no holder panics"));
        let handshake = tokio::time::timeout(HANDSHAKE_PATIENCE, handshake(stream, config)).await;
        match handshake.unwrap_or(Err(Failure::TooSlow)) {
            Ok(stream) => Some(stream),
            Err(failure) => {
                if let Some(reason) = failure.reason() {
                    self.failures.with_label_values(&[reason]).inc();
                    tracing::debug!("A TLS handshake failed: {failure}");
                }
                None
            }
        }
    }
}

async fn handshake(
    stream: TcpStream,
    config: Arc<ServerConfig>,
) -> Result<TlsStream<Taking<TcpStream>>, Failure> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        // A probe that only connects.
        Ok(0) | Err(_) => return Err(Failure::Gone),
        Ok(_) => {}
    }
    if first[0] != HANDSHAKE_RECORD && first[0].is_ascii_uppercase() {
        refuse_plain_http(&stream).await;
        return Err(Failure::PlainHttp);
    }
    TlsAcceptor::from(config).accept(Taking::new(stream)).await.map_err(Failure::Refused)
}

/// Tells a person with a browser or curl what is wrong. Whether it arrives does not matter.
async fn refuse_plain_http(stream: &TcpStream) {
    // Unread bytes would make the system cut the connection off before the answer is read.
    let _whatever = stream.try_read(&mut [0; 4096]);
    if stream.writable().await.is_ok() {
        let _gone = stream.try_write(PLAIN_HTTP_ANSWER);
    }
}

/// Why a connection did not become a TLS one.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the client left before it began")]
    Gone,
    #[error("it was not done within {HANDSHAKE_PATIENCE:?}")]
    TooSlow,
    #[error("the client speaks plain HTTP")]
    PlainHttp,
    /// By either side: no version, cipher or protocol in common, a certificate that one of them does not trust.
    #[error("{0}")]
    Refused(io::Error),
}

impl Failure {
    const REASONS: [&str; 3] = ["timeout", "plain_http", "refused"];

    /// The label; `None` for what is no failure.
    const fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Gone => None,
            Self::TooSlow => Some(Self::REASONS[0]),
            Self::PlainHttp => Some(Self::REASONS[1]),
            Self::Refused(_) => Some(Self::REASONS[2]),
        }
    }
}
