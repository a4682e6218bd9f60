//! Attempts side by side, each starting a little after the one before (RFC 8305).

use std::{future::Future, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until};

/// How long an attempt has for itself before the next one begins (RFC 8305, 5).
pub const STAGGER_DELAY: Duration = Duration::from_millis(250);

/// The outcome of the first attempt that succeeds. The next one begins when the last one fails or
/// has taken [`STAGGER_DELAY`]; the others are given up once one succeeds.
///
/// # Errors
/// When all fail, the error of each, in the order in which they failed.
pub async fn first<T, E, F>(attempts: Vec<F>) -> Result<T, Vec<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut attempts = attempts.into_iter().peekable();
    let mut running = FuturesUnordered::new();
    let mut errors = Vec::new();
    let mut next = Instant::now();
    loop {
        let more = attempts.peek().is_some();
        if !more && running.is_empty() {
            return Err(errors);
        }
        tokio::select! {
            biased;
            Some(outcome) = running.next() => match outcome {
                Ok(success) => return Ok(success),
                Err(error) => {
                    errors.push(error);
                    next = Instant::now();
                }
            },
            () = sleep_until(next), if more => {
                running.extend(attempts.next());
                next = Instant::now() + STAGGER_DELAY;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    /// Succeeds or fails after a time, or never does.
    async fn attempt(name: &str, after: Option<u64>, succeeds: bool) -> Result<&str, &str> {
        match after {
            Some(millis) => sleep(Duration::from_millis(millis)).await,
            None => std::future::pending().await,
        }
        if succeeds { Ok(name) } else { Err(name) }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_silent_delays_the_next_by_little() {
        let start = Instant::now();
        let attempts = [attempt("silent", None, true), attempt("well", Some(10), true)];
        assert_eq!(first(attempts.into()).await, Ok("well"));
        assert_eq!(start.elapsed(), STAGGER_DELAY + Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_lets_the_next_begin_at_once() {
        let start = Instant::now();
        let attempts =
            [attempt("a", Some(5), false), attempt("b", Some(5), false), attempt("c", Some(5), true)];
        assert_eq!(first(attempts.into()).await, Ok("c"));
        assert_eq!(start.elapsed(), Duration::from_millis(15));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_one_may_still_win() {
        let attempts = [attempt("slow", Some(400), true), attempt("silent", None, true)];
        assert_eq!(first(attempts.into()).await, Ok("slow"));
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_failed_say_why() {
        let attempts = [attempt("a", Some(900), false), attempt("b", Some(5), false)];
        assert_eq!(first(attempts.into()).await, Err(vec!["b", "a"]));
        assert_eq!(first(Vec::<std::future::Ready<Result<(), ()>>>::new()).await, Err(vec![]));
    }
}
