//! SIGINT, SIGTERM and SIGHUP: the first drains, the second stops at once.

use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

/// Signals within this time of the first count as one with it: `timeout` signals the process and
/// then its process group, and a closing terminal may send several kinds.
const ONE_SIGNAL: Duration = Duration::from_millis(500);

/// Cancels `stop` at the first signal and ends the process at the second.
pub(crate) fn drain_on_signal(stop: CancellationToken) {
    // Now rather than when the task first runs: no signal may slip in between.
    let signals =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()));
    tokio::spawn(async move {
        let (Ok(mut interrupts), Ok(mut terminations), Ok(mut hang_ups)) = signals else {
            tracing::error!("no signal handler could be installed; a signal stops at once");
            return;
        };
        let mut asked = Asked::default();
        loop {
            let exit = tokio::select! {
                _ = interrupts.recv() => Exit::Interrupted,
                _ = terminations.recv() => Exit::Terminated,
                _ = hang_ups.recv() => Exit::HungUp,
            };
            match asked.again(Instant::now()) {
                Ask::Drain => {
                    stop.cancel();
                    tracing::info!(
                        "stopping: what is under way is finished first; a second signal stops at once"
                    );
                }
                Ask::Same => {}
                Ask::Stop => std::process::exit(exit as i32),
            }
        }
    });
}

/// What the signals so far have asked for.
#[derive(Debug, Default)]
struct Asked {
    first: Option<Instant>,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Drain,
    /// What was asked for already.
    Same,
    Stop,
}

impl Asked {
    fn again(&mut self, now: Instant) -> Ask {
        match self.first {
            None => {
                self.first = Some(now);
                Ask::Drain
            }
            Some(first) if now.duration_since(first) < ONE_SIGNAL => Ask::Same,
            Some(_) => Ask::Stop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_come_together_count_as_one() {
        let start = Instant::now();
        let mut asked = Asked::default();
        assert_eq!(asked.again(start), Ask::Drain);
        assert_eq!(asked.again(start + ONE_SIGNAL / 2), Ask::Same);
        assert_eq!(asked.again(start + ONE_SIGNAL), Ask::Stop);
    }
}
