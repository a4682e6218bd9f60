//! The socket below a connection: TCP, with TLS where the settings ask for it.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use super::{error::WireError, security::Tls};

/// The reading half of a socket.
pub(super) type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;

/// The writing half of a socket.
pub(super) type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The host's name or IP address, an IPv6 one without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Address {
    /// Reads `host:port`, `[::1]:port` or `host` with Kafka's port 9092; a listener's name in
    /// front (`PLAINTEXT://`) is left out.
    pub fn parse(text: &str) -> Option<Address> {
        let text = text.trim();
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => (host, port.parse().ok()?),
            _ => (text, 9092),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (!host.is_empty()).then(|| Address { host: host.to_owned(), port })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Connects, and shakes hands over TLS when `tls` is given, within `limit` in all.
pub(super) async fn open(
    address: &Address,
    tls: Option<&Tls>,
    limit: Duration,
) -> Result<(ReadHalf, WriteHalf), WireError> {
    let connecting = async {
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        stream.set_nodelay(true)?;
        match tls {
            Some(tls) => {
                let (read, write) = tokio::io::split(tls.handshake(&address.host, stream).await?);
                Ok((Box::new(read) as ReadHalf, Box::new(write) as WriteHalf))
            }
            None => {
                let (read, write) = stream.into_split();
                Ok((Box::new(read) as ReadHalf, Box::new(write) as WriteHalf))
            }
        }
    };
    let broker = address.to_string();
    let message = match timeout(limit, connecting).await {
        Ok(Ok(halves)) => return Ok(halves),
        Ok(Err(error)) if is_refusal(&error) => {
            return Err(WireError::Authentication { broker, message: format!("TLS: {error}") });
        }
        Ok(Err(error)) => message_of(&error),
        Err(_) => format!("no connection within {limit:?}"),
    };
    Err(WireError::Connect { broker, message })
}

/// Whether one side does not accept the other's certificate, which no second attempt changes.
fn is_refusal(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)))
}

fn message_of(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_kafka_users_write_them() {
        let read = |text| Address::parse(text).map(|address| (address.host, address.port));
        assert_eq!(read("localhost:19092"), Some(("localhost".into(), 19092)));
        assert_eq!(read("SSL://broker.example:9093"), Some(("broker.example".into(), 9093)));
        assert_eq!(read("[::1]:9092"), Some(("::1".into(), 9092)));
        assert_eq!(read("broker"), Some(("broker".into(), 9092)));
        assert_eq!(read("broker:port"), None);
        assert_eq!(read(":9092"), None);
        assert_eq!(Address::parse("[::1]:9092").unwrap().to_string(), "[::1]:9092");
    }
}
