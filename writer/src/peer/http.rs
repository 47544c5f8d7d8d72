//! The peer API's client: asks another data centre over HTTP, within a deadline.

mod comparing;

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use eventlog::{Entry, Incarnation, frames};
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, join_all},
    stream::FuturesUnordered,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connect, HttpConnector},
    },
    rt::{TokioExecutor, TokioTimer},
};
use schemas::{Dc, Declaration, Offset, Partition, StoreName, Timestamp, Topic};
use tokio::time::{Instant, sleep, timeout};

pub use self::comparing::BucketAsked;
use super::{
    Heard, NodeStanding, Peer, PeerMetrics, PeerTls, PeerUrl, Round, Telling, Told, Tombstone,
    address::over_tls,
    comparing::{COMPARED_BYTES_MAX, HASHES},
    health::Health,
    messages::{
        BODY_BYTES_MAX, DC_HEADER, DECLARATIONS, DeclarationAnswer, DeclarationCall, HELLO, Hello, LOG,
        LOG_BYTES_MAX, LOG_END, LOG_INCARNATION, LOG_NEXT, Refusal, TOMBSTONES, TombstoneAnswer,
        TombstoneCall, TombstoneResult,
    },
    pace::Pace,
};
use crate::{Acknowledged, Answer, Deadline, NoAnswer};

/// A peer that is not there says nothing: its address is tried no longer than this.
pub const CONNECT_PATIENCE: Duration = Duration::from_millis(300);

/// Connections that nobody uses are kept for so long.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// How long a peer may take to say what it is.
const HELLO_PATIENCE: Duration = Duration::from_secs(1);

/// How long a piece of a log may take, beyond what its reader waits for one.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// The part of what is left that a peer's answer needs to get back: it is told to be done before.
const WAY_BACK: Duration = Duration::from_millis(100);

type PeerClient<C> = Client<C, Full<Bytes>>;

/// TCP, and TLS over it where a peer is to be spoken to so.
type TcpOrTls = HttpsConnector<HttpConnector>;

/// Another data centre, at the addresses of its nodes. `C` makes connections to them.
pub struct HttpPeer<C = TcpOrTls> {
    dc: Dc,
    us: Us,
    nodes: Vec<PeerUrl>,
    /// The node that answered last.
    preferred: AtomicUsize,
    /// Replaced when this node gets another certificate.
    client: RwLock<PeerClient<C>>,
    state: Mutex<State>,
    metrics: PeerMetrics,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Us {
    /// This data centre.
    pub dc: Dc,
    /// Of the secret that all share.
    pub index_fingerprint: String,
}

#[derive(Debug, Default)]
struct State {
    /// Whether it answers at all.
    health: Health,
    /// Whether it does what it is asked: one whose log hangs answers, and confirms nothing.
    work: Health,
    pace: Pace,
    /// What its nodes said last of their versions, in the order of the configuration.
    heard: Vec<Option<Heard>>,
    /// Why it is not asked, however well it answers.
    misfit: Option<Arc<str>>,
}

impl State {
    fn not_asked_because(&self, now: Instant) -> Option<Arc<str>> {
        let stuck = || self.work.is_suspect(now).then(|| "confirms nothing".into());
        self.not_told_because(now).or_else(stuck)
    }

    /// Orders have the time to find out whether it confirms anything.
    fn not_told_because(&self, now: Instant) -> Option<Arc<str>> {
        let silent = || self.health.is_suspect(now).then(|| "does not answer".into());
        self.misfit.clone().or_else(silent)
    }

    /// Why a delete is not asked for. One that only confirms nothing is tried once a second.
    fn refuses(&mut self, now: Instant) -> Option<Arc<str>> {
        let why = self.not_asked_because(now)?;
        let is_only_stuck = self.misfit.is_none() && !self.health.is_suspect(now);
        if is_only_stuck && self.work.may_ask(now) { None } else { Some(why) }
    }
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
    /// Where the partition ended.
    pub end: Offset,
}

/// The answer of a node, if any.
type Exchanged = Result<Response<Bytes>, Silence>;

/// What came of a call.
struct Exchange {
    answer: Exchanged,
    /// Another node was asked, too, and may have done what this answer says was not done.
    may_be_elsewhere: bool,
}

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
    /// It has not come so far: another time it may say it.
    #[error("{0}")]
    NotYet(Arc<str>),
    /// It never had it.
    #[error("has no such log")]
    Absent,
    /// The answer is none that is expected.
    #[error("answered what cannot be understood: {0}")]
    Strange(Arc<str>),
}

impl HttpPeer {
    /// The data centre `dc` as `us` sees it. Connects to nobody yet.
    ///
    /// # Panics
    /// Without a single node: the configuration sees to that.
    pub fn new(us: Us, dc: Dc, nodes: Vec<PeerUrl>, tls: Option<PeerTls>, metrics: PeerMetrics) -> Self {
        Self::over(tcp_or_tls(tls), us, dc, nodes, metrics)
    }

    /// Shows it another certificate, or trusts other authorities, from the next call on.
    pub fn show_tls(&self, tls: Option<PeerTls>) {
        *self.client.write().expect("no holder panics") = client(tcp_or_tls(tls));
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> HttpPeer<C> {
    /// The same over connections that `connector` makes, which is to give up after [`CONNECT_PATIENCE`].
    ///
    /// # Panics
    /// Without a single node.
    pub fn over(connector: C, us: Us, dc: Dc, nodes: Vec<PeerUrl>, metrics: PeerMetrics) -> Self {
        assert!(!nodes.is_empty(), "a peer has a node at least");
        let client = RwLock::new(client(connector));
        metrics.expect(&dc);
        let state = Mutex::new(State { heard: vec![None; nodes.len()], ..State::default() });
        Self { dc, us, nodes, preferred: AtomicUsize::new(0), client, state, metrics }
    }

    /// Asks every node of it what it is: also how one that was silent is found again. In the order of the configuration.
    pub async fn greet(&self) -> Vec<(&PeerUrl, Result<Hello, Silence>)> {
        let began = Instant::now();
        let hellos = join_all(self.nodes.iter().map(|node| self.greet_node(node))).await;
        {
            let (mut state, at) = (self.state(), Instant::now());
            if hellos.iter().any(Result::is_ok) {
                state.health.answered();
            } else {
                state.health.was_silent(began);
            }
            for (heard, hello) in state.heard.iter_mut().zip(&hellos) {
                let reach = hello.as_ref().ok().and_then(|hello| hello.versions_ms);
                *heard = reach.map(|ms| Heard { versions_reach: Timestamp::from_millis(ms), at }).or(*heard);
            }
        }
        self.show();
        self.nodes.iter().zip(hellos).collect()
    }

    async fn greet_node(&self, node: &PeerUrl) -> Result<Hello, Silence> {
        let nothing = Bytes::new();
        let answer = timeout(HELLO_PATIENCE, self.call_node(node, Method::GET, HELLO, &nothing));
        let answer = answer.await.unwrap_or(Err(Silence::NoAnswer))?;
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
        let exchange = self.try_nodes(Method::GET, &path, &Bytes::new(), deadline, None).await;
        let answer = exchange.answer?;
        match answer.status() {
            StatusCode::GONE => return Err(Silence::Gone),
            StatusCode::NOT_FOUND => return Err(Silence::Absent),
            _ => {}
        }
        if answer.status() != StatusCode::OK {
            let Refusal { detail, .. } = serde_json::from_slice(answer.body()).unwrap_or_default();
            return Err(Silence::Strange(format!("status {}: {detail}", answer.status()).into()));
        }
        let said = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let missing = |name: &str| Silence::Strange(format!("without {name}").into());
        let offset = |name| said(name).and_then(|offset| offset.parse().ok()).ok_or_else(|| missing(name));
        let incarnation = said(LOG_INCARNATION).ok_or_else(|| missing(LOG_INCARNATION))?;
        Ok(LogPiece {
            incarnation: Incarnation(incarnation.into()),
            next: Offset(offset(LOG_NEXT)?),
            end: Offset(offset(LOG_END)?),
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
        self.state().not_asked_because(Instant::now())
    }

    async fn ask(
        &self,
        store: &StoreName,
        tombstone: &Tombstone,
        round: Round,
        deadline: Deadline,
    ) -> Answer {
        let began = Instant::now();
        if let Some(why) = self.state().refuses(began) {
            return Answer::None(NoAnswer::Refused(why));
        }
        let call =
            TombstoneCall::of(store, tombstone, round, time_there(deadline), &self.us.index_fingerprint);
        let body = match serde_json::to_vec(&call) {
            Ok(body) => body.into(),
            Err(error) => return Answer::None(NoAnswer::Refused(error.to_string().into())),
        };
        let Exchange { answer, may_be_elsewhere } =
            self.call(Method::POST, TOMBSTONES, &body, deadline).await;
        let answer = match answer {
            Ok(answer) => self.understand(answer.status(), answer.body(), tombstone, round),
            Err(Silence::Unreachable) => NoAnswer::Refused(Silence::Unreachable.to_string().into()).into(),
            Err(silence) => NoAnswer::Unknown(silence.to_string().into()).into(),
        };
        let answer = match answer {
            Answer::None(NoAnswer::Refused(why) | NoAnswer::Overloaded(why)) if may_be_elsewhere => {
                NoAnswer::Unknown(why).into()
            }
            answer => answer,
        };
        match &answer {
            Answer::None(NoAnswer::Unknown(_) | NoAnswer::Stored(_)) => self.state().work.was_silent(began),
            // Says nothing of its log.
            Answer::None(NoAnswer::Refused(_) | NoAnswer::Overloaded(_)) => {}
            Answer::Done(_) | Answer::Newer(_) => self.state().work.answered(),
        }
        self.metrics.count(&self.dc, &answer);
        answer
    }

    /// One answer of any of its nodes, which says whether it is well.
    async fn call(&self, method: Method, path: &str, body: &Bytes, deadline: Deadline) -> Exchange {
        let began = Instant::now();
        let exchange = self.try_nodes(method, path, body, deadline, Some(self.pace())).await;
        match &exchange.answer {
            Ok(_) => self.state().health.answered(),
            Err(_) => self.state().health.was_silent(began),
        }
        self.show();
        exchange
    }

    /// The node that answered last is asked first; the next one when it cannot be reached, breaks off, refuses, or takes longer than
    /// nearly all answers do (`hedge_after`, if at all). The first answer counts that is no refusal, which a node gives for itself
    /// alone: to be asked twice harms nobody.
    async fn try_nodes(
        &self,
        method: Method,
        path: &str,
        body: &Bytes,
        deadline: Deadline,
        hedge_after: Option<Duration>,
    ) -> Exchange {
        let (preferred, count) = (self.preferred.load(Ordering::Relaxed), self.nodes.len());
        let mut untried = (preferred..preferred + count).map(|n| n % count).peekable();
        let begin = |node: usize| {
            let (began, call) =
                (Instant::now(), self.call_node(&self.nodes[node], method.clone(), path, body));
            call.map(move |exchanged| (node, began, exchanged))
        };
        let mut calls: FuturesUnordered<_> = untried.next().map(begin).into_iter().collect();
        let (mut silence, mut passed) = (Silence::Unreachable, pin!(sleep(deadline.left())));
        let mut refusal = None;
        loop {
            let hedge = hedge_after.filter(|_| untried.peek().is_some());
            tokio::select! {
                biased;
                Some((node, began, exchanged)) = calls.next() => match exchanged {
                    Ok(answer) if is_refusal(&answer) && (!calls.is_empty() || untried.peek().is_some()) => {
                        refusal = Some(answer);
                        calls.extend(untried.next().map(begin));
                    }
                    Ok(answer) => {
                        self.preferred.store(node, Ordering::Relaxed);
                        if hedge_after.is_some() {
                            self.state().pace.took(began.elapsed());
                        }
                        let may_be_elsewhere = !calls.is_empty() || silence != Silence::Unreachable;
                        return Exchange { answer: Ok(answer), may_be_elsewhere };
                    }
                    Err(error) => {
                        // What one may have taken cannot be said to have reached nobody any more.
                        if error != Silence::Unreachable {
                            silence = error;
                        }
                        calls.extend(untried.next().map(begin));
                        if calls.is_empty() {
                            let may_be_elsewhere = silence != Silence::Unreachable;
                            return Exchange { answer: refusal.ok_or(silence), may_be_elsewhere };
                        }
                    }
                },
                () = &mut passed => {
                    // It may be that only this node hangs.
                    self.preferred.store((preferred + 1) % count, Ordering::Relaxed);
                    return Exchange { answer: refusal.ok_or(Silence::NoAnswer), may_be_elsewhere: true };
                }
                () = sleep(hedge.unwrap_or_default()), if hedge.is_some() => calls.extend(untried.next().map(begin)),
            }
        }
    }

    fn pace(&self) -> Duration {
        self.state().pace.patience()
    }

    async fn call_node(&self, node: &PeerUrl, method: Method, path: &str, body: &Bytes) -> Exchanged {
        let request = Request::builder()
            .method(method)
            .uri(node.join(path))
            .header(DC_HEADER, self.us.dc.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.clone()))
            .map_err(strange)?;
        let client = self.client.read().expect("no holder panics").clone();
        let response = client.request(request).await.map_err(|error| {
            tracing::debug!("{} at {node}: {}", self.dc, WithSources(&error));
            if error.is_connect() { Silence::Unreachable } else { Silence::NoAnswer }
        })?;
        let (head, body) = response.into_parts();
        let bytes_max = match path {
            _ if path.starts_with(LOG) => LOG_BYTES_MAX,
            _ if path.starts_with(HASHES) => COMPARED_BYTES_MAX,
            _ => BODY_BYTES_MAX,
        };
        let body = Limited::new(body, bytes_max).collect().await.map_err(|_| Silence::NoAnswer)?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    async fn tell(&self, telling: Telling<'_>, deadline: Deadline) -> Told {
        if let Some(why) = self.state().not_told_because(Instant::now()) {
            return Told::None(NoAnswer::Refused(why));
        }
        let Telling { declaration: Declaration { dc, state, id }, waited, request_id } = telling;
        let call = DeclarationCall {
            dc: dc.clone(),
            state: *state,
            id: *id,
            index_fingerprint: self.us.index_fingerprint.clone(),
            waited,
            request_id: request_id.map(str::to_owned),
            deadline_ms: time_there(deadline),
        };
        let body = match serde_json::to_vec(&call) {
            Ok(body) => body.into(),
            Err(error) => return Told::None(NoAnswer::Refused(error.to_string().into())),
        };
        // No second node: what takes long is the log that both append to.
        let exchange = self.try_nodes(Method::POST, DECLARATIONS, &body, deadline, None).await;
        let answer = match exchange.answer {
            Ok(answer) => answer,
            Err(silence) => return Told::None(NoAnswer::Unknown(silence.to_string().into())),
        };
        let unknown = |what: String| Told::None(NoAnswer::Unknown(what.into()));
        match (answer.status(), serde_json::from_slice::<DeclarationAnswer>(answer.body())) {
            (StatusCode::OK, Ok(answer)) if answer.dc == self.dc && answer.id == *id => Told::Done,
            (StatusCode::CONFLICT, Ok(answer)) if answer.dc == self.dc && *id < answer.id => {
                Told::Newer(answer.id)
            }
            (StatusCode::OK, _) => unknown("answered what cannot be understood".to_owned()),
            (status, _) => {
                let Refusal { detail, .. } = serde_json::from_slice(answer.body()).unwrap_or_default();
                unknown(format!("status {status}: {detail}"))
            }
        }
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
                    Answer::Done(Acknowledged::by(answer.version, answer.not_down))
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
            // What a node of ours says before anything could be stored; others on the way say it after.
            "" if matches!(status.as_u16(), 400 | 403 | 404 | 405 | 409 | 413) => {
                NoAnswer::Refused(reason).into()
            }
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

impl<C: Connect + Clone + Send + Sync + 'static> Peer for HttpPeer<C> {
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

    fn declare<'a>(&'a self, telling: Telling<'a>, deadline: Deadline) -> BoxFuture<'a, Told> {
        Box::pin(self.tell(telling, deadline))
    }

    fn heard(&self) -> Option<Heard> {
        let now = Instant::now();
        self.state().heard.iter().flatten().max_by_key(|heard| heard.reach_by(now)).copied()
    }

    fn standing(&self) -> BoxFuture<'_, Vec<NodeStanding>> {
        let of = |(node, hello): (&PeerUrl, Result<Hello, Silence>)| {
            let standing = hello.map_err(|silence| silence.to_string().into());
            (node.to_string(), standing.map(|hello| hello.standing()))
        };
        Box::pin(async move { self.greet().await.into_iter().map(of).collect() })
    }
}

impl<C> fmt::Debug for HttpPeer<C> {
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

fn tcp_or_tls(tls: Option<PeerTls>) -> TcpOrTls {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_PATIENCE));
    over_tls(connector, tls)
}

fn client<C: Connect + Clone>(connector: C) -> PeerClient<C> {
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_MAX)
        .pool_timer(TokioTimer::new())
        .build(connector)
}

/// Whether a node says that it does nothing at the moment: not ready, no room. Who is in between says so in other words.
fn is_refusal(answer: &Response<Bytes>) -> bool {
    let says_so = |Refusal { outcome, .. }: &Refusal| outcome == "refused";
    answer.status() == StatusCode::SERVICE_UNAVAILABLE
        && serde_json::from_slice(answer.body()).is_ok_and(|refusal| says_so(&refusal))
}

/// How long somebody there may take for an answer that comes back in time, in milliseconds.
fn time_there(deadline: Deadline) -> u64 {
    let left = deadline.left();
    u64::try_from((left - WAY_BACK.min(left / 4)).as_millis()).unwrap_or(u64::MAX)
}

fn strange(error: impl fmt::Display) -> Silence {
    Silence::Strange(error.to_string().into())
}

#[cfg(test)]
mod tests;
