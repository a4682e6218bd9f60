//! Brokers for tests that answer as they are told, or not at all.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, ApiVersionsResponse, FindCoordinatorResponse, MetadataResponse, RequestHeader,
        ResponseHeader,
        api_versions_response::ApiVersion,
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
    },
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

/// What a fake broker does with a request.
pub enum Say {
    /// Answers, header and body.
    Answer(Bytes),
    /// The same after a while, in which nothing else is answered.
    Later(Duration, Bytes),
    /// Answers by a byte every 20 ms, for more than an hour.
    Drip,
    /// Nothing, neither to this request nor to those behind it.
    Nothing,
    /// Closes the connection.
    Close,
}

/// A request as a fake broker sees it.
pub struct Asked {
    pub api: ApiKey,
    pub version: i16,
    pub body: Bytes,
    correlation: i32,
}

impl Asked {
    /// Answers with this message.
    pub fn answer<M: Encodable + HeaderVersion>(&self, message: &M) -> Say {
        let mut bytes = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(self.correlation);
        header.encode(&mut bytes, M::header_version(self.version)).unwrap();
        message.encode(&mut bytes, self.version).unwrap();
        Say::Answer(bytes.freeze())
    }

    /// Answers with what it offers: these, from version 0 on.
    pub fn offer(&self, apis: &[(ApiKey, i16)]) -> Say {
        let offer = |(api, max): &(ApiKey, i16)| {
            ApiVersion::default().with_api_key(*api as i16).with_max_version(*max)
        };
        self.answer(&ApiVersionsResponse::default().with_api_keys(apis.iter().map(offer).collect()))
    }
}

/// What a usual broker offers.
pub const USUAL: &[(ApiKey, i16)] = &[
    (ApiKey::ApiVersions, 3),
    (ApiKey::Metadata, 12),
    (ApiKey::FindCoordinator, 3),
    (ApiKey::ListOffsets, 7),
    (ApiKey::Heartbeat, 4),
    (ApiKey::SaslHandshake, 1),
    (ApiKey::SaslAuthenticate, 2),
];

/// A listener that answers as it is told; it ends with the test.
pub struct Fake {
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Fake {
    /// Answers every request by `say`.
    pub async fn start(say: impl Fn(&Asked) -> Say + Send + Sync + 'static) -> Fake {
        let say = Arc::new(say);
        Fake::listen(move |stream| converse(stream, Arc::clone(&say))).await
    }

    /// As [`start`](Fake::start) over TLS, with what `config` holds at the time.
    pub async fn start_tls(
        config: Arc<Mutex<Arc<ServerConfig>>>,
        say: impl Fn(&Asked) -> Say + Send + Sync + 'static,
    ) -> Fake {
        let say = Arc::new(say);
        Fake::listen(move |stream| {
            let acceptor = TlsAcceptor::from(Arc::clone(&config.lock().unwrap()));
            let say = Arc::clone(&say);
            async move { converse(acceptor.accept(stream).await.ok()?, say).await }
        })
        .await
    }

    /// Serves each connection by `serve`.
    async fn listen<S>(serve: impl Fn(TcpStream) -> S + Send + 'static) -> Fake
    where
        S: Future<Output = Option<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream));
            }
        });
        Fake { address, accepted }
    }

    /// The connections that were made to it.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    say: Arc<impl Fn(&Asked) -> Say>,
) -> Option<()> {
    loop {
        let mut frame = vec![0; stream.read_i32().await.ok()? as usize];
        stream.read_exact(&mut frame).await.ok()?;
        let mut body = Bytes::from(frame);
        let (mut key, mut version) = (&body[..2], &body[2..4]);
        let (api, version) = (ApiKey::try_from(key.get_i16()).ok()?, version.get_i16());
        let header = RequestHeader::decode(&mut body, api.request_header_version(version)).ok()?;
        let answer = say(&Asked { api, version, body, correlation: header.correlation_id });
        match answer {
            Say::Answer(bytes) => {
                stream.write_i32(bytes.len() as i32).await.ok()?;
                stream.write_all(&bytes).await.ok()?;
            }
            Say::Later(after, bytes) => {
                sleep(after).await;
                stream.write_i32(bytes.len() as i32).await.ok()?;
                stream.write_all(&bytes).await.ok()?;
            }
            Say::Drip => {
                const SIZE: i32 = 200 << 10;
                stream.write_i32(SIZE).await.ok()?;
                for _ in 0..SIZE {
                    stream.write_u8(0).await.ok()?;
                    sleep(Duration::from_millis(20)).await;
                }
                return None;
            }
            Say::Nothing => std::future::pending().await,
            Say::Close => return None,
        }
    }
}

/// Several fake brokers that describe one cluster.
pub struct FakeCluster {
    pub brokers: Vec<Fake>,
    pub script: Arc<Script>,
}

/// The answers of the brokers of a [`FakeCluster`]; may be changed at any time.
#[derive(Default)]
pub struct Script {
    /// The brokers that are in the cluster, with their address.
    pub there: Mutex<Vec<(i32, SocketAddr)>>,
    /// The brokers that do not answer.
    pub frozen: Mutex<Vec<i32>>,
    /// The leader of the one partition of the topic `t`.
    pub leader: Mutex<(i32, i32)>,
}

impl FakeCluster {
    /// This many brokers, numbered from 0; number 0 leads and coordinates.
    pub async fn start(count: i32) -> FakeCluster {
        let script = Arc::new(Script::default());
        let mut brokers = Vec::new();
        for number in 0..count {
            let script = Arc::clone(&script);
            brokers.push(Fake::start(move |asked| script.say(number, asked)).await);
        }
        let there = (0..).zip(&brokers).map(|(number, fake)| (number, fake.address));
        *script.there.lock().unwrap() = there.collect();
        FakeCluster { brokers, script }
    }

    /// `host:port` of all.
    pub fn bootstrap(&self) -> Vec<String> {
        self.brokers.iter().map(|fake| fake.address.to_string()).collect()
    }
}

impl Script {
    /// What broker `number` says.
    pub fn say(&self, number: i32, asked: &Asked) -> Say {
        if self.frozen.lock().unwrap().contains(&number) {
            return Say::Nothing;
        }
        match asked.api {
            ApiKey::ApiVersions => asked.offer(USUAL),
            ApiKey::Metadata => asked.answer(&self.metadata()),
            ApiKey::FindCoordinator => {
                let (number, address) = self.there.lock().unwrap()[0];
                asked.answer(
                    &FindCoordinatorResponse::default()
                        .with_node_id(number.into())
                        .with_host(StrBytes::from_string(address.ip().to_string()))
                        .with_port(address.port().into()),
                )
            }
            // Waits for ever, as a request to a frozen broker does.
            _ => Say::Nothing,
        }
    }

    fn metadata(&self) -> MetadataResponse {
        let broker = |(number, address): &(i32, SocketAddr)| {
            MetadataResponseBroker::default()
                .with_node_id((*number).into())
                .with_host(StrBytes::from_string(address.ip().to_string()))
                .with_port(address.port().into())
        };
        let brokers = self.there.lock().unwrap().iter().map(broker).collect();
        let (leader, epoch) = *self.leader.lock().unwrap();
        let partition =
            MetadataResponsePartition::default().with_leader_id(leader.into()).with_leader_epoch(epoch);
        let topic = MetadataResponseTopic::default()
            .with_name(Some(StrBytes::from_static_str("t").into()))
            .with_topic_id(uuid::Uuid::from_u128(1))
            .with_partitions(vec![partition]);
        MetadataResponse::default().with_brokers(brokers).with_topics(vec![topic])
    }
}
