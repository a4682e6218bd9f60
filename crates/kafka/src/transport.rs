//! The socket below a connection: TCP, with TLS where the settings ask for it.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{error::WireError, race, security::Tls, settings::Family};

/// An idle connection is probed after this time: well before gateways forget it, some of which do
/// so after a few minutes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// The time between two unanswered probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

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
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                host.parse::<Ipv6Addr>().ok()?;
                (
                    host,
                    rest.strip_prefix(':')
                        .map_or_else(|| rest.is_empty().then_some(9092), |p| p.parse().ok())?,
                )
            }
            None if text.parse::<Ipv6Addr>().is_ok() => (text, 9092),
            None => match text.split_once(':') {
                Some((host, port)) => (host, port.parse().ok()?),
                None => (text, 9092),
            },
        };
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

/// How sockets are opened.
#[derive(Clone, Debug)]
pub(super) struct Sockets {
    pub family: Family,
    /// How long sent bytes may stay without an acknowledgement by the other host (RFC 5482).
    pub user_timeout: Duration,
    /// Which address of a name answered last: it is tried first.
    pub good: Arc<Mutex<HashMap<Address, IpAddr>>>,
}

impl Sockets {
    /// Sockets that give up on a host that acknowledges nothing for `user_timeout`.
    pub fn new(family: Family, user_timeout: Duration) -> Sockets {
        Sockets { family, user_timeout, good: Arc::default() }
    }

    /// Connects, and shakes hands over TLS when `tls` is given, within `limit` in all.
    pub async fn open(
        &self,
        address: &Address,
        tls: Option<&Tls>,
        limit: Duration,
    ) -> Result<(ReadHalf, WriteHalf), WireError> {
        let connecting = async {
            let stream = self.connect(address).await?;
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
                return Err(WireError::Authentication {
                    broker,
                    message: format!("TLS: {error}"),
                    again: false,
                });
            }
            Ok(Err(error)) => message_of(&error, tls.is_some()),
            Err(_) => format!("no connection within {limit:?}"),
        };
        Err(WireError::Connect { broker, message })
    }

    /// Connects to whichever of the name's addresses answers first, trying them side by side.
    async fn connect(&self, address: &Address) -> io::Result<TcpStream> {
        let found = lookup_host((address.host.as_str(), address.port)).await?;
        let found = found.filter(|found| self.family.takes(found.ip()));
        let last_good = self.good.lock().get(address).copied();
        let ordered = in_order(found, last_good);
        if ordered.is_empty() {
            let text = format!("the name has no address of the family {:?}", self.family);
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        let attempts = ordered.into_iter().map(|found| connect_to(found).boxed());
        let (stream, ip) =
            race::first(attempts.collect::<Vec<_>>()).await.map_err(|errors: Vec<io::Error>| {
                errors.into_iter().next().unwrap_or_else(|| io::ErrorKind::NotFound.into())
            })?;
        self.good.lock().insert(address.clone(), ip);
        self.keep_alive(&stream)?;
        Ok(stream)
    }

    /// Keeps gateways from forgetting the connection, and notices when the host is gone.
    fn keep_alive(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
        socket.set_tcp_keepalive(&keepalive)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(self.user_timeout))?;
        Ok(())
    }
}

async fn connect_to(address: SocketAddr) -> io::Result<(TcpStream, IpAddr)> {
    Ok((TcpStream::connect(address).await?, address.ip()))
}

impl Family {
    fn takes(self, address: IpAddr) -> bool {
        match self {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        }
    }
}

/// The order in which addresses are tried: the last good one first, then the two families in turn,
/// as the resolver sorted them (RFC 8305, 4).
fn in_order(found: impl Iterator<Item = SocketAddr>, last_good: Option<IpAddr>) -> Vec<SocketAddr> {
    let mut found: Vec<_> = found.collect();
    found.dedup();
    let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let turns = first.len().max(second.len());
    let mut ordered: Vec<_> =
        (0..turns).flat_map(|i| [first.get(i), second.get(i)]).flatten().copied().collect();
    // Stable: the rest stays as it is.
    ordered.sort_by_key(|address| Some(address.ip()) != last_good);
    ordered
}

/// Whether one side does not accept the other's certificate.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)))
}

fn message_of(error: &io::Error, is_tls: bool) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let is_no_tls = matches!(tls, Some(rustls::Error::InvalidMessage(_)))
        || (is_tls && error.kind() == io::ErrorKind::UnexpectedEof);
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ if is_no_tls => format!("{error}; the port may not speak TLS: is security.protocol right?"),
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
        assert_eq!(read("[fe80::1]"), Some(("fe80::1".into(), 9092)));
        // Without brackets it is unclear where the port begins.
        assert_eq!(read("::1"), Some(("::1".into(), 9092)));
        assert_eq!(read("2001:db8::7:9092"), Some(("2001:db8::7:9092".into(), 9092)));
    }

    #[test]
    fn families_take_turns_and_the_last_good_address_comes_first() {
        let parse = |text: &[&str]| -> Vec<SocketAddr> { text.iter().map(|a| a.parse().unwrap()).collect() };
        let found = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        let expected = parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(in_order(found.clone().into_iter(), None), expected);
        let expected = parse(&["[::3]:1", "[::1]:1", "1.1.1.1:1", "[::2]:1"]);
        assert_eq!(in_order(found.into_iter(), Some("::3".parse().unwrap())), expected);
    }

    #[tokio::test]
    async fn a_connection_is_kept_alive() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
        let sockets = Sockets::new(Family::V4, Duration::from_secs(60));
        let stream = sockets.connect(&address).await.unwrap();
        assert!(SockRef::from(&stream).keepalive().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(SockRef::from(&stream).tcp_user_timeout().unwrap(), Some(Duration::from_secs(60)));
        let error = Sockets::new(Family::V6, Duration::from_secs(60)).connect(&address).await.unwrap_err();
        assert!(error.to_string().contains("family V6"), "{error}");
    }
}
