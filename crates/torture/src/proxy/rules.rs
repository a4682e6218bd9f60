//! What a proxy does to what passes through it.

use std::{
    collections::BTreeMap,
    net::{Shutdown, TcpStream},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::frame::{END_TXN, Request};

/// A way through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a client to a node.
    Up,
    /// From a node to a client.
    Down,
}

/// Which connections are meant; `None` is any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// The client id.
    pub client: Option<String>,
    /// The node's number.
    pub node: Option<usize>,
}

impl Which {
    fn is(&self, client: &str, node: usize) -> bool {
        self.client.as_deref().is_none_or(|wanted| wanted == client)
            && self.node.is_none_or(|wanted| wanted == node)
    }
}

/// What is done to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The connection is cut, and the request reaches the node later, by another.
    Delay(Duration),
    /// The request waits until the rules are cleared, and then reaches the node, whether its client is still there or
    /// not.
    Hold,
    /// The request reaches the node; its connection is cut before the answer.
    LoseAnswer,
    /// An EndTxn request to commit is not forwarded but answered with this error.
    Refuse(i16),
    /// An EndTxn request to commit reaches the node as one to abort, and the answer is this error.
    AbortAndTell(i16),
    /// An EndTxn request to commit reaches the node as one to abort, whose answer says that all is well.
    AbortInstead,
    /// From this request on, nothing passes between any client and its node, in either direction; whether the
    /// request itself still reaches the node.
    Isolate {
        /// It does; its answer waits.
        reached: bool,
    },
}

/// Requests to be meddled with.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Those of this kind.
    pub api: i16,
    /// On these connections.
    pub which: Which,
    /// Every so many of them; 1 is each.
    pub every: u64,
    /// What is done.
    pub action: Action,
}

impl Rule {
    fn is_about(&self, request: &Request, node: usize) -> bool {
        self.api == request.api && self.which.is(&request.client, node)
    }
}

/// A connection through a proxy.
#[derive(Debug)]
pub(super) struct Connection {
    pub node: usize,
    pub client: Mutex<String>,
    /// Both ends, to be shut.
    pub ends: [TcpStream; 2],
}

impl Connection {
    pub fn cut(&self) {
        // It may be cut already.
        self.ends.iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
    }
}

/// The rules of some proxies, which can be changed at any time.
#[derive(Debug, Default)]
pub struct Rules(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    connections: Vec<Weak<Connection>>,
    silent: Vec<(Which, Direction)>,
    /// Bytes per second up, of all connections together.
    rate: Option<u64>,
    /// When the next byte may go up.
    free: Option<Instant>,
    rules: Vec<(Rule, u64)>,
    /// How often a request was meddled with.
    struck: u64,
    /// How many requests that were held reached the node.
    released: u64,
    /// EndTxn requests of transactions version 1, and of version 2.
    ends: (u64, u64),
    /// The node that was isolated last.
    isolated: Option<usize>,
    /// What delayed requests were answered with in the end.
    late_answers: BTreeMap<i16, u64>,
}

impl Rules {
    /// Cuts connections, wherever in a request or an answer they are; how many.
    pub fn cut(&self, which: &Which) -> u64 {
        let mut connections: Vec<_> = self.0.lock().connections.iter().filter_map(Weak::upgrade).collect();
        connections.retain(|connection| which.is(&connection.client.lock(), connection.node));
        connections.iter().for_each(|connection| connection.cut());
        connections.len() as u64
    }

    /// Lets nothing through any more in one direction; what is sent waits.
    pub fn silence(&self, which: Which, direction: Direction) {
        self.0.lock().silent.push((which, direction));
    }

    /// Limits what goes up, in bytes per second of all connections together.
    pub fn throttle(&self, rate: u64) {
        self.0.lock().rate = Some(rate);
    }

    /// Meddles with requests.
    pub fn meddle(&self, rule: Rule) {
        self.0.lock().rules.push((rule, 0));
    }

    /// Lets everything through again.
    pub fn clear(&self) {
        let mut state = self.0.lock();
        state.silent.clear();
        state.rate = None;
        state.rules.clear();
        state.isolated = None;
    }

    /// How often requests were meddled with since the last time that this was asked.
    pub fn struck(&self) -> u64 {
        std::mem::take(&mut self.0.lock().struck)
    }

    /// How many requests that were held have reached the node since the last time that this was asked.
    pub fn released(&self) -> u64 {
        std::mem::take(&mut self.0.lock().released)
    }

    /// The errors by which requests that were delayed were answered in the end, and how often, since
    /// the last time that this was asked. Known for EndTxn only.
    pub fn late_answers(&self) -> BTreeMap<i16, u64> {
        std::mem::take(&mut self.0.lock().late_answers)
    }

    /// How many transactions were to be ended in version 1, and in version 2, since the last time that
    /// this was asked.
    pub fn ends(&self) -> (u64, u64) {
        std::mem::take(&mut self.0.lock().ends)
    }

    /// The node that a request isolated since the last time that this was asked.
    pub fn isolated(&self) -> Option<usize> {
        self.0.lock().isolated.take()
    }

    pub(super) fn register(&self, connection: &Arc<Connection>) {
        let mut state = self.0.lock();
        state.connections.retain(|connection| connection.strong_count() > 0);
        state.connections.push(Arc::downgrade(connection));
    }

    /// Whether a request is to wait.
    pub(super) fn holds(&self, request: &Request, node: usize) -> bool {
        let state = self.0.lock();
        state.rules.iter().any(|(rule, _)| rule.action == Action::Hold && rule.is_about(request, node))
    }

    pub(super) fn is_silent(&self, client: &str, node: usize, direction: Direction) -> bool {
        let state = self.0.lock();
        state.silent.iter().any(|(which, silent)| *silent == direction && which.is(client, node))
    }

    /// How long so many bytes must wait before they go up.
    pub(super) fn wait(&self, bytes: usize) -> Duration {
        let mut state = self.0.lock();
        let Some(rate) = state.rate else { return Duration::ZERO };
        let now = Instant::now();
        let free = state.free.filter(|&free| free > now).unwrap_or(now);
        state.free = Some(free + Duration::from_secs_f64(bytes as f64 / rate as f64));
        free - now
    }

    /// What is done to this request, if anything; a node that it isolates is isolated on return. `commits` is asked of
    /// EndTxn requests alone.
    pub(super) fn action(&self, request: &Request, node: usize, commits: bool) -> Option<Action> {
        let mut state = self.0.lock();
        let mut taken = None;
        if request.api == END_TXN {
            // A client asks in this version when the cluster is in version 2 (KIP-890).
            let (first, second) = &mut state.ends;
            *if request.version >= 5 { second } else { first } += 1;
        }
        for (rule, count) in &mut state.rules {
            if rule.is_about(request, node) && (commits || request.api != END_TXN) {
                *count += 1;
                if count.is_multiple_of(rule.every) {
                    taken = Some(rule.action);
                    break;
                }
            }
        }
        state.struck += u64::from(taken.is_some());
        if let Some(Action::Isolate { .. }) = taken {
            let which = Which { client: None, node: Some(node) };
            state.silent.extend([Direction::Up, Direction::Down].map(|direction| (which.clone(), direction)));
            state.isolated = Some(node);
            // It has done its work: one node at a time.
            state.rules.retain(|(rule, _)| !matches!(rule.action, Action::Isolate { .. }));
        }
        taken
    }

    pub(super) fn release(&self) {
        self.0.lock().released += 1;
    }

    pub(super) fn answered_late(&self, error: i16) {
        *self.0.lock().late_answers.entry(error).or_default() += 1;
    }
}
