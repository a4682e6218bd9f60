//! What the tests of this engine share.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use kafka_protocol::{
    messages::{
        BrokerId, FetchRequest, TopicName,
        fetch_request::{FetchPartition, FetchTopic},
    },
    protocol::StrBytes,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use topicmill_broker::{Broker, BrokerSettings};
use topicmill_mill::{
    batch::{OutputBatch, TopicPartition},
    budget::Budget,
    engine::{ClientSettings, OffsetReset, SourceSettings, Troubles},
};
use topicmill_records::{BatchHeader, Compression, HEADER_LEN, NO_HEADERS, RecordWriter, walk};

use super::{Client, cluster::Lane, handshake::Dial, settings::Family, transport::Sockets};

/// How to make connections that are neither secured nor ever idle for too long.
pub fn dial(connect_timeout: Duration) -> Dial {
    Dial {
        client_id: "a-test".to_owned(),
        connect_timeout,
        max_idle: None,
        sockets: Sockets::new(Family::Any, Duration::from_secs(60)),
        security: Arc::default(),
        logins: Arc::default(),
    }
}

/// The brokers that `TEST_KAFKA` names, with the properties `key=value,…` of
/// `TEST_KAFKA_PROPERTIES`; an embedded one when it is unset.
pub async fn cluster() -> (Option<Broker>, ClientSettings) {
    match std::env::var("TEST_KAFKA") {
        Ok(brokers) => {
            let brokers = brokers.split(',').map(str::to_owned).collect();
            let mut settings = ClientSettings { brokers, ..settings("") };
            let more = std::env::var("TEST_KAFKA_PROPERTIES").unwrap_or_default();
            let more = more.split(',').filter_map(|pair| pair.split_once('='));
            settings.properties.extend(more.map(|(key, value)| (key.to_owned(), value.to_owned())));
            (None, settings)
        }
        Err(_) => {
            let (broker, settings) = embedded().await;
            (Some(broker), settings)
        }
    }
}

/// An embedded broker, into which faults can be injected.
pub async fn embedded() -> (Broker, ClientSettings) {
    let listen = "127.0.0.1:0".parse().unwrap();
    let broker = Broker::start(BrokerSettings { listen, memory: 64 << 20, partitions: 0 }).await.unwrap();
    let settings = settings(&broker.address().to_string());
    (broker, settings)
}

fn settings(broker: &str) -> ClientSettings {
    let properties = BTreeMap::from([("retry.backoff.ms".to_owned(), "20".to_owned())]);
    ClientSettings { brokers: vec![broker.to_owned()], properties, connect_timeout: Duration::from_secs(10) }
}

/// The member of the group `g` that reads the topic `t`.
pub fn source_settings() -> SourceSettings {
    SourceSettings {
        topic: "t".into(),
        group: "g".to_owned(),
        offset_reset: OffsetReset::Earliest,
        budget: Budget::new(1 << 20),
        revoke_timeout: Duration::from_secs(1),
        troubles: Troubles::default(),
    }
}

/// A topic's name that nobody else has.
pub fn fresh(name: &str) -> String {
    format!("{name}_{:016x}", rand::random::<u64>())
}

/// The value that [`batch`] gives record number `i`.
pub fn value(i: usize) -> String {
    format!("{{\"first_name\":\"a{i:010}\",\"last_name\":\"b{i:010}\"}}")
}

/// Records number `from` and the following, in chunks of at most a megabyte. They are of today,
/// as a broker that starts again deletes what is past its retention.
pub fn batch(to: &TopicPartition, records: usize, from: usize) -> OutputBatch {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let mut writer = RecordWriter::new(1_000_000, records * 70);
    for i in from..from + records {
        writer.push(now, None, Some(&[value(i).as_bytes()]), NO_HEADERS);
    }
    OutputBatch { destination: to.clone(), chunks: writer.finish(), ..OutputBatch::default() }
}

/// The record batches of a partition from `offset` on, at most a megabyte of them.
pub async fn fetch(client: &Client, from: &TopicPartition, offset: i64) -> Bytes {
    let leader = client.cluster().leader(from).await.unwrap();
    let connection = client.cluster().connection(leader.broker, Lane::Fetch).await.unwrap();
    let partition = FetchPartition::default()
        .with_partition(from.partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_string(from.topic.to_string())))
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(1000)
        .with_min_bytes(1)
        .with_max_bytes(8 << 20)
        .with_topics(vec![topic]);
    let response = connection.call_within(&request, Duration::from_secs(10)).await.unwrap();
    let answer = &response.responses[0].partitions[0];
    assert_eq!(answer.error_code, 0);
    answer.records.clone().unwrap_or_default()
}

/// The values of a partition up to the offset `end`.
pub async fn read_all(client: &Client, from: &TopicPartition, end: i64) -> Vec<String> {
    let (mut values, mut offset) = (Vec::new(), 0);
    while offset < end {
        let bytes = fetch(client, from, offset).await;
        let mut rest = &bytes[..];
        while let Ok(header) = BatchHeader::read(rest) {
            let (mut body, mut records) = (Vec::new(), Vec::new());
            let codec = Compression::from_id(header.codec()).unwrap();
            codec.decompress(&rest[HEADER_LEN..header.size], &mut body, 1 << 30).unwrap();
            walk(&header, &body, 0, body.len(), offset, &mut records).unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            values.extend(records.iter().map(|record| text(record.value.get(&body).unwrap())));
            offset = header.next_offset();
            rest = &rest[header.size..];
        }
    }
    values
}

/// A server over TLS with the certificate of that name.
pub fn served(name: &str) -> Arc<ServerConfig> {
    let file = |end: &str| format!("{}/tests/data/tls/{name}.{end}", env!("CARGO_MANIFEST_DIR"));
    let chain = CertificateDer::pem_file_iter(file("pem")).unwrap().collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(file("key")).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}
