//! The history of logins: a broker that starts refusing is not treated like one that always
//! refused.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::transport::Address;

/// How long a refusal counts as passing, once a login has worked: credentials may be in the middle
/// of being replaced, a certificate renewed, a token just expired.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(300);

/// A lasting refusal is reported again after this time.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// The outcomes of logins at all brokers.
#[derive(Debug, Default)]
pub struct Logins {
    state: Mutex<LoginsState>,
}

#[derive(Debug, Default)]
struct LoginsState {
    /// Whether any worked.
    worked: bool,
    /// The brokers that refuse.
    refusing: HashMap<Address, Refusing>,
}

#[derive(Debug)]
struct Refusing {
    since: Instant,
    told: Instant,
}

impl Logins {
    /// Notes that a broker let this client in.
    pub fn let_in(&self, address: &Address) {
        let mut state = self.state.lock();
        state.worked = true;
        state.refusing.remove(address);
    }

    /// Notes and reports that a broker refused; returns whether trying again may help.
    pub fn refused(&self, address: &Address, why: &str) -> bool {
        let mut state = self.state.lock();
        if !state.worked {
            return false;
        }
        let now = Instant::now();
        let is_new = !state.refusing.contains_key(address);
        let refusing =
            state.refusing.entry(address.clone()).or_insert_with(|| Refusing { since: now, told: now });
        let again = now - refusing.since < REFUSAL_TIMEOUT;
        if again && (is_new || now - refusing.told >= TELL_INTERVAL) {
            refusing.told = now;
            let (broker, for_) = (address.to_string(), now - refusing.since);
            tracing::warn!(broker, refusing_for = ?for_, why, "a login is refused that worked before; trying again");
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_passes_only_once_a_login_has_worked_and_not_for_ever() {
        let address = |port| Address { host: "broker".to_owned(), port };
        let logins = Logins::default();
        assert!(!logins.refused(&address(1), "a wrong password"));
        logins.let_in(&address(1));
        assert!(logins.refused(&address(2), "a wrong password"));
        tokio::time::advance(REFUSAL_TIMEOUT - Duration::from_secs(1)).await;
        assert!(logins.refused(&address(2), "a wrong password"));
        // Another broker's answer says nothing about this one.
        logins.let_in(&address(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!logins.refused(&address(2), "a wrong password"));
        logins.let_in(&address(2));
        assert!(logins.refused(&address(2), "a wrong password"));
    }
}
