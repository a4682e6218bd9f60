//! Retrying until a deadline.

use std::future::Future;

use tokio::time::{Instant, sleep, timeout_at};
use topicmill_mill::{
    backoff::Backoff,
    engine::{EngineError, ErrorKind},
};

/// Calls `attempt` until it succeeds, fails for good, or `deadline` passes.
///
/// # Errors
/// A fatal error as it is; otherwise the last retriable one, or one that names `what` when a single
/// attempt took all the time.
pub async fn retry<T, F: Future<Output = Result<T, EngineError>>>(
    what: &str,
    backoff: Backoff,
    deadline: Instant,
    mut attempt: impl FnMut() -> F,
) -> Result<T, EngineError> {
    let mut last = None;
    for failures in 1.. {
        let error = match timeout_at(deadline, attempt()).await {
            Ok(Err(error)) if error.kind == ErrorKind::Retriable => error,
            Ok(result) => return result,
            Err(_) => break,
        };
        let pause = backoff.pause(failures);
        if Instant::now() + pause >= deadline {
            return Err(error);
        }
        tracing::debug!(%error, ?pause, "{what}: trying again");
        last = Some(error);
        sleep(pause).await;
    }
    Err(last.unwrap_or_else(|| EngineError::new(ErrorKind::Retriable, format!("{what}: no answer in time"))))
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_millis(1), most: Duration::from_millis(8) };

    #[test]
    fn pauses_double_up_to_the_limit() {
        for (failures, expected) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (1000, 8)] {
            let pause = BACKOFF.pause(failures).as_secs_f64() * 1000.0;
            let expected = f64::from(expected);
            assert!((expected * 0.79..expected * 1.21).contains(&pause), "{failures}: {pause} ms");
        }
    }

    #[tokio::test]
    async fn only_retriable_errors_are_tried_again() {
        let calls = Cell::new(0);
        let attempt = |kind: ErrorKind, until: u32| {
            let calls = &calls;
            move || {
                calls.set(calls.get() + 1);
                let failing = calls.get() < until;
                async move { if failing { Err(EngineError::new(kind, "no")) } else { Ok(()) } }
            }
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        retry("it", BACKOFF, deadline, attempt(ErrorKind::Retriable, 4)).await.unwrap();
        assert_eq!(calls.take(), 4);
        let error = retry("it", BACKOFF, deadline, attempt(ErrorKind::Fatal, 4)).await.unwrap_err();
        assert_eq!((calls.take(), error.kind), (1, ErrorKind::Fatal));
    }
}
