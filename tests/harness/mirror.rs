//! MirrorMaker between two clusters, by the very files that a site takes: `deploy/mirrormaker`.
//!
//! ```text
//! let (eqiad, codfw) = (Kafka::start(&[]), Kafka::start(&[]));
//! let mut mirror = Mirror::start("codfw", &eqiad, &codfw);      // copies into codfw what eqiad wrote
//! mirror.kill9();
//! mirror.restart();
//! ```
//!
//! It copies some fifteen seconds after its start; a test waits for a record to appear.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use super::kafka::{Kafka, Process, ROOT};

/// How much of its output a failure shows, in lines.
const TAIL: usize = 40;

/// A MirrorMaker. Dropping it kills it; so does the end of the tests, however they end.
#[derive(Debug)]
pub(crate) struct Mirror {
    dir: PathBuf,
    script: Vec<String>,
    environment: Vec<(&'static str, String)>,
    process: Process,
}

impl Mirror {
    /// Starts it in the data centre `into`, which is `eqiad` or `codfw`, by that one's file.
    ///
    /// # Panics
    ///
    /// When there are no jars, or no such file.
    pub(crate) fn start(into: &str, eqiad: &Kafka, codfw: &Kafka) -> Self {
        Self::start_altered(into, eqiad, codfw, |settings| settings)
    }

    /// The same, with other settings than that file's.
    ///
    /// # Panics
    ///
    /// When there are no jars, or no such file.
    pub(crate) fn start_altered(
        into: &str,
        eqiad: &Kafka,
        codfw: &Kafka,
        alter: impl FnOnce(String) -> String,
    ) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("solera-mirror-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).expect("create a directory for MirrorMaker");
        let shipped = format!("{ROOT}/deploy/mirrormaker/{into}.properties");
        let settings = fs::read_to_string(&shipped).unwrap_or_else(|error| panic!("read {shipped}: {error}"));
        let altered = alter(settings.clone());
        let file = if altered == settings {
            shipped
        } else {
            let file = dir.join("altered.properties");
            fs::write(&file, altered).expect("write MirrorMaker's settings");
            file.display().to_string()
        };
        let receiver = if into == "eqiad" { eqiad } else { codfw };
        let environment = vec![
            ("EQIAD_BOOTSTRAP_SERVERS", eqiad.bootstrap_servers()),
            ("CODFW_BOOTSTRAP_SERVERS", codfw.bootstrap_servers()),
            ("MIRROR_REPLICATION", receiver.brokers().to_string()),
        ];
        let script = vec![format!("{ROOT}/scripts/kafka-mirror.sh"), file];
        let process = Process::spawn(&dir.join("output"), &script, &environment);
        Self { dir, script, environment, process }
    }

    /// Ends it at once: what it copied after it last noted how far it had come, it will copy again.
    pub(crate) fn kill9(&mut self) {
        self.process.end("KILL");
    }

    /// Ends it as an operator does: it notes how far it has come.
    pub(crate) fn stop(&mut self) {
        self.process.end("TERM");
    }

    /// Starts it again. Kills it first if need be.
    pub(crate) fn restart(&mut self) {
        self.process.end("KILL");
        self.process = Process::spawn(&self.dir.join("output"), &self.script, &self.environment);
    }

    /// It does nothing until [`Mirror::thaw`], and its connections stay.
    pub(crate) fn freeze(&self) {
        self.process.signal("STOP");
    }

    /// It goes on.
    pub(crate) fn thaw(&self) {
        self.process.signal("CONT");
    }

    /// # Panics
    ///
    /// When it has ended by itself, with what it said last.
    pub(crate) fn check(&self) {
        assert!(self.process.is_alive(), "MirrorMaker ended:\n{}", self.tail());
    }

    /// What it said last.
    pub(crate) fn tail(&self) -> String {
        let said = fs::read(self.dir.join("output")).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<_> = said.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.process.end("KILL");
        if std::thread::panicking() {
            eprintln!("MirrorMaker said last:\n{}", self.tail());
        } else {
            // What is left behind in the system's directory for temporary files harms nobody.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}
