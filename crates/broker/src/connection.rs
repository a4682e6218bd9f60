//! The listener and its connections: requests of one connection are answered one after the other.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use super::{
    core::Core,
    dispatch::{RequestError, answer},
    frame,
    session::Session,
};

/// The most connections that may be open.
const MAX_CONNECTIONS: usize = 1024;

/// The longest time that a client may take to read an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// The read buffer of a connection; longer requests are read past it.
const READ_BUFFER: usize = 32 << 10;

/// Serves until the sender of `closed` is dropped; each change of it closes all connections.
pub async fn serve(listener: TcpListener, core: Arc<Core>, closed: watch::Receiver<u64>) {
    let mut connections = JoinSet::new();
    let mut stopped = closed.clone();
    let stop = async move { while stopped.changed().await.is_ok() {} };
    tokio::pin!(stop);
    // Ends with this function, which drops it.
    let mut clock = JoinSet::new();
    let timed = Arc::clone(&core);
    clock.spawn(async move { timed.groups.keep_time().await });
    let timed = Arc::clone(&core);
    clock.spawn(async move { timed.transactions.keep_time(&timed).await });
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, remote)) if connections.len() < MAX_CONNECTIONS => {
                    let mut closed = closed.clone();
                    let core = Arc::clone(&core);
                    core.seen.connection();
                    closed.borrow_and_update();
                    connections.spawn(async move {
                        tokio::select! {
                            _ = closed.changed() => {}
                            () = converse(stream, remote, &core) => {}
                        }
                    });
                }
                Ok((_, remote)) => tracing::warn!(%remote, MAX_CONNECTIONS, "too many connections"),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    connections.shutdown().await;
}

/// Answers the requests of one connection until it ends.
async fn converse(stream: TcpStream, remote: SocketAddr, core: &Core) {
    let Ok(local) = stream.local_addr() else { return };
    // An answer is written at once, without waiting for more.
    let _ = stream.set_nodelay(true);
    let (reader, mut writer) = stream.into_split();
    let mut session = Session::new(local, remote);
    let mut reader = BufReader::with_capacity(READ_BUFFER, reader);
    loop {
        let request = match frame::read(&mut reader, core.max_request_bytes()).await {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%remote, %error, "a connection broke");
                return;
            }
        };
        let mut response = match answer(core, &mut session, request).await {
            Ok(response) => response.unwrap_or_default(),
            Err(RequestError::Fault) => return,
            Err(error) => {
                tracing::warn!(%remote, %error, "a connection is closed");
                return;
            }
        };
        match tokio::time::timeout(WRITE_TIMEOUT, writer.write_all_buf(&mut response)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%remote, %error, "a connection broke");
                return;
            }
            Err(_) => {
                tracing::warn!(%remote, "a connection is closed: its client does not read");
                return;
            }
        }
        if session.ends {
            return;
        }
        if !session.mute.is_zero() {
            tokio::time::sleep(session.mute).await;
        }
    }
}
