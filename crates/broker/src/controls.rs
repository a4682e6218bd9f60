//! What a test may do to a running broker, and ask of it.

use kafka_protocol::{error::ResponseError, messages::ApiKey};

use super::{
    Broker, admin,
    credentials::Credentials,
    faults::{Fault, FaultId},
    owned,
    partition::Partition,
    refusal::Refusal,
    seen::Seen,
};

impl Broker {
    /// Injects a fault into requests to come. Requests that already wait are not affected.
    ///
    /// # Panics
    /// When a fault for a topic or a partition has anything but an error code as its action.
    pub fn inject(&self, fault: Fault) -> FaultId {
        self.core.faults.inject(fault)
    }

    /// Lifts a fault; requests that it has frozen continue.
    pub fn lift(&self, fault: FaultId) {
        self.core.faults.lift(fault);
    }

    /// Lifts all faults and the limits of rate and quota.
    pub fn clear_faults(&self) {
        self.core.faults.clear();
        self.limit_produce_rate(None);
        self.limit_produce_quota(None);
    }

    /// Takes produced bytes at no more than this rate, as a slow disk would; `None` lifts the limit.
    pub fn limit_produce_rate(&self, bytes_per_s: Option<u64>) {
        self.core.disk.limit(bytes_per_s);
    }

    /// Limits all clients together to this many bytes produced a second, as a quota does: they are
    /// answered at once and told how long to be quiet (KIP-219). `None` lifts it.
    pub fn limit_produce_quota(&self, bytes_per_s: Option<u64>) {
        self.core.quota.limit(bytes_per_s);
    }

    /// From now on, only clients that know this password may log in, by SASL/PLAIN; those that have
    /// logged in before stay. `None` lets in everyone without a login.
    pub fn require_login(&self, user_and_password: Option<(&str, &str)>) {
        let owned = |(user, password): (&str, &str)| Credentials {
            user: user.to_owned(),
            password: password.to_owned(),
        };
        self.core.require_login(user_and_password.map(owned));
    }

    /// Takes a partition's leader away, or gives it one again. Without one, Metadata answers
    /// `LEADER_NOT_AVAILABLE`, and Produce, Fetch, ListOffsets and OffsetForLeaderEpoch answer
    /// `NOT_LEADER_OR_FOLLOWER`. Either makes a new leader epoch.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`.
    pub fn set_leaderless(&self, topic: &str, partition: i32, leaderless: bool) -> Result<(), ResponseError> {
        self.change(topic, partition, |partition| {
            partition.change(|log| {
                log.set_leaderless(leaderless);
                0
            });
            Ok(())
        })
    }

    /// Elects a leader that has only what is below `offset` (an unclean election): whole batches
    /// from there on are lost, and the leader epoch is a new one.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`.
    pub fn truncate(&self, topic: &str, partition: i32, offset: i64) -> Result<(), ResponseError> {
        self.change(topic, partition, |partition| {
            partition.change(|log| log.truncate(offset));
            Ok(())
        })
    }

    /// Keeps a transaction open from `offset` on: the last stable offset stays there while the high
    /// watermark moves on. `None` ends it.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`.
    pub fn hold_stable_offset(
        &self,
        topic: &str,
        partition: i32,
        offset: Option<i64>,
    ) -> Result<(), ResponseError> {
        self.change(topic, partition, |partition| {
            partition.change(|log| {
                log.hold_stable_offset(offset);
                0
            });
            Ok(())
        })
    }

    /// Lets what is below `offset` lie in remote storage that is away (KIP-405): whoever reads there
    /// gets no records, and no error. 0 ends it.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`.
    pub fn hold_remote(&self, topic: &str, partition: i32, offset: i64) -> Result<(), ResponseError> {
        self.change(topic, partition, |partition| {
            partition.change(|log| {
                log.hold_remote(offset);
                0
            });
            Ok(())
        })
    }

    /// Drops what is below `offset`, as DeleteRecords (KIP-107) and retention do.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`; `OffsetOutOfRange` past the end.
    pub fn delete_records(&self, topic: &str, partition: i32, offset: i64) -> Result<(), ResponseError> {
        self.change(topic, partition, |partition| partition.drop_below(offset))
    }

    /// Reads requests of at most this many bytes (`socket.request.max.bytes`); the connection of a
    /// larger one is closed without an answer.
    pub fn limit_requests(&self, bytes: usize) {
        self.core.limit_requests(bytes);
    }

    /// Configures a topic again, with Kafka's keys; keys that are not named get their defaults.
    ///
    /// # Errors
    /// When it is missing or the configuration is not valid.
    pub fn configure_topic(&self, name: &str, config: &[(&str, &str)]) -> Result<(), Refusal> {
        self.core.topics.configure(name, owned(config))
    }

    /// Gives a topic more partitions, `count` in all.
    ///
    /// # Errors
    /// When it is missing or has as many already.
    pub fn add_partitions(&self, topic: &str, count: i32) -> Result<(), Refusal> {
        self.core.topics.grow(topic, count, false)
    }

    /// Deletes a topic and what groups have committed for it. One of the same name that is
    /// created later has another id (KIP-516).
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`.
    pub fn delete_topic(&self, topic: &str) -> Result<(), ResponseError> {
        admin::delete_topic(&self.core, topic).ok_or(ResponseError::UnknownTopicOrPartition)?;
        self.core.store.forget_deleted();
        Ok(())
    }

    /// How often an api has been requested so far, answered or not.
    pub fn seen(&self, api: ApiKey) -> Seen {
        self.core.seen.of(api)
    }

    /// The number of connections accepted so far.
    pub fn connections_accepted(&self) -> u64 {
        self.core.seen.connections()
    }

    pub(crate) fn change(
        &self,
        topic: &str,
        partition: i32,
        change: impl FnOnce(&Partition) -> Result<(), ResponseError>,
    ) -> Result<(), ResponseError> {
        let topic = self.core.topics.get(topic);
        let partition = topic.as_ref().and_then(|topic| topic.partition(partition));
        partition.map_or(Err(ResponseError::UnknownTopicOrPartition), |partition| change(partition))
    }
}
