//! A TCP proxy whose connections can be cut.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::watch,
};

/// Forwards every connection to one address until the runtime ends.
pub struct Proxy {
    cut: watch::Sender<()>,
}

impl Proxy {
    /// Listens on `port` of this machine for `target`.
    pub fn start(runtime: &Runtime, port: u16, target: SocketAddr) -> Proxy {
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", port))).unwrap();
        let (cut, cuts) = watch::channel(());
        runtime.spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut cuts = cuts.clone();
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Proxy { cut }
    }

    /// Closes every connection, wherever in a request or an answer it is.
    pub fn cut(&self) {
        self.cut.send_replace(());
    }
}
