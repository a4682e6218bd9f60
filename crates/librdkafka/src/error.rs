//! librdkafka's error codes, classified by what may be done about them.

use rdkafka::{
    error::KafkaError,
    types::RDKafkaErrorCode::{self, *},
};
use topicmill_mill::{
    engine::{EngineError, ErrorKind},
    transform::{ErrorClass, ValueError},
};

/// What may be done about `code`. librdkafka retries transport errors itself.
pub(super) fn kind(code: RDKafkaErrorCode) -> ErrorKind {
    match code {
        Authentication | SSL | SaslAuthenticationFailed | UnsupportedSASLMechanism | IllegalSASLState => {
            ErrorKind::Fatal
        }
        TopicAuthorizationFailed
        | GroupAuthorizationFailed
        | ClusterAuthorizationFailed
        | TransactionalIdAuthorizationFailed => ErrorKind::Fatal,
        UnknownTopic | UnknownPartition | UnknownTopicOrPartition | InvalidTopic => ErrorKind::Fatal,
        // Reading on would skip a record.
        BadMessage | BadCompression | InvalidMessage | AutoOffsetReset | MessageSizeTooLarge => {
            ErrorKind::Fatal
        }
        InconsistentGroupProtocol
        | InvalidGroupId
        | InvalidSessionTimeout
        | UnsupportedFeature
        | UnsupportedVersion
        | InvalidArgument
        | NotImplemented => ErrorKind::Fatal,
        _ => ErrorKind::Retriable,
    }
}

/// The code in `error`, if it has one.
pub(super) fn code(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(Unknown)
}

/// An error while doing `what`.
pub(super) fn engine_error(what: &str, error: &KafkaError) -> EngineError {
    let code = code(error);
    EngineError::new(kind(code), format!("{what}: {code}")).from_cause(error.clone())
}

/// What is wrong with a record when the broker refuses the request that carried it because of its
/// contents; `None` when it failed for another reason.
pub(super) fn refusal(code: RDKafkaErrorCode) -> Option<ValueError> {
    let class = match code {
        MessageSizeTooLarge | MessageBatchTooLarge => ErrorClass::Oversized,
        InvalidRecord | InvalidDifferentRecord | InvalidTimestamp | PolicyViolation => ErrorClass::Refused,
        _ => return None,
    };
    Some(ValueError::new(class, code.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_are_retried_and_refusals_are_not() {
        assert_eq!(kind(AllBrokersDown), ErrorKind::Retriable);
        assert_eq!(kind(BrokerTransportFailure), ErrorKind::Retriable);
        assert_eq!(kind(Fatal), ErrorKind::Retriable);
        assert_eq!(kind(TopicAuthorizationFailed), ErrorKind::Fatal);
        assert_eq!(kind(Authentication), ErrorKind::Fatal);
        assert_eq!(refusal(MessageSizeTooLarge).unwrap().class, ErrorClass::Oversized);
        assert!(refusal(MessageTimedOut).is_none());
    }
}
