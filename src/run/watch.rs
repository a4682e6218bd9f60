//! Watches a run from outside: the group's lag for the metrics, and whether the group as a whole
//! has caught up, which one member cannot see.

use std::time::Duration;

use tokio::{
    sync::watch::{self, Receiver},
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tracing::debug;

use super::{goal::Goal, signals::asked_to_stop};
use crate::{
    budget::Budget,
    config::Config,
    engine::{EngineError, native::Client},
    lag,
    mill::Observers,
};

/// How often the cluster is asked.
const EVERY: Duration = Duration::from_secs(1);

/// A watcher in the background; it stops when this is dropped.
pub(super) struct Watcher {
    drain: Receiver<bool>,
    watching: JoinHandle<()>,
}

impl Watcher {
    /// Watches the group; its [`drain`](Watcher::drain) follows `drain`, and turns true when
    /// `goal` is reached as well.
    pub(super) fn start(
        client: &Client,
        config: &Config,
        observers: &Observers,
        budget: &Budget,
        goal: Option<Goal>,
        drain: Receiver<bool>,
    ) -> Watcher {
        let (stop, drain_mill) = watch::channel(*drain.borrow());
        let watch = Watch {
            client: client.clone(),
            topic: config.source.to_string(),
            group: config.group.clone(),
            observers: observers.clone(),
            budget: budget.clone(),
            goal,
        };
        let watching = tokio::spawn(async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut asked = std::pin::pin!(asked_to_stop(drain));
            loop {
                tokio::select! {
                    () = &mut asked => {
                        stop.send_replace(true);
                        return stop.closed().await;
                    }
                    _ = ticks.tick() => match watch.look().await {
                        Ok(true) => {
                            stop.send_replace(true);
                        }
                        Ok(false) => {}
                        Err(error) => debug!(%error, "the group's lag is unknown"),
                    },
                }
            }
        });
        Watcher { drain: drain_mill, watching }
    }

    /// Turns true when the mill is to drain.
    pub(super) fn drain(&self) -> Receiver<bool> {
        self.drain.clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

struct Watch {
    client: Client,
    topic: String,
    group: String,
    observers: Observers,
    budget: Budget,
    goal: Option<Goal>,
}

impl Watch {
    /// Updates the gauges; whether the group has reached the goal.
    async fn look(&self) -> Result<bool, EngineError> {
        let metrics = &self.observers.metrics;
        metrics.memory_used.set(self.budget.used() as i64);
        let lags = lag::measure_records(&self.client, &self.group, &self.topic).await?;
        metrics.set_lag(&self.group, &self.topic, lags.iter().map(|of| (of.partition, of.lag)));
        let committed = lags.iter().filter_map(|of| Some((of.partition, of.committed?))).collect();
        Ok(self.goal.as_ref().is_some_and(|goal| goal.is_reached(&committed)))
    }
}
