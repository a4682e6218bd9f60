//! `broker`: the embedded broker alone, until it is told to stop.

use std::io::{self, Write};

use tokio::signal;

use super::{Broker, BrokerSettings};

/// Serves until SIGINT or SIGTERM; the address is told on standard output once it listens.
///
/// # Errors
/// When the address cannot be bound or signals cannot be awaited.
pub async fn run(settings: BrokerSettings) -> io::Result<()> {
    let mut terminated = signal::unix::signal(signal::unix::SignalKind::terminate())?;
    let broker = Broker::start(settings).await?;
    // Nobody may be reading; the broker serves all the same.
    let _ = writeln!(io::stdout(), "listening on {}", broker.address());
    tokio::select! {
        interrupted = signal::ctrl_c() => interrupted?,
        _ = terminated.recv() => {}
    }
    broker.stop().await;
    Ok(())
}
