//! `broker`: the embedded broker alone, until a signal stops it.

use std::io::{self, Write};

use tokio::signal::unix::{SignalKind, signal};

pub(crate) use topicmill_broker::*;

/// Serves until SIGINT or SIGTERM; prints the address on standard output once it listens.
///
/// # Errors
/// When the address cannot be bound or signals cannot be awaited.
pub(crate) async fn run(settings: BrokerSettings) -> io::Result<()> {
    // Before anyone learns that it serves, so that no signal ends it without a farewell.
    let (mut interrupts, mut terminations) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let address = settings.listen;
    let broker = Broker::start(settings).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error} (--listen)"))
    })?;
    // Nobody may be reading; the broker serves all the same.
    let _ = writeln!(io::stdout(), "listening on {}", broker.address());
    tokio::select! {
        _ = interrupts.recv() => {}
        _ = terminations.recv() => {}
    }
    broker.stop().await;
    Ok(())
}
