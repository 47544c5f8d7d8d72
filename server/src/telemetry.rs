//! Log lines: one JSON object per line on standard output, in Kask's form, or text for people.
//!
//! Of a storm of lines from one place in the code only the first are written, and then how many more there were. Lines at
//! DEBUG and TRACE are all written: whoever asks for them wants to see every request. FATAL is said once.

mod repeats;

use std::{
    convert::Infallible,
    fmt::{self, Write as _},
    io::{self, Write as _},
    panic::{self, PanicHookInfo},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use jiff::Zoned;
use prometheus::{IntCounterVec, Opts, Registry as Counters};
use tracing::{
    Event, Level, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer, Registry,
    filter::LevelFilter,
    layer::{Context, SubscriberExt},
    reload,
    util::SubscriberInitExt,
};

use self::repeats::{LeftOut, Repeats, WINDOW};
use crate::config::{LogFormat, LogLevel, Telemetry};

/// How often windows are looked at whose end nobody has noticed yet.
const LOOK: Duration = Duration::from_secs(1);

/// The log while the program runs.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    lines: Lines,
    level: reload::Handle<LevelFilter, Registry>,
}

impl Log {
    /// From now on, lines of this level and above.
    pub(crate) fn set_level(&self, level: LogLevel) -> anyhow::Result<()> {
        Ok(self.level.reload(level_filter(level))?)
    }

    /// The last line of a program that failed, at a level that `tracing` does not have and no filter drops.
    pub(crate) fn fatal(&self, message: &str) {
        self.finish();
        self.lines.form.write(&Said { message: message.to_owned(), request_id: None }, "FATAL");
    }

    /// Says what was left out so far, at the end of a program. Nothing is left out from now on.
    pub(crate) fn finish(&self) {
        self.lines.finish();
    }

    /// Says how many lines were left out when their window ends, also if nothing more comes. For as long as it is polled.
    pub(crate) async fn count_repeats(&self) -> Infallible {
        loop {
            tokio::time::sleep(LOOK).await;
            self.lines.close_windows(Instant::now());
        }
    }

    /// Registers `solera_log_lines_suppressed_total{level}`: lines that were left out of a storm.
    ///
    /// # Errors
    /// When it is registered already.
    pub(crate) fn register(&self, counters: &Counters) -> Result<(), prometheus::Error> {
        counters.register(Box::new(self.lines.suppressed.clone()))
    }
}

/// Starts logging, panics included. Before this, nothing is written.
///
/// # Errors
/// When it was started already.
pub(crate) fn start(telemetry: &Telemetry) -> anyhow::Result<Log> {
    let form = Form { appname: telemetry.service_name.clone(), format: telemetry.log_format };
    let lines = Lines::new(form)?;
    let (filter, level) = reload::Layer::new(level_filter(telemetry.log_level));
    tracing_subscriber::registry().with(lines.clone().with_filter(filter)).try_init()?;
    panic::set_hook(Box::new(log_panic));
    Ok(Log { lines, level })
}

/// One line says where. What a panic says is shown only if it stands so in the source: it may quote what was worked on.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let words = panic.payload().downcast_ref::<&'static str>().map(|words| format!(": {words}"));
    let thread = thread::current().name().unwrap_or("unnamed").to_owned();
    tracing::error!("A bug: the thread {thread} panicked at {place}{}", words.unwrap_or_default());
}

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

/// Every line, on its way out.
#[derive(Clone, Debug)]
struct Lines {
    form: Form,
    /// Held while a line is written, so that lines of one place come out in order. `None` once the program ends.
    repeats: Arc<Mutex<Option<Repeats<Place, Said>>>>,
    suppressed: IntCounterVec,
}

/// Where in the code a line comes from, and at which level.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Place {
    level: Level,
    site: Identifier,
}

impl Lines {
    fn new(form: Form) -> Result<Self, prometheus::Error> {
        let help = "Log lines that were left out because many came from the same place in the code.";
        let suppressed =
            IntCounterVec::new(Opts::new("solera_log_lines_suppressed_total", help), &["level"])?;
        for level in [Level::ERROR, Level::WARN, Level::INFO] {
            suppressed.with_label_values(&[level_name(level)]);
        }
        Ok(Self { form, repeats: Arc::new(Mutex::new(Some(Repeats::default()))), suppressed })
    }

    fn say(&self, place: Place, said: Said, now: Instant) {
        let level = place.level;
        if Level::INFO < level {
            return self.form.write(&said, level_name(level));
        }
        let mut repeats = self.lock();
        let Some(windows) = &mut *repeats else { return self.form.write(&said, level_name(level)) };
        let written = windows.take(place, said, now);
        if let Some(before) = written.before {
            self.form.write(&Said::left_out(before), level_name(level));
        }
        match written.line {
            Some(said) => self.form.write(&said, level_name(level)),
            None => self.suppressed.with_label_values(&[level_name(level)]).inc(),
        }
    }

    fn close_windows(&self, now: Instant) {
        let mut repeats = self.lock();
        let ended = repeats.as_mut().map(|windows| windows.ended(now)).unwrap_or_default();
        self.write_left_out(ended);
    }

    fn finish(&self) {
        let mut repeats = self.lock();
        let all = repeats.take().map(|mut windows| windows.all()).unwrap_or_default();
        self.write_left_out(all);
    }

    fn write_left_out(&self, left_out: Vec<(Place, LeftOut<Said>)>) {
        for (place, left_out) in left_out {
            self.form.write(&Said::left_out(left_out), level_name(place.level));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Repeats<Place, Said>>> {
        // Whatever panicked, the log goes on.
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a line looks like.
#[derive(Clone, Debug)]
struct Form {
    appname: String,
    format: LogFormat,
}

impl Form {
    fn write(&self, said: &Said, level: &str) {
        let time = rfc3339(&Zoned::now());
        let line = match self.format {
            LogFormat::Kask => kask_line(said, &self.appname, &time, level),
            LogFormat::Text => text_line(said, &time, level),
        };
        // There is nowhere to say that standard output is gone.
        let _gone = io::stdout().lock().write_all(line.as_bytes());
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        // IMPORTANT: before any lock is taken. What is formatted here may panic, and a panic is logged.
        event.record(&mut said);
        let place = Place { level: *event.metadata().level(), site: event.metadata().callsite() };
        self.say(place, said, Instant::now());
    }
}

/// What a log line says.
#[derive(Debug, Default)]
struct Said {
    message: String,
    request_id: Option<String>,
}

impl Said {
    /// At the end of a window, with the last line that was left out: it and its request id can be looked for elsewhere.
    fn left_out(LeftOut { lines, last }: LeftOut<Self>) -> Self {
        let seconds = WINDOW.as_secs();
        let message = format!("… and {lines} more like this within {seconds} s, the last: {}", last.message);
        Self { message, request_id: last.request_id }
    }
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
    fn a_line_for_people_stays_a_line() {
        let said = Said { message: "a\nb".to_owned(), request_id: Some("r-1".to_owned()) };
        let line = text_line(&said, "2026-11-21T10:00:00Z", "INFO");
        assert_eq!(line, "2026-11-21T10:00:00Z INFO    a b [r-1]\n");
    }

    #[test]
    fn time_is_written_as_go_writes_it() {
        let at = |text: &str| rfc3339(&text.parse::<Zoned>().unwrap());
        assert_eq!(at("2026-11-21T10:00:00[UTC]"), "2026-11-21T10:00:00Z");
        assert_eq!(at("2026-11-21T10:00:00[Europe/Berlin]"), "2026-11-21T10:00:00+01:00");
    }
}
