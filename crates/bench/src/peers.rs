//! The peers: other transformers for comparison, built by `bench/peers/build`.

use std::path::{Path, PathBuf};

use topicmill_records::Compression;

use super::contender::Contender;

/// The peers by the name of their program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The experiment's three programs on confluent-kafka-go.
    Go,
    /// franz-go, tuned by hand.
    Franz,
    /// librdkafka from Rust, record by record.
    Records,
    /// Kafka Streams, at least once.
    Streams,
}

/// A peer that is built.
#[derive(Clone, Debug)]
pub struct Peer {
    kind: Kind,
    program: PathBuf,
}

impl Peer {
    /// The peers that are in `folder`.
    pub fn find(folder: &Path) -> Vec<Peer> {
        let all = [
            (Kind::Go, "go"),
            (Kind::Franz, "franz"),
            (Kind::Records, "rdkafka-records"),
            (Kind::Streams, "streams"),
        ];
        let peer = |(kind, name)| Peer { kind, program: folder.join(name) };
        all.into_iter().map(peer).filter(|peer| peer.program.is_file()).collect()
    }

    /// Whether it was tuned for speed, rather than written in the usual way.
    pub fn is_tuned(&self) -> bool {
        matches!(self.kind, Kind::Franz | Kind::Records)
    }

    /// How the peer takes part where records are compressed with `codec`.
    pub fn contenders(&self, codec: Compression) -> Vec<Contender> {
        let contender = |name: String, mode: &str| Contender::Peer {
            program: self.program.clone(),
            name,
            mode: mode.to_owned(),
        };
        let by_codec = |name: &str| vec![contender(name.to_owned(), codec.as_str())];
        match self.kind {
            // They have no setting for it.
            Kind::Go if codec != Compression::None => Vec::new(),
            Kind::Go => ["serial", "pipeline", "worker"]
                .iter()
                .map(|mode| contender(format!("Go {mode} (confluent-kafka-go)"), mode))
                .collect(),
            Kind::Franz => by_codec("franz-go, tuned"),
            Kind::Records => by_codec("rdkafka record by record, tuned"),
            Kind::Streams => by_codec("Kafka Streams, at least once"),
        }
    }
}
