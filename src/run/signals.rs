//! SIGINT and SIGTERM: the first drains, the second stops at once.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::exit::Exit;

/// Resolves when `stop` turns true; never when nobody can turn it any more.
pub(crate) async fn asked_to_stop(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Turns `stop` to true at the first signal and ends the process at the second.
pub(crate) fn drain_on_signal(stop: watch::Sender<bool>) {
    // Now, not when the task first runs: no signal may slip in between.
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    tokio::spawn(async move {
        let (Ok(mut interrupts), Ok(mut terminations)) = signals else {
            tracing::error!("no signal handler could be installed; a signal stops at once");
            // Keeping the sender keeps the run going.
            return std::future::pending().await;
        };
        loop {
            let exit = tokio::select! {
                _ = interrupts.recv() => Exit::Interrupted,
                _ = terminations.recv() => Exit::Terminated,
            };
            if stop.send_replace(true) {
                std::process::exit(exit as i32);
            }
            tracing::info!(
                "draining: what is under way is finished and committed; a second signal stops at once"
            );
        }
    });
}
