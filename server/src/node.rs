//! A node: who is connected to whom, from the first socket to the last flush.

use std::{fs, num::NonZero, sync::Arc, thread, time::Duration};

use anyhow::{Context, anyhow};
use api::{
    Access, AnswerRoom, App, BodyBytes, BodyRoom, CompareOrder, Comparisons, DECLARED_DOWN, Dcs, DiskRoom,
    Fingerprints, Job, Jobs, Lanes, Latch, Limits, Readiness, Ring, Rules, Sealer, Store, Stores, Tls,
    admin::Counting, index_fingerprint,
};
use eventlog::EventLog;
use materializer::{GapMetrics, ViewError, sessions::ViewMemory};
use prometheus::Registry;
use rand::Rng;
use schemas::StoreName;
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::{JoinError, JoinSet, spawn_blocking},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use writer::{Rhythm, peer::Peer};

use crate::{
    access::Guards,
    build_info::BUILD,
    clock_watch::{self, ClockMetrics},
    compare::{self, AgreeMetrics},
    config::{Config, StoreConfig},
    data_dir::DataDir,
    disk::{self, DiskMetrics, DiskWatch},
    jobs::{self, Workplace},
    listen,
    logs::{self, Logs, StoreLog},
    mirror::Mirror,
    open_files,
    opening::{Metrics, Opening},
    peers::Peers,
    rotation::{Asked, Rotation},
    secrets::{self, Secrets},
    space::{self, SpaceMetrics},
    standing::{Standing, StandingMetrics},
    store::{StartError, StoreNode},
    tasks,
    telemetry::Log,
    tls::Certificates,
};

/// How long a stop may take before what has not finished is left behind.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// How long a stop waits for a cluster to say what became of the last records.
const LOG_PATIENCE: Duration = Duration::from_secs(10);

/// How soon a store whose log did not answer is brought up again.
const COME_UP_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The part of `memory_mb` that the bodies of writes may take together: one in this many.
const BODIES_PART: usize = 4;

/// The part of `memory_mb` that large answers may take, on top of it, until their clients have taken them.
const ANSWERS_PART: usize = 4;

/// The specification that is served when the configuration names none.
const BUILT_IN_OPENAPI: &str = include_str!("../../api/openapi.yaml");

/// Runs a node until `stop`, or until something that it cannot live without fails. `tls` says where it speaks TLS, `guards` whom it serves. Calls `listening` once its ports are bound.
///
/// # Errors
/// When it cannot start, or did not stop by itself.
pub(crate) async fn run(
    config: Config,
    log: &Log,
    (tls, guards, asked): (Certificates, Guards, Asked),
    listening: impl FnOnce(),
    stop: CancellationToken,
) -> anyhow::Result<()> {
    tracing::info!(
        "Initializing Solera {} ({}, build host: {}, timestamp: {})...",
        BUILD.version,
        BUILD.go_version,
        BUILD.build_host,
        BUILD.build_date
    );
    // IMPORTANT: the port comes first. Until the node is ready it answers 503: a load balancer that only connects is
    // content, and nobody is told "not found".
    let (address, port) = (&config.listener.address, config.listener.port);
    let data = listen::listen(address, port).await.with_context(|| format!("listen on {address}:{port}"))?;
    let admin_address = config.admin.listen;
    let admin = listen::on(admin_address).with_context(|| format!("listen on {admin_address} (admin)"))?;

    let peer_address = config.peers.as_ref().map(|peers| peers.listen);
    let peer_listener = peer_address
        .map(|address| listen::on(address).with_context(|| format!("listen on {address} (peers)")))
        .transpose()?;

    listening();
    // As many for each of the two.
    open_files::raise(2 * u64::from(config.limits.max_connections));

    // IMPORTANT: before the secrets, which only one process may make.
    let data_dir = DataDir::take(&config.data_dir)?;
    let secrets = secrets::load(&config.secrets, &config.data_dir)?;
    data_dir.claim(&config.dc, &secrets.index)?;
    data_dir.refuse_strange_logs(config.stores.iter().flat_map(|(store, _)| logs::topics(&config, store)))?;
    if secrets.made {
        let dir = config.data_dir.join("secrets");
        tracing::warn!(
            "Made new secrets in {}: keep them, without them every session is lost",
            dir.display()
        );
    }
    let ring = Arc::new(Ring::of(&secrets.ring)?);
    let fingerprints = Fingerprints::of(&index_fingerprint(&secrets.index), Arc::clone(&ring));
    let readiness = Arc::new(Readiness::default());
    let registry = Registry::new();
    log.register(&registry).context("register the metrics of the log's lines")?;
    let (jobs, orders) = Jobs::new();
    let peers = config
        .peers
        .as_ref()
        .map(|peers| Peers::of(&config, peers, tls.peers.as_deref(), &fingerprints, &registry))
        .transpose()?;
    let dcs = Dcs { us: config.dc.clone(), peers: peers.as_ref().map(Peers::all).unwrap_or_default().into() };
    let (comparisons, to_compare) = Comparisons::new();
    let app = app(&config, (&secrets, &ring), &readiness, &registry, (jobs, comparisons, dcs, guards.data))?;
    let mut node = Node {
        latches: config
            .stores
            .iter()
            .map(|(name, _)| readiness.latch(&format!("store {name}"), "opening its log"))
            .collect(),
        listeners: JoinSet::new(),
        stop_listening: CancellationToken::new(),
        open: Vec::new(),
        stores: Vec::new(),
        work: JoinSet::new(),
        stop_working: CancellationToken::new(),
        readiness,
    };
    let rotation = Rotation::of(&fingerprints, ring);
    node.work.spawn(rotation.obey(asked, config.data_dir.as_path().into(), node.stop_working.clone()));
    let scheme = if tls.data.is_some() { "https" } else { "http" };
    for tls in [&tls.data, &tls.admin, &tls.peers].into_iter().flatten() {
        tls.register(&registry).context("register the metrics of TLS")?;
        node.work.spawn(Arc::clone(tls).watch(node.stop_working.clone()));
    }
    let [data_tls, admin_tls] = [&tls.data, &tls.admin].map(|tls| tls.as_ref().map(|tls| tls.listener()));
    let connections_max = config.limits.max_connections as usize;
    node.listen((data, data_tls), (admin, admin_tls, guards.admin), &app, connections_max)?;
    if let (Some(peers), Some(listener)) = (&peers, peer_listener) {
        let routes = api::peer_routes(peers.listener(&config, app.clone()));
        let stop = node.stop_listening.clone();
        node.listeners.spawn(api::serve(listener, peers.tls(), routes, connections_max, Lanes::here(), stop));
        let latch = node.readiness.latch("peers", "comparing settings with other data centres");
        node.work.spawn(peers.clone().watch(latch, node.stop_working.clone()));
    }
    for store in app.stores.iter() {
        tracing::info!("Starting service as {scheme}://{address}:{port}{}", store.base_uri());
    }

    let shared =
        Shared { config: &config, secrets: &secrets, app: &app, registry: &registry, peers: peers.as_ref() };
    let outcome = node.open_and_wait(&shared, (orders, to_compare), &stop).await;
    let stopped = tokio::time::timeout(STOP_PATIENCE, node.shut_down()).await;
    let stopped = stopped.unwrap_or_else(|_| Err(anyhow!("the node did not stop within {STOP_PATIENCE:?}")));
    // What came first is what a person must know; the rest follows from it.
    outcome.inspect_err(|_| {
        if let Err(also) = &stopped {
            tracing::error!("And it did not stop in order: {also:#}");
        }
    })?;
    stopped
}

/// Where jobs arrive that operators order, and comparisons that they ask for.
type Orders = (mpsc::UnboundedReceiver<Arc<Job>>, mpsc::Receiver<CompareOrder>);

/// What a node is made with.
struct Shared<'a> {
    config: &'a Config,
    secrets: &'a Secrets,
    app: &'a App,
    registry: &'a Registry,
    peers: Option<&'a Peers>,
}

/// A node at work.
struct Node {
    readiness: Arc<Readiness>,
    latches: Vec<Latch>,
    listeners: JoinSet<()>,
    stop_listening: CancellationToken,
    /// For jobs, and to be closed at the end.
    open: Vec<Workplace>,
    /// To be compared with those of other data centres.
    stores: Vec<Arc<StoreNode>>,
    /// Followers and repairs. None of them ends by itself while the node is well.
    work: JoinSet<anyhow::Result<()>>,
    stop_working: CancellationToken,
}

impl Node {
    fn listen(
        &mut self,
        (data, tls): (TcpListener, Option<Arc<Tls>>),
        (admin, admin_tls, guard): (TcpListener, Option<Arc<Tls>>, Option<Arc<Access>>),
        app: &App,
        connections_max: usize,
    ) -> anyhow::Result<()> {
        let stop = &self.stop_listening;
        let processors = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        let lanes = Lanes::start(processors).context("start the threads that serve connections")?;
        let routes = api::routes(app.clone());
        self.listeners.spawn(api::serve(data, tls, routes, connections_max, lanes, stop.clone()));
        self.listeners.spawn(api::serve(
            admin,
            admin_tls,
            api::admin::routes(app.clone(), guard),
            connections_max,
            Lanes::here(),
            stop.clone(),
        ));
        Ok(())
    }

    /// Opens all stores, then waits for an order to stop or a failure.
    async fn open_and_wait(
        &mut self,
        shared: &Shared<'_>,
        (orders, to_compare): Orders,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let &Shared { config, secrets, app, registry, peers } = shared;
        let metrics = Metrics {
            counted: materializer::Metrics::register(registry).context("register the view's metrics")?,
            measured: writer::Metrics::register(registry).context("register the writer's metrics")?,
            missed: GapMetrics::register(registry).context("register the metrics of copies")?,
        };
        let disk = DiskMetrics::register(registry).context("register the metrics of the disk")?;
        let disk_watch = DiskWatch { dir: config.data_dir.clone(), room: app.disk_room.clone() };
        self.work.spawn(disk::watch(disk_watch.clone(), disk, self.stop_working.clone()));
        let space = SpaceMetrics::register(registry).context("register the metrics of space")?;
        let clocks = ClockMetrics::register(registry).context("register the metrics of clocks")?;
        let memory = ViewMemory::of(config.memory_mb as usize * 1024 * 1024);
        memory.cells.register(registry).context("register the metrics of the cells in memory")?;
        let logs = Logs::of(config)?;
        logs.warn();
        let standing = StandingMetrics::register(registry).context("register the metrics of declarations")?;
        let declared =
            self.readiness.latch(DECLARED_DOWN, "reading whether its data centre is declared down");
        let opening = async {
            let mut stores = Vec::new();
            for ((name, of_store), latch) in config.stores.iter().zip(std::mem::take(&mut self.latches)) {
                let disk = disk_watch.clone();
                let opening =
                    Opening { config, secrets, peers, logs: &logs, memory: &memory, metrics: &metrics };
                let opened = opening.store((name, of_store), disk, &latch, stop).await;
                let (store, follower, place) = opened.with_context(|| format!("open the store {name}"))?;
                let (topic, clock) = (logs::topic(config, name), Arc::clone(&place.clock));
                let (of, room) = (topic.to_string(), app.disk_room.clone());
                let stamped_by = place.log.stamped_by();
                self.work.spawn(clock_watch::watch(
                    topic,
                    (clock, stamped_by),
                    clocks.clone(),
                    self.stop_working.clone(),
                ));
                let fence = Arc::clone(&place.fence);
                self.work.spawn(disk::watch_standstill(of, fence, room, self.stop_working.clone()));
                self.work.spawn(tasks::follow(follower, self.stop_working.clone())?);
                for log in place.logs() {
                    match log {
                        StoreLog::Embedded(log) => self.work.spawn(tasks::watch_log(Arc::clone(log))),
                        StoreLog::Kafka(log, plan) => {
                            let (log, plan) = (Arc::clone(log), plan.clone());
                            self.work.spawn(tasks::watch_topic(log, plan, self.stop_working.clone()))
                        }
                    };
                }
                for mirror in mirrors(config, peers, &self.readiness, &place) {
                    self.work.spawn(mirror.run(self.stop_working.clone()));
                }
                self.work.spawn(tasks::watch_view(place.generation.subscribe(), self.stop_working.clone()));
                let (logs, view) = (place.logs().cloned().collect(), place.generation.subscribe());
                let (clock, stop) = (Arc::clone(&place.clock), self.stop_working.clone());
                self.work.spawn(space::keep(logs, view, clock, space.clone(), stop));
                self.open.push(place.clone());
                // Other nodes read it, or copies are made of it.
                let is_shared = matches!(place.log, StoreLog::Kafka(..)) || !place.copies.is_empty();
                let rhythm = is_shared.then(|| place.log.rhythm());
                stores.push(self.bring_up(store, name, rhythm, app, latch).await?);
                if let Some(config) = config.checkpoints {
                    self.work.spawn(jobs::keep_checkpoints(place, config, self.stop_working.clone()));
                }
            }
            let standing = Standing::of(app, stores, standing);
            self.work.spawn(standing.clone().watch(declared, self.stop_working.clone()));
            self.work.spawn(standing.renew(self.stop_working.clone()));
            self.work.spawn(jobs::run(orders, self.open.clone(), self.stop_working.clone()));
            self.compare(peers, registry, to_compare)?;
            let (logs, config, stop) = (logs.clone(), config.clone(), self.stop_working.clone());
            self.work.spawn(async move {
                stop.run_until_cancelled(logs.warn_of_renamed(&config)).await;
                stop.cancelled().await;
                Ok(())
            });
            Ok::<_, anyhow::Error>(())
        };
        match stop.run_until_cancelled(opening).await {
            None => return Ok(()),
            Some(opened) => opened?,
        }
        tracing::info!("Ready");
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            Some(ended) = self.work.join_next() => Err(self.failure(ended)),
            Some(ended) = self.listeners.join_next() => Err(self.failure(ended.map(Ok))),
        }
    }

    /// Compares every store with what the other data centres hold of it.
    fn compare(
        &mut self,
        peers: Option<&Peers>,
        registry: &Registry,
        orders: mpsc::Receiver<CompareOrder>,
    ) -> anyhow::Result<()> {
        let pairs = compare::pairs(&self.stores, peers.map(Peers::all).unwrap_or_default());
        if !pairs.is_empty() {
            let metrics = AgreeMetrics::register(registry).context("register the metrics of agreement")?;
            for pair in &pairs {
                self.work.spawn(compare::watch(pair.clone(), metrics.clone(), self.stop_working.clone()));
            }
        }
        self.work.spawn(compare::answer(orders, pairs, self.stop_working.clone()));
        Ok(())
    }

    /// Waits until a store has caught up with its log, and lets requests in. Who else reads its log must know who is
    /// alive, in this rhythm.
    async fn bring_up(
        &mut self,
        store: StoreNode,
        name: &StoreName,
        rhythm: Option<Rhythm>,
        app: &App,
        latch: Latch,
    ) -> anyhow::Result<Arc<StoreNode>> {
        tokio::select! {
            up = come_up(&store, &latch) => up.with_context(|| format!("bring up the store {name}"))?,
            Some(ended) = self.work.join_next() => return Err(self.failure(ended)),
        }
        app.stores.get(name).with_context(|| format!("find the store {name}"))?.open(store.backend());
        latch.release();
        self.work.spawn(tasks::watch_for_an_outage(
            Arc::clone(&store.reads),
            Arc::clone(&self.readiness),
            self.stop_working.clone(),
        ));
        let store = Arc::new(store);
        self.stores.push(Arc::clone(&store));
        if let Some(rhythm) = rhythm {
            self.work.spawn(tasks::beat(Arc::clone(&store.writer), rhythm, self.stop_working.clone()));
        }
        self.work.spawn(tasks::watch_for_loss(
            Arc::clone(&store),
            app.jobs.clone(),
            Arc::clone(&self.readiness),
            self.stop_working.clone(),
        ));
        let (stop, paying) = (self.stop_working.clone(), Arc::clone(&store));
        self.work.spawn(async move {
            crate::repair(&paying, paying.writer.id(), stop).await;
            Ok(())
        });
        Ok(store)
    }

    /// A task that ended while the node was to go on: a view that silently stops moving is the worst failure there is.
    ///
    /// A log that fails takes its follower with it, and has the better reason.
    fn failure(&self, ended: Result<anyhow::Result<()>, JoinError>) -> anyhow::Error {
        let logs = self.open.iter().flat_map(Workplace::logs);
        let of_log = logs.filter_map(|log| log.failure()?.borrow().clone()).next();
        let other = match ended {
            Ok(Ok(())) => anyhow!("a task ended without being asked to"),
            Ok(Err(error)) => error,
            Err(panic) => anyhow!(panic).context("a task panicked"),
        };
        of_log.map_or(other, |reason| anyhow!("{reason}"))
    }

    /// Unready for probes, finish requests, close logs, stop followers, close views.
    async fn shut_down(mut self) -> anyhow::Result<()> {
        self.readiness.drain("stopping");
        self.stop_listening.cancel();
        while self.listeners.join_next().await.is_some() {}
        self.stop_working.cancel();
        // Both block on the disk, which may hang: not on the thread that counts the seconds.
        let logs: Vec<_> = self.open.iter().flat_map(Workplace::logs).cloned().collect();
        let deadline = std::time::Instant::now() + LOG_PATIENCE;
        let close = move || {
            logs.iter()
                .for_each(|log| log.close(deadline.saturating_duration_since(std::time::Instant::now())));
        };
        spawn_blocking(close).await.context("close the logs")?;
        while self.work.join_next().await.is_some() {}
        let views: Vec<_> =
            self.open.iter().map(|store| (store.name.clone(), store.generation.borrow().clone())).collect();
        let close = move || {
            views.iter().try_for_each(|(name, view)| match view.close() {
                Err(error @ ViewError::NoSpace(_)) => {
                    tracing::warn!(
                        "The next start goes on from an earlier flush of the view of {name}: {error}"
                    );
                    Ok(())
                }
                flushed => flushed.with_context(|| format!("flush the view of {name}")),
            })
        };
        spawn_blocking(close).await.context("flush the views")??;
        tracing::info!("Stopped");
        Ok(())
    }
}

/// Brings a store up, however long its log takes to answer. What else may be wrong ends the node elsewhere: the log says that
/// it has failed, the follower ends.
///
/// # Errors
/// When the log has dropped what the view would go on with.
async fn come_up(store: &StoreNode, latch: &Latch) -> Result<(), StartError> {
    let mut said = String::new();
    loop {
        let error = match store.come_up().await {
            up @ (Ok(()) | Err(StartError::Lost(_))) => return up,
            Err(error) => error.to_string(),
        };
        if said != error {
            tracing::warn!("{}: {error}", store.reads.own);
            latch.waits_for(&error);
            said = error;
        }
        sleep(COME_UP_AGAIN_AFTER).await;
    }
}

/// What fills the copies that nobody else fills.
fn mirrors(
    config: &Config,
    peers: Option<&Peers>,
    readiness: &Arc<Readiness>,
    place: &Workplace,
) -> Vec<Mirror> {
    let peers = peers.map(Peers::all).unwrap_or_default();
    let mirror = |copy: &StoreLog| {
        let StoreLog::Embedded(copy) = copy else { return None };
        let peer = peers.iter().find(|peer| *peer.dc() == copy.topic().origin)?;
        let file = config.data_dir.join("log").join(format!("{}.copied", copy.topic()));
        let latch = readiness.latch(&format!("copy {}", copy.topic()), "copying what the original holds");
        let (peer, copy) = (Arc::clone(peer), Arc::clone(copy) as Arc<dyn EventLog>);
        let watched = (Arc::clone(&place.gaps), Arc::clone(&place.clock));
        Some(Mirror::open(peer, copy, file, Arc::clone(&place.fence), watched, latch))
    };
    place.copies.iter().filter_map(mirror).collect()
}

fn app(
    config: &Config,
    (secrets, ring): (&Secrets, &Arc<Ring>),
    readiness: &Arc<Readiness>,
    registry: &Registry,
    (jobs, comparisons, dcs, access): (Jobs, Comparisons, Dcs, Option<Arc<Access>>),
) -> anyhow::Result<App> {
    let stores = config.stores.iter().map(|(name, store)| {
        let bytes = BodyBytes { max: store.max_value_bytes, compress_above: store.compress_above_bytes };
        let sealer = Sealer::new(name.clone(), &secrets.index, Arc::clone(ring), bytes);
        Store::new(name.clone(), rules(store), sealer)
    });
    let stores = Stores::new(stores.collect());
    registry
        .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
        .context("register the process's metrics")?;
    let metrics = api::Metrics::register(registry, &BUILD).context("register the metrics of requests")?;
    config.stores.iter().for_each(|(name, _)| metrics.expect(name));
    Ok(App {
        access,
        ring: Arc::clone(ring),
        counting: Counting::default(),
        stores: Arc::new(stores),
        readiness: Arc::clone(readiness),
        metrics,
        registry: registry.clone(),
        build: BUILD,
        limits: Limits {
            key_bytes_max: config.limits.max_key_bytes,
            request_timeout: config.limits.request_timeout,
            read_patience: config.read_patience,
        },
        disk_room: DiskRoom::default(),
        body_room: BodyRoom::of(config.memory_mb as usize * 1024 * 1024 / BODIES_PART),
        answer_room: AnswerRoom::of(config.memory_mb as usize * 1024 * 1024 / ANSWERS_PART),
        dcs,
        jobs,
        comparisons,
        salt: || rand::rng().random(),
        openapi: openapi(config).into(),
    })
}

fn rules(store: &StoreConfig) -> Rules {
    let StoreConfig { base_uri, default_ttl, max_ttl, max_value_bytes, accept_put, rates, .. } = store;
    Rules {
        base_uri: base_uri.as_str().into(),
        default_ttl: *default_ttl,
        max_ttl: *max_ttl,
        value_bytes_max: *max_value_bytes,
        takes_put: *accept_put,
        rates: *rates,
    }
}

/// The configured specification, or the built-in one. A file that cannot be read makes `/openapi` fail, nothing else.
fn openapi(config: &Config) -> String {
    let Some(file) = &config.listener.openapi_spec else { return BUILT_IN_OPENAPI.to_owned() };
    fs::read_to_string(file).unwrap_or_else(|error| {
        tracing::error!("Cannot read openapi_spec {}: {error}", file.display());
        String::new()
    })
}
