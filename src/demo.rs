//! `demo`: the whole job, on an embedded broker unless brokers are given: topics, events, the
//! transformer, the proof.

use std::{
    fmt,
    future::pending,
    io::Write,
    net::Ipv4Addr,
    pin::pin,
    time::{Duration, Instant},
};

use futures_util::TryFutureExt;
use tokio::{sync::watch, time::interval};

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
const MEMORY_PER_EVENT: usize = 256;

/// The memory of the embedded broker at least.
const MEMORY_MIN: usize = 64 << 20;

/// How often the transformer is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How often the transformer commits at least, so that the summary times the work and not the wait.
const COMMIT_INTERVAL: Duration = Duration::from_millis(100);

/// How long the transformer may go on without committing anything.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// What came of a demo.
#[derive(Debug)]
pub struct Summary {
    /// The events generated and transformed.
    pub events: u64,
    /// From the first event until the last is transformed and committed.
    pub elapsed: Duration,
    /// The proof.
    pub report: Report,
}

/// Why a demo ended early.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
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
            DemoError::Broker(_) | DemoError::Stalled { .. } => Exit::Failed,
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
pub async fn command(config: DemoConfig, out: &mut impl Write) -> Result<Exit, Ended> {
    let (stop, stopped) = watch::channel(false);
    run::signals::drain_on_signal(stop);
    let summary = demo(config, stopped).await?;
    writeln!(out, "{summary}")?;
    Ok(if summary.report.is_ok() { Exit::Done } else { Exit::Violations })
}

/// Runs the demo until it is done or `stop` turns true.
///
/// # Errors
/// When any part fails; topics on a foreign broker are deleted all the same.
pub async fn demo(config: DemoConfig, stop: watch::Receiver<bool>) -> Result<Summary, DemoError> {
    let mut run = config.run.clone();
    let broker = match config.embedded {
        true => Some(start_broker(&config).await?),
        false => None,
    };
    if let Some(broker) = &broker {
        run.client.brokers = vec![broker.address().to_string()];
    }
    name_topics(&mut run);
    let client = Client::connect(&run.native_client()).await?;
    let outcome = whole_job(&client, &run, &config, stop).await;
    match broker {
        Some(broker) => broker.stop().await,
        None => {
            for topic in [&run.source, &run.destination, &run.dead_letter] {
                client.delete_topic(topic).await?;
            }
        }
    }
    outcome
}

async fn start_broker(config: &DemoConfig) -> std::io::Result<Broker> {
    let memory = MEMORY_MIN + config.events as usize * MEMORY_PER_EVENT;
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    Broker::start(BrokerSettings { listen, memory, partitions: config.partitions }).await
}

/// Fresh names, so that a demo never meets what others or an earlier one wrote.
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
    stop: watch::Receiver<bool>,
) -> Result<Summary, DemoError> {
    client.create_topic(&run.source, config.partitions, None, &[]).await?;
    let started = Instant::now();
    transform_while_generating(client, run, config, stop).await?;
    let elapsed = started.elapsed();
    let report = prove(run).await?;
    Ok(Summary { events: config.events, elapsed, report })
}

async fn transform_while_generating(
    client: &Client,
    run: &Config,
    config: &DemoConfig,
    mut stop: watch::Receiver<bool>,
) -> Result<(), DemoError> {
    let settings = GenerateSettings {
        topic: run.source.to_string(),
        partitions: config.partitions,
        count: Some(config.events),
        rate: None,
        seed: 0,
        keys: Keys::None,
    };
    let (drain, draining) = watch::channel(false);
    let observers = Observers::default();
    let mut transform = pin!(run::transform(run, &observers, draining));
    let native = run.native_client();
    let generate = generate::generate(client, &native, &settings, pending(), |_| ()).map_err(DemoError::from);
    let all = futures_util::future::try_join(generate, watch_until_done(client, run, config.events));
    tokio::select! {
        done = all => done?,
        // It was not asked to end yet.
        ended = &mut transform => return ended.map_err(DemoError::from).and(Err(DemoError::Stopped)),
        _ = stop.wait_for(|stop| *stop) => return Err(DemoError::Stopped),
    };
    drain.send_replace(true);
    Ok(transform.await?)
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
        source: run.source.clone(),
        destination: run.destination.clone(),
        dead_letter: run.dead_letter.clone(),
        dead_letter_given: false,
        transform: run.transform.clone(),
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
