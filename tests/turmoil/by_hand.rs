//! What happens when exactly this befalls a data centre.

use std::{sync::Arc, time::Duration};

use writer::{Answer, NoAnswer, peer::Round};

use super::{
    asking::{Asked, Word},
    plan::{Call, Fault, Kind, NodePlan, Plan},
    site::{StoredEvent, version_of},
    world,
};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One call every `every` from `from` to `until`, each with a second and a half.
fn calls(from: u64, until: u64, every: usize) -> Vec<Call> {
    let call = |tombstone: u64| Call {
        dc: 0,
        at: ms(tombstone),
        patience: ms(1_500),
        key: 9,
        tombstone,
        round: Round::First,
    };
    (from..until).step_by(every).map(call).collect()
}

/// What came of these calls to a data centre whose nodes suffer this, and what its log holds in the end.
fn happen(nodes: [&[(Kind, u64, u64)]; 2], calls: Vec<Call>) -> (Vec<Asked>, Vec<StoredEvent>) {
    let fault = |&(kind, from, until): &(Kind, u64, u64)| Fault { kind, from: ms(from), until: ms(until) };
    let nodes = nodes.map(|faults| NodePlan { latency: ms(10), faults: faults.iter().map(fault).collect() });
    let (heard, mut stored) = world::happen(1, &Arc::new(Plan { dcs: vec![("codfw", nodes)], calls }), None);
    let asked = |word| match word {
        Word::Asked(asked) => Some(asked),
        Word::Greeted { .. } => None,
    };
    (heard.into_iter().filter_map(asked).collect(), stored.remove(0))
}

fn is_done(asked: &&Asked) -> bool {
    matches!(asked.answer, Answer::Done(_))
}

#[test]
fn a_second_node_is_asked_at_once_where_the_first_refuses_connections() {
    let (asked, _) = happen([&[(Kind::Dead(ms(0)), 1_000, 4_000)], &[]], calls(500, 3_000, 100));
    let longest = asked.iter().filter(|asked| ms(1_000) < asked.call.at).map(|asked| asked.took).max();
    assert!(asked.iter().all(|asked| is_done(&asked)), "{asked:#?}");
    assert!(longest < Some(ms(150)), "{longest:?}");
}

#[test]
fn a_second_node_is_asked_when_the_first_takes_longer_than_nearly_all_answers_did() {
    // A thousand answers come soon: what is waited for falls from 500 ms by a thousandth with each.
    let mut all = calls(50, 8_050, 8);
    all.extend(calls(9_000, 9_001, 1));
    let (asked, _) = happen([&[(Kind::Held, 8_500, 11_000)], &[]], all);
    let [.., last] = &*asked else { panic!("nothing was heard") };
    assert!(is_done(&last) && last.call.at == ms(9_000), "{last:?}");
    assert!((ms(170)..ms(280)).contains(&last.took), "{last:?}");
}

#[test]
fn who_is_silent_is_answered_for_at_once_after_five_calls_and_asked_again_soon_after_it_answers() {
    let held: &[_] = &[(Kind::Held, 1_000, 6_000)];
    let (asked, _) = happen([held, held], calls(500, 9_000, 100));
    let between =
        |from, until| asked.iter().filter(move |asked| (ms(from)..ms(until)).contains(&asked.call.at));
    assert!(between(0, 900).all(|asked| is_done(&asked)), "{asked:#?}");
    assert!(between(1_100, 1_200).all(|asked| ms(500) < asked.took), "nobody knows yet: {asked:#?}");
    let not_asked = Answer::None(NoAnswer::Refused("does not answer".into()));
    let at_once = |asked: &Asked| asked.took < ms(50) && asked.answer == not_asked;
    assert!(between(3_500, 6_000).all(at_once), "{asked:#?}");
    assert!(between(8_000, 9_000).all(|asked| is_done(&asked)), "{asked:#?}");
    assert!(10 <= between(8_000, 9_000).count());
}

#[test]
fn who_is_told_how_long_there_is_says_in_time_that_its_log_hangs() {
    let stuck: &[_] = &[(Kind::Stuck, 1_000, 6_000)];
    let (asked, stored) = happen([stuck, stuck], calls(1_500, 1_501, 1));
    let [Asked { answer: Answer::None(NoAnswer::Unknown(why)), took, .. }] = &*asked else {
        panic!("{asked:?}")
    };
    assert!(why.contains("the log did not answer in time"), "{why}");
    assert!((ms(1_300)..ms(1_500)).contains(took), "{took:?}");
    assert!(stored.iter().any(|event| ms(6_000) <= event.stored), "it is stored later: {stored:?}");
}

#[test]
fn an_answer_that_is_lost_says_nothing_and_to_ask_again_is_harmless() {
    let mute: &[_] = &[(Kind::Mute, 1_000, 3_500)];
    let first = calls(1_500, 1_501, 1);
    let again = Call { at: ms(5_000), ..first[0] };
    let (asked, stored) = happen([mute, mute], vec![first[0], again]);
    let [first, again] = &*asked else { panic!("{asked:?}") };
    assert!(matches!(first.answer, Answer::None(NoAnswer::Unknown(_))), "{first:?}");
    assert!(is_done(&again), "{again:?}");
    let same = stored.iter().filter(|event| event.version == version_of(1_500)).count();
    assert_eq!(same, 3, "by both nodes, then once more: {stored:?}");
}

#[test]
fn a_node_that_is_not_ready_does_not_speak_for_the_other() {
    // The first is gone while calls come, and takes long to start; then the second stands still for a moment.
    let (asked, _) = happen(
        [&[(Kind::Dead(ms(6_000)), 500, 1_000)], &[(Kind::Held, 2_000, 2_700)]],
        calls(1_500, 6_000, 100),
    );
    let after = asked.iter().filter(|asked| ms(3_000) <= asked.call.at);
    assert!(after.clone().all(|asked| is_done(&asked)), "{:#?}", after.collect::<Vec<_>>());
}
