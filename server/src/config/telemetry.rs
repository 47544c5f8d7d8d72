//! What the node says about itself in its logs.

use super::{
    section::{Item, Read, Section},
    value::{choice, no_choice, text},
};

/// The shape and amount of log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// `appname` in each log line. Default `solera`, or `kask` for a Kask file.
    pub service_name: String,
    /// The least severe lines that are written. Default `info`. SIGHUP takes over another one. Too low floods the disk;
    /// too high hides the cause of a failure.
    pub log_level: LogLevel,
    /// Default `kask`.
    pub log_format: LogFormat,
}

/// Severities of log lines, from the least to the most severe: Kask's five, and `trace` below them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Each step of each request.
    Trace,
    /// What helps to find a defect.
    Debug,
    /// What an operator wants to see in normal times.
    Info,
    /// What may need a person soon.
    Warning,
    /// What needs a person.
    Error,
    /// What ends the process.
    Fatal,
}

const LOG_LEVELS: [(&str, LogLevel); 6] = [
    ("debug", LogLevel::Debug),
    ("info", LogLevel::Info),
    ("warning", LogLevel::Warning),
    ("error", LogLevel::Error),
    ("fatal", LogLevel::Fatal),
    ("trace", LogLevel::Trace),
];

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line, Kask's keys first.
    Kask,
    /// For a person at a terminal.
    Text,
}

const LOG_FORMATS: [(&str, LogFormat); 2] = [("kask", LogFormat::Kask), ("text", LogFormat::Text)];

/// Reads the keys of the top level that are about logs.
pub(super) fn read(top: &mut Section<'_>, service_name: &str) -> Read<Telemetry> {
    let service_name = top.or("service_name", service_name.to_owned(), text);
    let log_level = top.or("log_level", LogLevel::Info, log_level);
    let log_format = top.or("log_format", LogFormat::Kask, choice(&LOG_FORMATS));
    Ok(Telemetry { service_name: service_name?, log_level: log_level?, log_format: log_format? })
}

/// A reader of a level in any case, as in Kask.
fn log_level(item: &mut Item<'_>) -> Read<LogLevel> {
    let text = item.value.as_str().unwrap_or_default();
    match LOG_LEVELS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
        Some(&(_, level)) => Ok(level),
        None => Err(item.refuse(no_choice(item.value, &LOG_LEVELS))),
    }
}
