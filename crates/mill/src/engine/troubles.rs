//! What is failing at the moment, in one place: for readiness, metrics and the log.
//!
//! Code that retries something reports here when it fails and when it works again, instead of
//! logging every attempt.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::batch::TopicPartition;

/// The current failures of a process; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Troubles {
    now: Arc<Mutex<BTreeMap<Place, Trouble>>>,
}

/// Where something fails.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A partition of the source cannot be read.
    Fetch(TopicPartition),
    /// A partition of the destination, of the dead letter topic or of one that is routed to is not written.
    Write(TopicPartition),
    /// A partition of the source is read again from its committed offset after an error, or waits to be.
    Rewind(TopicPartition),
    /// A partition of the source has no counterpart in this topic.
    Destination(TopicPartition),
    /// The coordinator does not accept commits.
    Commit,
    /// The group has not admitted this member, or the coordinator does not answer it.
    Group,
    /// The source topic does not exist.
    Source(Arc<str>),
    /// The work has not begun, or ended with an error and has not begun again.
    Start,
}

/// A failure that lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Since when.
    pub since: Instant,
    /// How often it has been tried since.
    pub attempts: u64,
    /// The latest error, without the place.
    pub reason: String,
}

impl Troubles {
    /// It fails at `place`, for this reason; the time of the first failure stays.
    pub fn begin(&self, place: Place, reason: &dyn fmt::Display) {
        let mut now = self.now.lock();
        let trouble = now.entry(place).or_insert_with(|| Trouble {
            since: Instant::now(),
            attempts: 0,
            reason: String::new(),
        });
        trouble.attempts += 1;
        trouble.reason = reason.to_string();
    }

    /// It works again at `place`, or is no longer tried.
    pub fn end(&self, place: &Place) {
        self.now.lock().remove(place);
    }

    /// Ends what `is_over` says.
    pub fn end_where(&self, is_over: impl Fn(&Place) -> bool) {
        self.now.lock().retain(|place, _| !is_over(place));
    }

    /// All of them now.
    pub fn now(&self) -> Vec<(Place, Trouble)> {
        self.now.lock().iter().map(|(place, trouble)| (place.clone(), trouble.clone())).collect()
    }
}

impl Place {
    /// All stages.
    pub const STAGES: [&str; 8] =
        ["fetch", "write", "rewind", "destination", "commit", "group", "source", "start"];

    /// The stage as it stands in metrics.
    pub fn stage(&self) -> &'static str {
        match self {
            Place::Fetch(_) => "fetch",
            Place::Write(_) => "write",
            Place::Rewind(_) => "rewind",
            Place::Destination(_) => "destination",
            Place::Commit => "commit",
            Place::Group => "group",
            Place::Source(_) => "source",
            Place::Start => "start",
        }
    }

    /// The partition concerned, if one is.
    pub fn partition(&self) -> Option<&TopicPartition> {
        match self {
            Place::Fetch(partition)
            | Place::Write(partition)
            | Place::Rewind(partition)
            | Place::Destination(partition) => Some(partition),
            Place::Commit | Place::Group | Place::Source(_) | Place::Start => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_trouble_lasts_from_its_first_failure_until_it_ends() {
        let troubles = Troubles::default();
        let place = Place::Write(TopicPartition::new("t", 3));
        let began = Instant::now();
        troubles.begin(place.clone(), &"no leader");
        tokio::time::advance(Duration::from_secs(5)).await;
        troubles.begin(place.clone(), &"no replicas");
        troubles.begin(Place::Commit, &"away");
        let all = troubles.now();
        assert_eq!(all.len(), 2);
        let (_, trouble) = all.iter().find(|(at, _)| *at == place).unwrap();
        assert_eq!((trouble.since, trouble.attempts, &*trouble.reason), (began, 2, "no replicas"));
        troubles.end(&place);
        troubles.end_where(|place| *place == Place::Commit);
        assert_eq!(troubles.now(), []);
    }
}
