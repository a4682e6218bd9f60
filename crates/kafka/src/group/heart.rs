//! Heartbeats: sent in the background for as long as a generation lasts, whatever else happens.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::task::AbortOnDropHandle;
use topicmill_mill::engine::EngineError;

use super::coordinator::{Coordinator, GroupRefusal};
use crate::assignments::Identity;

/// The state of the membership.
#[derive(Clone, Debug)]
pub(super) enum Pulse {
    /// Unchanged.
    Steady,
    /// The group rebalances: join again. The membership holds.
    Rebalance,
    /// The membership is over: the session ended or the coordinator does not know it.
    Lost(String),
    /// Nothing helps.
    Fatal(EngineError),
}

/// The heartbeats of one generation; dropped, they end.
#[derive(Debug)]
pub(super) struct Heart {
    pulse: watch::Receiver<Pulse>,
    _task: AbortOnDropHandle<()>,
}

impl Heart {
    /// Starts to send heartbeats.
    pub fn start(
        coordinator: Coordinator,
        identity: Identity,
        interval: Duration,
        session_timeout: Duration,
    ) -> Heart {
        let (sender, pulse) = watch::channel(Pulse::Steady);
        let task = tokio::spawn(beat(coordinator, identity, interval, session_timeout, sender));
        Heart::new(pulse, task)
    }

    /// Heartbeats sent by `task`, whose results come through `pulse`.
    pub fn new(pulse: watch::Receiver<Pulse>, task: tokio::task::JoinHandle<()>) -> Heart {
        Heart { pulse, _task: AbortOnDropHandle::new(task) }
    }

    /// Waits until the group rebalances or the membership is over.
    pub async fn disturbed(&mut self) -> Pulse {
        self.wait(|pulse| !matches!(pulse, Pulse::Steady)).await
    }

    /// Waits until the membership is over.
    pub async fn stopped(&mut self) -> Pulse {
        self.wait(|pulse| matches!(pulse, Pulse::Lost(_) | Pulse::Fatal(_))).await
    }

    async fn wait(&mut self, until: impl FnMut(&Pulse) -> bool) -> Pulse {
        match self.pulse.wait_for(until).await {
            Ok(pulse) => pulse.clone(),
            Err(_) => Pulse::Lost("the heartbeats ended".to_owned()),
        }
    }
}

async fn beat(
    coordinator: Coordinator,
    identity: Identity,
    interval: Duration,
    session_timeout: Duration,
    pulse: watch::Sender<Pulse>,
) {
    let mut alive = Instant::now();
    let mut failures = 0;
    loop {
        let pause = match failures {
            0 => interval,
            failures => coordinator.cluster.settings.retry.pause(failures).min(interval),
        };
        sleep(pause.min((alive + session_timeout).saturating_duration_since(Instant::now()))).await;
        let left = (alive + session_timeout).saturating_duration_since(Instant::now());
        if left.is_zero() {
            let text = format!("no heartbeat reached the coordinator within {session_timeout:?}");
            pulse.send_replace(Pulse::Lost(text));
            return;
        }
        // A third of the session leaves time to find the coordinator elsewhere.
        let limit = (session_timeout / 3).min(left);
        let sent = Instant::now();
        match tokio::time::timeout(left, coordinator.heartbeat(&identity, limit)).await {
            Ok(Ok(())) => {
                (alive, failures) = (sent, 0);
                coordinator.answers();
            }
            Ok(Err(GroupRefusal::Rebalance)) => {
                (alive, failures) = (sent, 0);
                coordinator.answers();
                pulse.send_replace(Pulse::Rebalance);
            }
            Ok(Err(GroupRefusal::Over(error))) => {
                pulse.send_replace(Pulse::Lost(error.to_string()));
                return;
            }
            Ok(Err(GroupRefusal::Fatal(error))) => {
                pulse.send_replace(Pulse::Fatal(error));
                return;
            }
            Ok(Err(GroupRefusal::Again(error))) => {
                coordinator.fails(&error, failures, "a heartbeat failed");
                failures += 1;
            }
            Ok(Err(GroupRefusal::JoinAs(_))) | Err(_) => failures += 1,
        }
    }
}
