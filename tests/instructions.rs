//! The rule by which counts of instructions are held to what was recorded. `make instructions` counts.

#![allow(dead_code, reason = "what only the counting needs")]

mod budget;

use self::budget::{Budget, Judged};

#[test]
fn three_percent_either_way_hold_and_no_more() {
    for (counted, holds) in
        [(96_999, false), (97_000, true), (100_000, true), (103_000, true), (103_001, false)]
    {
        assert_eq!(Judged { recorded: 100_000, counted }.holds(), holds, "{counted}");
    }
}

#[test]
fn a_complaint_says_by_how_much_and_which_way() {
    let more = Judged { recorded: 100_000, counted: 104_200 }.complaint();
    assert!(more.starts_with("4.2 % more") && more.contains("104200 instead of 100000"), "{more}");
    let fewer = Judged { recorded: 100_000, counted: 90_000 }.complaint();
    assert!(fewer.starts_with("10.0 % fewer") && fewer.contains("record that"), "{fewer}");
}

#[test]
fn what_was_never_recorded_does_not_hold() {
    let judged = Judged { recorded: Budget::new(String::new()).of("get"), counted: 1 };
    assert!(!judged.holds());
    assert!(judged.complaint().contains("nothing was recorded"));
}

#[test]
fn what_was_saved_is_what_is_loaded() {
    let mut budget = Budget::new("rustc 1".into());
    budget.set("get", 7);
    assert_eq!(Budget::parse(&budget.print()).unwrap(), budget);
    assert!(Budget::parse(r#"{"made_with": "", "instructions": {"get": "7"}}"#).is_err());
}

#[test]
fn the_recorded_numbers_can_be_read() {
    let recorded = Budget::load().unwrap();
    assert!(!recorded.made_with().is_empty());
    assert!(0 < recorded.of("get_cached"), "{recorded:?}");
}
