//! The whole reader, from text to configuration or report.

mod any_text;
mod example;
mod kask_file;
mod keys;
mod relations;
mod several_stores;

use super::*;

/// The least that a file of ours says.
const LEAST: &str = "dc: eqiad\nsecrets: { index: { file: /index }, ring: [ { id: 1, file: /one } ] }\n";

fn read_well(text: &str) -> Config {
    parse(text).config.unwrap_or_else(|problems| panic!("{text}\n{}", report(&problems)))
}

fn report_of(text: &str) -> String {
    parse(text).config.err().map(|problems| report(&problems)).unwrap_or_default()
}

/// The report on the least file with `more` in it.
fn report_with(more: &str) -> String {
    report_of(&format!("{LEAST}{more}\n"))
}

/// Each row: what is added to the least file, and the lines that are reported.
fn check_reports(rows: &[(&str, &[&str])]) {
    for (more, expected) in rows {
        let report = report_with(more);
        assert_eq!(report.lines().collect::<Vec<_>>(), *expected, "{more}");
    }
}
