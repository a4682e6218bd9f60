//! Wiring: engine to strategy to engine; start, drain, stop.

mod error;
mod goal;
mod report;
pub(crate) mod signals;
mod topics;
mod watch;

use std::sync::Arc;

pub use error::RunError;
use goal::Goal;
use signals::asked_to_stop;
use tokio::sync::watch::{Receiver, channel};
use tracing::{info, warn};

use crate::{
    admin::{Admin, Health},
    backoff::Backoff,
    budget::Budget,
    config::Config,
    delivery::{DeliveryKind, Routes},
    engine::{
        EngineError, EngineKind, Sink, Source, SourceSettings,
        native::{Client, NativeSink, NativeSource},
    },
    metrics::Metrics,
    mill::{Ended, Mill, MillSettings, Observers},
    strategy::StrategySettings,
};

/// The part of the memory that output waiting for its acknowledgement may hold.
const OUTPUT_SHARE: usize = 16;

/// Runs the transformer as a command: with signals, the admin server and progress.
///
/// # Errors
/// When the cluster cannot be reached, a topic is not as it must be, or the work failed for good.
pub async fn run(config: Config) -> Result<(), RunError> {
    let observers = Observers::default();
    let (stop, drain) = channel(false);
    signals::drain_on_signal(stop);
    let _admin = start_admin(&config, &observers).await;
    report::while_running(&observers, transform(&config, &observers, drain)).await
}

/// Transforms until `drain` turns true, or until caught up if the configuration says so.
///
/// # Errors
/// As [`run`].
pub async fn transform(
    config: &Config,
    observers: &Observers,
    drain: Receiver<bool>,
) -> Result<(), RunError> {
    let prepared = tokio::select! {
        prepared = prepare(config) => prepared?,
        // Nothing is under way yet.
        () = asked_to_stop(drain.clone()) => return Ok(()),
    };
    let Prepared { client, chunk_limit, goal } = prepared;
    let budget = Budget::new(config.memory);
    let settings = mill_settings(config, chunk_limit, goal.as_ref());
    let watcher = watch::Watcher::start(&client, config, observers, &budget, goal, drain);
    let source = || SourceSettings {
        topic: Arc::clone(&config.source),
        group: config.group.clone(),
        offset_reset: config.offset_reset,
        revoke_timeout: config.drain_timeout,
        budget: budget.clone(),
        troubles: observers.troubles.clone(),
    };
    let drain = watcher.drain();
    let check = async || topics::prepare(&client, config).await;
    match config.engine {
        EngineKind::Native => {
            let open = async || {
                let sink = NativeSink::new(&client, &config.client).await?;
                Ok((NativeSource::new(&client, &config.client, source()).await?, sink))
            };
            turn(open, check, &settings, observers, drain).await
        }
        #[cfg(feature = "librdkafka")]
        EngineKind::Librdkafka => {
            use crate::engine::librdkafka::{LibrdkafkaSink, LibrdkafkaSource};
            let open = async || {
                let sink = LibrdkafkaSink::new(&config.client)?;
                Ok((LibrdkafkaSource::new(&config.client, source())?, sink))
            };
            turn(open, check, &settings, observers, drain).await
        }
        #[cfg(not(feature = "librdkafka"))]
        EngineKind::Librdkafka => Err(RunError::NotBuilt),
    }
}

/// What a run needs to know of the cluster before it starts.
struct Prepared {
    client: Client,
    /// The size in bytes that a batch to write may have.
    chunk_limit: usize,
    goal: Option<Goal>,
}

async fn prepare(config: &Config) -> Result<Prepared, RunError> {
    let client = Client::connect(&config.native_client()).await?;
    let chunk_limit = topics::prepare(&client, config).await?;
    let goal = match config.until_caught_up {
        true => Some(Goal::now(&client, config).await?),
        false => None,
    };
    Ok(Prepared { client, chunk_limit, goal })
}

/// Turns mills until one ends well: after an error that may pass, a new one with a new source and
/// a new sink starts from the committed offsets. What a topic lacks by then is found by `check`,
/// as it is at the first start.
async fn turn<S: Source, K: Sink>(
    open: impl AsyncFn() -> Result<(S, K), EngineError>,
    check: impl AsyncFn() -> Result<usize, RunError>,
    settings: &MillSettings,
    observers: &Observers,
    drain: Receiver<bool>,
) -> Result<(), RunError> {
    let mut failures = 0;
    loop {
        // To wait for the cluster again and again is not to be stuck.
        observers.health.beat();
        let opened = async {
            if failures > 0 {
                check().await?;
            }
            Ok(open().await?)
        };
        let ended = match opened.await {
            Ok((source, sink)) => {
                Mill::new(source, sink, settings.clone(), observers.clone()).run(drain.clone()).await
            }
            Err(RunError::Engine(error)) => Ended { result: Err(error.into()), progressed: false },
            Err(error) => return Err(error),
        };
        let Err(error) = ended.result else { return Ok(()) };
        if ended.progressed {
            failures = 0;
        }
        if !error.is_retriable() || failures >= settings.retries || *drain.borrow() {
            return Err(error.into());
        }
        failures += 1;
        let pause = Backoff::default().pause(failures);
        warn!(%error, ?pause, "starting again from the committed offsets");
        observers.metrics.restarts.inc();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = asked_to_stop(drain.clone()) => return Err(error.into()),
        }
    }
}

fn mill_settings(config: &Config, chunk_limit: usize, goal: Option<&Goal>) -> MillSettings {
    match config.delivery {
        DeliveryKind::AtLeastOnce => {}
        DeliveryKind::ExactlyOnce => unreachable!("the configuration refuses it"),
    }
    MillSettings {
        strategy: StrategySettings {
            kind: config.strategy,
            workers: config.workers,
            order: config.order,
            transform: config.transform.clone(),
            chunk_limit,
        },
        routes: Routes {
            destination: Arc::clone(&config.destination),
            dead_letter: Arc::clone(&config.dead_letter),
            group: config.group.as_str().into(),
            chunk_limit,
            window: config.memory / OUTPUT_SHARE,
            retries: config.retries,
            backoff: Backoff::default(),
        },
        commit_interval: config.commit_interval,
        drain_timeout: config.drain_timeout,
        retries: config.retries,
        until: goal.map(Goal::offsets),
    }
}

/// Starts the admin server. That its address is taken, as it is for a second instance on one
/// machine, is told but no reason not to work.
async fn start_admin(config: &Config, observers: &Observers) -> Option<Admin> {
    let address = config.admin?;
    let (metrics, health): (Arc<Metrics>, Arc<Health>) =
        (Arc::clone(&observers.metrics), Arc::clone(&observers.health));
    match Admin::start(address, metrics, health).await {
        Ok(admin) => {
            info!(address = %admin.address(), "serving /metrics, /livez and /readyz");
            Some(admin)
        }
        Err(error) => {
            warn!(%address, %error, "no admin server: choose another address with --admin");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        broker::{Broker, BrokerSettings},
        cli::RunArgs,
        engine::ErrorKind,
        transform::TransformKind,
    };

    #[tokio::test]
    async fn a_source_that_outgrew_its_destination_is_named_at_the_next_start() {
        let listen = "127.0.0.1:0".parse().unwrap();
        let settings = BrokerSettings { listen, memory: 1 << 20, partitions: 0 };
        let broker = Broker::start(settings).await.unwrap();
        let [source, destination] = ["s", "d"].map(|name| Some(name.to_owned()));
        let arguments = RunArgs { source, destination, ..RunArgs::default() };
        let mut config = Config::for_run_with(&arguments, TransformKind::NameEvent).unwrap();
        config.client.brokers = vec![broker.address().to_string()];
        broker.create_topic("s", 1, &[]).unwrap();
        let Prepared { client, chunk_limit, .. } = prepare(&config).await.unwrap();

        let open = async || -> Result<(NativeSource, NativeSink), EngineError> {
            client.delete_topic("s").await?;
            client.create_topic("s", 2, None, &[]).await?;
            Err(EngineError::new(ErrorKind::Retriable, "UNKNOWN_TOPIC_OR_PARTITION"))
        };
        let check = async || topics::prepare(&client, &config).await;
        let (_keep, drain) = channel(false);
        let settings = mill_settings(&config, chunk_limit, None);
        let ended = turn(open, check, &settings, &Observers::default(), drain).await;
        let Err(RunError::TooFewPartitions { topic, partitions, source_partitions, .. }) = ended else {
            panic!("{ended:?}");
        };
        assert_eq!((&*topic, partitions, source_partitions), ("d", 1, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_waits_for_the_cluster_is_alive() {
        let config = Config::for_run(&RunArgs::default()).unwrap();
        let settings = MillSettings { retries: 50, ..mill_settings(&config, 1000, None) };
        let observers = Observers::default();
        let open = async || -> Result<(NativeSource, NativeSink), EngineError> {
            assert_eq!(observers.health.live(), Ok(()));
            tokio::time::sleep(std::time::Duration::from_secs(10)).await;
            Err(EngineError::new(ErrorKind::Retriable, "nobody answers"))
        };
        let (_keep, drain) = channel(false);
        let ended = turn(open, async || Ok(1000), &settings, &observers, drain).await;
        assert!(ended.is_err());
        assert_eq!(observers.metrics.restarts.get(), 50);
    }
}
