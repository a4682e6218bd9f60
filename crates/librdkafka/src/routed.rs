//! The topics that records are routed to, for the produce thread: the records for it are in one queue, so that a
//! topic which is being made holds all of them up.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;
use topicmill_kafka::{Made, Routing};
use topicmill_mill::{
    batch::TopicPartition,
    engine::EngineError,
    transform::{ErrorClass, ValueError},
};

/// How long an answer about a topic that refuses something counts.
const REFUSED_FOR: Duration = Duration::from_secs(30);

/// The most topics that records are routed to.
const TOPICS_MAX: usize = 1000;

/// What is known of the topics.
#[derive(Debug)]
pub(super) struct Routed {
    routing: Routing,
    runtime: Handle,
    known: HashMap<Arc<str>, (Instant, Made)>,
}

impl Routed {
    /// Asks in this `runtime`.
    pub fn new(routing: Routing, runtime: Handle) -> Routed {
        Routed { routing, runtime, known: HashMap::new() }
    }

    /// Which topics are written.
    pub fn routing(&self) -> &Routing {
        &self.routing
    }

    /// Why a partition is refused, if it is; waits while its topic is being made. Not to be called on a thread
    /// of the runtime.
    pub fn refusal(&mut self, to: &TopicPartition) -> Result<Option<ValueError>, EngineError> {
        if let Some(refusal) = self.routing.refusal(to) {
            return Ok(Some(refusal));
        }
        let refused = |text: String| Some(ValueError::new(ErrorClass::Route, text));
        let now = Instant::now();
        if self.known.len() >= TOPICS_MAX {
            let is_there = |made: &Made| matches!(made, Made::There(_));
            self.known.retain(|_, (since, made)| is_there(made) || now.duration_since(*since) < REFUSED_FOR);
        }
        let known = self.known.get(&to.topic).filter(|(since, made)| {
            let is_there = matches!(made, Made::There(partitions) if to.partition < *partitions);
            is_there || now.duration_since(*since) < REFUSED_FOR
        });
        let made = match known {
            Some((_, made)) => made.clone(),
            None if !self.known.contains_key(&to.topic) && self.known.len() >= TOPICS_MAX => {
                return Ok(refused(format!("{}: more than {TOPICS_MAX} topics are routed to", to.topic)));
            }
            None => {
                let made = self.runtime.block_on(self.routing.maker.make(Arc::clone(&to.topic)))?;
                self.known.insert(Arc::clone(&to.topic), (now, made.clone()));
                made
            }
        };
        Ok(match made {
            Made::There(partitions) if to.partition < partitions => None,
            Made::There(partitions) => {
                refused(format!("the topic {} has {partitions} partitions, and no {to}", to.topic))
            }
            Made::Refused(reason) => refused(reason),
        })
    }
}
