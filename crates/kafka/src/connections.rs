//! The connections to the brokers, one for each purpose. Attempts to reach a broker are shared: a
//! caller that comes while one is in progress, or soon after one that failed, gets its outcome.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use topicmill_mill::backoff::Backoff;

use super::{
    connection::Connection,
    connection_state::{Omen, Watcher},
    error::WireError,
    handshake::Dial,
    throttle::Throttle,
    transport::Address,
};

/// How long an answer may take before the broker is suspected.
const QUIET_AFTER: Duration = Duration::from_secs(2);

/// Why a connection is closed to a broker that is gone.
const DEPARTED: &str = "the broker does not answer and has left the cluster";

/// The same for requests that wait for other members of a group.
const GROUP_QUIET_AFTER: Duration = Duration::from_secs(10);

/// What a connection is for. Each purpose has its own connection to a broker, because answers come
/// in the order of the requests, and one that waits would hold up the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Short questions.
    Control,
    /// Fetch requests, which wait for records.
    Fetch,
    /// Produce requests, which carry many bytes.
    Produce,
    /// Produce requests that may be the reason why a broker closes the connection.
    Suspect,
    /// Group requests, which wait for other members.
    Group,
    /// Heartbeats and commits: the membership depends on them.
    Member,
}

/// Who is notified when a broker misbehaves.
pub type Tell = Box<dyn Fn(i32, Omen) + Send + Sync>;

/// The connections to all brokers, and the attempts to make some.
pub struct Connections {
    dial: Dial,
    reconnect: Backoff,
    /// How long a broker may wait for records.
    fetch_wait: Duration,
    tell: Tell,
    brokers: Mutex<HashMap<i32, Broker>>,
}

/// What is known of reaching one broker.
#[derive(Debug, Default)]
struct Broker {
    slots: HashMap<Lane, ConnectionSlot>,
    down: Option<Down>,
}

/// A broker that could not be reached.
#[derive(Debug)]
struct Down {
    address: Address,
    failures: u32,
    /// No new attempt before this.
    until: Instant,
    error: WireError,
}

/// The slot of one connection.
#[derive(Debug, Default)]
struct ConnectionSlot {
    connection: Option<Connection>,
    attempt: Option<DialAttempt>,
    /// When the attempt began, and how to give it up.
    begun: Option<(Instant, CancellationToken)>,
    throttle: Throttle,
}

/// An open connection, with its broker's number.
pub type Open = (i32, Connection);

type DialAttempt = Shared<BoxFuture<'static, Result<Connection, WireError>>>;

impl Connections {
    /// No connections yet. `tell` is called for brokers that cannot be reached, do not answer, or
    /// close a connection; it must not call back into this.
    pub fn new(dial: Dial, reconnect: Backoff, fetch_wait: Duration, tell: Tell) -> Arc<Connections> {
        Arc::new(Connections { dial, reconnect, fetch_wait, tell, brokers: Mutex::default() })
    }

    /// An open connection to the broker that listens at `address`. Waits for an attempt in
    /// progress, but never for the time of the next one.
    ///
    /// # Errors
    /// What ended the attempt; for a while after one that failed, [`WireError::BackingOff`].
    pub async fn get(
        self: &Arc<Self>,
        broker: i32,
        lane: Lane,
        address: &Address,
    ) -> Result<Connection, WireError> {
        let attempt = {
            let mut brokers = self.brokers.lock();
            let Broker { slots, down } = brokers.entry(broker).or_default();
            let slot = slots.entry(lane).or_default();
            if let Some(connection) = slot.open() {
                return Ok(connection.clone());
            }
            match (&slot.attempt, down) {
                (Some(attempt), _) if attempt.peek().is_none() => attempt.clone(),
                // At another address it may be reachable.
                (_, Some(down)) if down.until > Instant::now() && down.address == *address => {
                    return Err(down.backing_off());
                }
                _ => {
                    let (_, gone) = slot.begun.insert((Instant::now(), CancellationToken::new()));
                    let attempt = self.attempt(broker, lane, address, &slot.throttle, gone.clone());
                    slot.attempt.insert(attempt).clone()
                }
            }
        };
        attempt.await
    }

    /// The open connections for short questions, with the broker's number: those on which a
    /// question is answered at once, and those on which it would wait.
    pub fn open_for_questions(&self) -> (Vec<Open>, Vec<Open>) {
        let answers_at_once = |connection: &Connection| {
            connection.silent_for() < QUIET_AFTER && connection.throttled_until().is_none()
        };
        let brokers = self.brokers.lock();
        let open = brokers
            .iter()
            .filter_map(|(broker, known)| Some((*broker, known.slots.get(&Lane::Control)?.open()?.clone())));
        open.partition(|(_, connection)| answers_at_once(connection))
    }

    /// Closes connections that do not answer to brokers that have left the cluster, and gives up
    /// attempts to make some, so that whatever waits for them learns that now rather than when its
    /// limit passes.
    pub fn close_departed(&self, is_there: impl Fn(i32) -> bool) {
        let departed: Vec<Connection> = {
            let brokers = self.brokers.lock();
            let gone = brokers.iter().filter(|(broker, _)| !is_there(**broker));
            let slots: Vec<_> = gone.flat_map(|(_, known)| known.slots.values()).collect();
            slots.iter().for_each(|slot| slot.give_up());
            let open = slots.into_iter().filter_map(ConnectionSlot::open);
            open.filter(|connection| connection.silent_for() >= QUIET_AFTER).cloned().collect()
        };
        for connection in departed {
            connection.close(DEPARTED);
        }
    }

    /// Closes the connection of one purpose to a broker, if there is one.
    pub fn close(&self, broker: i32, lane: Lane, reason: &str) {
        let open = {
            let brokers = self.brokers.lock();
            brokers.get(&broker).and_then(|known| known.slots.get(&lane)?.open()).cloned()
        };
        if let Some(connection) = open {
            connection.close(reason);
        }
    }

    /// A connection that belongs to no broker yet, for the first questions.
    pub async fn dial(&self, addresses: &[Address]) -> Result<Connection, WireError> {
        self.dial.open_any(addresses).await
    }

    /// Dials in a task of its own: the caller may be dropped, and the outcome counts all the same.
    fn attempt(
        self: &Arc<Self>,
        broker: i32,
        lane: Lane,
        address: &Address,
        throttle: &Throttle,
        gone: CancellationToken,
    ) -> DialAttempt {
        let (this, address) = (Arc::clone(self), address.clone());
        let watcher = self.watcher(broker, lane);
        let throttle = throttle.clone();
        let dialling = tokio::spawn(async move {
            let outcome = tokio::select! {
                outcome = this.dial.open(&address, throttle, Some(watcher)) => outcome,
                () = gone.cancelled() => {
                    Err(WireError::Closed { broker: address.to_string(), reason: DEPARTED.to_owned() })
                }
            };
            this.settle(broker, lane, address, &outcome);
            outcome
        });
        let lost = move |_| {
            let reason = "this program ends".to_owned();
            Err(WireError::Closed { broker: broker.to_string(), reason })
        };
        async move { dialling.await.unwrap_or_else(lost) }.boxed().shared()
    }

    fn settle(&self, broker: i32, lane: Lane, address: Address, outcome: &Result<Connection, WireError>) {
        {
            let mut brokers = self.brokers.lock();
            let Broker { slots, down } = brokers.entry(broker).or_default();
            let slot = slots.entry(lane).or_default();
            (slot.attempt, slot.begun) = (None, None);
            match outcome {
                Ok(connection) => {
                    slot.connection = Some(connection.clone());
                    *down = None;
                }
                Err(error) => {
                    slot.connection = None;
                    *down = Some(self.down(down.take(), address, error.clone()));
                }
            }
        }
        if outcome.is_err() {
            (self.tell)(broker, Omen::Ended);
        }
    }

    /// Attempts for several purposes that fail together count as one failure.
    fn down(&self, before: Option<Down>, address: Address, error: WireError) -> Down {
        let now = Instant::now();
        match before {
            Some(down) if down.until > now => Down { address, error, ..down },
            before => {
                let failures = before.map_or(0, |down| down.failures) + 1;
                Down { address, failures, until: now + self.reconnect.pause(failures), error }
            }
        }
    }

    fn watcher(self: &Arc<Self>, broker: i32, lane: Lane) -> Watcher {
        let quiet = match lane {
            Lane::Control | Lane::Produce | Lane::Suspect | Lane::Member => QUIET_AFTER,
            Lane::Fetch => QUIET_AFTER + self.fetch_wait,
            Lane::Group => GROUP_QUIET_AFTER,
        };
        let this = Arc::downgrade(self);
        let tell = move |omen| {
            if let Some(this) = this.upgrade() {
                (this.tell)(broker, omen);
            }
        };
        Watcher { quiet, tell: Arc::new(tell) }
    }
}

impl ConnectionSlot {
    fn open(&self) -> Option<&Connection> {
        self.connection.as_ref().filter(|connection| !connection.is_closed())
    }

    /// Gives up an attempt that is not answered. One that has only begun may be to a broker that comes back.
    fn give_up(&self) {
        let late = self.begun.as_ref().filter(|(since, _)| since.elapsed() >= QUIET_AFTER);
        late.into_iter().for_each(|(_, gone)| gone.cancel());
    }
}

impl Down {
    fn backing_off(&self) -> WireError {
        let wait = self.until.saturating_duration_since(Instant::now());
        WireError::BackingOff { wait, error: Box::new(self.error.clone()) }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("dial", &self.dial).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use tokio::net::TcpListener;

    use super::*;
    use crate::testing::dial;

    #[tokio::test]
    async fn an_attempt_is_given_up_when_its_broker_has_left_the_cluster() {
        // It takes connections and says nothing, as a process that is stopped.
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = Address::parse(&silent.local_addr().unwrap().to_string()).unwrap();
        let dial = dial(Duration::from_secs(600));
        let connections = Connections::new(dial, Backoff::default(), Duration::ZERO, Box::new(|_, _| {}));
        let (get, others) = (connections.get(1, Lane::Control, &address), Arc::clone(&connections));
        let leaves = async {
            let _taken = silent.accept().await.unwrap();
            others.close_departed(|_| true);
            others.close_departed(|broker| broker != 1);
            tokio::time::sleep(QUIET_AFTER).await;
            others.close_departed(|_| true);
            tokio::task::yield_now().await;
            let is_trying = others.brokers.lock()[&1].slots[&Lane::Control].attempt.is_some();
            assert!(is_trying, "one that is there, or has only been asked, may answer yet");
            others.close_departed(|broker| broker != 1);
            tokio::time::sleep(10 * QUIET_AFTER).await;
        };
        let error = tokio::select! {
            got = get => got.unwrap_err(),
            () = leaves => panic!("it still tries"),
        };
        assert!(error.to_string().ends_with(DEPARTED), "{error}");
    }
}
