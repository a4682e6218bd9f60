//! The rebalance callback: runs on the poll thread, inside `poll`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, KafkaResult},
    types::RDKafkaRespErr,
};
use tokio::sync::oneshot::error::TryRecvError;
use topicmill_mill::{
    batch::TopicPartition,
    engine::{EngineError, ErrorKind, OffsetReset},
};

use super::{
    error::engine_error,
    inbox::{Inbox, Start},
    nap,
    report::Reporter,
};

/// How long one request to the coordinator or a leader may take before it is repeated.
const ASK: Duration = Duration::from_secs(5);
/// How long to keep asking where to start; less than `max.poll.interval.ms`, after which the group
/// takes the partitions away.
const ASK_IN_ALL: Duration = Duration::from_secs(120);

/// A consumer with this engine's callbacks.
pub(super) type GroupConsumer = BaseConsumer<GroupContext>;

/// What the callbacks need.
#[derive(Debug)]
pub(super) struct GroupContext {
    pub inbox: Arc<Inbox>,
    pub reporter: Arc<Reporter>,
    pub offset_reset: OffsetReset,
    pub revoke_timeout: Duration,
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.reporter.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.error(&error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &GroupConsumer, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let result = if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let list = self.assigned(consumer, list);
            let result =
                if cooperative { consumer.incremental_assign(&list) } else { consumer.assign(&list) };
            result.and_then(|()| self.note_positions(consumer))
        } else {
            self.revoked(consumer, list);
            if cooperative { consumer.incremental_unassign(list) } else { consumer.unassign() }
        };
        if let Err(error) = result {
            self.inbox.fail(engine_error("changing the assignment", &error));
        }
    }
}

impl GroupContext {
    /// The list to assign, with the offset that each partition starts at.
    fn assigned(&self, consumer: &GroupConsumer, list: &TopicPartitionList) -> TopicPartitionList {
        let mut start = TopicPartitionList::new();
        if self.inbox.is_closing() {
            return start;
        }
        if list.count() == 0 {
            self.inbox.assign_nothing();
            return start;
        }
        match self.positions(consumer, list) {
            Ok(positions) => {
                for Start { partition, position, .. } in &positions {
                    let offset = Offset::Offset(*position);
                    let added = start.add_partition_offset(self.inbox.topic(), *partition, offset);
                    added.expect("an offset is never negative");
                }
                self.inbox.assign(&positions);
            }
            Err(error) => self.inbox.fail(error),
        }
        start
    }

    /// Positions move only when this thread polls, so one that is set right after the assignment is
    /// left over from an earlier one and would skip records; one that is not set can be trusted.
    fn note_positions(&self, consumer: &GroupConsumer) -> KafkaResult<()> {
        for element in consumer.position()?.elements() {
            if element.offset() == Offset::Invalid {
                self.inbox.position_counts(element.partition());
            }
        }
        Ok(())
    }

    /// Lets the reader finish with the partitions, within the bound. Commits go on meanwhile: they
    /// are on the commit thread, and the coordinator still counts this member.
    fn revoked(&self, consumer: &GroupConsumer, list: &TopicPartitionList) {
        let partitions: Vec<i32> = list.elements().iter().map(|element| element.partition()).collect();
        if partitions.is_empty() || self.inbox.is_closing() {
            return;
        }
        if consumer.assignment_lost() {
            return self.inbox.lose(&partitions);
        }
        let deadline = Instant::now() + self.revoke_timeout;
        let mut released = self.inbox.begin_revoke(&partitions);
        while matches!(released.try_recv(), Err(TryRecvError::Empty)) && !self.inbox.is_closing() {
            if Instant::now() >= deadline {
                let message = format!(
                    "partitions {partitions:?} were not released in time; what is not committed will be read again"
                );
                self.reporter.warn("revoke", &message);
                break;
            }
            nap(Duration::from_millis(1));
        }
        self.inbox.end_revoke(&partitions, deadline);
    }

    /// The committed offset of each partition, or what `auto.offset.reset` says.
    fn positions(
        &self,
        consumer: &GroupConsumer,
        list: &TopicPartitionList,
    ) -> Result<Vec<Start>, EngineError> {
        let committed = self.ask("asking for committed offsets", || {
            let answer = consumer.committed_offsets(list.clone(), ASK)?;
            answer.elements().iter().try_for_each(|element| element.error())?;
            Ok(answer)
        })?;
        let elements = committed.elements();
        elements
            .iter()
            .map(|element| {
                let partition = element.partition();
                Ok(match element.offset() {
                    Offset::Offset(position) => Start { partition, position, is_committed: true },
                    _ => {
                        let position = self.without_commit(consumer, partition)?;
                        Start { partition, position, is_committed: false }
                    }
                })
            })
            .collect()
    }

    fn without_commit(&self, consumer: &GroupConsumer, partition: i32) -> Result<i64, EngineError> {
        let topic = self.inbox.topic();
        if self.offset_reset == OffsetReset::None {
            let message = "there is no committed offset, and auto.offset.reset is none";
            let place = TopicPartition::new(Arc::clone(topic), partition);
            return Err(EngineError::new(ErrorKind::Fatal, message).at(&place));
        }
        let (low, high) =
            self.ask("asking for offsets", || consumer.fetch_watermarks(topic, partition, ASK))?;
        Ok(if self.offset_reset == OffsetReset::Latest { high } else { low })
    }

    /// Asks until there is an answer, the deadline passes or asking is pointless.
    fn ask<T>(&self, what: &str, mut question: impl FnMut() -> KafkaResult<T>) -> Result<T, EngineError> {
        let deadline = Instant::now() + ASK_IN_ALL;
        loop {
            let error = match question() {
                Ok(answer) => return Ok(answer),
                Err(error) => engine_error(what, &error),
            };
            if error.kind == ErrorKind::Fatal || Instant::now() >= deadline || self.inbox.is_closing() {
                return Err(error);
            }
            self.reporter.warn(what, &error.message);
            nap(Duration::from_millis(100));
        }
    }
}
