//! `demo`: the whole job, on an embedded broker unless brokers are given: topics, events, the
//! transformer, the verification. Nothing stays behind on a given cluster, however the demo ends.

mod memory;

use std::{
    fmt,
    future::pending,
    io::Write,
    net::Ipv4Addr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{TryFutureExt, future::join_all};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    broker::{Broker, BrokerSettings},
    config::{Config, DemoConfig, VerifyConfig},
    console::progress::Progress,
    engine::{EngineError, native::Client},
    exit::{Ended, Exit, Failure},
    generate::{self, GenerateError, GenerateSettings, Keys},
    lag,
    mill::Observers,
    run::{self, RunError},
    verify::{self, Report},
};

/// The memory of the embedded broker per event: source, output and a share for framing.
const MEMORY_PER_EVENT: u64 = 256;

/// The memory of the embedded broker at least.
const MEMORY_MIN: u64 = 64 << 20;

/// How often the transformer's progress is checked.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How often the transformer commits at least, so that the summary measures the work and not the
/// wait.
const COMMIT_INTERVAL: Duration = Duration::from_millis(100);

/// How long the transformer may go on without committing anything.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// How long deleting a topic or the group may take before it is given up and reported.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(10);

/// The outcome of a demo.
#[derive(Debug)]
pub(crate) struct Summary {
    /// The events generated and transformed.
    pub events: u64,
    /// From the first event until the last is transformed and committed.
    pub elapsed: Duration,
    /// The verification.
    pub report: Report,
}

/// Why a demo ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// The embedded broker could not be started.
    #[error("cannot start the embedded broker: {0}")]
    Broker(#[from] std::io::Error),
    /// The cluster did not answer or refused.
    #[error("{0}")]
    Engine(#[from] EngineError),
    /// The generator failed.
    #[error("the generator: {0}")]
    Generate(#[from] GenerateError),
    /// The transformer failed.
    #[error("the transformer: {0}")]
    Run(#[from] RunError),
    /// The transformer makes no progress.
    #[error("the transformer has not committed anything for {} s, {lag} events behind", STALL_TIMEOUT.as_secs())]
    Stalled {
        /// How many events it is behind.
        lag: i64,
    },
    /// The events would not fit into the machine's memory.
    #[error(
        "{events} events need {:.1} GiB for the embedded broker, and {:.1} GiB are available: take fewer \
         with --events, or a cluster with --brokers",
        gib(*needed),
        gib(*available)
    )]
    TooMany {
        /// How many events.
        events: u64,
        /// The memory in bytes that they need.
        needed: u64,
        /// The memory in bytes that there is.
        available: u64,
    },
    /// It is done, but something was left on the cluster.
    #[error("left behind on the cluster: {what}")]
    LeftBehind {
        /// What, and why.
        what: String,
    },
    /// It was stopped by a signal.
    #[error("stopped before the end")]
    Stopped,
}

impl Failure for DemoError {
    fn exit(&self) -> Exit {
        match self {
            DemoError::Engine(error) => error.exit(),
            DemoError::Generate(error) => error.exit(),
            DemoError::Run(error) => error.exit(),
            DemoError::Stopped => Exit::Interrupted,
            DemoError::Broker(_)
            | DemoError::Stalled { .. }
            | DemoError::TooMany { .. }
            | DemoError::LeftBehind { .. } => Exit::Failed,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let rate = self.events as f64 / seconds.max(f64::MIN_POSITIVE);
        writeln!(
            f,
            "{} events generated and transformed in {seconds:.2} s: {rate:.0} events/s",
            self.events
        )?;
        if self.report.is_ok() { write!(f, "verify: {}", self.report.verdict()) } else { self.report.fmt(f) }
    }
}

/// The command: runs the demo and prints its summary. A signal ends it early.
///
/// # Errors
/// As [`demo`].
pub(crate) async fn command(config: DemoConfig, out: &mut impl Write) -> Result<Exit, Ended> {
    let stop = CancellationToken::new();
    run::signals::drain_on_signal(stop.clone());
    let summary = demo(config, stop).await?;
    writeln!(out, "{summary}")?;
    Ok(if summary.report.is_ok() { Exit::Done } else { Exit::Violations })
}

/// Runs the demo until it is done or `stop` is cancelled. On a given cluster the topics and the group
/// are deleted, whatever happened.
///
/// # Errors
/// When any part fails, the deletion included.
pub(crate) async fn demo(config: DemoConfig, stop: CancellationToken) -> Result<Summary, DemoError> {
    let mut run = config.run.clone();
    let broker = if config.embedded { Some(start_broker(&config).await?) } else { None };
    if let Some(broker) = &broker {
        run.client.brokers = vec![broker.address().to_string()];
    }
    name_topics(&mut run);
    let client = Client::connect(&run.native_client()).await?;
    if !config.embedded {
        warn!(
            brokers = run.client.brokers.join(","),
            source = %run.source,
            destination = %run.destination,
            dead_letter = %run.dead_letter,
            group = run.group,
            "the demo writes to this cluster, and deletes its topics and its group at the end"
        );
    }
    let outcome = whole_job(&client, &run, &config, stop).await;
    let Some(broker) = broker else { return cleaned_up(&client, &run, outcome).await };
    broker.stop().await;
    outcome
}

async fn start_broker(config: &DemoConfig) -> Result<Broker, DemoError> {
    let needed = MEMORY_MIN.saturating_add(config.events.saturating_mul(MEMORY_PER_EVENT));
    if let Some(available) = memory::available().filter(|available| *available < needed) {
        return Err(DemoError::TooMany { events: config.events, needed, available });
    }
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    let memory = usize::try_from(needed).unwrap_or(usize::MAX);
    Ok(Broker::start(BrokerSettings { listen, memory, partitions: config.partitions }).await?)
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// Deletes what a demo created on a given cluster. What stays is reported: as the error of a demo
/// that succeeded, beside that of any other.
async fn cleaned_up(
    client: &Client,
    run: &Config,
    outcome: Result<Summary, DemoError>,
) -> Result<Summary, DemoError> {
    let topics = [&run.source, &run.destination, &run.dead_letter];
    let topics = join_all(topics.map(|topic| within_bounds("topic", topic, client.delete_topic(topic))));
    let group = within_bounds("group", &run.group, client.delete_group(&run.group));
    let (topics, group) = futures_util::future::join(topics, group).await;
    let left: Vec<String> = topics.into_iter().chain([group]).flatten().collect();
    if left.is_empty() {
        return outcome;
    }
    let what = left.join("; ");
    match outcome {
        Ok(_) => Err(DemoError::LeftBehind { what }),
        Err(error) => {
            warn!("{}", DemoError::LeftBehind { what });
            Err(error)
        }
    }
}

/// What stays, and why, if its deletion fails or takes too long.
async fn within_bounds(
    kind: &str,
    name: &str,
    deletion: impl Future<Output = Result<(), EngineError>>,
) -> Option<String> {
    match timeout(CLEAN_UP_TIMEOUT, deletion).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{kind} {name} ({error})")),
        Err(_) => Some(format!("{kind} {name} (not deleted within {} s)", CLEAN_UP_TIMEOUT.as_secs())),
    }
}

/// Fresh names, so that a demo never meets what others or an earlier one have written.
fn name_topics(run: &mut Config) {
    let suffix: u32 = rand::random();
    let name = |name: &str| format!("{name}_demo_{suffix:08x}");
    run.source = name(&run.source).into();
    run.destination = name(&run.destination).into();
    run.dead_letter = name(&run.dead_letter).into();
    run.group = name(&run.group);
    run.create_topics = true;
    run.until_caught_up = false;
    run.commit_interval = run.commit_interval.min(COMMIT_INTERVAL);
}

async fn whole_job(
    client: &Client,
    run: &Config,
    config: &DemoConfig,
    stop: CancellationToken,
) -> Result<Summary, DemoError> {
    // Completed even if a signal comes: a topic created in the background would stay.
    client.create_topic(&run.source, config.partitions, None, &[]).await?;
    let started = Instant::now();
    transform_while_generating(client, run, config, stop.clone()).await?;
    let elapsed = started.elapsed();
    let report = tokio::select! {
        report = prove(run) => report?,
        () = stop.cancelled() => return Err(DemoError::Stopped),
    };
    Ok(Summary { events: config.events, elapsed, report })
}

async fn transform_while_generating(
    client: &Client,
    run: &Config,
    config: &DemoConfig,
    stop: CancellationToken,
) -> Result<(), DemoError> {
    let settings = GenerateSettings {
        topic: run.source.to_string(),
        partitions: config.partitions,
        count: Some(config.events),
        rate: None,
        seed: 0,
        keys: Keys::None,
    };
    let drain = CancellationToken::new();
    let observers = Observers::default();
    let mut transform = pin!(run::transform(run, &observers, drain.clone()));
    let native = run.native_client();
    let generate = generate::generate(client, &native, &settings, pending(), |_| ()).map_err(DemoError::from);
    let all = futures_util::future::try_join(generate, watch_until_done(client, run, config.events));
    let outcome = tokio::select! {
        done = all => done.map(drop),
        // It was not asked to end yet.
        ended = &mut transform => return ended.map_err(DemoError::from).and(Err(DemoError::Stopped)),
        () = stop.cancelled() => Err(DemoError::Stopped),
    };
    // However it ended: a member that has not left would hold up the deletion of its group.
    drain.cancel();
    let drained = transform.await;
    outcome?;
    Ok(drained?)
}

/// Shows the transformer's progress until all `events` are committed.
async fn watch_until_done(client: &Client, run: &Config, events: u64) -> Result<(), DemoError> {
    let mut progress = Progress::new("transform", "events", Some(events));
    let mut ticks = interval(LOOK_INTERVAL);
    let mut last = (0, Instant::now());
    loop {
        ticks.tick().await;
        let all = lag::measure_records(client, &run.group, &run.source).await?;
        let done: i64 = all.iter().filter_map(|of| of.committed).sum();
        let lag: i64 = all.iter().filter_map(|of| of.lag).sum();
        progress.update(done as u64, format_args!("lag {lag}"));
        if done as u64 >= events {
            progress.finish();
            return Ok(());
        }
        if done != last.0 {
            last = (done, Instant::now());
        } else if last.1.elapsed() > STALL_TIMEOUT {
            return Err(DemoError::Stalled { lag });
        }
    }
}

async fn prove(run: &Config) -> Result<Report, EngineError> {
    let config = VerifyConfig {
        client: run.native_client(),
        source: Arc::clone(&run.source),
        destination: Arc::clone(&run.destination),
        dead_letter: Arc::clone(&run.dead_letter),
        dead_letter_given: false,
        group: Some(run.group.clone()),
        usual_group: run.group.clone(),
        transform: run.transform.clone(),
        protection: None,
        protect_letters: run.protect_letters.clone(),
        order: run.order,
        memory: run.memory,
        json: false,
    };
    let mut progress = Progress::new("verify", "records", None);
    let report = verify::verify(&config, |done, total| {
        progress.set_total(total);
        progress.update(done, "");
    })
    .await;
    progress.finish();
    report
}
