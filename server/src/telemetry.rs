//! Log lines: one JSON object per line on standard output, in Kask's form, or text for people.

use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
};

use jiff::Zoned;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    filter::LevelFilter,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

use crate::config::{LogFormat, LogLevel, Telemetry};

/// Starts logging. Before this, nothing is written.
///
/// # Errors
/// When it was started already.
pub(crate) fn start(telemetry: &Telemetry) -> anyhow::Result<()> {
    let lines = Lines { appname: telemetry.service_name.clone(), format: telemetry.log_format };
    Ok(tracing_subscriber::registry()
        .with(lines.with_filter(level_filter(telemetry.log_level)))
        .try_init()?)
}

/// Nothing is ever logged at Kask's FATAL: what is fatal ends the program with its reason on standard error.
const fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Fatal => LevelFilter::OFF,
    }
}

struct Lines {
    appname: String,
    format: LogFormat,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        let time = rfc3339(&Zoned::now());
        let level = level_name(*event.metadata().level());
        let line = match self.format {
            LogFormat::Kask => kask_line(&said, &self.appname, &time, level),
            LogFormat::Text => text_line(&said, &time, level),
        };
        // There is nowhere to say that standard output is gone.
        let _gone = io::stdout().lock().write_all(line.as_bytes());
    }
}

/// What a log line says.
#[derive(Default)]
struct Said {
    message: String,
    request_id: Option<String>,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "request_id" => self.request_id = Some(format!("{value:?}")),
            // A message reads well alone; other fields are for tools that this format has no room for.
            _ => {}
        }
    }
}

/// Kask's keys in Kask's order.
fn kask_line(said: &Said, appname: &str, time: &str, level: &str) -> String {
    let mut line = String::from("{");
    let mut pair = |key: &str, value: &str| {
        let comma = if line.len() == 1 { "" } else { ", " };
        let _a_string_takes_everything = write!(line, "{comma}\"{key}\": {}", json_string(value));
    };
    pair("msg", &said.message);
    pair("appname", appname);
    pair("time", time);
    pair("level", level);
    if let Some(request_id) = &said.request_id {
        pair("request_id", request_id);
    }
    line + "}\n"
}

fn text_line(said: &Said, time: &str, level: &str) -> String {
    let request = said.request_id.as_ref().map(|id| format!(" [{id}]")).unwrap_or_default();
    // A line stays a line, whatever is in it.
    let message = said.message.replace(['\n', '\r'], " ");
    format!("{time} {level:<7} {message}{request}\n")
}

fn json_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            c if c.is_control() => {
                let _a_string_takes_everything = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

/// As Go writes it: local time, whole seconds, `Z` for UTC.
fn rfc3339(now: &Zoned) -> String {
    let zone = if now.offset().is_zero() { "Z".to_owned() } else { now.strftime("%:z").to_string() };
    format!("{}{zone}", now.strftime("%Y-%m-%dT%H:%M:%S"))
}

const fn level_name(level: Level) -> &'static str {
    match level {
        Level::TRACE => "TRACE",
        Level::DEBUG => "DEBUG",
        Level::INFO => "INFO",
        Level::WARN => "WARNING",
        Level::ERROR => "ERROR",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_kasks_keys_in_kasks_order_and_cannot_be_broken() {
        let said = Said { message: "a \"b\"\n\\ \u{1}é".to_owned(), request_id: Some("r-1".to_owned()) };
        let line = kask_line(&said, "sessions", "2026-11-21T10:00:00Z", "INFO");
        let expected = r#"{"msg": "a \"b\"\n\\ \u0001é", "appname": "sessions", "time": "2026-11-21T10:00:00Z", "level": "INFO", "request_id": "r-1"}"#;
        assert_eq!(line, format!("{expected}\n"));
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["msg"], said.message);
    }

    #[test]
    fn time_is_written_as_go_writes_it() {
        let at = |text: &str| rfc3339(&text.parse::<Zoned>().unwrap());
        assert_eq!(at("2026-11-21T10:00:00[UTC]"), "2026-11-21T10:00:00Z");
        assert_eq!(at("2026-11-21T10:00:00[Europe/Berlin]"), "2026-11-21T10:00:00+01:00");
    }
}
