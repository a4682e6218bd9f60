//! What a topic cannot be.

use kafka_protocol::error::ResponseError;

/// Why a topic is not created, with a message for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The protocol's error.
    pub error: ResponseError,
    /// What is wrong.
    pub message: String,
}
