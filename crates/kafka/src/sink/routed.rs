//! The topics that records are routed to. One that is missing is made by whoever has the rules for it, once
//! for all of its writers, which wait meanwhile: so the order of its records stays. What cannot be made is
//! refused, for a while: then it is looked at again.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use kafka_protocol::ResponseError;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use topicmill_mill::{
    batch::TopicPartition,
    engine::{EngineError, ErrorKind},
    transform::{ErrorClass, ValueError},
};

use crate::error::KafkaError;

/// How long a refusal counts.
const REFUSED_FOR: Duration = Duration::from_secs(30);

/// The most refusals that are remembered.
const REFUSALS_MAX: usize = 1000;

/// How long a writer waits for its topic before that counts as a failure, and it looks again.
const MAKING: Duration = Duration::from_secs(5);

/// The longest name of a topic.
const NAME_MAX: usize = 249;

/// Stands for all partitions of a topic among the refusals.
const ALL: i32 = -1;

/// Makes the topics that records are routed to, by rules of its own.
pub trait MakeTopic: fmt::Debug + Send + Sync {
    /// Called when a topic, or a partition of it, is not known: makes it, if it may be made, and returns what
    /// is there then.
    ///
    /// # Errors
    /// When that is not known at the moment; it is asked again.
    fn make(&self, topic: Arc<str>) -> BoxFuture<'static, Result<Made, EngineError>>;
}

/// What is there of a topic, or will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// It has so many partitions: for those it is waited, and no more are to come.
    There(i32),
    /// There is no such topic, for this reason.
    Refused(String),
}

/// Which topics a sink writes to.
#[derive(Clone, Debug)]
pub struct Routing {
    /// The topics that are waited for whatever happens to them: the destination, and that of the dead letters.
    /// All others are routed to, and may be refused.
    pub fixed: Vec<Arc<str>>,
    /// The topics that nothing is routed to: the source, as what is written there would be read again.
    pub barred: Vec<Arc<str>>,
    /// Makes those that are missing.
    pub maker: Arc<dyn MakeTopic>,
}

impl Routing {
    /// Whether a topic may be refused: it is not one of the fixed ones.
    pub fn is_routed(&self, topic: &str) -> bool {
        self.fixed.iter().all(|fixed| &**fixed != topic)
    }

    /// Why nothing can be written to a partition, whatever the cluster says.
    pub fn refusal(&self, to: &TopicPartition) -> Option<ValueError> {
        if self.is_routed(&to.topic) && !is_legal(&to.topic) {
            return Some(refused(format!("{:?} is no name for a topic", shown(&to.topic))));
        }
        if self.barred.contains(&to.topic) {
            return Some(refused(format!("{} is what is read: nothing may be routed to it", to.topic)));
        }
        (to.partition < 0).then(|| refused(format!("{to}: there is no such partition")))
    }
}

/// Why a partition is not written now.
#[derive(Clone, Debug)]
pub enum Unavailable {
    /// It may be later.
    Now(EngineError),
    /// It is refused: so are the records for it.
    Refused(ValueError),
}

impl From<EngineError> for Unavailable {
    fn from(error: EngineError) -> Unavailable {
        Unavailable::Now(error)
    }
}

type Attempt = Shared<BoxFuture<'static, Result<Made, EngineError>>>;

/// What is known of the topics that records are routed to.
#[derive(Default)]
pub struct Routed {
    /// Without it every topic is waited for.
    routing: Option<Routing>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Until when a topic or a partition is refused, and why.
    refused: HashMap<TopicPartition, (Instant, ValueError)>,
    /// The topics that are being made: no more than there are writers.
    making: HashMap<Arc<str>, Attempt>,
}

impl Routed {
    pub fn new(routing: Option<Routing>) -> Routed {
        Routed { routing, state: Mutex::default() }
    }

    /// Whether a topic may be refused.
    pub fn is_routed(&self, topic: &str) -> bool {
        self.routing.as_ref().is_some_and(|routing| routing.is_routed(topic))
    }

    /// Why a partition is refused, if it is. Cheap: nobody is asked.
    pub fn refusal(&self, to: &TopicPartition) -> Option<ValueError> {
        if let Some(refusal) = self.routing.as_ref()?.refusal(to) {
            return Some(refusal);
        }
        let state = self.state.lock();
        if state.refused.is_empty() {
            return None;
        }
        let now = Instant::now();
        let all = TopicPartition { topic: Arc::clone(&to.topic), partition: ALL };
        let of = |place| state.refused.get(place).filter(|(until, _)| *until > now);
        of(&all).or_else(|| of(to)).map(|(_, error)| error.clone())
    }

    /// Refuses a routed topic for a while.
    pub fn refuse(&self, topic: &Arc<str>, reason: impl Into<String>) -> ValueError {
        let all = TopicPartition { topic: Arc::clone(topic), partition: ALL };
        remember(&mut self.state.lock(), all, refused(format!("{topic}: {}", reason.into())))
    }

    /// As if all refusals had been long ago.
    #[cfg(test)]
    pub fn forget(&self) {
        self.state.lock().refused.clear();
    }

    /// What follows from an `error` of looking for the leader of a partition. `Ok(())`: it may have one by now.
    pub async fn judge(&self, to: &TopicPartition, error: EngineError) -> Result<(), Unavailable> {
        let (Some(routing), Some(KafkaError(code))) = (&self.routing, error.cause::<KafkaError>()) else {
            return Err(error.into());
        };
        let is_routed = self.is_routed(&to.topic);
        match code {
            ResponseError::TopicAuthorizationFailed | ResponseError::InvalidTopicException if is_routed => {
                return Err(Unavailable::Refused(self.refuse(&to.topic, error.message)));
            }
            ResponseError::UnknownTopicOrPartition => {}
            _ => return Err(error.into()),
        }
        let attempt = self.attempt(routing, &to.topic);
        let made = timeout(MAKING, attempt).await;
        let mut state = self.state.lock();
        if state.making.get(&to.topic).is_some_and(|attempt| attempt.peek().is_some()) {
            state.making.remove(&to.topic);
        }
        match made {
            Ok(Ok(Made::There(partitions))) if to.partition < partitions => Ok(()),
            Ok(Ok(Made::There(partitions))) => {
                let text = format!("the topic {} has {partitions} partitions, and no {to}", to.topic);
                Err(Unavailable::Refused(remember(&mut state, to.clone(), refused(text))))
            }
            Ok(Ok(Made::Refused(reason))) if is_routed => {
                let all = TopicPartition { topic: Arc::clone(&to.topic), partition: ALL };
                Err(Unavailable::Refused(remember(&mut state, all, refused(reason))))
            }
            Ok(Err(making)) if is_routed => Err(making.at(to).into()),
            Ok(Ok(Made::Refused(_)) | Err(_)) => Err(error.into()),
            Err(_) => {
                let text = format!("the topic {} is still being made", to.topic);
                Err(EngineError::new(ErrorKind::Retriable, text).at(to).into())
            }
        }
    }

    /// The one attempt to make a topic, which goes on whoever waits for it.
    fn attempt(&self, routing: &Routing, topic: &Arc<str>) -> Attempt {
        let mut state = self.state.lock();
        if let Some(attempt) = state.making.get(topic).filter(|attempt| attempt.peek().is_none()) {
            return attempt.clone();
        }
        let making = tokio::spawn(routing.maker.make(Arc::clone(topic)));
        let ended = |error| Err(EngineError::new(ErrorKind::Retriable, format!("making a topic: {error}")));
        let attempt = async move { making.await.unwrap_or_else(ended) }.boxed().shared();
        state.making.insert(Arc::clone(topic), attempt.clone());
        attempt
    }
}

impl fmt::Debug for Routed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routed").field("routing", &self.routing).finish_non_exhaustive()
    }
}

fn remember(state: &mut State, place: TopicPartition, error: ValueError) -> ValueError {
    if state.refused.len() >= REFUSALS_MAX && !state.refused.contains_key(&place) {
        let oldest =
            state.refused.iter().min_by_key(|(_, (until, _))| *until).map(|(place, _)| place.clone());
        oldest.map(|oldest| state.refused.remove(&oldest));
    }
    state.refused.insert(place, (Instant::now() + REFUSED_FOR, error.clone()));
    error
}

fn refused(reason: impl Into<String>) -> ValueError {
    ValueError::new(ErrorClass::Route, reason)
}

/// Whether Kafka takes it for the name of a topic (`Topic.validate`).
fn is_legal(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_MAX).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(is_part)
}

/// The beginning of a name: it may be anything, and of any length.
fn shown(name: &str) -> String {
    name.chars().take(NAME_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Nobody;

    impl MakeTopic for Nobody {
        fn make(&self, _: Arc<str>) -> BoxFuture<'static, Result<Made, EngineError>> {
            std::future::pending().boxed()
        }
    }

    fn routed() -> Routed {
        let fixed = vec!["destination".into(), "über".into()];
        Routed::new(Some(Routing { fixed, barred: vec!["source".into()], maker: Arc::new(Nobody) }))
    }

    fn is_refused(routed: &Routed, topic: &str, partition: i32) -> bool {
        routed.refusal(&TopicPartition::new(topic, partition)).is_some()
    }

    #[test]
    fn a_name_is_what_kafka_takes_for_one() {
        let longest = "a".repeat(NAME_MAX);
        for name in ["a", "A.b_c-9", "...", &longest] {
            assert!(is_legal(name), "{name}");
        }
        let longer = "a".repeat(NAME_MAX + 1);
        for name in ["", ".", "..", "a b", "ä", "a/b", "a\0", &longer] {
            assert!(!is_legal(name), "{name}");
            assert!(is_refused(&routed(), name, 0));
        }
        assert!(is_refused(&routed(), "source", 0));
        assert!(!is_refused(&routed(), "über", 0), "what is fixed is the cluster's matter");
        assert!(!is_refused(&Routed::default(), "a b", -1), "without routing everything is");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_counts_for_a_while_and_the_number_of_them_has_a_limit() {
        let routed = routed();
        routed.refuse(&"gone".into(), "no");
        assert!(is_refused(&routed, "gone", 7) && !is_refused(&routed, "other", 7));
        tokio::time::advance(REFUSED_FOR).await;
        assert!(!is_refused(&routed, "gone", 7));
        for number in 0..2 * REFUSALS_MAX {
            routed.refuse(&format!("t{number}").into(), "no");
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(routed.state.lock().refused.len(), REFUSALS_MAX);
        assert!(!is_refused(&routed, "t3", 0) && is_refused(&routed, "t1999", 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_for_a_topic_says_so_and_the_attempt_goes_on() {
        let routed = routed();
        let unknown = KafkaError(ResponseError::UnknownTopicOrPartition).because("no leader", None);
        for _ in 0..2 {
            let to = TopicPartition::new("t", 0);
            let told = routed.judge(&to, unknown.clone()).await;
            assert!(matches!(told, Err(Unavailable::Now(error)) if error.message.contains("being made")));
        }
        assert_eq!(routed.state.lock().making.len(), 1);
    }
}
