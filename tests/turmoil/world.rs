//! A seed's world: hosts, links and faults, stepped to its end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ::turmoil::{Builder, Sim};

use super::{
    asking::{self, Heard, Word},
    checkers,
    clock::NetworkClock,
    defect::Defect,
    log::{Flow, NodeLog},
    node::{self, ASKING, Machine, Next},
    plan::{END, Fault, Kind, NodePlan, Plan},
    site::{Site, StoredEvent},
};

/// How far all hosts go before what they sent each other is brought.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Connections that wait to be accepted, and pieces of one that wait to be read, before the simulated network gives up.
const PENDING_MAX: usize = 4096;

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What happened, in order.
    pub(crate) trace: Vec<String>,
    /// The promises that were broken.
    pub(crate) violations: Vec<String>,
    /// How often what runs are made for happened.
    pub(crate) seen: BTreeMap<&'static str, usize>,
}

/// Runs what `seed` has in store, with this mistake.
pub(crate) fn run(seed: u64, defect: Option<Defect>) -> Outcome {
    let plan = Arc::new(Plan::of(seed));
    let (heard, stored) = happen(seed, &plan, defect);
    let mut trace: Vec<_> = heard.iter().map(|word| format!("{word:?}")).collect();
    trace.extend(stored.iter().flatten().map(|event| format!("{event:?}")));
    Outcome {
        trace,
        violations: checkers::violations(&plan, &heard, &stored),
        seen: checkers::seen(&plan, &heard, &stored),
    }
}

/// What was heard, and what the log of each data centre holds in the end.
pub(crate) fn happen(
    seed: u64,
    plan: &Arc<Plan>,
    defect: Option<Defect>,
) -> (Vec<Word>, Vec<Vec<StoredEvent>>) {
    let mut sim = Builder::new()
        .rng_seed(seed)
        .epoch(std::time::UNIX_EPOCH)
        .tick_duration(TICK)
        .simulation_duration(END * 2)
        .tcp_capacity(PENDING_MAX)
        .build();
    let clock = Arc::new(NetworkClock::default());
    let sites: Vec<_> = plan.dcs.iter().map(|(dc, _)| Site::new(dc, &clock)).collect();
    let mut machines = Vec::new();
    for ((dc, nodes), site) in plan.dcs.iter().zip(&sites) {
        for (number, node) in (1..).zip(nodes) {
            machines.push((add(&mut sim, format!("{dc}-{number}"), number, site), node));
        }
    }
    let heard = Heard::default();
    sim.client(ASKING, asking::run(Arc::clone(plan), Arc::clone(&heard), defect));
    for (machine, node) in &machines {
        sim.set_link_latency(ASKING, machine.name.as_str(), node.latency);
    }
    let mut changes = changes(&machines);
    loop {
        clock.set(sim.elapsed());
        while let Some((_, change)) = changes.pop_if(|(at, _)| *at <= sim.elapsed()) {
            change.make(&mut sim);
        }
        if sim.step().expect("no host fails") {
            break;
        }
    }
    drop(sim);
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    (heard, sites.iter().map(|site| site.events()).collect())
}

fn add<'a>(sim: &mut Sim<'a>, name: String, number: u64, site: &Arc<Site>) -> Arc<Machine> {
    let machine = Arc::new(Machine {
        name,
        site: Arc::clone(site),
        log: NodeLog::to(&site.log),
        next: Next::Serve(Duration::ZERO).into(),
        number,
    });
    let runs = Arc::clone(&machine);
    sim.host(machine.name.as_str(), move || node::run(Arc::clone(&runs)));
    machine
}

/// The beginning or the end of a fault.
struct Change<'a> {
    machine: &'a Arc<Machine>,
    plan: &'a NodePlan,
    kind: Kind,
    begins: bool,
}

/// The last one first.
fn changes<'a>(machines: &'a [(Arc<Machine>, &'a NodePlan)]) -> Vec<(Duration, Change<'a>)> {
    let both = |machine: &'a Arc<Machine>, plan: &'a NodePlan, &Fault { kind, from, until }: &Fault| {
        [(from, true), (until, false)].map(|(at, begins)| (at, Change { machine, plan, kind, begins }))
    };
    let mut changes: Vec<_> = machines
        .iter()
        .flat_map(|(machine, plan)| plan.faults.iter().flat_map(move |fault| both(machine, plan, fault)))
        .collect();
    changes.reverse();
    changes.sort_by(|(a, _), (b, _)| b.cmp(a));
    changes
}

impl Change<'_> {
    fn make(&self, sim: &mut Sim<'_>) {
        let Self { machine, plan, kind, begins } = self;
        let node = machine.name.as_str();
        match (kind, begins) {
            (Kind::Cut, true) => sim.partition(ASKING, node),
            (Kind::Cut, false) => sim.repair(ASKING, node),
            (Kind::Deaf, true) => sim.partition_oneway(ASKING, node),
            (Kind::Deaf, false) => sim.repair_oneway(ASKING, node),
            (Kind::Mute, true) => sim.partition_oneway(node, ASKING),
            (Kind::Mute, false) => sim.repair_oneway(node, ASKING),
            (Kind::Held, true) => sim.hold(ASKING, node),
            (Kind::Held, false) => sim.release(ASKING, node),
            (Kind::Slow(latency), true) => sim.set_link_latency(ASKING, node, *latency),
            (Kind::Slow(_), false) => sim.set_link_latency(ASKING, node, plan.latency),
            (Kind::Gone(_), true) => {
                sim.crash(node);
                machine.log.forget();
            }
            (Kind::Dead(_), true) => {
                sim.crash(node);
                machine.log.forget();
                machine.restart(sim, Next::Nothing);
            }
            (Kind::Gone(starts_for) | Kind::Dead(starts_for), false) => {
                machine.restart(sim, Next::Serve(*starts_for));
            }
            (Kind::Stuck, true) => machine.log.set(Flow::Stuck),
            (Kind::Full, true) => machine.log.set(Flow::Full),
            (Kind::Stuck | Kind::Full, false) => machine.log.set(Flow::Flows),
        }
    }
}

impl Machine {
    fn restart(&self, sim: &mut Sim<'_>, next: Next) {
        *self.next.lock().unwrap() = next;
        sim.bounce(self.name.as_str());
    }
}
