use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use prometheus::Registry;
use schemas::{Headers, Hlc, KeyId, Timestamp, Until, Version, WriterId};

use super::*;

fn version(n: u64) -> Version {
    Version { hlc: Hlc::from_bits(n), writer: WriterId(1) }
}

fn tombstone() -> Tombstone {
    Tombstone {
        key: KeyId::from_bytes([1; 16]),
        version: version(5),
        retain_until: Until::At(Timestamp::from_millis(9)),
        headers: Headers::default(),
        skipped: BTreeSet::new(),
    }
}

fn peer(addresses: &[SocketAddr]) -> HttpPeer {
    let urls = addresses.iter().map(|address| format!("http://{address}").parse().unwrap()).collect();
    let metrics = PeerMetrics::register(&Registry::new()).unwrap();
    HttpPeer::new(us(), "codfw".parse().unwrap(), urls, None, metrics)
}

fn us() -> Us {
    Us { dc: "eqiad".parse().unwrap(), index_fingerprint: "aa".to_owned() }
}

/// A listener that gives this answer to one request, or hangs up on it.
fn answering(answer: Option<String>) -> SocketAddr {
    answering_after(Duration::ZERO, answer)
}

fn answering_after(time: Duration, answer: Option<String>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let _bytes = stream.read(&mut request).unwrap();
        thread::sleep(time);
        if let Some(answer) = answer {
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

fn http(status: u16, body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()))
}

fn answer(dc: &str, result: &str, version: Version) -> String {
    format!("{{\"dc\":\"{dc}\",\"result\":\"{result}\",\"version\":\"{version}\",\"wall_ms\":1}}")
}

async fn ask(address: SocketAddr, round: Round) -> Answer {
    let store = "sessions".parse().unwrap();
    peer(&[address]).delete(&store, &tombstone(), round, Deadline::within(Duration::from_secs(5))).await
}

/// Where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn only_what_was_asked_for_is_taken_for_done() {
    let done = Answer::Done(Acknowledged::by(version(5), BTreeSet::new()));
    let row = |status, body: String| answering(http(status, &body));
    assert_eq!(ask(row(200, answer("codfw", "done", version(5))), Round::First).await, done);
    assert_eq!(
        ask(row(200, answer("codfw", "newer", version(7))), Round::First).await,
        Answer::Newer(version(7))
    );
    for (round, body) in [
        (Round::First, answer("esams", "done", version(5))),
        (Round::First, answer("codfw", "done", version(4))),
        (Round::First, answer("codfw", "newer", version(5))),
        (Round::Second, answer("codfw", "newer", version(7))),
        (Round::First, "{}".to_owned()),
        (Round::First, "done".to_owned()),
    ] {
        let answer = ask(row(200, body.clone()), round).await;
        assert!(matches!(answer, Answer::None(NoAnswer::Unknown(_))), "{body}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_known_of_a_failure_is_kept_apart() {
    let problem = |outcome: &str| format!("{{\"detail\":\"why\",\"outcome\":\"{outcome}\"}}");
    let why: Arc<str> = "why".into();
    for (status, body, expected) in [
        (503, problem("refused"), NoAnswer::Refused(Arc::clone(&why))),
        (504, problem("stored"), NoAnswer::Stored(Arc::clone(&why))),
        (504, problem("unknown"), NoAnswer::Unknown(Arc::clone(&why))),
        (500, problem(""), NoAnswer::Unknown(Arc::clone(&why))),
        (409, "{\"detail\":\"why\"}".to_owned(), NoAnswer::Refused(Arc::clone(&why))),
        (408, "{\"detail\":\"why\"}".to_owned(), NoAnswer::Unknown(why)),
    ] {
        assert_eq!(
            ask(answering(http(status, &body)), Round::First).await,
            expected.into(),
            "{status} {body}"
        );
    }
    // One that hangs up may have stored it first.
    let answer = ask(answering(None), Round::First).await;
    assert!(matches!(answer, Answer::None(NoAnswer::Unknown(_))), "{answer:?}");
    let answer = ask(nobody(), Round::First).await;
    assert!(matches!(answer, Answer::None(NoAnswer::Refused(_))), "{answer:?}");
}

#[tokio::test]
async fn another_node_is_asked_where_one_is_not_there() {
    let there = answering(http(200, &answer("codfw", "done", version(5))));
    let store = "sessions".parse().unwrap();
    let answer = peer(&[nobody(), there])
        .delete(&store, &tombstone(), Round::First, Deadline::within(Duration::from_secs(5)))
        .await;
    assert_eq!(answer, Answer::Done(Acknowledged::by(version(5), BTreeSet::new())));
}

#[tokio::test]
async fn a_node_that_refuses_speaks_for_itself_alone() {
    let (store, deadline) = ("sessions".parse().unwrap(), || Deadline::within(Duration::from_secs(2)));
    let refuses = || answering(http(503, "{\"detail\":\"why\",\"outcome\":\"refused\"}"));
    let ask = async |nodes: [SocketAddr; 2]| {
        peer(&nodes).delete(&store, &tombstone(), Round::First, deadline()).await
    };
    let done = Answer::Done(Acknowledged::by(version(5), BTreeSet::new()));
    let there = answering(http(200, &answer("codfw", "done", version(5))));
    assert_eq!(ask([refuses(), there]).await, done);
    // A second node is asked since the first takes long; it refuses, and the first is waited for.
    let slow = answering_after(Duration::from_secs(1), http(200, &answer("codfw", "done", version(5))));
    assert_eq!(ask([slow, refuses()]).await, done);
    let refused = Answer::from(NoAnswer::Refused("why".into()));
    assert_eq!(ask([refuses(), refuses()]).await, refused);
    assert_eq!(ask([refuses(), nobody()]).await, refused);
    let unknown = Answer::from(NoAnswer::Unknown("why".into()));
    assert_eq!(ask([refuses(), answering(None)]).await, unknown, "it may have stored it");
    assert_eq!(ask([refuses(), hanging()]).await, unknown);
}

/// A listener that takes a request and never answers.
fn hanging() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let taken: Vec<_> = listener.incoming().collect();
        drop(taken);
    });
    address
}

#[tokio::test]
async fn another_node_is_asked_as_well_where_one_hangs_and_then_nobody_says_that_nothing_is_stored() {
    let (store, deadline) = ("sessions".parse().unwrap(), || Deadline::within(Duration::from_secs(5)));
    let there = answering(http(200, &answer("codfw", "done", version(5))));
    let began = Instant::now();
    let done = peer(&[hanging(), there]).delete(&store, &tombstone(), Round::First, deadline()).await;
    assert_eq!(done, Answer::Done(Acknowledged::by(version(5), BTreeSet::new())));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let refuses = answering(http(503, "{\"detail\":\"why\",\"outcome\":\"refused\"}"));
    let refused = peer(&[hanging(), refuses]).delete(&store, &tombstone(), Round::First, deadline()).await;
    assert_eq!(refused, NoAnswer::Unknown("why".into()).into());
}

#[tokio::test]
async fn a_peer_that_does_not_answer_is_soon_not_asked_and_a_misfit_never() {
    let peer = peer(&[nobody()]);
    let store = "sessions".parse().unwrap();
    assert_eq!(peer.not_asked_because(), None);
    for _ in 0..5 {
        peer.delete(&store, &tombstone(), Round::First, Deadline::within(Duration::from_secs(5))).await;
    }
    assert_eq!(peer.not_asked_because().as_deref(), Some("does not answer"));
    let answer =
        peer.delete(&store, &tombstone(), Round::First, Deadline::within(Duration::from_secs(5))).await;
    assert_eq!(answer, NoAnswer::Refused("does not answer".into()).into());
    peer.misfits(Some("other secrets".into()));
    assert_eq!(peer.not_asked_because().as_deref(), Some("other secrets"));
}
