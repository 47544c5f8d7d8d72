use std::{collections::VecDeque, sync::Mutex, time::Duration};

use eventlog::{EventLog, Incarnation, LogClock, ManualClock, memory::MemoryLog};
use futures::future::BoxFuture;
use schemas::{
    Declaration, Hlc, MacKey, Partition, PartitionCount, Position, StoreName, Timestamp, Topic, WriterId,
    caps::SKIP_MARGIN,
};

use super::*;
use crate::{
    FenceFailed, LocalView, LookFailed, Metrics, Retention, Versions,
    peer::{NodeStanding, Peer, Telling, Told},
};

fn version(n: u64) -> Version {
    Version { hlc: Hlc::from_bits(n), writer: WriterId(1) }
}

fn all_answers() -> Vec<Answer> {
    let why: Arc<str> = "why".into();
    vec![
        Answer::Done(Acknowledged::by(version(1), BTreeSet::new())),
        Answer::Newer(version(5)),
        Answer::Newer(version(9)),
        Answer::None(NoAnswer::Refused(Arc::clone(&why))),
        Answer::None(NoAnswer::Overloaded(Arc::clone(&why))),
        Answer::None(NoAnswer::Stored(Arc::clone(&why))),
        Answer::None(NoAnswer::Unknown(why)),
    ]
}

/// Every combination of answers of up to three data centres.
fn combinations() -> Vec<Vec<(Dc, Answer)>> {
    let mut all: Vec<Vec<(Dc, Answer)>> = vec![Vec::new()];
    let mut found = Vec::new();
    for dc in ["eqiad", "codfw", "esams"] {
        let dc: Dc = dc.parse().unwrap();
        let extend = |so_far: &Vec<(Dc, Answer)>, answer| [&so_far[..], &[(dc.clone(), answer)]].concat();
        all =
            all.iter().flat_map(|so_far| all_answers().into_iter().map(move |a| extend(so_far, a))).collect();
        found.extend(all.clone());
    }
    found
}

#[test]
fn only_a_complete_set_of_acknowledgements_is_a_proof() {
    for answers in combinations() {
        let complete = answers.iter().all(|(_, answer)| matches!(answer, Answer::Done(_)));
        let conclusion = conclude(answers.clone());
        assert_eq!(matches!(conclusion, Conclusion::Everywhere(_)), complete, "{answers:?}");
    }
}

/// Every pair of rounds over two data centres.
#[test]
fn what_the_first_round_stored_is_not_forgotten_by_the_second() {
    let two = || combinations().into_iter().filter(|answers| answers.len() == 2);
    let asks_again = |first: &Vec<_>| matches!(conclude(first.clone()), Conclusion::AskAgain { .. });
    for first in two().filter(asks_again) {
        for second in two() {
            let complete = second.iter().all(|(_, answer)| matches!(answer, Answer::Done(_)));
            let nothing_stored = |answers: &[(Dc, Answer)]| {
                answers.iter().all(|(_, answer)| {
                    matches!(
                        answer,
                        Answer::Newer(_) | Answer::None(NoAnswer::Refused(_) | NoAnswer::Overloaded(_))
                    )
                })
            };
            match conclude(remembering(&first, second.clone())) {
                Conclusion::Everywhere(_) => assert!(complete, "{first:?} {second:?}"),
                Conclusion::Failed(DeleteError::Refused(_) | DeleteError::Overloaded(_)) => {
                    assert!(nothing_stored(&first) && nothing_stored(&second), "{first:?} {second:?}");
                }
                Conclusion::Failed(_) => assert!(!complete, "{first:?} {second:?}"),
                Conclusion::AskAgain { .. } => panic!("there is no third round"),
            }
        }
    }
}

#[test]
fn something_newer_anywhere_asks_again_above_the_newest() {
    for answers in combinations() {
        let newer = |(_, answer): &(Dc, Answer)| if let Answer::Newer(v) = answer { Some(*v) } else { None };
        let newest = answers.iter().filter_map(newer).max();
        let asked = match conclude(answers.clone()) {
            Conclusion::AskAgain { above } => Some(above),
            Conclusion::Everywhere(_) | Conclusion::Failed(_) => None,
        };
        assert_eq!(asked, newest, "{answers:?}");
    }
}

#[test]
fn refused_means_that_nobody_stored_anything_and_partial_names_everybody() {
    for answers in combinations() {
        let Conclusion::Failed(error) = conclude(answers.clone()) else { continue };
        let done = answers.iter().filter(|(_, answer)| matches!(answer, Answer::Done(_))).count();
        let overloaded = |(_, a): &(Dc, Answer)| matches!(a, Answer::None(NoAnswer::Overloaded(_)));
        let refused = |a: &(Dc, Answer)| overloaded(a) || matches!(a.1, Answer::None(NoAnswer::Refused(_)));
        match error {
            DeleteError::Overloaded(_) => assert!(answers.iter().all(overloaded), "{answers:?}"),
            DeleteError::Refused(_) => {
                assert!(answers.iter().all(refused) && !answers.iter().all(overloaded), "{answers:?}");
            }
            DeleteError::Unconfirmed(Unconfirmed { acknowledged, unconfirmed }) => {
                assert!(0 < done, "{answers:?}");
                assert_eq!(
                    (acknowledged.len(), unconfirmed.len()),
                    (done, answers.len() - done),
                    "{answers:?}"
                );
            }
            DeleteError::NotVisible(_) => assert_eq!((answers.len(), done), (1, 0), "{answers:?}"),
            DeleteError::Unknown(_) => assert!(done == 0 && !answers.iter().all(refused), "{answers:?}"),
        }
    }
}

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A view in which nothing is, and which hears of declarations when the script says so.
#[derive(Debug, Default)]
struct Scripted {
    /// What is down, after so many looks at it; the last word stays.
    down: Mutex<VecDeque<BTreeSet<Dc>>>,
    newest: Option<Version>,
}

impl LocalView for Scripted {
    fn look(&self, _: KeyId, _: Duration) -> BoxFuture<'_, Result<Option<Version>, LookFailed>> {
        Box::pin(async { Ok(self.newest) })
    }

    fn applied(&self, _: Position, _: Duration) -> BoxFuture<'_, Result<(), FenceFailed>> {
        Box::pin(async { Ok(()) })
    }

    fn down_in(&self, _: Partition) -> BTreeSet<Dc> {
        let mut down = self.down.lock().unwrap();
        if 1 < down.len() { down.pop_front().unwrap() } else { down.front().cloned().unwrap_or_default() }
    }

    fn newest_declaration(&self, _: &Dc) -> Option<Declaration> {
        None
    }
}

/// A peer that answers by its script, and keeps what it was asked.
#[derive(Debug)]
struct Asked {
    dc: Dc,
    script: Mutex<VecDeque<Says>>,
    asked: Mutex<Vec<(Round, Tombstone)>>,
}

#[derive(Clone, Debug)]
enum Says {
    Done,
    /// Done, and these are not down there.
    DoneBut(&'static str),
    /// It holds something newer by so much.
    Newer(Duration),
    Silent,
}

impl Peer for Asked {
    fn dc(&self) -> &Dc {
        &self.dc
    }

    fn delete<'a>(
        &'a self,
        _: &'a StoreName,
        tombstone: &'a Tombstone,
        round: Round,
        _: Deadline,
    ) -> BoxFuture<'a, Answer> {
        self.asked.lock().unwrap().push((round, tombstone.clone()));
        let done = |not_down: &[&str]| {
            let not_down = not_down.iter().map(|dc| dc.parse().unwrap()).collect();
            Answer::Done(Acknowledged::by(tombstone.version, not_down))
        };
        let answer = match self.script.lock().unwrap().pop_front().expect("asked too often") {
            Says::Done => done(&[]),
            Says::DoneBut(dc) => done(&[dc]),
            Says::Newer(by) => {
                let at = tombstone.version.hlc.time().saturating_add(by);
                Answer::Newer(Version { hlc: Hlc::at(at), writer: WriterId(9) })
            }
            Says::Silent => NoAnswer::Unknown("silent".into()).into(),
        };
        Box::pin(async { answer })
    }

    fn declare<'a>(&'a self, _: Telling<'a>, _: Deadline) -> BoxFuture<'a, Told> {
        unreachable!("nothing is declared by a delete")
    }

    fn standing(&self) -> BoxFuture<'_, Vec<NodeStanding>> {
        unreachable!("nobody is asked how it stands")
    }
}

fn dc(name: &str) -> Dc {
    name.parse().unwrap()
}

fn peer(name: &str, script: &[Says]) -> Arc<Asked> {
    let script = Mutex::new(script.iter().cloned().collect());
    Arc::new(Asked { dc: dc(name), script, asked: Mutex::default() })
}

/// Deletes at eqiad, whose log says after each look that these are down.
async fn delete(peers: &[&Arc<Asked>], down: &[&[&str]]) -> Result<DeletedEverywhere, DeleteError> {
    delete_over(None, peers, down).await
}

/// The same where something is there already.
async fn delete_over(
    newest: Option<Version>,
    peers: &[&Arc<Asked>],
    down: &[&[&str]],
) -> Result<DeletedEverywhere, DeleteError> {
    let machine = Arc::new(ManualClock::at(NOW)) as Arc<dyn eventlog::Clock>;
    let topic = Topic { origin: dc("eqiad"), store: "sessions".parse().unwrap() };
    let partitions = PartitionCount::new(1).unwrap();
    let log = MemoryLog::new(topic, partitions, Incarnation("one".into()), Arc::clone(&machine));
    let sets = down.iter().map(|down| down.iter().map(|name| dc(name)).collect());
    let writer = Writer::new(
        log as Arc<dyn EventLog>,
        Arc::new(Scripted { down: Mutex::new(sets.collect()), newest }),
        Arc::new(LogClock::new(machine)),
        MacKey::derive(b"an index secret"),
        Retention::Expiring { ttl_max: Duration::from_secs(3600) },
        Versions::of(WriterId(7)),
        &Metrics::register(&prometheus::Registry::new()).unwrap(),
    );
    let peers = peers.iter().map(|peer| Arc::clone(peer) as Arc<dyn Peer>).collect();
    let writer = writer.with_peers(peers);
    writer
        .delete(KeyId::from_bytes([1; 16]), Headers::default(), Deadline::within(Duration::from_secs(5)))
        .await
}

fn rounds(peer: &Asked) -> Vec<Round> {
    peer.asked.lock().unwrap().iter().map(|(round, _)| *round).collect()
}

fn unconfirmed(outcome: Result<DeletedEverywhere, DeleteError>) -> Vec<Dc> {
    match outcome {
        Err(DeleteError::Unconfirmed(who)) => who.unconfirmed.into_iter().map(|(dc, _)| dc).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_did_not_answer_in_the_first_round_looks_in_the_second() {
    let (newer, silent) =
        (peer("codfw", &[Says::Newer(SKIP_MARGIN), Says::Done]), peer("esams", &[Says::Silent, Says::Done]));
    delete(&[&newer, &silent], &[]).await.unwrap();
    assert_eq!(rounds(&newer), [Round::First, Round::Second]);
    assert_eq!(rounds(&silent), [Round::First, Round::First], "it never looked");

    let late = peer("esams", &[Says::Silent, Says::Newer(SKIP_MARGIN)]);
    let newer = peer("codfw", &[Says::Newer(SKIP_MARGIN), Says::Done]);
    assert_eq!(unconfirmed(delete(&[&newer, &late], &[]).await), [dc("esams")]);
}

#[tokio::test]
async fn one_that_is_down_is_not_asked_and_the_tombstone_says_so_from_a_margin_ahead() {
    let (up, down) = (peer("codfw", &[Says::Done]), peer("esams", &[]));
    delete(&[&up, &down], &[&["esams"]]).await.unwrap();
    let asked = up.asked.lock().unwrap().clone();
    assert_eq!(asked[0].1.skipped, [dc("esams")].into());
    assert_eq!(asked[0].1.version.hlc, Hlc::at(NOW.saturating_add(SKIP_MARGIN)));
}

#[tokio::test]
async fn one_that_is_down_here_and_not_there_is_asked_after_all() {
    let there = || peer("codfw", &[Says::DoneBut("esams")]);
    let (told, asked) = (there(), peer("esams", &[Says::Done]));
    delete(&[&told, &asked], &[&["esams"]]).await.unwrap();
    assert_eq!(rounds(&asked), [Round::First]);
    let silent = peer("esams", &[Says::Silent, Says::Silent]);
    let told = peer("codfw", &[Says::DoneBut("esams"), Says::DoneBut("esams")]);
    assert_eq!(unconfirmed(delete(&[&told, &silent], &[&["esams"]]).await), [dc("esams")]);
}

#[tokio::test]
async fn one_that_is_up_at_the_tombstones_place_in_the_own_log_is_asked_after_all() {
    // Down when the delete begins, and up once its tombstone is applied.
    let (up, back) = (peer("codfw", &[Says::Done]), peer("esams", &[Says::Done]));
    delete(&[&up, &back], &[&["esams"], &[]]).await.unwrap();
    assert_eq!(rounds(&back), [Round::First]);
}

#[tokio::test]
async fn one_that_was_declared_down_by_another_node_is_gone_on_without() {
    // This node hears of it while the first round asks.
    let (up, cut) = (peer("codfw", &[Says::Done, Says::Done]), peer("esams", &[Says::Silent]));
    delete(&[&up, &cut], &[&[], &["esams"]]).await.unwrap();
    let second = up.asked.lock().unwrap()[1].clone();
    assert_eq!((second.0, second.1.skipped), (Round::Second, [dc("esams")].into()));
}

#[tokio::test]
async fn nobody_is_gone_on_without_who_is_no_peer() {
    let up = peer("codfw", &[Says::Done]);
    delete(&[&up], &[&["esams"]]).await.unwrap();
    assert_eq!(up.asked.lock().unwrap()[0].1.skipped, BTreeSet::new());
}

/// Codfw was down, came back, wrote over a tombstone that was stamped ahead by a faster clock than ours, and is down again.
#[tokio::test]
async fn who_goes_on_without_one_goes_above_what_that_may_have_written_over_what_is_there() {
    let there = Version { hlc: Hlc::at(NOW.saturating_add(SKIP_MARGIN)), writer: WriterId(9) };
    let up = peer("esams", &[Says::Done, Says::Done]);
    let down = peer("codfw", &[]);
    delete_over(Some(there), &[&up, &down], &[&["codfw"]]).await.unwrap();
    let last = up.asked.lock().unwrap().last().unwrap().1.version;
    assert!(Version { hlc: there.hlc.tick(), ..there } < last && there.later(SKIP_STEP) < last, "{last}");
}
