//! How a connection is protected: TLS, and who this client says it is.

use std::io;

use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// What `security.protocol` and its companions ask for.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// TLS, for `SSL` and `SASL_SSL`.
    pub tls: Option<Tls>,
}

/// TLS towards a broker.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Shakes hands with the broker that is known as `host`.
    pub(super) async fn handshake(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        self.connector.connect(name, stream).await
    }
}
