//! Exactly once: the times that have to fit into `transaction.timeout.ms`, after which the coordinator aborts a
//! transaction that is open.

use std::time::Duration;

use tracing::warn;

use super::{keys, rules, settings::Settings};
use crate::{backoff::Backoff, delivery::DeliveryKind, engine::ClientSettings};

/// How often transactions are committed unless it is set.
const COMMIT_INTERVAL: Duration = Duration::from_millis(100);

/// `transaction.timeout.ms` unless it is set.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The part of the timeout after which this process aborts a transaction of its own accord: it is read again then,
/// while one that the coordinator aborts is found out about only later.
pub(crate) const LIMIT_SHARE: f64 = 0.8;

/// Exactly once, readers wait for the next commit, so it comes sooner unless it is set.
pub(super) fn commit_interval(
    settings: &mut Settings,
    delivery: DeliveryKind,
    client: &ClientSettings,
) -> Duration {
    let interval = rules::bounded(settings, &keys::COMMIT_INTERVAL);
    match delivery {
        DeliveryKind::AtLeastOnce => interval,
        DeliveryKind::ExactlyOnce if !settings.is_given(&keys::COMMIT_INTERVAL) => COMMIT_INTERVAL,
        DeliveryKind::ExactlyOnce => {
            if interval > timeout(client) / 4 {
                let message = "must be at most a quarter of transaction.timeout.ms, exactly once";
                settings.reject(&keys::COMMIT_INTERVAL, message);
            }
            interval
        }
    }
}

/// How often a dead letter is tried. Exactly once all of it has to happen within a transaction: were one aborted in
/// between, the partition would never be stopped for the letter, and everything would be read again and again.
pub(super) fn retries(settings: &mut Settings, delivery: DeliveryKind, client: &ClientSettings) -> u32 {
    let retries = rules::retries(settings);
    let limit = timeout(client).mul_f64(LIMIT_SHARE / 2.0);
    // More than fit in any case.
    let attempts = retries.min(10_000);
    let waits: Duration = (1..=attempts).map(|failures| Backoff::default().steady(failures)).sum();
    if delivery == DeliveryKind::ExactlyOnce && waits > limit {
        let message = format!(
            "must fit into transaction.timeout.ms, exactly once: the pauses between {retries} retries are \
             {waits:?}, and there is time for {limit:?}"
        );
        settings.reject(&keys::RETRIES, message);
    }
    retries
}

/// Whether a source is read whatever becomes of the transactions that its records are in.
pub(crate) fn reads_uncommitted(client: &ClientSettings) -> bool {
    let isolation = client.properties.get("isolation.level");
    isolation.is_some_and(|level| level.eq_ignore_ascii_case("read_uncommitted"))
}

/// Warns of a source whose records may be taken back.
pub(super) fn warn_of_uncommitted(delivery: DeliveryKind, client: &ClientSettings) {
    if delivery == DeliveryKind::ExactlyOnce && reads_uncommitted(client) {
        warn!(
            "[kafka] isolation.level: read_uncommitted reads what its producer may abort later, and exactly once \
             makes committed output of it; read_committed waits for the producer's commit"
        );
    }
}

/// A value that cannot be is reported with the property, and nothing that follows from it.
fn timeout(client: &ClientSettings) -> Duration {
    let given = client.properties.get("transaction.timeout.ms").and_then(|text| text.parse().ok());
    let possible = given.filter(|millis| (1000..=i32::MAX as u64).contains(millis));
    possible.map_or(TIMEOUT, Duration::from_millis)
}
