//! Wires an engine to a mill: start, drain, stop.

mod error;
mod goal;
mod notices;
mod patience;
mod report;
pub(crate) mod signals;
mod stop;
mod topics;
mod watch;

use std::{sync::Arc, time::Duration};

pub use error::RunError;
use goal::Goal;
use notices::Notices;
use stop::Watchdog;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use watch::Watcher;

use crate::{
    admin::{Admin, Shown},
    backoff::Backoff,
    budget::Budget,
    config::Config,
    delivery::{DeliveryKind, Routes},
    engine::{
        EngineError, EngineKind, ErrorKind, Place, Sink, Source, SourceSettings,
        native::{Client, NativeSink, NativeSource},
    },
    mill::{Ended, Mill, MillError, MillSettings, Observers},
    partitions,
    strategy::{Order, StrategySettings},
};

/// The part of the memory that unacknowledged output may hold.
const OUTPUT_SHARE: usize = 16;

/// The part of the memory that partitions may hold together while their output is not taken.
const STALLED_SHARE: usize = 2;

/// The backoff before a partition that failed is read again. It must resume within five seconds of
/// the return of what it waits for, however long that was away.
const REWIND: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(3) };

/// The backoff between two starts after an error. Work must resume within ten seconds of the
/// cluster's return, and a start takes a few of them.
const RESTART: Backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(5) };

/// Runs the transformer as a command: with signals, the admin server and progress.
///
/// # Errors
/// When the cluster cannot be reached, a topic is not as it must be, or the work failed for good.
pub(crate) async fn run(config: Config) -> Result<(), RunError> {
    let observers = Observers::default();
    let drain = CancellationToken::new();
    signals::drain_on_signal(drain.clone());
    let _watchdog = Watchdog::start(config.drain_timeout, drain.clone());
    let work = async {
        let _admin = start_admin(&config, &observers).await?;
        report::started(&config);
        transform(&config, &observers, drain).await
    };
    report::while_running(&observers, work).await
}

/// Transforms until `drain` is cancelled, or until caught up if the configuration says so. This is
/// what a [`Pipeline`](crate::pipeline::Pipeline) runs, and what the commands run around it.
///
/// # Errors
/// As [`run`].
pub(crate) async fn transform(
    config: &Config,
    observers: &Observers,
    drain: CancellationToken,
) -> Result<(), RunError> {
    let _notices = Notices::start(observers);
    let work = transform_until(config, observers, drain.clone());
    stop::within(config.drain_timeout, drain, observers, work).await
}

async fn transform_until(
    config: &Config,
    observers: &Observers,
    drain: CancellationToken,
) -> Result<(), RunError> {
    let prepared = tokio::select! {
        prepared = observers.health.waiting(prepare(config, observers)) => prepared?,
        // Nothing is in flight yet.
        () = drain.cancelled() => return Ok(()),
    };
    let Prepared { client, chunk_limit, goal } = prepared;
    observers.metrics.lag.set_group(&config.group);
    if let Some(counts) = config.transform.counts() {
        observers.metrics.steps.show(counts);
    }
    let budget = Budget::new(config.memory);
    let settings = mill_settings(config, chunk_limit, goal.as_ref(), client.transaction_timeout());
    let mut watcher = Watcher::start(&client, config, observers, &budget, goal, &drain);
    let source = || SourceSettings {
        topic: Arc::clone(&config.source),
        group: config.group.clone(),
        offset_reset: config.offset_reset,
        revoke_timeout: config.drain_timeout,
        budget: budget.clone(),
        troubles: observers.troubles.clone(),
    };
    let drain = watcher.drain();
    let work = async {
        match config.engine {
            EngineKind::Native => {
                let open = || async {
                    let (troubles, routing) = (observers.troubles.clone(), topics::routing(&client, config));
                    let settings = &config.client;
                    let sink = match config.delivery {
                        DeliveryKind::AtLeastOnce => {
                            NativeSink::with_routing(&client, settings, troubles, routing).await?
                        }
                        DeliveryKind::ExactlyOnce => {
                            let (routing, group) = (Some(routing), &config.group);
                            NativeSink::transactional(&client, settings, troubles, routing, group).await?
                        }
                    };
                    Ok((NativeSource::new(&client, &config.client, source()).await?, sink))
                };
                turn(open, &settings, observers, drain).await
            }
            #[cfg(feature = "librdkafka")]
            EngineKind::Librdkafka => {
                use crate::engine::librdkafka::{LibrdkafkaSink, LibrdkafkaSource};
                let open = || async {
                    let sink =
                        LibrdkafkaSink::with_routing(&config.client, topics::routing(&client, config))?;
                    Ok((LibrdkafkaSource::new(&config.client, source())?, sink))
                };
                turn(open, &settings, observers, drain).await
            }
            #[cfg(not(feature = "librdkafka"))]
            EngineKind::Librdkafka => Err(RunError::NotBuilt),
        }
    };
    tokio::select! {
        biased;
        ended = work => ended,
        error = watcher.ended() => Err(error),
    }
}

/// What a run has to know of the cluster before it starts.
struct Prepared {
    client: Client,
    /// The largest size in bytes of a batch to write.
    chunk_limit: usize,
    goal: Option<Goal>,
}

async fn prepare(config: &Config, observers: &Observers) -> Result<Prepared, RunError> {
    let prepared = reach(config, observers).await;
    observers.troubles.end(&Place::Start);
    prepared
}

async fn reach(config: &Config, observers: &Observers) -> Result<Prepared, RunError> {
    let waiting_for = |what: &str| observers.troubles.begin(Place::Start, &what);
    waiting_for(&format!("{} has not answered yet", config.client.brokers.join(",")));
    let client = Client::connect(&config.native_client()).await?;
    waiting_for("the topics are being looked at and created");
    let chunk_limit = topics::prepare(&client, config).await?;
    partitions::tell(&client, &config.transform, &config.source, &config.destination).await?;
    let goal = if config.until_caught_up { Some(Goal::now(&client, config).await?) } else { None };
    Ok(Prepared { client, chunk_limit, goal })
}

/// Runs mills until one ends well. After an error that may pass, a new mill with a new source and
/// sink starts from the committed offsets, for as long as it takes.
async fn turn<S: Source, K: Sink, F: Future<Output = Result<(S, K), EngineError>>>(
    // Not an `AsyncFn`: of one, the compiler does not see that its futures can be sent to other threads.
    open: impl Fn() -> F,
    settings: &MillSettings,
    observers: &Observers,
    drain: CancellationToken,
) -> Result<(), RunError> {
    let (mut failures, mut failed) = (0, None::<MillError>);
    loop {
        // Waiting for the cluster, however often, is not being stuck.
        let opened = observers.health.waiting(async {
            if failures > 0 {
                tokio::time::sleep(RESTART.pause(failures)).await;
            }
            open().await
        });
        let opened = tokio::select! {
            biased;
            // What an earlier mill left unfinished is read again by whoever starts next.
            () = drain.cancelled() => return failed.map_or(Ok(()), |error| Err(error.into())),
            opened = opened => opened,
        };
        let error = match opened {
            Ok((source, sink)) => {
                observers.troubles.end(&Place::Start);
                let mill = Mill::new(source, sink, settings.clone(), observers.clone());
                let Ended { result, progressed } = mill.run(drain.clone()).await;
                let Err(error) = result else { return Ok(()) };
                if progressed {
                    failures = 0;
                }
                error
            }
            Err(error) => error.into(),
        };
        if !may_pass(&error) || drain.is_cancelled() {
            return Err(error.into());
        }
        failures += 1;
        // The failures of a mill that has ended are no longer anybody's.
        observers.troubles.end_where(|place| !matches!(place, Place::Source(_) | Place::Destination(_)));
        observers.troubles.begin(Place::Start, &error);
        observers.metrics.restarts.inc();
        if failures == 1 {
            warn!(%error, "starting again from the committed offsets");
        }
        failed = Some(error);
    }
}

/// Whether a new start may help; then it is retried without end. That no broker can be reached is
/// no reason to end once one had answered.
fn may_pass(error: &MillError) -> bool {
    match error {
        MillError::Engine(error) => error.kind != ErrorKind::Fatal,
        other => other.is_retriable(),
    }
}

fn mill_settings(
    config: &Config,
    chunk_limit: usize,
    goal: Option<&Goal>,
    transaction_timeout: Duration,
) -> MillSettings {
    let (transactions, order) = match config.delivery {
        DeliveryKind::AtLeastOnce => (None, config.order),
        // The offsets of a transaction are those of what was sent in it, so what is sent has no holes. A looser
        // order allows that, too.
        DeliveryKind::ExactlyOnce => {
            // Aborted here, it is read again; aborted by its coordinator, this process would be fenced.
            (Some(transaction_timeout.mul_f64(0.8)), Order::Partition)
        }
    };
    MillSettings {
        strategy: StrategySettings {
            kind: config.strategy,
            workers: config.workers,
            order,
            transform: config.transform.clone(),
            on_panic: config.on_panic,
            chunk_limit,
        },
        routes: Routes {
            destination: Arc::clone(&config.destination),
            dead_letter: Arc::clone(&config.dead_letter),
            group: config.group.as_str().into(),
            protect: config.protect_letters.clone(),
            chunk_limit,
            window: config.memory / OUTPUT_SHARE,
            retries: config.retries,
            backoff: Backoff::default(),
        },
        commit_interval: config.commit_interval,
        transactions,
        drain_timeout: config.drain_timeout,
        rewind_backoff: REWIND,
        stalled_memory: config.memory / STALLED_SHARE,
        on_gap: config.on_gap,
        until: goal.map(Goal::offsets),
    }
}

/// Starts the admin server. If the default address is in use, for example by a second instance,
/// logs a warning and continues; an address that was asked for has to be free.
async fn start_admin(config: &Config, observers: &Observers) -> Result<Option<Admin>, RunError> {
    let Some(address) = config.admin else { return Ok(None) };
    let shown = Shown {
        metrics: Arc::clone(&observers.metrics),
        health: Arc::clone(&observers.health),
        troubles: observers.troubles.clone(),
    };
    match Admin::start(address, shown).await {
        Ok(admin) => {
            info!(address = %admin.address(), "serving /metrics, /livez and /readyz");
            Ok(Some(admin))
        }
        Err(error) if config.admin_given => Err(RunError::Admin { address, error }),
        Err(error) => {
            warn!(%address, %error, "no admin server: choose another address with --admin");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::RunArgs;

    fn settings() -> MillSettings {
        mill_settings(&Config::for_run(&RunArgs::default()).unwrap(), 1000, None, Duration::from_secs(10))
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_waits_for_the_cluster_is_alive_and_goes_on_waiting() {
        let observers = Observers::default();
        let open = || async {
            assert_eq!(observers.health.live(), Ok(()));
            tokio::time::sleep(Duration::from_secs(90)).await;
            assert_eq!(observers.health.live(), Ok(()));
            Err::<(NativeSource, NativeSink), _>(EngineError::new(ErrorKind::Retriable, "nobody answers"))
        };
        let drain = CancellationToken::new();
        let an_hour = Duration::from_secs(3600);
        let turned = tokio::time::timeout(an_hour, turn(open, &settings(), &observers, drain)).await;
        assert!(turned.is_err(), "{turned:?}");
        // A fifth more by chance.
        assert!(observers.metrics.restarts.get() >= 36, "it waits 5 s at most between two starts");
        let troubles = observers.troubles.now();
        assert!(matches!(&troubles[..], [(Place::Start, trouble)] if trouble.reason.contains("nobody")));
    }

    #[test]
    fn a_partition_that_has_failed_for_long_is_tried_again_within_five_seconds_of_its_return() {
        let longest = settings().rewind_backoff.steady(u32::MAX);
        // It has to be noticed, looked up and read besides.
        assert!(longest <= Duration::from_secs(4), "{longest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_for_what_is_opened_or_paused() {
        let open = std::future::pending::<Result<(NativeSource, NativeSink), EngineError>>;
        let stop = CancellationToken::new();
        let (settings, observers) = (settings(), Observers::default());
        let turned = turn(open, &settings, &observers, stop.clone());
        let stopped = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            stop.cancel();
            tokio::time::Instant::now()
        };
        let (turned, stopped) = tokio::join!(turned, stopped);
        turned.unwrap();
        assert_eq!(stopped.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn what_would_fail_again_ends_at_once() {
        let open = || async {
            let error = EngineError::new(ErrorKind::Fatal, "TOPIC_AUTHORIZATION_FAILED");
            Err::<(NativeSource, NativeSink), _>(error)
        };
        let drain = CancellationToken::new();
        let ended = turn(open, &settings(), &Observers::default(), drain).await;
        assert!(ended.unwrap_err().to_string().contains("TOPIC_AUTHORIZATION_FAILED"));
    }
}
