//! The peer API's client: asks another data centre over HTTP, within a deadline.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use eventlog::{Entry, Incarnation, frames};
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use schemas::{Dc, Offset, Partition, StoreName, Topic};
use tokio::time::{Instant, timeout};

use super::{
    Peer, PeerMetrics, PeerTls, PeerUrl, Round, Tombstone,
    address::over_tls,
    health::Health,
    messages::{
        BODY_BYTES_MAX, DC_HEADER, HELLO, Hello, LOG, LOG_BYTES_MAX, LOG_INCARNATION, LOG_NEXT, Refusal,
        TOMBSTONES, TombstoneAnswer, TombstoneCall, TombstoneResult,
    },
};
use crate::{Acknowledged, Answer, Deadline, NoAnswer};

/// A peer that is not there says nothing: its address is tried no longer than this.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// Connections that nobody uses are kept for so long.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// How long a peer may take to say what it is.
const HELLO_PATIENCE: Duration = Duration::from_secs(1);

/// How long a piece of a log may take, beyond what its reader waits for one.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// The part of what is left that a peer's answer needs to get back: it is told to be done before.
const WAY_BACK: Duration = Duration::from_millis(100);

/// Another data centre, at the addresses of its nodes.
pub struct HttpPeer {
    dc: Dc,
    own: Dc,
    nodes: Vec<PeerUrl>,
    /// The node that answered last.
    preferred: AtomicUsize,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    state: Mutex<State>,
    metrics: PeerMetrics,
}

#[derive(Debug, Default)]
struct State {
    health: Health,
    /// Why it is not asked, however well it answers.
    misfit: Option<Arc<str>>,
}

/// A piece of a log of another data centre.
#[derive(Clone, Debug)]
pub struct LogPiece {
    /// Which life of the log it is from.
    pub incarnation: Incarnation,
    /// The records.
    pub entries: Vec<Entry>,
    /// Where the next piece begins.
    pub next: Offset,
}

/// A call and its answer, if any.
type Exchanged = Result<Response<Bytes>, Silence>;

/// A peer did not say what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    /// No node of it took the call.
    #[error("cannot be reached")]
    Unreachable,
    /// One took it, and did not answer in time, or broke off.
    #[error("did not answer in time")]
    NoAnswer,
    /// It does not have what was asked for any more.
    #[error("does not have that any more")]
    Gone,
    /// The answer is none that is expected.
    #[error("answered what cannot be understood: {0}")]
    Strange(Arc<str>),
}

impl HttpPeer {
    /// The data centre `dc` as `own` sees it. Connects to nobody yet.
    ///
    /// # Panics
    /// Without a single node: the configuration sees to that.
    pub fn new(own: Dc, dc: Dc, nodes: Vec<PeerUrl>, tls: Option<PeerTls>, metrics: PeerMetrics) -> Self {
        assert!(!nodes.is_empty(), "a peer has a node at least");
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_PATIENCE));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .build(over_tls(connector, tls));
        metrics.expect(&dc);
        Self { dc, own, nodes, preferred: AtomicUsize::new(0), client, state: Mutex::default(), metrics }
    }

    /// Asks a node of it what it is: also how one that was silent is found again.
    ///
    /// # Errors
    /// When none says so in time.
    pub async fn greet(&self) -> Result<Hello, Silence> {
        let deadline = Deadline::within(HELLO_PATIENCE);
        let answer = self.call(Method::GET, HELLO, &Bytes::new(), deadline).await?;
        if answer.status() != StatusCode::OK {
            return Err(Silence::Strange(format!("status {}", answer.status()).into()));
        }
        let hello: Hello = serde_json::from_slice(answer.body()).map_err(strange)?;
        if hello.dc != self.dc {
            return Err(Silence::Strange(format!("it is {}", hello.dc).into()));
        }
        Ok(hello)
    }

    /// What its log holds of a partition from `from` on; nothing, when nothing came within `wait`. Says nothing of whether the
    /// peer is well otherwise.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn read_log(
        &self,
        topic: &Topic,
        partition: Partition,
        from: Offset,
        wait: Duration,
    ) -> Result<LogPiece, Silence> {
        let path = format!("{LOG}/{topic}/{partition}?from={from}&wait_ms={}", wait.as_millis());
        let deadline = Deadline::within(wait + LOG_PATIENCE);
        let answer = self.try_nodes(Method::GET, &path, &Bytes::new(), deadline).await?;
        if answer.status() == StatusCode::GONE {
            return Err(Silence::Gone);
        }
        if answer.status() != StatusCode::OK {
            let Refusal { detail, .. } = serde_json::from_slice(answer.body()).unwrap_or_default();
            return Err(Silence::Strange(format!("status {}: {detail}", answer.status()).into()));
        }
        let said = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let missing = |name: &str| Silence::Strange(format!("without {name}").into());
        let next = said(LOG_NEXT).and_then(|next| next.parse().ok()).ok_or_else(|| missing(LOG_NEXT))?;
        let incarnation = said(LOG_INCARNATION).ok_or_else(|| missing(LOG_INCARNATION))?;
        Ok(LogPiece {
            incarnation: Incarnation(incarnation.into()),
            next: Offset(next),
            entries: frames::decode(answer.into_body()).map_err(strange)?,
        })
    }

    /// Does not ask it any more, for this reason, until it is `None`.
    pub fn misfits(&self, why: Option<Arc<str>>) {
        self.state().misfit = why;
        self.show();
    }

    /// Why it is not asked at the moment, if so.
    pub fn not_asked_because(&self) -> Option<Arc<str>> {
        let state = self.state();
        let suspect = || state.health.is_suspect(Instant::now()).then(|| "does not answer".into());
        state.misfit.clone().or_else(suspect)
    }

    async fn ask(
        &self,
        store: &StoreName,
        tombstone: &Tombstone,
        round: Round,
        deadline: Deadline,
    ) -> Answer {
        if let Some(why) = self.not_asked_because() {
            return Answer::None(NoAnswer::Refused(why));
        }
        let left = deadline.left();
        let call = TombstoneCall::of(store, tombstone, round, left - WAY_BACK.min(left / 4));
        let body = match serde_json::to_vec(&call) {
            Ok(body) => body.into(),
            Err(error) => return Answer::None(NoAnswer::Refused(error.to_string().into())),
        };
        let answer = match self.call(Method::POST, TOMBSTONES, &body, deadline).await {
            Ok(answer) => self.understand(answer.status(), answer.body(), tombstone, round),
            Err(Silence::Unreachable) => NoAnswer::Refused(Silence::Unreachable.to_string().into()).into(),
            Err(silence) => NoAnswer::Unknown(silence.to_string().into()).into(),
        };
        self.metrics.count(&self.dc, &answer);
        answer
    }

    /// One answer of any of its nodes, which says whether it is well.
    async fn call(&self, method: Method, path: &str, body: &Bytes, deadline: Deadline) -> Exchanged {
        let exchanged = self.try_nodes(method, path, body, deadline).await;
        match &exchanged {
            Ok(_) => self.state().health.answered(),
            Err(_) => self.state().health.was_silent(Instant::now()),
        }
        self.show();
        exchanged
    }

    /// The one that answered last first, the others when a call did not even leave.
    async fn try_nodes(&self, method: Method, path: &str, body: &Bytes, deadline: Deadline) -> Exchanged {
        let first = self.preferred.load(Ordering::Relaxed);
        for node in (first..first + self.nodes.len()).map(|n| n % self.nodes.len()) {
            let call = self.call_node(&self.nodes[node], method.clone(), path, body);
            match timeout(deadline.left(), call).await.unwrap_or(Err(Silence::NoAnswer)) {
                Err(Silence::Unreachable) => {}
                // What one may have taken is not asked of another: there is hardly time left.
                exchanged => {
                    self.preferred.store(node, Ordering::Relaxed);
                    return exchanged;
                }
            }
        }
        Err(Silence::Unreachable)
    }

    async fn call_node(&self, node: &PeerUrl, method: Method, path: &str, body: &Bytes) -> Exchanged {
        let request = Request::builder()
            .method(method)
            .uri(node.join(path))
            .header(DC_HEADER, self.own.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.clone()))
            .map_err(strange)?;
        let response = self.client.request(request).await.map_err(|error| {
            tracing::debug!("{} at {node}: {}", self.dc, WithSources(&error));
            if error.is_connect() { Silence::Unreachable } else { Silence::NoAnswer }
        })?;
        let (head, body) = response.into_parts();
        let bytes_max = if path.starts_with(LOG) { LOG_BYTES_MAX } else { BODY_BYTES_MAX };
        let body = Limited::new(body, bytes_max).collect().await.map_err(|_| Silence::NoAnswer)?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    fn understand(&self, status: StatusCode, body: &[u8], asked: &Tombstone, round: Round) -> Answer {
        let unknown = |what: &dyn fmt::Display| {
            Answer::from(NoAnswer::Unknown(Silence::Strange(what.to_string().into()).to_string().into()))
        };
        if status == StatusCode::OK {
            let answer: TombstoneAnswer = match serde_json::from_slice(body) {
                Ok(answer) => answer,
                Err(error) => return unknown(&error),
            };
            return match answer.result {
                _ if answer.dc != self.dc => unknown(&format_args!("it is {}", answer.dc)),
                TombstoneResult::Done if answer.version == asked.version => {
                    Answer::Done(Acknowledged::by_peer(answer.version))
                }
                TombstoneResult::Newer if round == Round::First && asked.version < answer.version => {
                    Answer::Newer(answer.version)
                }
                TombstoneResult::Done | TombstoneResult::Newer => {
                    unknown(&"a version that was not asked for")
                }
            };
        }
        let Refusal { detail, outcome } = serde_json::from_slice(body).unwrap_or_default();
        let reason: Arc<str> = if detail.is_empty() { format!("status {status}") } else { detail }.into();
        match outcome.as_str() {
            "stored" => NoAnswer::Stored(reason).into(),
            "refused" => NoAnswer::Refused(reason).into(),
            // Before anything could be stored.
            "" if status.is_client_error() => NoAnswer::Refused(reason).into(),
            _ => NoAnswer::Unknown(reason).into(),
        }
    }

    fn show(&self) {
        self.metrics.show(&self.dc, self.not_asked_because().is_none());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

impl Peer for HttpPeer {
    fn dc(&self) -> &Dc {
        &self.dc
    }

    fn delete<'a>(
        &'a self,
        store: &'a StoreName,
        tombstone: &'a Tombstone,
        round: Round,
        deadline: Deadline,
    ) -> BoxFuture<'a, Answer> {
        Box::pin(self.ask(store, tombstone, round, deadline))
    }
}

impl fmt::Debug for HttpPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpPeer({})", self.dc)
    }
}

/// An error with what caused it, which hyper's own words leave out.
struct WithSources<'a>(&'a dyn std::error::Error);

impl fmt::Display for WithSources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.0.source().map_or(Ok(()), |source| write!(f, ": {}", WithSources(source)))
    }
}

fn strange(error: impl fmt::Display) -> Silence {
    Silence::Strange(error.to_string().into())
}

#[cfg(test)]
mod tests;
