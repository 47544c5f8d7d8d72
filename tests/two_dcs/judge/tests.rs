//! The judge catches every kind of breach, and accuses nobody of what may happen.

use std::time::Duration;

use super::{
    super::history::{Asked, At, Dc, Key, Moment, Op, Told, Value},
    Case, Excuse, Harm, Kind, judge,
};

const E0: At = At(Dc::Eqiad, 0);
const E1: At = At(Dc::Eqiad, 1);
const C0: At = At(Dc::Codfw, 0);

fn at_s(s: f64) -> Moment {
    Duration::from_secs_f64(s)
}

/// A request from `from` to `until`, in seconds.
fn op(at: At, (from, until): (f64, f64), asked: Asked, told: Told) -> Op {
    Op { key: Key(1), at, asked, told, invoked: at_s(from), ended: at_s(until) }
}

fn set(at: At, when: (f64, f64), value: u64) -> Op {
    op(at, when, Asked::Set(Value(value)), Told::Done)
}

fn unknown_set(at: At, when: (f64, f64), value: u64) -> Op {
    op(at, when, Asked::Set(Value(value)), Told::Unknown("no answer".to_owned()))
}

fn refused_set(at: At, when: (f64, f64), value: u64) -> Op {
    op(at, when, Asked::Set(Value(value)), Told::Refused("503".to_owned()))
}

fn delete(at: At, when: (f64, f64)) -> Op {
    op(at, when, Asked::Delete, Told::Done)
}

fn unconfirmed(at: At, when: (f64, f64), by: &[Dc]) -> Op {
    op(at, when, Asked::Delete, Told::Unconfirmed(by.to_vec()))
}

fn read(at: At, when: (f64, f64), found: Option<u64>) -> Op {
    op(at, when, Asked::Get, Told::Found(found.map(Value)))
}

/// A fault for all of the time.
fn harm(sick: &[At], unconfirmed: &[(Dc, Dc)]) -> Excuse {
    let harm = Harm { sick: sick.to_vec(), unconfirmed: unconfirmed.to_vec() };
    Excuse { from: Moment::ZERO, until: at_s(100.0), harm }
}

/// What is said of these requests, in which mirrors had copied everything at `copied`, if at all.
fn kinds(history: &[Op], excuses: &[Excuse], copied: Option<f64>) -> Vec<Kind> {
    let clocks_apart = Duration::from_millis(50);
    let case = Case { history, excuses, copied: copied.map(at_s), clocks_apart };
    judge(case).into_iter().map(|breach| breach.kind).collect()
}

fn all_is_well(what: &str, history: &[Op], copied: Option<f64>) {
    let excuses = [harm(&At::ALL, &[])];
    assert_eq!(kinds(history, &excuses, copied), [], "{what}");
}

fn is_caught(what: &str, history: &[Op], kind: Kind) {
    let excuses = [harm(&At::ALL, &[])];
    assert_eq!(kinds(history, &excuses, None), [kind], "{what}");
}

#[test]
fn a_false_204_is_caught_in_either_data_centre() {
    let written = [set(E0, (0.0, 1.0), 1), delete(E0, (2.0, 3.0))];
    for at in [E0, E1, C0] {
        let history = [&written[..], &[read(at, (4.0, 5.0), Some(1))]].concat();
        is_caught("it is still there", &history, Kind::False204);
    }
    let unheard = [set(C0, (0.0, 1.0), 1), delete(E0, (2.0, 3.0)), read(E0, (4.0, 5.0), Some(1))];
    is_caught("written where the delete was not asked for, and copied late", &unheard, Kind::False204);
    let seen = [
        unknown_set(E0, (0.0, 1.0), 1),
        read(E1, (1.2, 1.3), Some(1)),
        delete(C0, (1.31, 3.0)),
        read(C0, (4.0, 5.0), Some(1)),
    ];
    is_caught("without an answer, but somebody had read it", &seen, Kind::False204);
}

/// Clocks say nothing of two requests within 50 ms of each other. What was looked at does.
#[test]
fn a_delete_looks_everywhere_and_a_write_in_its_own_data_centre() {
    for at in [E0, C0] {
        let history = [set(E0, (0.0, 1.0), 1), delete(at, (1.01, 2.0)), read(C0, (3.0, 3.1), Some(1))];
        is_caught("the delete saw it", &history, Kind::False204);
    }
    let here = [set(E0, (0.0, 1.0), 1), set(E1, (1.01, 1.1), 2), read(E0, (2.0, 3.0), Some(1))];
    is_caught("the second write saw the first", &here, Kind::StaleRead);
    let there = [set(C0, (0.0, 1.0), 1), set(E0, (1.01, 1.1), 2), read(E0, (2.0, 3.0), Some(1))];
    all_is_well("the second write may have the earlier version", &there, Some(1.5));
}

#[test]
fn what_ran_beside_a_delete_or_after_it_may_be_read() {
    let beside = [set(E0, (0.0, 2.5), 1), delete(C0, (2.0, 3.0)), read(E0, (4.0, 5.0), Some(1))];
    all_is_well("beside", &beside, None);
    let after = [delete(E0, (2.0, 3.0)), set(C0, (3.1, 3.2), 1), read(E0, (4.0, 5.0), Some(1))];
    all_is_well("after", &after, None);
    let during = [set(E0, (0.0, 1.0), 1), delete(E0, (2.0, 4.0)), read(E0, (3.0, 3.5), Some(1))];
    all_is_well("the delete has not been answered", &during, None);
    let partly =
        [set(E0, (0.0, 1.0), 1), unconfirmed(E0, (2.0, 3.0), &[Dc::Codfw]), read(C0, (4.0, 5.0), Some(1))];
    all_is_well("nobody said that it was gone", &partly, None);
    let clocks = [unknown_set(C0, (0.0, 1.98), 1), delete(E0, (2.0, 3.0)), read(E0, (4.0, 5.0), Some(1))];
    all_is_well("nobody knew of it, and the clocks may be apart by more", &clocks, None);
}

#[test]
fn a_resurrection_is_caught_whatever_became_of_the_delete() {
    for gone in [delete(E0, (2.0, 3.0)), unconfirmed(E0, (2.0, 3.0), &[Dc::Codfw])] {
        let history =
            [set(E0, (0.0, 1.0), 1), gone, read(E1, (4.0, 5.0), None), read(E0, (6.0, 7.0), Some(1))];
        is_caught("it came back", &history, Kind::Resurrection);
    }
    let copied_meanwhile =
        [set(E0, (0.0, 1.0), 1), read(C0, (2.0, 2.1), None), read(C0, (3.0, 3.1), Some(1))];
    all_is_well("codfw had not heard of it", &copied_meanwhile, None);
}

#[test]
fn an_acknowledged_write_that_is_lost_is_caught_once_all_is_copied() {
    let history = [set(E0, (0.0, 1.0), 1), read(C0, (4.0, 5.0), None)];
    all_is_well("not copied yet", &history, None);
    assert_eq!(kinds(&history, &[], Some(3.0)), [Kind::LostOrNotCopied]);
    let nobody_knows = [unknown_set(E0, (0.0, 1.0), 1), read(C0, (4.0, 5.0), None)];
    all_is_well("not acknowledged", &nobody_knows, Some(3.0));
    let since = [set(E0, (3.5, 3.6), 1), read(C0, (4.0, 5.0), None)];
    all_is_well("written since", &since, Some(3.0));
    let older = [set(C0, (0.0, 0.5), 1), set(E0, (1.0, 1.5), 2), read(C0, (4.0, 5.0), Some(1))];
    all_is_well("not copied yet", &older, None);
    assert_eq!(kinds(&older, &[], Some(3.0)), [Kind::LostOrNotCopied]);
    let later = [set(E0, (0.0, 1.0), 1), unknown_set(E0, (2.0, 2.5), 2), read(C0, (4.0, 5.0), Some(2))];
    all_is_well("one that nobody acknowledged may have taken its place", &later, Some(3.0));
    let side_by_side = [set(E0, (0.0, 1.0), 1), set(C0, (0.5, 1.5), 2), read(E0, (4.0, 5.0), Some(1))];
    all_is_well("either may be the newest", &side_by_side, Some(3.0));
}

#[test]
fn a_live_session_that_is_not_found_is_caught_and_a_deleted_one_may_be_gone() {
    let history = [set(E0, (0.0, 1.0), 1), read(E1, (2.0, 3.0), None)];
    is_caught("at the other node of its data centre", &history, Kind::MissingSession);
    let earlier = [delete(E0, (0.0, 0.5)), set(E0, (1.0, 1.1), 1), read(E1, (2.0, 3.0), None)];
    is_caught("the delete was before the write", &earlier, Kind::MissingSession);
    for gone in [delete(C0, (1.5, 1.6)), unconfirmed(E0, (1.5, 2.5), &[Dc::Codfw]), delete(C0, (0.5, 4.0))] {
        let history = [set(E0, (0.0, 1.0), 1), gone, read(E1, (2.0, 3.0), None)];
        all_is_well("deleted", &history, None);
    }
    let seen = [unknown_set(E0, (0.0, 1.0), 1), read(E0, (1.1, 1.2), Some(1)), read(E1, (2.0, 3.0), None)];
    is_caught("somebody had read it", &seen, Kind::MissingSession);
    let elsewhere = [set(C0, (0.0, 1.0), 1), read(C0, (1.1, 1.2), Some(1)), read(E1, (2.0, 3.0), None)];
    all_is_well("somebody had read it elsewhere", &elsewhere, None);
}

#[test]
fn a_read_that_finds_less_than_what_is_known_is_caught() {
    let older = [set(E0, (0.0, 1.0), 1), set(E1, (2.0, 2.1), 2), read(E0, (3.0, 3.1), Some(1))];
    is_caught("acknowledged in the same data centre", &older, Kind::StaleRead);
    let seen = [
        set(C0, (0.0, 1.0), 1),
        set(C0, (2.0, 2.1), 2),
        read(E0, (3.0, 3.1), Some(2)),
        read(E1, (3.2, 3.3), Some(1)),
    ];
    is_caught("another node of the same data centre had it", &seen, Kind::StaleRead);
    let copied_late = [set(C0, (0.0, 1.0), 1), set(C0, (2.0, 2.1), 2), read(E0, (3.0, 3.1), Some(1))];
    all_is_well("the second is not copied yet", &copied_late, None);
}

#[test]
fn what_nobody_wrote_or_what_was_refused_is_caught() {
    is_caught("nobody wrote it", &[read(E0, (0.0, 1.0), Some(7))], Kind::Invented);
    let refused = [refused_set(C0, (0.0, 1.0), 1), read(C0, (2.0, 3.0), Some(1))];
    is_caught("it was refused", &refused, Kind::Invented);
    let early = [read(E0, (0.0, 1.0), Some(1)), set(E0, (2.0, 3.0), 1)];
    is_caught("it was not written yet", &early, Kind::Invented);
}

#[test]
fn an_error_is_a_breach_where_nothing_excuses_it() {
    let failed = |at| [op(at, (1.0, 2.0), Asked::Get, Told::Refused("503 log_unreachable".to_owned()))];
    assert_eq!(kinds(&failed(E0), &[harm(&[C0], &[])], None), [Kind::Error]);
    assert_eq!(kinds(&failed(C0), &[harm(&[C0], &[])], None), []);
    let over = Excuse { until: at_s(0.5), ..harm(&[C0], &[]) };
    assert_eq!(kinds(&failed(C0), &[over], None), [Kind::Error], "the fault is over");
    let strange = [op(C0, (1.0, 2.0), Asked::Get, Told::Strange("500".to_owned()))];
    assert_eq!(kinds(&strange, &[harm(&[C0], &[])], None), [Kind::Error], "no fault excuses that");
}

#[test]
fn an_unconfirmed_delete_names_who_is_cut_off_and_nobody_else() {
    let cut = [harm(&[], &[(Dc::Eqiad, Dc::Codfw)])];
    let by = |at, dcs: &[Dc]| [unconfirmed(at, (1.0, 1.5), dcs)];
    assert_eq!(kinds(&by(E0, &[Dc::Codfw]), &cut, None), []);
    assert_eq!(kinds(&by(E0, &[Dc::Eqiad]), &cut, None), [Kind::Unconfirmed]);
    assert_eq!(kinds(&by(E0, &[Dc::Eqiad, Dc::Codfw]), &cut, None), [Kind::Unconfirmed]);
    assert_eq!(kinds(&by(E0, &[]), &cut, None), [Kind::Unconfirmed], "nobody is named");
    assert_eq!(kinds(&by(C0, &[Dc::Eqiad]), &cut, None), [Kind::Unconfirmed], "the other way is open");
    assert_eq!(kinds(&by(E0, &[Dc::Codfw]), &[], None), [Kind::Unconfirmed], "nothing is cut");
}

#[test]
fn a_delete_that_waited_in_vain_is_late_and_one_that_did_not_wait_is_wrong() {
    let by_nobody = |until| [unconfirmed(E0, (1.0, until), &[Dc::Codfw])];
    assert_eq!(kinds(&by_nobody(2.5), &[], None), [Kind::Late]);
    assert_eq!(kinds(&by_nobody(1.1), &[], None), [Kind::Unconfirmed]);
    let unknown = |asked| [op(E0, (1.0, 3.5), asked, Told::Unknown("504".to_owned()))];
    assert_eq!(kinds(&unknown(Asked::Delete), &[], None), [Kind::Late]);
    assert_eq!(
        kinds(&unknown(Asked::Set(Value(1))), &[], None),
        [Kind::Error],
        "nothing of the kind is said of writes"
    );
    assert_eq!(kinds(&unknown(Asked::Get), &[], None), [Kind::Error], "nor of reads");
}
