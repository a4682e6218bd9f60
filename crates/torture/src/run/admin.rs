//! What is asked of the cluster itself.

use std::{
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::runtime::{Builder, Runtime};

use super::{error::RunError, reader::Isolation};

/// How long an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Asks by librdkafka, directly and not through a proxy.
pub(super) struct Admin {
    client: AdminClient<DefaultClientContext>,
    runtime: Runtime,
    brokers: String,
}

impl Admin {
    pub fn connect(brokers: &str) -> Result<Admin, RunError> {
        let client = ClientConfig::new().set("bootstrap.servers", brokers).create();
        Ok(Admin {
            client: client.map_err(RunError::kafka("the admin client"))?,
            runtime: Builder::new_current_thread().build().map_err(RunError::io("a runtime"))?,
            brokers: brokers.to_owned(),
        })
    }

    /// Creates topics whose records stay, however old they say they are.
    pub fn create(
        &self,
        topics: &[&str],
        partitions: usize,
        replicas: usize,
        config: &[(&str, &str)],
    ) -> Result<(), RunError> {
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let new: Vec<_> = topics
            .iter()
            .map(|topic| {
                let replication = TopicReplication::Fixed(count(replicas));
                let topic = NewTopic::new(topic, count(partitions), replication);
                let topic = topic.set("retention.ms", "-1");
                config.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
            })
            .collect();
        let failed = || RunError::kafka(format!("creating {topics:?}"));
        let mut attempts = 0;
        let answers = patiently(|| {
            attempts += 1;
            self.runtime.block_on(self.client.create_topics(&new, &options())).map_err(failed())
        })?;
        // An attempt without an answer may have made it.
        let is_made = |code: &RDKafkaErrorCode| attempts > 1 && *code == RDKafkaErrorCode::TopicAlreadyExists;
        let mut refused = answers.into_iter().filter_map(Result::err);
        let refused = refused.find(|(_, code)| !is_made(code));
        refused.map_or(Ok(()), |(_, code)| Err(failed()(KafkaError::AdminOp(code))))
    }

    /// Waits until this node knows the topic with all of its leaders.
    pub fn wait_for(&self, node: &str, topic: &str, partitions: usize) -> Result<(), RunError> {
        let failed = || RunError::kafka(format!("the topics of {node}"));
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", node).create().map_err(failed())?;
        let start = Instant::now();
        loop {
            let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).map_err(failed())?;
            let known = metadata.topics().iter().flat_map(|topic| topic.partitions());
            if known.filter(|partition| partition.leader() >= 0).count() == partitions {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(RunError::Late { what: format!("{node} knows {topic}"), limit: PATIENCE });
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// How many replicas the partitions of a topic have, all together.
    pub fn replicas(&self, topic: &str) -> Result<usize, RunError> {
        let failed = RunError::kafka(format!("the replicas of {topic}"));
        let client = self.client.inner();
        let metadata = client.fetch_metadata(Some(topic), PATIENCE).map_err(failed)?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        Ok(partitions.map(|partition| partition.replicas().len()).sum())
    }

    /// Deletes topics, and what they need of the disk.
    pub fn delete(&self, topics: &[&str]) -> Result<(), RunError> {
        let failed = || RunError::kafka(format!("deleting {topics:?}"));
        patiently(|| self.runtime.block_on(self.client.delete_topics(topics, &options())).map_err(failed()))?;
        Ok(())
    }

    /// Deletes what of each partition of a topic stands before these offsets. Where leaders have moved it asks again,
    /// by a client that does not know the old ones.
    pub fn delete_before(&self, topic: &str, starts: &[u64]) -> Result<(), RunError> {
        patiently(|| Admin::connect(&self.brokers)?.try_delete_before(topic, starts))
    }

    fn try_delete_before(&self, topic: &str, starts: &[u64]) -> Result<(), RunError> {
        let failed = || RunError::kafka(format!("deleting records of {topic}"));
        let mut list = TopicPartitionList::new();
        for (partition, &start) in (0..).zip(starts) {
            let start = Offset::Offset(i64::try_from(start).unwrap_or(i64::MAX));
            list.add_partition_offset(topic, partition, start).map_err(failed())?;
        }
        let deleted =
            self.runtime.block_on(self.client.delete_records(&list, &options())).map_err(failed())?;
        let refused = deleted.elements().into_iter().find_map(|element| element.error().err());
        refused.map_or(Ok(()), |error| Err(failed()(error)))
    }

    /// A way to ask what a group has committed; with [`Isolation::Committed`], the answer waits for
    /// transactions that are under way.
    pub fn committed(
        &self,
        group: &str,
        topic: &str,
        partitions: usize,
        isolation: Isolation,
    ) -> Result<Committed, RunError> {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", group)
            .set("isolation.level", isolation.name())
            .create()
            .map_err(RunError::kafka("a consumer"))?;
        Ok(Committed { consumer, topic: topic.to_owned(), partitions })
    }

    /// The offsets at which the partitions of a topic end for a reader.
    pub fn ends(&self, topic: &str, partitions: usize, isolation: Isolation) -> Result<Vec<u64>, RunError> {
        patiently(|| self.try_ends(topic, partitions, isolation))
    }

    fn try_ends(&self, topic: &str, partitions: usize, isolation: Isolation) -> Result<Vec<u64>, RunError> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", "torture-admin")
            .set("isolation.level", isolation.name())
            .create()
            .map_err(RunError::kafka("a consumer"))?;
        (0..partitions)
            .map(|partition| {
                let failed = RunError::kafka(format!("the end of {topic}"));
                let partition = i32::try_from(partition).unwrap_or(i32::MAX);
                let (_, end) = consumer.fetch_watermarks(topic, partition, PATIENCE).map_err(failed)?;
                Ok(u64::try_from(end).unwrap_or(0))
            })
            .collect()
    }
}

/// Asks what a group has committed.
pub(super) struct Committed {
    consumer: BaseConsumer,
    topic: String,
    partitions: usize,
}

impl Committed {
    /// The offset of each partition, 0 where there is none.
    pub fn get(&self, patience: Duration) -> Result<Vec<u64>, RunError> {
        let number = |partition: usize| i32::try_from(partition).unwrap_or(i32::MAX);
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.topic, 0, number(self.partitions) - 1);
        let failed = RunError::kafka("the offsets of a group");
        let offsets = self.consumer.committed_offsets(list, patience).map_err(failed)?;
        let offset = |partition| match offsets
            .find_partition(&self.topic, number(partition))
            .map(|element| element.offset())
        {
            Some(Offset::Offset(offset)) => u64::try_from(offset).unwrap_or(0),
            _ => 0,
        };
        Ok((0..self.partitions).map(offset).collect())
    }
}

/// Asks until there is an answer: a client gives up what it has asked a node that it leaves right then.
fn patiently<T>(mut ask: impl FnMut() -> Result<T, RunError>) -> Result<T, RunError> {
    let start = Instant::now();
    loop {
        match ask() {
            Err(_) if start.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(200)),
            done => return done,
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_gives_up_is_asked_again() {
        let mut times = 0;
        let answer = patiently(|| {
            times += 1;
            if times < 3 { Err(RunError::Stopped) } else { Ok(times) }
        });
        assert_eq!(answer.unwrap(), 3);
    }
}
