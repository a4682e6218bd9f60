//! Against a broker: those named by `TOPICMILL_TEST_BROKERS`.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::engine::{ClientSettings, ErrorKind};

fn settings() -> ClientSettings {
    let brokers = std::env::var("TOPICMILL_TEST_BROKERS").expect("TOPICMILL_TEST_BROKERS names brokers");
    ClientSettings {
        brokers: brokers.split(',').map(str::to_owned).collect(),
        properties: BTreeMap::new(),
        connect_timeout: Duration::from_secs(10),
    }
}

fn fresh(name: &str) -> String {
    format!("{name}_{:016x}", rand::random::<u64>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs brokers"]
async fn topics_are_created_described_and_deleted() {
    let client = Client::connect(&settings()).await.unwrap();
    let topic = fresh("admin");
    assert_eq!(client.topic(&topic).await.unwrap(), None);
    client.create_topic(&topic, 3, None, &[("max.message.bytes", "123456")]).await.unwrap();
    client.create_topic(&topic, 5, None, &[]).await.unwrap();
    assert_eq!(client.topic(&topic).await.unwrap().unwrap().partitions, 3);
    assert_eq!(client.topic_config(&topic).await.unwrap()["max.message.bytes"], "123456");
    let empty = BTreeMap::from([(0, 0), (1, 0), (2, 0)]);
    for at in [OffsetAt::Earliest, OffsetAt::Latest, OffsetAt::Timestamp(1)] {
        assert_eq!(client.offsets(&topic, at).await.unwrap(), empty, "{at:?}");
    }
    client.delete_topic(&topic).await.unwrap();
    client.delete_topic(&topic).await.unwrap();
    assert_eq!(client.topic(&topic).await.unwrap(), None);
    let error = client.create_topic(&topic, -7, None, &[]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fatal, "{error}");
}

#[tokio::test]
#[ignore = "needs brokers"]
async fn a_group_that_is_not_there_is_dead_and_has_committed_nothing() {
    let client = Client::connect(&settings()).await.unwrap();
    let group = client.group(&fresh("group")).await.unwrap();
    assert_eq!((group.state.as_str(), group.members.len()), ("Dead", 0));
    assert_eq!(client.committed(&fresh("group"), "t").await.unwrap(), BTreeMap::new());
}
