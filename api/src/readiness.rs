//! Whether this node may answer: a set of latches. It is ready when the last is released, and no more once it drains or
//! something breaks.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

/// What the process waits for, by name.
#[derive(Debug, Default)]
pub struct Readiness {
    checks: Mutex<BTreeMap<String, Check>>,
    /// Kept current with `checks`, so that a request looks at one word.
    ready: AtomicBool,
    /// Why no more requests should come; those that do are served.
    draining: Mutex<Option<Arc<str>>>,
    was_ready: AtomicBool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Check {
    Ok,
    Waiting(Arc<str>),
    Failed(Arc<str>),
}

/// Keeps the node unready until it is [released](Self::release). Dropped, it never will be.
#[derive(Debug)]
#[must_use = "a latch that is dropped keeps the node unready for ever"]
pub struct Latch {
    readiness: Arc<Readiness>,
    name: String,
}

impl Readiness {
    /// Adds something to wait for; `state` says what is going on meanwhile.
    pub fn latch(self: &Arc<Self>, name: &str, state: &str) -> Latch {
        self.set(name, Check::Waiting(state.into()));
        Latch { readiness: Arc::clone(self), name: name.to_owned() }
    }

    /// Unready from now on, and why.
    pub fn fail(&self, name: &str, reason: &str) {
        self.set(name, Check::Failed(reason.into()));
    }

    /// It is in order again.
    pub fn pass(&self, name: &str) {
        self.set(name, Check::Ok);
    }

    /// Nobody is to be sent here any more, from now on, and why. Requests on open connections are served.
    pub fn drain(&self, reason: &str) {
        *self.draining.lock().expect("no holder panics") = Some(reason.into());
    }

    /// Whether everything is in order, and clients are welcome.
    pub fn is_ready(&self) -> bool {
        self.serves() && self.draining().is_none()
    }

    /// Whether everything is in order.
    pub fn serves(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Whether everything is in order but, perhaps, for `name`.
    pub fn serves_but_for(&self, name: &str) -> bool {
        let checks = self.lock();
        !checks.is_empty() && checks.iter().all(|(of, check)| of == name || *check == Check::Ok)
    }

    /// Whether everything ever was.
    pub fn was_ready(&self) -> bool {
        self.was_ready.load(Ordering::Acquire)
    }

    /// One line per check, as the probes of Kubernetes' own API server write them.
    pub fn report(&self) -> String {
        let line = |(name, check): (&String, &Check)| match check {
            Check::Ok => format!("[+]{name} ok\n"),
            Check::Waiting(state) => format!("[-]{name} not ready: {state}\n"),
            Check::Failed(reason) => format!("[-]{name} failed: {reason}\n"),
        };
        let draining = self.draining().map(|reason| format!("[-]node failed: {reason}\n"));
        self.lock().iter().map(line).chain(draining).collect()
    }

    /// The first check that is not in order.
    pub fn first_problem(&self) -> Option<String> {
        let problem = |(name, check): (&String, &Check)| match check {
            Check::Ok => None,
            Check::Waiting(why) | Check::Failed(why) => Some(format!("{name}: {why}")),
        };
        let draining = || self.draining().map(|reason| format!("node: {reason}"));
        self.lock().iter().find_map(problem).or_else(draining)
    }

    /// Why it does not answer, for whoever was refused.
    pub(crate) fn why_not(&self) -> String {
        self.first_problem().unwrap_or_else(|| "starting".to_owned())
    }

    fn draining(&self) -> Option<Arc<str>> {
        self.draining.lock().expect("no holder panics").clone()
    }

    fn set(&self, name: &str, check: Check) {
        let mut checks = self.lock();
        checks.insert(name.to_owned(), check);
        let ready = checks.values().all(|check| *check == Check::Ok);
        self.ready.store(ready, Ordering::Release);
        if ready {
            self.was_ready.store(true, Ordering::Release);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Check>> {
        self.checks.lock().expect("no holder panics")
    }
}

impl Latch {
    /// What is going on meanwhile.
    pub fn waits_for(&self, state: &str) {
        self.readiness.set(&self.name, Check::Waiting(state.into()));
    }

    /// What it waits for has come.
    pub fn release(self) {
        self.readiness.set(&self.name, Check::Ok);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_when_the_last_latch_is_released_and_not_after_a_failure() {
        let readiness = Arc::new(Readiness::default());
        assert!(!readiness.is_ready() && !readiness.serves_but_for("log"), "nothing is known yet");
        let (log, view) = (readiness.latch("log", "opening"), readiness.latch("view", "catching up"));
        log.release();
        assert!(!readiness.is_ready());
        assert_eq!(readiness.report(), "[+]log ok\n[-]view not ready: catching up\n");
        assert_eq!(readiness.first_problem().as_deref(), Some("view: catching up"));
        view.release();
        assert!(readiness.is_ready());
        readiness.fail("log", "a write failed");
        assert!(!readiness.is_ready());
        assert!(readiness.serves_but_for("log") && !readiness.serves_but_for("view"));
        assert!(readiness.was_ready());
        assert_eq!(readiness.report(), "[-]log failed: a write failed\n[+]view ok\n");
    }

    #[test]
    fn a_node_that_drains_serves_and_is_not_ready() {
        let readiness = Arc::new(Readiness::default());
        readiness.latch("log", "opening").release();
        readiness.drain("stopping");
        assert!(readiness.serves() && !readiness.is_ready());
        assert_eq!(readiness.report(), "[+]log ok\n[-]node failed: stopping\n");
        assert_eq!(readiness.first_problem().as_deref(), Some("node: stopping"));
    }

    #[test]
    fn a_dropped_latch_is_never_released() {
        let readiness = Arc::new(Readiness::default());
        drop(readiness.latch("log", "opening"));
        readiness.latch("view", "opening").release();
        assert!(!readiness.is_ready());
    }
}
