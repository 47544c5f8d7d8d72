//! A run: a load, a fault, its end, a look at every session in every node; and what became of all that.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    thread,
};

use rand::{SeedableRng, rngs::StdRng};

use super::{
    faults::{Fault, cut_somewhere},
    history::{Asked, Key, Moment, Op, Told},
    judge::{Breach, Case, Excuse, Kind, judge},
    load::{Clients, Load},
    report::{Fired, Report},
    scenarios::{Scenario, random_cuts},
    sites::Sites,
};

/// So many requests at least before a fault and after it.
const CALM: u64 = 100;

/// On a machine that starves its brokers one delete in so many may wait in vain, whoever is asked.
const LATE_MAX: usize = 20;

/// How many breaches a failure shows.
const SHOWN: usize = 5;

/// Two data centres, and all that was ever asked of them.
#[derive(Debug)]
pub(super) struct Run {
    sites: Sites,
    clients: Arc<Clients>,
    history: Vec<Op>,
    excuses: Vec<Excuse>,
    seed: u64,
}

impl Run {
    pub(super) fn start(seed: u64) -> Self {
        let sites = Sites::start();
        let clients = Clients::of(sites.addresses(), seed);
        sites.wait_for_copies(&clients);
        sites.wait_until_well(&clients);
        Self { sites, clients, history: Vec::new(), excuses: Vec::new(), seed }
    }

    /// Both data centres, and who asks them.
    pub(super) fn parts(&mut self) -> (&mut Sites, &Arc<Clients>) {
        (&mut self.sites, &self.clients)
    }

    /// One fault under load.
    ///
    /// # Panics
    ///
    /// When a promise is broken, when it did not happen, or when all is not well again in time.
    pub(super) fn scenario(&mut self, scenario: &Scenario) -> Report {
        self.through(scenario, |load, _| {
            // Not a wait for anything: how long the fault lasts.
            thread::sleep(scenario.lasts);
            load.goes_on_by(scenario.requests);
        })
    }

    /// Cuts of chance until so many deletes were asked for.
    ///
    /// # Panics
    ///
    /// As [`Run::scenario`].
    pub(super) fn random_cuts(&mut self, deletes: u64) -> Report {
        let mut chance = StdRng::seed_from_u64(self.seed);
        let clients = Arc::clone(&self.clients);
        let enough = clients.deletes() + deletes;
        self.through(&random_cuts(), |_, sites| {
            while clients.deletes() < enough {
                cut_somewhere(sites, &mut chance);
            }
        })
    }

    fn through(&mut self, scenario: &Scenario, lasts: impl FnOnce(&Load, &Sites)) -> Report {
        let Self { sites, clients, .. } = self;
        clients.go_on_with_others();
        let load = Load::start(clients);
        load.goes_on_by(CALM);

        let from = clients.now();
        let begun = scenario.fault.begin(sites, clients);
        clients.connect_anew();
        let has_begun = clients.now();
        lasts(&load, sites);
        let seen = begun.fired(sites, clients);
        let ends = clients.now();
        begun.end(sites);
        let healed = clients.now();
        sites.wait_until_well(clients);
        clients.connect_anew();
        let well = clients.now();
        load.goes_on_by(CALM);
        let history = load.stop();

        let (change, harm) = (scenario.fault.harm_of_change(), scenario.fault.harm());
        self.excuses.extend([
            Excuse { from, until: has_begun, harm: change.clone() },
            Excuse { from, until: well, harm },
            Excuse { from: ends, until: well, harm: change },
        ]);
        let before = self.history.len();
        self.history.extend(history);
        let converged = self.converge(scenario, before, healed);
        let report = Report::of(
            scenario,
            Fired { seen, from, until: healed },
            converged - healed,
            &self.history[before..],
        );
        println!("{report}");
        report.check(scenario.requests);
        report
    }

    /// Looks at all sessions of `history[before..]` in all nodes until they all say the same, and that is right. When that was.
    fn converge(&mut self, scenario: &Scenario, before: usize, healed: Moment) -> Moment {
        let keys: BTreeSet<Key> = self.history[before..].iter().map(|op| op.key).collect();
        let keys: Vec<_> = keys.into_iter().collect();
        loop {
            let looked = self.clients.now();
            let found = self.clients.read_everywhere(&keys);
            let differ = differing(&found);
            self.history.extend(found);
            let case = Case {
                history: &self.history[before..],
                excuses: &self.excuses,
                copied: None,
                clocks_apart: scenario.fault.clocks_apart(),
            };
            self.fail_on(scenario.name, &judge(case));
            let breaches = judge(Case { copied: Some(looked), ..case });
            let in_time = looked <= healed + scenario.converges_within;
            let is_well = breaches.iter().all(|breach| breach.kind == Kind::Late) && differ.is_empty();
            if in_time && is_well {
                return looked;
            }
            if !in_time {
                self.fail_on(scenario.name, &breaches);
                let (name, within) = (scenario.name, scenario.converges_within);
                panic!("{name}: not the same in all nodes within {within:?}: {differ:?}");
            }
        }
    }

    /// Looks at every session of the run once more, in all nodes: nothing has come back, nothing has gone. How many requests
    /// there were, and of how many sessions.
    ///
    /// # Panics
    ///
    /// When a promise is broken.
    pub(super) fn end(mut self) -> (usize, usize) {
        let requests = self.history.len();
        let keys: BTreeSet<Key> = self.history.iter().map(|op| op.key).collect();
        let keys: Vec<_> = keys.into_iter().collect();
        let looked = self.clients.now();
        let found = self.clients.read_everywhere(&keys);
        let differ = differing(&found);
        assert!(differ.is_empty(), "not the same in all nodes at the end: {differ:?}");
        self.history.extend(found);
        let apart = Fault::SkewClocks.clocks_apart();
        let case = Case {
            history: &self.history,
            excuses: &self.excuses,
            copied: Some(looked),
            clocks_apart: apart,
        };
        let breaches = judge(case);
        self.fail_on("at the end", &breaches);
        let late = breaches.iter().filter(|breach| breach.kind == Kind::Late);
        late.for_each(|late| println!("{late}"));
        (requests, keys.len())
    }

    /// Shows deletes that were late, and stops at anything else.
    fn fail_on(&self, name: &str, breaches: &[Breach]) {
        let (late, breaches): (Vec<_>, Vec<_>) =
            breaches.iter().partition(|breach| breach.kind == Kind::Late);
        let deletes = self.history.iter().filter(|op| op.asked == Asked::Delete).count();
        assert!(
            LATE_MAX * late.len() <= deletes,
            "{name}: {} of {deletes} deletes are late: {late:?}",
            late.len()
        );
        let Some(first) = breaches.first() else { return };
        let mut said = format!("{name}: {} breaches, seed {}\n", breaches.len(), self.seed);
        for breach in breaches.iter().take(SHOWN) {
            let _ = writeln!(said, "  {breach}");
        }
        let _ = writeln!(said, "  all of session {}:", first.key.0);
        for op in self.history.iter().filter(|op| op.key == first.key) {
            let _ = writeln!(said, "      {op}");
        }
        let dir = std::env::temp_dir().join(format!("solera-two-dcs-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory for logs");
        self.sites.keep_logs(&dir);
        panic!("{said}  what the nodes said is in {}", dir.display());
    }
}

/// Sessions of which not all nodes say the same.
fn differing(found: &[Op]) -> Vec<Key> {
    let mut answers: BTreeMap<Key, BTreeSet<Option<u64>>> = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    for op in found {
        match &op.told {
            Told::Found(found) => {
                answers.entry(op.key).or_default().insert(found.map(|value| value.0));
            }
            _ => {
                unknown.insert(op.key);
            }
        }
    }
    let differing = answers.into_iter().filter(|(_, answers)| 1 < answers.len()).map(|(key, _)| key);
    unknown.into_iter().chain(differing).collect()
}
