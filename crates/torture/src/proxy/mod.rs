//! A proxy before a node, which can cut, hold back, slow down and change what passes.
//!
//! Plain threads: two for each connection, which are few.

pub mod frame;
mod rules;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread,
    time::Duration,
};

use frame::{END_TXN, Frame, Request};
use parking_lot::Mutex;
use rules::Connection;
pub use rules::{Action, Direction, Rule, Rules, Which};
use socket2::{Domain, Socket, Type};

/// How often a connection that is held up looks whether it may go on.
const LOOK: Duration = Duration::from_millis(10);

/// How long a request that was delayed waits for its answer.
const LATE_ANSWER: Duration = Duration::from_secs(10);

/// The bytes that pass at once.
const CHUNK: usize = 16 << 10;

/// Listens for one node until it is dropped; connections live until either end closes them.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    rules: Arc<Rules>,
    ended: Arc<AtomicBool>,
}

impl Proxy {
    /// Listens on `port` of this machine, 0 being any, for the node of this number at `target`.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start(port: u16, node: usize, target: SocketAddr, rules: Arc<Rules>) -> io::Result<Proxy> {
        Proxy::start_to(port, node, Target { address: target, from: None }, rules)
    }

    /// As [`start`](Proxy::start); the node can tell what comes by the proxy from what does not by its
    /// address, `from`.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start_from(
        from: Ipv4Addr,
        port: u16,
        node: usize,
        target: SocketAddr,
        rules: Arc<Rules>,
    ) -> io::Result<Proxy> {
        Proxy::start_to(port, node, Target { address: target, from: Some(from) }, rules)
    }

    fn start_to(port: u16, node: usize, target: Target, rules: Arc<Rules>) -> io::Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let (address, ended) = (listener.local_addr()?, Arc::new(AtomicBool::new(false)));
        let proxy = Proxy { address, rules: Arc::clone(&rules), ended: Arc::clone(&ended) };
        thread::spawn(move || {
            for client in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(client) = client else { continue };
                let rules = Arc::clone(&rules);
                thread::spawn(move || {
                    // Either end may go at any time, and the other then as well.
                    let _ = serve(client, node, target, &rules);
                });
            }
        });
        Ok(proxy)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.rules.clear();
        self.rules.cut(&Which::default());
        // It wakes the thread that waits for one.
        let _ = TcpStream::connect(self.address);
    }
}

/// How a proxy reaches a node.
#[derive(Clone, Copy, Debug)]
struct Target {
    address: SocketAddr,
    /// The address that it connects from; any unless set.
    from: Option<Ipv4Addr>,
}

impl Target {
    fn connect(self) -> io::Result<TcpStream> {
        let Some(from) = self.from else { return TcpStream::connect(self.address) };
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect(&self.address.into())?;
        Ok(socket.into())
    }
}

/// One connection, to its end.
fn serve(client: TcpStream, node: usize, target: Target, rules: &Arc<Rules>) -> io::Result<()> {
    let server = target.connect()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ends = [client.try_clone()?, server.try_clone()?];
    let connection = Arc::new(Connection { node, client: Mutex::new(String::new()), ends });
    rules.register(&connection);
    let way = Way { connection, target, rules, unanswered: AtomicI64::new(0), lies: Mutex::default() };
    thread::scope(|scope| {
        scope.spawn(|| {
            // The end of one direction is that of the other.
            let _ = way.down(server.try_clone()?, client.try_clone()?);
            way.connection.cut();
            io::Result::Ok(())
        });
        let _ = way.up(client.try_clone()?, server.try_clone()?);
        way.connection.cut();
        Ok(())
    })
}

/// A connection and what it needs to be served.
struct Way<'a> {
    connection: Arc<Connection>,
    target: Target,
    rules: &'a Arc<Rules>,
    /// Requests that went up, less answers that came down.
    unanswered: AtomicI64,
    /// EndTxn requests whose answers are to bear another error.
    lies: Mutex<Vec<(Request, i16)>>,
}

impl Way<'_> {
    fn up(&self, mut client: TcpStream, mut server: TcpStream) -> io::Result<()> {
        loop {
            let mut frame = Frame::begin(&mut client)?;
            if let Some(request) = Request::parse(&frame.bytes) {
                *self.connection.client.lock() = request.client.clone();
                if request.api == END_TXN {
                    frame.complete(&mut client)?;
                }
                let commits = frame::commits(&request, &frame.bytes);
                if let Some(action) = self.rules.action(&request, self.connection.node, commits) {
                    frame.complete(&mut client)?;
                    if !self.act(action, &request, &mut frame, &mut client, &mut server)? {
                        continue;
                    }
                }
            }
            self.unanswered.fetch_add(1, Ordering::SeqCst);
            self.pass(frame, &mut client, &mut server, Direction::Up)?;
        }
    }

    fn down(&self, mut server: TcpStream, mut client: TcpStream) -> io::Result<()> {
        loop {
            let mut frame = Frame::begin(&mut server)?;
            let lie = {
                let mut lies = self.lies.lock();
                let found = lies.iter().position(|(request, _)| request.is_answered_by(&frame.bytes));
                found.map(|found| lies.swap_remove(found))
            };
            if let Some((request, error)) = lie {
                frame.complete(&mut server)?;
                frame::set_end_error(&request, &mut frame.bytes, error);
            }
            self.pass(frame, &mut server, &mut client, Direction::Down)?;
            self.unanswered.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Meddles with a request; whether it is to be forwarded.
    fn act(
        &self,
        action: Action,
        request: &Request,
        frame: &mut Frame,
        client: &mut TcpStream,
        server: &mut TcpStream,
    ) -> io::Result<bool> {
        match action {
            Action::Delay(delay) => {
                let (bytes, request) = (std::mem::take(&mut frame.bytes), request.clone());
                let (target, rules) = (self.target, Arc::clone(self.rules));
                thread::spawn(move || {
                    thread::sleep(delay);
                    // The node may be gone; then the request never comes.
                    let _ = deliver(&bytes, &request, target, &rules);
                });
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Action::Hold => {
                while self.rules.holds(request, self.connection.node) {
                    thread::sleep(LOOK);
                }
                self.unanswered.fetch_add(1, Ordering::SeqCst);
                server.write_all(&frame.bytes)?;
                self.rules.release();
                Ok(false)
            }
            Action::LoseAnswer => {
                server.write_all(&frame.bytes)?;
                // The node has the time to read it.
                thread::sleep(LOOK);
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Action::Refuse(error) => {
                // Answers come in the order of the requests.
                while self.unanswered.load(Ordering::SeqCst) > 0 {
                    thread::sleep(Duration::from_millis(1));
                    if client.take_error()?.is_some() {
                        return Err(io::ErrorKind::ConnectionAborted.into());
                    }
                }
                client.write_all(&frame::refusal(request, error))?;
                Ok(false)
            }
            Action::AbortAndTell(error) => {
                frame::abort_instead(request, &mut frame.bytes);
                self.lies.lock().push((request.clone(), error));
                Ok(true)
            }
            Action::AbortInstead => {
                frame::abort_instead(request, &mut frame.bytes);
                Ok(true)
            }
            Action::Isolate { reached } => {
                // Nothing passes by now: no answer slips through.
                if reached {
                    self.unanswered.fetch_add(1, Ordering::SeqCst);
                    server.write_all(&frame.bytes)?;
                }
                Ok(!reached)
            }
        }
    }

    /// Forwards a frame whose beginning has been read.
    fn pass(
        &self,
        frame: Frame,
        from: &mut TcpStream,
        to: &mut TcpStream,
        direction: Direction,
    ) -> io::Result<()> {
        let (mut chunk, mut rest) = (frame.bytes, frame.rest);
        loop {
            while self.is_silent(direction) {
                thread::sleep(LOOK);
            }
            if direction == Direction::Up {
                thread::sleep(self.rules.wait(chunk.len()));
            }
            to.write_all(&chunk)?;
            if rest == 0 {
                return Ok(());
            }
            chunk.resize(rest.min(CHUNK), 0);
            from.read_exact(&mut chunk)?;
            rest -= chunk.len();
        }
    }

    fn is_silent(&self, direction: Direction) -> bool {
        self.rules.is_silent(&self.connection.client.lock(), self.connection.node, direction)
    }
}

/// Sends a request on a connection of its own.
fn deliver(bytes: &[u8], request: &Request, target: Target, rules: &Rules) -> io::Result<()> {
    let mut stream = target.connect()?;
    stream.set_read_timeout(Some(LATE_ANSWER))?;
    stream.write_all(bytes)?;
    let mut answer = Frame::begin(&mut stream)?;
    answer.complete(&mut stream)?;
    if request.api == END_TXN
        && let Some(error) = frame::end_error(request, &answer.bytes)
    {
        rules.answered_late(error);
    }
    Ok(())
}
