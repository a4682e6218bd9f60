//! Transactions on a cluster: those that `TEST_KAFKA` names, or the embedded broker.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use topicmill_mill::{
    batch::{AssignmentId, OutputBatch, TopicPartition, TransactionNumber},
    engine::{ClientSettings, EngineError, ErrorKind, Offset, Sink, Stake, Staked, TransactionEnd, Troubles},
};

use super::NativeSink;
use crate::{
    Client, OffsetAt,
    testing::{batch, cluster, fresh},
};

type Ending = BoxFuture<'static, Result<TransactionEnd, EngineError>>;

/// Two partitions to write, and a group that has no members.
pub(super) struct Place {
    pub client: Client,
    pub settings: ClientSettings,
    pub topic: String,
    pub group: String,
}

impl Place {
    pub async fn new(mut settings: ClientSettings) -> Place {
        let group = fresh("group");
        settings.properties.insert("group.instance.id".to_owned(), "one".to_owned());
        let (client, topic) = (Client::connect(&settings).await.unwrap(), fresh("exact"));
        client.create_topic(&topic, 2, None, &[]).await.unwrap();
        Place { client, settings, topic, group }
    }

    /// The same as another process has it.
    pub async fn elsewhere(&self) -> Place {
        Place {
            client: Client::connect(&self.settings).await.unwrap(),
            settings: self.settings.clone(),
            topic: self.topic.clone(),
            group: self.group.clone(),
        }
    }

    pub async fn begin(&self) -> Result<NativeSink, EngineError> {
        let troubles = Troubles::default();
        NativeSink::transactional(&self.client, &self.settings, troubles, None, &self.group).await
    }

    pub async fn sink(&self) -> NativeSink {
        self.begin().await.unwrap()
    }

    pub fn batch(&self, partition: i32, number: u64) -> OutputBatch {
        let to = TopicPartition::new(self.topic.as_str(), partition);
        // What is sent after an abort is read anew.
        let (transaction, assignment) = (Some(TransactionNumber(number)), AssignmentId(number));
        OutputBatch { transaction, assignment, ..batch(&to, 100, 0) }
    }

    pub fn stake(&self, next: i64) -> Stake {
        let partition = TopicPartition::new(self.topic.as_str(), 0);
        let offset = Offset { partition, assignment: AssignmentId(1), next, leader_epoch: -1 };
        let (group, generation) = (self.group.clone(), -1);
        Stake { group, generation, offsets: vec![(offset, Arc::from(""))], ..Stake::default() }
    }

    /// The committed offset, and the stable ends of both partitions.
    pub async fn visible(&self) -> (Option<i64>, i64, i64) {
        let committed = self.client.committed(&self.group, &self.topic).await.unwrap();
        let ends = self.client.offsets(&self.topic, OffsetAt::Latest).await.unwrap();
        (committed.get(&0).copied(), ends[&0], ends[&1])
    }
}

/// Stakes offsets in a transaction, and commits it.
pub(super) fn commit_with(sink: &mut NativeSink, number: u64, stake: Stake) -> Ending {
    let number = TransactionNumber(number);
    let staked: BoxFuture<'static, _> = Box::pin(sink.stake(number, stake));
    let committed: Ending = Box::pin(sink.commit(number));
    Box::pin(async move {
        match staked.await? {
            Staked::Held => committed.await,
            Staked::Outdated(error) | Staked::Refused(error) => Ok(TransactionEnd::Aborted(error)),
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_alternate_and_each_commits_its_offsets() {
    let (_broker, settings) = cluster().await;
    let place = Place::new(settings).await;
    let mut sink = place.sink().await;
    let mut commit: Option<Ending> = None;
    for number in 0..8u64 {
        // While this one is written, the one before it ends.
        let sent = [sink.send(place.batch(0, number)), sink.send(place.batch(1, number))];
        if let Some(commit) = commit.take() {
            let ended = tokio::spawn(commit).await.unwrap().unwrap();
            assert!(matches!(ended, TransactionEnd::Committed), "{number}: {ended:?}");
        }
        for receipt in sent {
            receipt.await.unwrap();
        }
        commit = Some(commit_with(&mut sink, number, place.stake(number as i64 + 1)));
    }
    let ended = commit.unwrap().await.unwrap();
    assert!(matches!(ended, TransactionEnd::Committed), "{ended:?}");
    sink.close().await;
    // A marker follows each transaction. A coordinator answers before the last of them are written.
    let mut visible = place.visible().await;
    for _ in 0..50 {
        if visible == (Some(8), 808, 808) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        visible = place.visible().await;
    }
    assert_eq!(visible, (Some(8), 808, 808));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_abort_both_producers_begin_anew() {
    let (_broker, settings) = cluster().await;
    let place = Place::new(settings).await;
    let mut sink = place.sink().await;
    for round in 0..3u64 {
        for number in [10 * round, 10 * round + 1] {
            sink.send(place.batch(0, number)).await.unwrap();
        }
        // These are under way.
        let number = 10 * round + 1;
        let lost = [sink.send(place.batch(0, number)), sink.send(place.batch(1, number))];
        sink.abort().await.unwrap();
        for receipt in lost {
            let _ = receipt.await;
        }
        let number = 10 * round + 4;
        sink.send(place.batch(1, number)).await.unwrap();
        let ended = commit_with(&mut sink, number, place.stake(round as i64 + 1)).await.unwrap();
        assert!(matches!(ended, TransactionEnd::Committed), "{ended:?}");
    }
    sink.close().await;
    let mut committed = None;
    for _ in 0..50 {
        committed = place.visible().await.0;
        if committed == Some(3) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(committed, Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_replaced_writes_nothing_any_more() {
    let (_broker, settings) = cluster().await;
    let place = Place::new(settings).await;
    let mut first = place.sink().await;
    first.send(place.batch(0, 0)).await.unwrap();
    let mut second = place.elsewhere().await.sink().await;
    let ended = commit_with(&mut first, 0, place.stake(1)).await.unwrap();
    assert!(matches!(ended, TransactionEnd::Aborted(_)), "{ended:?}");
    let error = first.send(place.batch(0, 0)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Retriable, "{error}");
    let error = first.abort().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fatal, "{error}");
    assert!(error.message.contains("another process"), "{error}");
    second.send(place.batch(0, 0)).await.unwrap();
    let ended = commit_with(&mut second, 0, place.stake(7)).await.unwrap();
    assert!(matches!(ended, TransactionEnd::Committed), "{ended:?}");
    second.close().await;
}
