//! What can go wrong on the wire, and what Kafka's error codes mean: classified here only.

use std::{fmt, time::Duration};

use kafka_protocol::{ResponseError, messages::ApiKey, protocol::VersionRange};
use topicmill_mill::engine::{EngineError, ErrorKind};

/// A Kafka error code other than 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} ({})", Name(.0), .0.code())]
pub struct KafkaError(pub ResponseError);

/// What may help after a [`KafkaError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// To wait a moment and ask again.
    Retry,
    /// To refresh the metadata and ask again.
    RefreshMetadata,
    /// To find the coordinator again and ask again.
    RefreshCoordinator,
    /// Nothing within this request; starting again from the committed offsets may help.
    Restart,
    /// Nothing: the same would happen again.
    GiveUp,
}

/// `Ok` for the code 0.
///
/// # Errors
/// The [`KafkaError`] that `code` stands for.
pub fn check(code: i16) -> Result<(), KafkaError> {
    ResponseError::try_from_code(code).map_or(Ok(()), |error| Err(KafkaError(error)))
}

impl KafkaError {
    /// What may help. Codes for which a request has a rule of its own are handled there, before.
    pub fn remedy(self) -> Remedy {
        use ResponseError::*;
        match self.0 {
            NotLeaderOrFollower
            | LeaderNotAvailable
            | FencedLeaderEpoch
            | UnknownLeaderEpoch
            | UnknownTopicOrPartition
            | UnknownTopicId
            | InconsistentTopicId
            | ReplicaNotAvailable
            | ListenerNotFound
            | KafkaStorageError
            | NotController => Remedy::RefreshMetadata,
            NotCoordinator => Remedy::RefreshCoordinator,
            // The earlier member with this instance id is removed after a session (KIP-848). A
            // coordinator that cannot write its log, as when a replica hangs, is still the
            // coordinator.
            CoordinatorNotAvailable | BrokerNotAvailable | UnreleasedInstanceId => Remedy::Retry,
            // A member that is about to leave.
            NonEmptyGroup => Remedy::Retry,
            // The end of the producer's last transaction is still being written.
            ConcurrentTransactions => Remedy::Retry,
            UnknownServerError
            | OutOfOrderSequenceNumber
            | UnknownProducerId
            | InvalidProducerEpoch
            | ProducerFenced
            | InvalidProducerIdMapping
            | TransactionAbortable
            | UnknownMemberId
            | IllegalGeneration
            | RebalanceInProgress
            | FencedMemberEpoch
            | StaleMemberEpoch
            | MemberIdRequired
            | OffsetOutOfRange
            | OperationNotAttempted => Remedy::Restart,
            error if error.is_retriable() => Remedy::Retry,
            _ => Remedy::GiveUp,
        }
    }

    /// What its caller may do about it.
    pub fn kind(self) -> ErrorKind {
        match self.remedy() {
            Remedy::GiveUp => ErrorKind::Fatal,
            _ => ErrorKind::Retriable,
        }
    }

    /// The engine's error: `what` says which request failed, `message` what the broker added.
    pub fn because(self, what: impl fmt::Display, message: Option<&str>) -> EngineError {
        let text = match message.filter(|text| !text.is_empty()) {
            Some(message) => format!("{what}: {self}: {message}"),
            None => format!("{what}: {self}"),
        };
        EngineError::new(self.kind(), text).from_cause(self)
    }
}

/// A variant's name as the protocol's documentation writes it: `NOT_LEADER_OR_FOLLOWER`.
struct Name<'a>(&'a ResponseError);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let ResponseError::Unknown(_) = self.0 {
            return f.write_str("an error code that is not known here");
        }
        for (i, letter) in self.0.to_string().chars().enumerate() {
            if i > 0 && letter.is_ascii_uppercase() {
                f.write_str("_")?;
            }
            write!(f, "{}", letter.to_ascii_uppercase())?;
        }
        Ok(())
    }
}

/// What went wrong between this program and one broker.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WireError {
    /// No connection could be made.
    #[error("broker {broker}: cannot connect: {message}")]
    Connect {
        /// `host:port`.
        broker: String,
        /// The error of the system or of TLS.
        message: String,
    },
    /// The broker refuses this client, or cannot prove its own identity.
    #[error("broker {broker}: authentication failed: {message}")]
    Authentication {
        /// `host:port`.
        broker: String,
        /// What was refused.
        message: String,
        /// Whether to try again: logins have worked before, and the refusal is not old.
        again: bool,
    },
    /// A broker that could not be reached a moment ago is not tried again yet. It reads as what went
    /// wrong, so that what is reported while it lasts stays one matter.
    #[error("{error}")]
    BackingOff {
        /// How long to wait.
        wait: Duration,
        /// What went wrong the last time.
        error: Box<WireError>,
    },
    /// A request passed its deadline; the connection is closed.
    #[error("broker {broker}: no answer to {api:?} within {after:?}")]
    Timeout {
        /// `host:port`.
        broker: String,
        /// The request.
        api: ApiKey,
        /// Its limit.
        after: Duration,
    },
    /// The connection ended; whether the broker acted on the request is not known.
    #[error("broker {broker}: connection closed: {reason}")]
    Closed {
        /// `host:port`.
        broker: String,
        /// Why.
        reason: String,
    },
    /// The broker and this program have no version of a request in common (KIP-35).
    #[error("broker {broker} {}, and this program speaks versions {ours}", Offer(.api, .theirs))]
    Version {
        /// `host:port`.
        broker: String,
        /// The request.
        api: ApiKey,
        /// What the broker offers, if it knows the request at all.
        theirs: Option<VersionRange>,
        /// What this program can speak.
        ours: VersionRange,
    },
    /// A message cannot be encoded or decoded.
    #[error("broker {broker}: {api:?} version {version} is malformed: {message}")]
    Malformed {
        /// `host:port`.
        broker: String,
        /// The request.
        api: ApiKey,
        /// Its version.
        version: i16,
        /// What does not fit.
        message: String,
    },
}

struct Offer<'a>(&'a ApiKey, &'a Option<VersionRange>);

impl fmt::Display for Offer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(range) => write!(f, "offers {:?} in versions {range}", self.0),
            None => write!(f, "does not offer {:?}", self.0),
        }
    }
}

impl WireError {
    /// What may be done about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            WireError::Connect { .. }
            | WireError::Timeout { .. }
            | WireError::Closed { .. }
            | WireError::Authentication { again: true, .. } => ErrorKind::Retriable,
            WireError::BackingOff { error, .. } => error.kind(),
            WireError::Authentication { .. } | WireError::Version { .. } | WireError::Malformed { .. } => {
                ErrorKind::Fatal
            }
        }
    }
}

impl From<WireError> for EngineError {
    fn from(error: WireError) -> EngineError {
        EngineError::new(error.kind(), error.to_string()).from_cause(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_reads_as_the_protocol_names_it() {
        let error = check(6).unwrap_err();
        assert_eq!(error.to_string(), "NOT_LEADER_OR_FOLLOWER (6)");
        assert_eq!(check(999).unwrap_err().to_string(), "an error code that is not known here (999)");
        assert_eq!(check(0), Ok(()));
    }

    #[test]
    fn a_broker_that_is_not_dialled_yet_reads_as_what_went_wrong() {
        let (broker, message) = ("b:9092".to_owned(), "refused".to_owned());
        let error = WireError::Connect { broker, message };
        let later = WireError::BackingOff { wait: Duration::from_secs(1), error: Box::new(error.clone()) };
        assert_eq!(later.to_string(), error.to_string());
        assert_eq!(later.kind(), error.kind());
    }

    #[test]
    fn remedies_follow_the_code() {
        let remedy = |error| KafkaError(error).remedy();
        assert_eq!(remedy(ResponseError::NotLeaderOrFollower), Remedy::RefreshMetadata);
        assert_eq!(remedy(ResponseError::NotCoordinator), Remedy::RefreshCoordinator);
        assert_eq!(remedy(ResponseError::NotEnoughReplicas), Remedy::Retry);
        assert_eq!(remedy(ResponseError::ProducerFenced), Remedy::Restart);
        assert_eq!(remedy(ResponseError::TopicAuthorizationFailed), Remedy::GiveUp);
        assert_eq!(KafkaError(ResponseError::SaslAuthenticationFailed).kind(), ErrorKind::Fatal);
    }
}
