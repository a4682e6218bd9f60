//! Offsets: where a partition begins and ends (ListOffsets, KIP-79).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::future::join_all;
use kafka_protocol::messages::{
    BrokerId, ListOffsetsRequest,
    list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
};
use tokio::time::{Instant, sleep, timeout};
use topicmill_mill::{
    batch::TopicPartition,
    engine::{EngineError, ErrorKind},
};

use super::{Client, OffsetAt, ask::Whom, metadata::Leader, text::topic_name};

/// The least time a leader is given to answer.
const ANSWER_TIMEOUT_MIN: Duration = Duration::from_secs(5);

/// Why there are no records where there should be some.
pub(super) const REMOTE: &str = "the records are in the cluster's remote storage, which does not give them";

/// The answer for each partition.
type Answers = BTreeMap<i32, Result<i64, EngineError>>;

impl Client {
    /// The offset of a place in each partition of a topic. With [`OffsetAt::Timestamp`], a
    /// partition without such a record gives its end.
    ///
    /// # Errors
    /// When the topic is missing or a partition cannot be asked in time.
    pub async fn offsets(&self, topic: &str, at: OffsetAt) -> Result<BTreeMap<i32, i64>, EngineError> {
        let patience = self.cluster().settings.api_timeout;
        let answers = self.offsets_by_partition(topic, at, patience).await?;
        answers.into_iter().map(|(partition, answer)| Ok((partition, answer?))).collect()
    }

    /// As [`offsets`](Client::offsets), with an outcome for each partition: one that cannot be
    /// asked hides no other. Those are asked again for `patience`, without it once.
    ///
    /// # Errors
    /// When the topic is missing, or the cluster does not describe it within `patience`.
    pub async fn offsets_by_partition(
        &self,
        topic: &str,
        at: OffsetAt,
        patience: Duration,
    ) -> Result<BTreeMap<i32, Result<i64, EngineError>>, EngineError> {
        let deadline = Instant::now() + patience;
        let mut answers = self.ask_until(deadline, topic, at, None).await?;
        let nothing = answers.iter().filter(|(_, answer)| matches!(answer, Ok(..0)));
        let nothing: BTreeSet<_> = nothing.map(|(partition, _)| *partition).collect();
        if !nothing.is_empty() {
            answers.extend(self.ask_until(deadline, topic, OffsetAt::Latest, Some(&nothing)).await?);
        }
        Ok(answers)
    }

    /// Where each of `partitions` begins or ends, asked once, whatever state the topic's others are
    /// in; one that the cluster does not know is left out.
    ///
    /// # Errors
    /// When the topic is missing, or the cluster does not describe it.
    pub(super) async fn ask_offsets(
        &self,
        topic: &str,
        partitions: &BTreeSet<i32>,
        at: OffsetAt,
    ) -> Result<BTreeMap<i32, Result<i64, EngineError>>, EngineError> {
        self.ask_leaders(topic, at, Some(partitions), ANSWER_TIMEOUT_MIN).await
    }

    /// Whether the leader has what is from `position` on itself, rather than in remote storage
    /// (KIP-405). One that cannot say knows of no such storage.
    ///
    /// # Errors
    /// When the leader cannot be asked.
    pub(super) async fn is_local(
        &self,
        partition: &TopicPartition,
        position: i64,
    ) -> Result<bool, EngineError> {
        let only = [partition.partition].into();
        let answers = self.ask_offsets(&partition.topic, &only, OffsetAt::EarliestLocal).await?;
        match answers.into_values().next() {
            Some(Ok(first)) => Ok(first <= position),
            Some(Err(error)) if error.kind == ErrorKind::Fatal => Ok(true),
            Some(Err(error)) => Err(error),
            None => Err(EngineError::new(ErrorKind::Retriable, "the cluster does not know the partition")),
        }
    }

    /// As [`offsets_by_partition`](Client::offsets_by_partition) for these partitions alone; one that
    /// the cluster does not know is left out.
    ///
    /// # Errors
    /// As [`offsets_by_partition`](Client::offsets_by_partition).
    pub async fn offsets_of_each(
        &self,
        topic: &str,
        partitions: &BTreeSet<i32>,
        at: OffsetAt,
        patience: Duration,
    ) -> Result<BTreeMap<i32, Result<i64, EngineError>>, EngineError> {
        self.ask_until(Instant::now() + patience, topic, at, Some(partitions)).await
    }

    /// Asks until every partition has answered or refused for good, or `deadline` passes.
    async fn ask_until(
        &self,
        deadline: Instant,
        topic: &str,
        at: OffsetAt,
        only: Option<&BTreeSet<i32>>,
    ) -> Result<Answers, EngineError> {
        let retry = self.cluster().settings.retry;
        let mut answers = Answers::new();
        let mut open = only.cloned();
        for failures in 1.. {
            let limit = deadline.saturating_duration_since(Instant::now()).max(ANSWER_TIMEOUT_MIN);
            let round = self.ask_leaders(topic, at, open.as_ref(), limit).await;
            let pause = retry.pause(failures);
            let is_over = Instant::now() + pause >= deadline;
            match round {
                Ok(round) => {
                    let again = |answer: &Result<i64, EngineError>| {
                        answer.as_ref().is_err_and(|error| error.kind == ErrorKind::Retriable)
                    };
                    let failed = round.iter().filter(|(_, answer)| again(answer));
                    open = Some(failed.map(|(partition, _)| *partition).collect());
                    answers.extend(round);
                    if is_over || open.as_ref().is_some_and(BTreeSet::is_empty) {
                        return Ok(answers);
                    }
                }
                // Answers from before are not thrown away because the metadata changed.
                Err(_) if is_over && !answers.is_empty() => return Ok(answers),
                Err(error) if is_over || error.kind != ErrorKind::Retriable => return Err(error),
                Err(_) => {}
            }
            sleep(pause).await;
        }
        unreachable!("the loop ends by returning")
    }

    /// Asks the leader of each partition, or of each of `only`, once.
    async fn ask_leaders(
        &self,
        topic: &str,
        at: OffsetAt,
        only: Option<&BTreeSet<i32>>,
        limit: Duration,
    ) -> Result<Answers, EngineError> {
        let mut by_leader: BTreeMap<i32, Vec<(i32, Leader)>> = BTreeMap::new();
        let mut partitions = self.cluster().topic(topic).await?.partitions;
        partitions.retain(|partition, _| only.is_none_or(|only| only.contains(partition)));
        for (partition, leader) in partitions {
            by_leader.entry(leader.broker).or_default().push((partition, leader));
        }
        let asking = by_leader.into_iter().map(|(broker, partitions)| async move {
            let outcome = match broker {
                ..0 => {
                    self.cluster().invalidate();
                    Err(EngineError::new(ErrorKind::Retriable, "there is no leader"))
                }
                _ => match timeout(limit, self.ask_leader(broker, topic, &partitions, at)).await {
                    Ok(outcome) => outcome,
                    Err(_) => {
                        let text = format!("broker {broker} does not say its offsets within {limit:?}");
                        Err(EngineError::new(ErrorKind::Retriable, text))
                    }
                },
            };
            let of = |partition: i32| match &outcome {
                Ok(answers) => answers.get(&partition).cloned().unwrap_or_else(|| {
                    Err(EngineError::new(ErrorKind::Retriable, "the leader does not answer for it"))
                }),
                Err(error) => Err(error.clone()),
            };
            let named = |partition: i32| {
                of(partition).map_err(|error| error.at(&TopicPartition::new(topic, partition)))
            };
            partitions.iter().map(|(partition, _)| (*partition, named(*partition))).collect::<Vec<_>>()
        });
        Ok(join_all(asking).await.into_iter().flatten().collect())
    }

    async fn ask_leader(
        &self,
        broker: i32,
        topic: &str,
        partitions: &[(i32, Leader)],
        at: OffsetAt,
    ) -> Result<Answers, EngineError> {
        let (timestamp, read_committed) = match at {
            OffsetAt::Earliest => (-2, false),
            OffsetAt::Latest => (-1, true),
            OffsetAt::HighWatermark => (-1, false),
            OffsetAt::EarliestLocal => (-4, false),
            OffsetAt::Timestamp(timestamp) => (timestamp, false),
        };
        let asked = partitions.iter().map(|(partition, leader)| {
            ListOffsetsPartition::default()
                .with_partition_index(*partition)
                .with_current_leader_epoch(leader.epoch)
                .with_timestamp(timestamp)
        });
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(i8::from(read_committed))
            .with_topics(vec![
                ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(asked.collect()),
            ]);
        let limit = self.cluster().settings.request_timeout;
        let response = self.cluster().ask(Whom::Broker(broker), &request, limit).await?;
        let answers = response.topics.iter().flat_map(|topic| &topic.partitions).map(|answer| {
            let checked = self.checked(answer.error_code, "listing offsets", None);
            (answer.partition_index, checked.map(|()| answer.offset))
        });
        Ok(answers.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::embedded;

    #[tokio::test]
    async fn a_partition_without_a_leader_hides_none_but_itself() {
        let (broker, settings) = embedded().await;
        broker.create_topic("t", 2, &[]).unwrap();
        let client = Client::connect(&settings).await.unwrap();
        client.cluster().metadata("t").await.unwrap();
        client.cluster().unseat("t", 1);
        let answers = client.offsets_by_partition("t", OffsetAt::Earliest, Duration::ZERO).await.unwrap();
        assert_eq!(*answers[&0].as_ref().unwrap(), 0);
        let error = answers[&1].as_ref().unwrap_err();
        let partition = Some(TopicPartition::new("t", 1));
        assert_eq!((error.kind, &error.partition), (ErrorKind::Retriable, &partition), "{error}");
        // With patience, what the cluster answers by then.
        let answers = client.offsets_by_partition("t", OffsetAt::Latest, ANSWER_TIMEOUT_MIN).await.unwrap();
        assert!(answers.values().all(|answer| matches!(answer, Ok(0))), "{answers:?}");
    }

    #[tokio::test]
    async fn only_the_leaders_of_the_partitions_that_matter_are_asked() {
        let (broker, settings) = embedded().await;
        broker.create_topic("t", 2, &[]).unwrap();
        let client = Client::connect(&settings).await.unwrap();
        client.cluster().metadata("t").await.unwrap();
        client.cluster().unseat("t", 1);
        let found = client.ask_offsets("t", &BTreeSet::from([0]), OffsetAt::Earliest).await.unwrap();
        assert!(matches!(found.into_iter().collect::<Vec<_>>()[..], [(0, Ok(0))]));
    }

    #[tokio::test]
    async fn a_topic_that_is_missing_is_an_error() {
        let (_broker, settings) = embedded().await;
        let client = Client::connect(&settings).await.unwrap();
        let answers = client.offsets_by_partition("t", OffsetAt::HighWatermark, Duration::ZERO).await;
        assert!(answers.unwrap_err().message.contains("UNKNOWN_TOPIC_OR_PARTITION"));
    }
}
