//! From an address to a connection that is ready: connect, negotiate versions, authenticate.

use std::{sync::Arc, time::Duration};

use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use kafka_protocol::{
    ResponseError,
    messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, ResponseHeader},
    protocol::StrBytes,
};
use topicmill_decode::decode;
use topicmill_mill::engine::ErrorKind;

use super::{
    connection::Connection,
    connection_state::{Opening, Watcher},
    error::{WireError, check},
    logins::Logins,
    race,
    sasl::authenticate,
    security::Security,
    throttle::Throttle,
    transport::{Address, Sockets},
    versions::Versions,
};

/// How to connect to any broker of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    /// The name by which brokers know this client, in their logs and quotas.
    pub client_id: String,
    /// The limit of connecting, negotiating and authenticating together.
    pub connect_timeout: Duration,
    /// How long a connection may be without a question; `None` for ever.
    pub max_idle: Option<Duration>,
    /// Which addresses are tried, and the options of the sockets.
    pub sockets: Sockets,
    /// TLS and SASL.
    pub security: Arc<Security>,
    /// The history of logins.
    pub logins: Arc<Logins>,
}

impl Dial {
    /// A connection that is ready for requests.
    ///
    /// # Errors
    /// [`WireError::Connect`], `Authentication`, or whatever ends the connection early.
    pub async fn open(
        &self,
        address: &Address,
        throttle: Throttle,
        watcher: Option<Watcher>,
    ) -> Result<Connection, WireError> {
        let opening = self.shake_hands(address, throttle, watcher);
        let opened = tokio::time::timeout(self.connect_timeout, opening).await.unwrap_or_else(|_| {
            let message = format!("the broker is not ready within {:?}", self.connect_timeout);
            Err(WireError::Connect { broker: address.to_string(), message })
        });
        match opened {
            Ok(connection) => {
                self.logins.let_in(address);
                connection.set_ready();
                Ok(connection)
            }
            Err(WireError::Authentication { broker, message, .. }) => {
                let again = self.logins.refused(address, &message);
                Err(WireError::Authentication { broker, message, again })
            }
            Err(error) => Err(error),
        }
    }

    /// A connection to whichever of several brokers is ready first.
    ///
    /// # Errors
    /// What one of them refused, or else what kept the first from being reached.
    pub async fn open_any(&self, addresses: &[Address]) -> Result<Connection, WireError> {
        let attempts = addresses.iter().map(|address| self.open_one(address.clone()).boxed());
        race::first(attempts.collect::<Vec<_>>()).await.map_err(|mut errors| {
            let refused = errors.iter().position(|error| error.kind() == ErrorKind::Fatal);
            errors.swap_remove(refused.unwrap_or_default())
        })
    }

    async fn open_one(&self, address: Address) -> Result<Connection, WireError> {
        self.open(&address, Throttle::default(), None).await
    }

    async fn shake_hands(
        &self,
        address: &Address,
        throttle: Throttle,
        watcher: Option<Watcher>,
    ) -> Result<Connection, WireError> {
        let broker = address.to_string();
        let unusable = |message: String| WireError::Connect { broker: broker.clone(), message };
        let tls = self.security.tls().await.map_err(unusable)?;
        let (read, write) = self.sockets.open(address, tls.as_ref(), self.connect_timeout).await?;
        let opening = Opening {
            broker: broker.clone(),
            client_id: self.client_id.clone(),
            throttle,
            watcher,
            max_idle: self.max_idle,
            is_tls: tls.is_some(),
            is_sasl: self.security.sasl.is_some(),
        };
        let connection = Connection::new(read, write, opening);
        let agreed = agree(&connection, self.connect_timeout).await;
        agreed.map_err(|error| self.refused(&connection, error))?;
        if let Some(sasl) = &self.security.sasl {
            let lifetime = authenticate(&connection, sasl, self.connect_timeout).await?;
            connection.set_lifetime(lifetime);
        }
        Ok(connection)
    }

    /// With TLS 1.3, a broker that wants another client certificate, or one at all, says so only
    /// after the handshake, by an alert in place of its first answer.
    fn refused(&self, connection: &Connection, error: WireError) -> WireError {
        match error {
            WireError::Closed { broker, reason } if connection.was_refused() => {
                WireError::Authentication { broker, message: format!("TLS: {reason}"), again: false }
            }
            error => error,
        }
    }
}

/// Learns which versions the broker offers. One that does not know our version of the request
/// answers in version 0 with an error, and lists the versions that it knows (KIP-511).
async fn agree(connection: &Connection, limit: Duration) -> Result<(), WireError> {
    connection.set_versions(versions_now(connection, limit).await?);
    Ok(())
}

/// What the broker offers by now. It may have learnt to speak other features since the connection was made.
///
/// # Errors
/// When it does not answer within `limit`, or refuses to.
pub async fn versions_now(connection: &Connection, limit: Duration) -> Result<Versions, WireError> {
    let mut version = 3;
    loop {
        let response = ask_versions(connection, version, limit).await?;
        match check(response.error_code) {
            Ok(()) => return Ok(Versions::new(&response)),
            Err(error) if error.0 == ResponseError::UnsupportedVersion && version > 0 => {
                let known = Versions::new(&response).offered(ApiKey::ApiVersions);
                version = known.map_or(0, |known| known.max).clamp(0, version - 1);
            }
            Err(error) => {
                return Err(WireError::Connect {
                    broker: connection.broker().to_owned(),
                    message: error.to_string(),
                });
            }
        }
    }
}

async fn ask_versions(
    connection: &Connection,
    version: i16,
    limit: Duration,
) -> Result<ApiVersionsResponse, WireError> {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("topicmill"))
        .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
    let frame = connection.send_version(&request, version, limit).await?.frame().await?;
    decode_versions(frame, version).map_err(|message| WireError::Malformed {
        broker: connection.broker().to_owned(),
        api: ApiKey::ApiVersions,
        version,
        message,
    })
}

/// Decodes the answer, which is in version 0 when it says that the version is not supported.
fn decode_versions(mut frame: Bytes, version: i16) -> Result<ApiVersionsResponse, String> {
    decode::<ResponseHeader>(&mut frame, 0).map_err(|e| e.to_string())?;
    let unsupported = frame.len() >= 2 && (&frame[..2]).get_i16() == ResponseError::UnsupportedVersion.code();
    // Some brokers leave the list out then.
    if unsupported && frame.len() < 6 {
        return Ok(ApiVersionsResponse::default().with_error_code(frame.get_i16()));
    }
    let version = if unsupported { 0 } else { version };
    decode(&mut frame, version).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_refuses_the_version_is_read_in_version_0() {
        // Correlation 1, error 35, one entry: ApiVersions (18) in versions 0 to 2.
        let frame = [0, 0, 0, 1, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 2];
        let response = decode_versions(Bytes::copy_from_slice(&frame), 3).unwrap();
        assert_eq!(response.error_code, 35);
        assert_eq!(Versions::new(&response).offered(ApiKey::ApiVersions).unwrap().max, 2);
        let bare = decode_versions(Bytes::copy_from_slice(&frame[..6]), 3).unwrap();
        assert_eq!(bare.error_code, 35);
    }
}
