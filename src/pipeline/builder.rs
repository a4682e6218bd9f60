//! How a pipeline is configured by a program.

use std::{fmt, time::Duration};

use super::{ConfigError, EngineKind, OffsetReset, OnGap, OnPanic, Order, Pipeline, StrategyKind};
use crate::{
    config::{
        given::{Given, GivenValue},
        keys::{self, Key},
    },
    mill::Observers,
    transform::{Transform, TransformKind},
};

/// Configures a [`Pipeline`]. Brokers, source, destination and transform must be set; the rest has the
/// defaults of the command `run`. What is set twice is what was set last.
///
/// Nothing is checked before [`build`](PipelineBuilder::build), which then finds all problems.
#[derive(Default)]
#[must_use]
pub struct PipelineBuilder {
    given: Given,
}

impl PipelineBuilder {
    /// The brokers to start from, as `host:port`; at least one.
    pub fn brokers<B: Into<String>>(self, brokers: impl IntoIterator<Item = B>) -> PipelineBuilder {
        let brokers: Vec<String> = brokers.into_iter().map(Into::into).collect();
        self.with(&keys::BROKERS, GivenValue::Text(brokers.join(",")), "brokers")
    }

    /// The topic to read; it must exist.
    pub fn source(self, topic: impl Into<String>) -> PipelineBuilder {
        self.with(&keys::SOURCE, GivenValue::Text(topic.into()), "source")
    }

    /// The topic to write. It must have as many partitions as the source, as a record keeps its partition
    /// number.
    pub fn destination(self, topic: impl Into<String>) -> PipelineBuilder {
        self.with(&keys::DESTINATION, GivenValue::Text(topic.into()), "destination")
    }

    /// The topic for records that cannot be transformed; `DESTINATION_dead_letter` unless it is set.
    pub fn dead_letter(self, topic: impl Into<String>) -> PipelineBuilder {
        self.with(&keys::DEAD_LETTER, GivenValue::Text(topic.into()), "dead_letter")
    }

    /// The consumer group; `topicmill-SOURCE-DESTINATION` unless it is set.
    pub fn group(self, group: impl Into<String>) -> PipelineBuilder {
        self.with(&keys::GROUP, GivenValue::Text(group.into()), "group")
    }

    /// The transform: `build` makes an instance for each thread, and another one after a panic.
    pub fn transform<T: Transform + 'static>(
        self,
        build: impl Fn() -> T + Send + Sync + 'static,
    ) -> PipelineBuilder {
        self.transform_kind(TransformKind::custom(move || Box::new(build())))
    }

    /// The transform, as one of those [with a name](crate::transform::registry):
    /// `HashField::kind("digest", Digest::Sha256)`.
    pub fn transform_kind(mut self, transform: TransformKind) -> PipelineBuilder {
        self.given.transform(transform);
        self
    }

    /// Sets one of Kafka's properties for clients, such as `compression.type` or `security.protocol`. It may
    /// be a secret.
    pub fn property(mut self, name: impl AsRef<str>, value: impl Into<String>) -> PipelineBuilder {
        self.given.property(name.as_ref(), value.into(), "property");
        self
    }

    /// The engine that speaks to Kafka; the native one unless it is set.
    pub fn engine(self, engine: EngineKind) -> PipelineBuilder {
        self.with(&keys::ENGINE, GivenValue::choice(engine), "engine")
    }

    /// Where a partition of a topic starts that the group has never read; at the oldest record unless it is
    /// set.
    pub fn auto_offset_reset(self, reset: OffsetReset) -> PipelineBuilder {
        self.with(&keys::AUTO_OFFSET_RESET, GivenValue::choice(reset), "auto_offset_reset")
    }

    /// What to do when records were deleted before they were read.
    pub fn on_gap(self, what: OnGap) -> PipelineBuilder {
        self.with(&keys::ON_GAP, GivenValue::choice(what), "on_gap")
    }

    /// What to do when the transform panics on a record.
    pub fn on_panic(self, what: OnPanic) -> PipelineBuilder {
        self.with(&keys::ON_PANIC, GivenValue::choice(what), "on_panic")
    }

    /// How the work is spread.
    pub fn strategy(self, strategy: StrategyKind) -> PipelineBuilder {
        self.with(&keys::STRATEGY, GivenValue::choice(strategy), "strategy")
    }

    /// How many threads transform, 1 to 1024; for [`StrategyKind::Worker`].
    pub fn workers(self, threads: usize) -> PipelineBuilder {
        self.with(&keys::WORKERS, GivenValue::whole(threads), "workers")
    }

    /// Which records keep their order; what is looser than [`Order::Partition`] is for
    /// [`StrategyKind::Worker`].
    pub fn order(self, order: Order) -> PipelineBuilder {
        self.with(&keys::ORDER, GivenValue::choice(order), "order")
    }

    /// The memory in bytes that records may hold on their way; at least 16 MiB.
    pub fn memory(self, bytes: usize) -> PipelineBuilder {
        self.with(&keys::MEMORY, GivenValue::whole(bytes), "memory")
    }

    /// How often to try again what may succeed later but not for ever.
    pub fn retries(self, retries: u32) -> PipelineBuilder {
        self.with(&keys::RETRIES, GivenValue::whole(retries), "retries")
    }

    /// How often offsets are committed; to the millisecond.
    pub fn commit_interval(self, time: Duration) -> PipelineBuilder {
        self.with(&keys::COMMIT_INTERVAL, GivenValue::time(time), "commit_interval")
    }

    /// How long a stop, or giving up partitions, may wait for what is on its way; to the millisecond.
    pub fn drain_timeout(self, time: Duration) -> PipelineBuilder {
        self.with(&keys::DRAIN_TIMEOUT, GivenValue::time(time), "drain_timeout")
    }

    /// How long to try for a first broker; to the millisecond.
    pub fn connect_timeout(self, time: Duration) -> PipelineBuilder {
        self.with(&keys::CONNECT_TIMEOUT, GivenValue::time(time), "connect_timeout")
    }

    /// How long the cluster may be away before the run fails, once it had started; to the millisecond. `None`
    /// is for ever. Unless it is set: ten minutes with [`until_caught_up`](PipelineBuilder::until_caught_up),
    /// for ever without.
    pub fn give_up_after(self, time: Option<Duration>) -> PipelineBuilder {
        let value = time.map_or_else(|| GivenValue::Text("never".into()), GivenValue::time);
        self.with(&keys::GIVE_UP_AFTER, value, "give_up_after")
    }

    /// Whether to stop once everything up to the end offsets at the start is transformed and committed.
    pub fn until_caught_up(self, stops: bool) -> PipelineBuilder {
        self.with(&keys::UNTIL_CAUGHT_UP, GivenValue::Boolean(stops), "until_caught_up")
    }

    /// Whether to create a destination or dead letter topic that is missing, and partitions that are; it
    /// does unless this is set.
    pub fn create_topics(self, creates: bool) -> PipelineBuilder {
        self.with(&keys::CREATE, GivenValue::Boolean(creates), "create_topics")
    }

    /// The pipeline. No connection is made before it [runs](Pipeline::run); files that properties name are
    /// read.
    ///
    /// # Errors
    /// All problems at once, each with the key that the setting has in a configuration file.
    pub fn build(self) -> Result<Pipeline, ConfigError> {
        Ok(Pipeline { config: self.given.finish()?, observers: Observers::default() })
    }

    fn with(mut self, key: &Key, value: GivenValue, method: &'static str) -> PipelineBuilder {
        self.given.put(key, value, method);
        self
    }
}

impl fmt::Debug for PipelineBuilder {
    /// Without the settings: some are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineBuilder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::{NameEvent, Output, Values};

    struct Nothing;

    impl Transform for Nothing {
        fn apply(&mut self, _: &Values<'_>, _: &mut Output<'_>) {}
    }

    fn complete() -> PipelineBuilder {
        Pipeline::builder().brokers(["127.0.0.1:1"]).source("a").destination("b").transform(|| Nothing)
    }

    fn problems(builder: PipelineBuilder) -> Vec<String> {
        builder.build().unwrap_err().problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_must_be_set_is_all_that_must_be_set() {
        let pipeline = complete().build().unwrap();
        assert_eq!(pipeline.config.group, "topicmill-a-b");
        assert_eq!(pipeline.config.dead_letter.as_ref(), "b_dead_letter");
        assert_eq!((pipeline.config.transform.name(), pipeline.config.admin), ("custom", None));
        assert_eq!(
            problems(Pipeline::builder()),
            [
                "config: [kafka] bootstrap.servers: is missing",
                "config: [source] topic: is missing",
                "config: [destination] topic: is missing",
                "config: [transform] kind: is missing",
            ]
        );
    }

    #[test]
    fn all_problems_are_told_at_once_with_who_made_them() {
        let wrong = complete()
            .brokers(["nowhere"])
            .destination("a")
            .workers(0)
            .memory(1)
            .drain_timeout(Duration::ZERO)
            .property("compression.typ", "zstd")
            .property("acks", "1");
        let problems = problems(wrong);
        for said in [
            "[kafka] bootstrap.servers: must be `host:port`, separated by commas; `nowhere` is not (from brokers())",
            "[destination] topic: must differ from the source, `a` (from destination())",
            "[run] workers: must be at least 1 (from workers())",
            "[run] memory: must be at least 16MiB (from memory())",
            "[run] drain_timeout: must be more than 0 and at most 24h (from drain_timeout())",
            "[kafka] compression.typ: unknown property; did you mean `compression.type`? (from property())",
        ] {
            let said = format!("config: {said}");
            assert!(problems.contains(&said), "{said} is not among {problems:#?}");
        }
        assert!(
            problems.iter().any(|problem| problem.starts_with("config: [kafka] acks: ")),
            "{problems:#?}"
        );
        assert_eq!(problems.len(), 7, "{problems:#?}");
    }

    #[test]
    fn everything_can_be_set_and_the_last_one_counts() {
        let secret = "not to be shown";
        let builder = complete()
            .source("words")
            .group("first")
            .group("g")
            .dead_letter("letters")
            .transform_kind(NameEvent::kind())
            .engine(EngineKind::Native)
            .auto_offset_reset(OffsetReset::Latest)
            .on_gap(OnGap::Stop)
            .on_panic(OnPanic::DeadLetter)
            .strategy(StrategyKind::Worker)
            .workers(3)
            .order(Order::Key)
            .memory(32 << 20)
            .retries(7)
            .commit_interval(Duration::from_millis(1500))
            .drain_timeout(Duration::from_secs(90))
            .connect_timeout(Duration::from_secs(3))
            .give_up_after(None)
            .until_caught_up(true)
            .create_topics(false)
            .property("security.protocol", "sasl_plaintext")
            .property("sasl.mechanism", "SCRAM-SHA-256")
            .property("sasl.username", "me")
            .property("sasl.password", secret);
        let pipeline = builder.build().unwrap();
        let shown = format!("{pipeline:?}");
        assert!(!shown.contains(secret), "{shown}");
        let config = pipeline.config;
        assert_eq!((config.source.as_ref(), config.group.as_str()), ("words", "g"));
        assert_eq!((config.dead_letter.as_ref(), config.transform.name()), ("letters", "name-event"));
        assert_eq!((config.offset_reset, config.on_gap), (OffsetReset::Latest, OnGap::Stop));
        assert_eq!((config.on_panic, config.strategy), (OnPanic::DeadLetter, StrategyKind::Worker));
        assert_eq!((config.workers, config.order), (3, Order::Key));
        assert_eq!((config.memory, config.retries), (32 << 20, 7));
        let times = (config.commit_interval, config.drain_timeout, config.client.connect_timeout);
        assert_eq!(times, (Duration::from_millis(1500), Duration::from_secs(90), Duration::from_secs(3)));
        assert_eq!(config.give_up_after, None);
        assert!(config.until_caught_up && !config.create_topics);
        assert_eq!(config.client.properties["sasl.password"], secret);
    }
}
