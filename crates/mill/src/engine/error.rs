//! What can go wrong in an engine, and whether to try again: classified here and nowhere else.

use std::{error::Error, sync::Arc};

use crate::batch::TopicPartition;

/// An error of an engine, with what it concerns.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}{message}", place(.partition, .offset))]
pub struct EngineError {
    /// What may be done about it.
    pub kind: ErrorKind,
    /// The partition concerned, if one is.
    pub partition: Option<TopicPartition>,
    /// The offset concerned, if one is.
    pub offset: Option<i64>,
    /// What happened, for people; names the request and the broker. No decision depends on it.
    pub message: String,
    /// The underlying error in the engine's own type; the message includes it.
    #[source]
    pub cause: Option<Cause>,
}

/// The underlying error of an [`EngineError`].
pub type Cause = Arc<dyn Error + Send + Sync>;

/// What may be done about an [`EngineError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No broker could be reached within the connect timeout (exit code 75).
    Unreachable,
    /// Something passed its deadline or broke; starting again from the committed offsets may help.
    Retriable,
    /// The same would happen again: authentication, authorisation, a missing topic, a setting.
    Fatal,
}

/// The cause of an [`EngineError`] when another process has taken over what this one wrote with: it writes nothing
/// any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another process has taken over")]
pub struct Replaced;

impl EngineError {
    /// An error of `kind` that concerns no partition.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> EngineError {
        EngineError { kind, partition: None, offset: None, message: message.into(), cause: None }
    }

    /// The same error with what it follows from.
    pub fn from_cause(mut self, cause: impl Error + Send + Sync + 'static) -> EngineError {
        self.cause = Some(Arc::new(cause));
        self
    }

    /// What the error follows from, if it is of this type.
    pub fn cause<E: Error + 'static>(&self) -> Option<&E> {
        self.cause.as_ref()?.downcast_ref()
    }

    /// The same error with the partition it concerns.
    pub fn at(mut self, partition: &TopicPartition) -> EngineError {
        self.partition = Some(partition.clone());
        self
    }

    /// The same error with the offset it concerns.
    pub fn at_offset(mut self, partition: &TopicPartition, offset: i64) -> EngineError {
        self.offset = Some(offset);
        self.at(partition)
    }
}

/// An invalid property, or one that an engine does not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct PropertyError {
    /// The property's name as it was given.
    pub key: String,
    /// What is wrong with it; never a value that may be secret.
    pub message: String,
}

impl PropertyError {
    /// What is wrong with the property `key`.
    pub fn new(key: &str, message: impl Into<String>) -> PropertyError {
        PropertyError { key: key.to_owned(), message: message.into() }
    }
}

impl From<PropertyError> for EngineError {
    fn from(error: PropertyError) -> EngineError {
        EngineError::new(ErrorKind::Fatal, error.to_string()).from_cause(error)
    }
}

fn place(partition: &Option<TopicPartition>, offset: &Option<i64>) -> String {
    match (partition, offset) {
        (Some(partition), Some(offset)) => format!("{partition} at offset {offset}: "),
        (Some(partition), None) => format!("{partition}: "),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_stays_a_type_whatever_is_added() {
        let property = PropertyError::new("client.id", "is empty");
        let error = EngineError::from(property.clone()).at_offset(&TopicPartition::new("t", 1), 7);
        assert_eq!(error.cause::<PropertyError>(), Some(&property));
        assert_eq!(error.to_string(), "t[1] at offset 7: client.id: is empty");
        assert!(error.source().is_some() && EngineError::new(ErrorKind::Fatal, "no").source().is_none());
        assert!(error.cause::<std::io::Error>().is_none());
    }
}
