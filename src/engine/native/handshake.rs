//! From an address to a connection that is ready: connect, agree on versions, authenticate.

use std::time::Duration;

use bytes::{Buf, Bytes};
use kafka_protocol::{
    ResponseError,
    messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, ResponseHeader},
    protocol::{Decodable, StrBytes},
};

use super::{
    connection::Connection,
    error::{WireError, check},
    sasl::authenticate,
    security::Security,
    transport::{self, Address},
    versions::Versions,
};

/// How to connect to any broker of a cluster.
#[derive(Clone, Debug)]
pub struct Dial {
    /// What the brokers know this client as, in their logs and quotas.
    pub client_id: String,
    /// The limit of connecting, agreeing and authenticating together.
    pub connect_timeout: Duration,
    /// The limit of a request, unless it has its own.
    pub request_timeout: Duration,
    /// TLS and SASL.
    pub security: Security,
}

impl Dial {
    /// A connection that is ready for requests.
    ///
    /// # Errors
    /// [`WireError::Connect`], `Authentication`, or whatever ends the connection early.
    pub async fn open(&self, address: &Address) -> Result<Connection, WireError> {
        let opening = async {
            let (read, write) =
                transport::open(address, self.security.tls.as_ref(), self.connect_timeout).await?;
            let connection =
                Connection::new(read, write, address.to_string(), &self.client_id, self.request_timeout);
            let agreed = agree(&connection, self.connect_timeout).await;
            agreed.map_err(|error| self.refused(error))?;
            if let Some(sasl) = &self.security.sasl {
                let lifetime = authenticate(&connection, sasl, self.connect_timeout).await?;
                connection.set_lifetime(lifetime);
            }
            Ok(connection)
        };
        tokio::time::timeout(self.connect_timeout, opening).await.unwrap_or_else(|_| {
            let message = format!("the broker is not ready within {:?}", self.connect_timeout);
            Err(WireError::Connect { broker: address.to_string(), message })
        })
    }
}

impl Dial {
    /// With TLS 1.3, a broker that wants another client certificate, or one at all, says so only
    /// after the handshake, by an alert in place of its first answer.
    fn refused(&self, error: WireError) -> WireError {
        match error {
            WireError::Closed { broker, reason }
                if self.security.tls.is_some() && reason.contains("fatal alert") =>
            {
                WireError::Authentication { broker, message: format!("TLS: {reason}") }
            }
            error => error,
        }
    }
}

/// Learns what the broker offers. One that does not know our version of the question answers in
/// version 0 with an error, and names the versions that it knows (KIP-511).
async fn agree(connection: &Connection, limit: Duration) -> Result<(), WireError> {
    let mut version = 3;
    loop {
        let response = ask_versions(connection, version, limit).await?;
        match check(response.error_code) {
            Ok(()) => {
                connection.set_versions(Versions::new(&response));
                return Ok(());
            }
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
    ResponseHeader::decode(&mut frame, 0).map_err(|e| e.to_string())?;
    let unsupported = frame.len() >= 2 && (&frame[..2]).get_i16() == ResponseError::UnsupportedVersion.code();
    // Some brokers leave the list out then.
    if unsupported && frame.len() < 6 {
        return Ok(ApiVersionsResponse::default().with_error_code(frame.get_i16()));
    }
    let version = if unsupported { 0 } else { version };
    ApiVersionsResponse::decode(&mut frame, version).map_err(|e| e.to_string())
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
