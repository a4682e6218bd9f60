//! Whether the process is alive and ready for work.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, interval};

use crate::{
    engine::{Place, Troubles},
    sentences::sentences,
};

/// A mill whose loop has not run for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// A transform that has not returned from a batch for this long will not return.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// How long something may fail before the process stops counting as ready.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a task that waits for the cluster reports that it is alive.
const BEAT: Duration = Duration::from_secs(5);

/// The state that the mill reports.
#[derive(Debug)]
pub struct Health {
    last_beat: Mutex<Instant>,
    /// Since when the transform has been working on its oldest batch.
    transforming: Mutex<Option<Instant>>,
    assigned: AtomicBool,
    /// Why a partition is stopped, if one is.
    stopped: Mutex<Option<String>>,
}

impl Default for Health {
    fn default() -> Health {
        Health {
            last_beat: Mutex::new(Instant::now()),
            transforming: Mutex::new(None),
            assigned: AtomicBool::new(false),
            stopped: Mutex::default(),
        }
    }
}

impl Health {
    /// The loop has run.
    pub fn beat(&self) {
        *self.last_beat.lock() = Instant::now();
    }

    /// Waits for `work`, reporting all the while that the process is alive: waiting is not being
    /// stuck.
    pub async fn waiting<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut beats = interval(BEAT);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = beats.tick() => self.beat(),
            }
        }
    }

    /// How long the transform has been working on its oldest batch, if it has one.
    pub fn transforming(&self, age: Option<Duration>) {
        *self.transforming.lock() = age.and_then(|age| Instant::now().checked_sub(age));
    }

    /// How long the transform has been working on its oldest batch.
    pub fn transforming_for(&self) -> Duration {
        self.transforming.lock().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The group has assigned this member its partitions, possibly none.
    pub fn assigned(&self) {
        self.assigned.store(true, Ordering::Relaxed);
    }

    /// There is no assignment: before the first, between two starts, while draining.
    pub fn unassigned(&self) {
        self.assigned.store(false, Ordering::Relaxed);
    }

    /// Why an assigned partition is stopped, if one is.
    pub fn stopped(&self, why: Option<String>) {
        *self.stopped.lock() = why;
    }

    /// `Ok` while the loop runs.
    pub fn live(&self) -> Result<(), String> {
        if self.last_beat.lock().elapsed() >= STUCK_AFTER {
            return Err("the loop is stuck".into());
        }
        match self.transforming_for() {
            time if time >= LOST_AFTER => {
                Err(format!("the transform has not come back for {} s", time.as_secs()))
            }
            _ => Ok(()),
        }
    }

    /// `Ok` while every assigned partition is being worked on.
    pub fn ready(&self) -> Result<(), String> {
        self.live()?;
        if let Some(why) = &*self.stopped.lock() {
            return Err(format!("a partition is stopped: {why}"));
        }
        if !self.assigned.load(Ordering::Relaxed) {
            return Err("no partitions are assigned yet".into());
        }
        Ok(())
    }

    /// As [`ready`](Health::ready), and nothing has been failing for long.
    pub fn ready_without(&self, troubles: &Troubles) -> Result<(), String> {
        let mut troubles = troubles.now();
        troubles.retain(|(place, trouble)| trouble.since.elapsed() >= patience(place));
        if troubles.is_empty() {
            return self.ready();
        }
        let mut reasons: Vec<String> =
            sentences(troubles).iter().map(|sentence| sentence.to_string()).collect();
        reasons.extend(self.ready().err());
        Err(reasons.join("\n"))
    }
}

/// What does not pass by itself counts at once.
fn patience(place: &Place) -> Duration {
    match place {
        Place::Source(_) | Place::Destination(_) => Duration::ZERO,
        Place::Fetch(_)
        | Place::Write(_)
        | Place::Rewind(_)
        | Place::Commit
        | Place::Group
        | Place::Start => PATIENCE,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::*;
    use crate::batch::TopicPartition;

    #[tokio::test(start_paused = true)]
    async fn what_fails_for_ten_seconds_is_not_ready_but_alive() {
        let troubles = Troubles::default();
        let health = Health::default();
        health.assigned();
        let place = Place::Write(TopicPartition::new("d", 3));
        troubles.begin(place.clone(), &"NOT_ENOUGH_REPLICAS");
        assert_eq!(health.ready_without(&troubles), Ok(()));
        advance(PATIENCE).await;
        let reason = health.ready_without(&troubles).unwrap_err();
        assert!(reason.contains("d[3]") && reason.contains("NOT_ENOUGH_REPLICAS"), "{reason}");
        assert_eq!(health.live(), Ok(()));
        troubles.end(&place);
        assert_eq!(health.ready_without(&troubles), Ok(()));
        troubles.begin(Place::Source("s".into()), &"it does not exist");
        assert!(health.ready_without(&troubles).unwrap_err().contains("does not exist"), "at once");
    }

    #[tokio::test(start_paused = true)]
    async fn to_wait_is_not_to_be_stuck() {
        let health = Health::default();
        health.waiting(sleep(STUCK_AFTER * 3)).await;
        assert_eq!(health.live(), Ok(()));
        sleep(STUCK_AFTER).await;
        assert!(health.live().unwrap_err().contains("stuck"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_transform_that_never_returns_is_noticed_while_the_loop_turns() {
        let health = Health::default();
        health.transforming(Some(Duration::ZERO));
        health.waiting(sleep(LOST_AFTER / 2)).await;
        assert_eq!(health.live(), Ok(()));
        health.waiting(sleep(LOST_AFTER)).await;
        assert!(health.live().unwrap_err().contains("transform"));
        health.transforming(None);
        assert_eq!(health.live(), Ok(()));
    }
}
