//! The proxy before a listener that answers each request with itself.

use std::time::Instant;

use super::*;

/// What a node received.
type Received = Arc<Mutex<Vec<Vec<u8>>>>;

/// A node that answers each request with its own bytes; what it received.
fn echo() -> (SocketAddr, Received) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, received) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&received);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, log) = (stream.unwrap(), Arc::clone(&log));
            thread::spawn(move || {
                while let Ok(mut frame) = Frame::begin(&mut stream) {
                    frame.complete(&mut stream).unwrap();
                    log.lock().push(frame.bytes.clone());
                    if stream.write_all(&frame.bytes).is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, received)
}

fn request(api: i16, client: &str, length: usize) -> Vec<u8> {
    let mut body = [api.to_be_bytes(), 0_i16.to_be_bytes()].concat();
    body.extend(1_i32.to_be_bytes());
    body.extend((client.len() as i16).to_be_bytes());
    body.extend(client.as_bytes());
    body.resize(body.len() + length, 1);
    [&(body.len() as i32).to_be_bytes()[..], &body].concat()
}

fn ask(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(bytes)?;
    let mut frame = Frame::begin(stream)?;
    frame.complete(stream)?;
    Ok(frame.bytes)
}

fn proxy() -> (Proxy, Arc<Rules>, Received) {
    let (target, received) = echo();
    let rules = Arc::new(Rules::default());
    (Proxy::start(0, 1, target, Arc::clone(&rules)).unwrap(), rules, received)
}

#[test]
fn what_no_rule_is_about_passes_as_it_is() {
    let (proxy, _, _) = proxy();
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    for length in [1, 600, 100_000] {
        let sent = request(frame::PRODUCE, "one", length);
        assert_eq!(ask(&mut stream, &sent).unwrap(), sent);
    }
}

#[test]
fn a_request_that_is_delayed_comes_by_another_connection() {
    let (proxy, rules, received) = proxy();
    let which = Which { client: Some("one".into()), node: None };
    let delay = Action::Delay(Duration::from_millis(200));
    rules.meddle(Rule { api: frame::TXN_OFFSET_COMMIT, which, every: 2, action: delay });
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    let mut other = TcpStream::connect(proxy.address()).unwrap();
    let sent = request(frame::TXN_OFFSET_COMMIT, "one", 10);
    assert!(ask(&mut stream, &sent).is_ok(), "the first passes");
    assert!(ask(&mut other, &request(frame::TXN_OFFSET_COMMIT, "two", 10)).is_ok(), "another client");
    assert!(ask(&mut stream, &sent).is_err(), "the second is taken away");
    assert_eq!(received.lock().len(), 2);
    let start = Instant::now();
    while received.lock().len() < 3 {
        assert!(start.elapsed() < Duration::from_secs(5), "it comes");
        thread::sleep(LOOK);
    }
    assert_eq!((received.lock()[2].clone(), rules.struck()), (sent, 1));
}

#[test]
fn a_request_that_is_held_comes_once_the_rules_are_cleared_though_nobody_waits_for_it() {
    let (proxy, rules, received) = proxy();
    let which = Which { client: Some("one".into()), node: None };
    rules.meddle(Rule { api: frame::PRODUCE, which, every: 1, action: Action::Hold });
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    let sent = request(frame::PRODUCE, "one", 1000);
    stream.write_all(&sent).unwrap();
    let mut other = TcpStream::connect(proxy.address()).unwrap();
    assert!(ask(&mut other, &request(frame::PRODUCE, "two", 1)).is_ok(), "another client");
    let start = Instant::now();
    while rules.struck() == 0 {
        assert!(start.elapsed() < Duration::from_secs(5), "it is held");
        thread::sleep(LOOK);
    }
    drop(stream);
    thread::sleep(LOOK * 5);
    assert_eq!((received.lock().len(), rules.released()), (1, 0), "that of the other");
    rules.clear();
    while received.lock().len() < 2 {
        assert!(start.elapsed() < Duration::from_secs(5), "it comes");
        thread::sleep(LOOK);
    }
    assert_eq!((&received.lock()[1], rules.released()), (&sent, 1));
}

#[test]
fn an_end_is_refused_or_turned_into_an_abort() {
    let (proxy, rules, received) = proxy();
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    let commit = request(END_TXN, "one", 12);
    let rule = |action| Rule { api: END_TXN, which: Which::default(), every: 1, action };
    rules.meddle(rule(Action::Refuse(48)));
    let answer = ask(&mut stream, &commit).unwrap();
    assert_eq!(frame::end_error(&Request::parse(&commit).unwrap(), &answer), Some(48));
    assert!(received.lock().is_empty());
    rules.clear();
    rules.meddle(rule(Action::AbortInstead));
    ask(&mut stream, &commit).unwrap();
    assert_eq!(received.lock()[0].last(), Some(&0));
}

#[test]
fn silence_holds_up_one_direction_of_one_client_and_a_cut_ends_it() {
    let (proxy, rules, received) = proxy();
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    ask(&mut stream, &request(frame::PRODUCE, "one", 1)).unwrap();
    rules.silence(Which { client: Some("one".into()), node: Some(1) }, Direction::Down);
    stream.write_all(&request(frame::PRODUCE, "one", 1)).unwrap();
    let mut other = TcpStream::connect(proxy.address()).unwrap();
    ask(&mut other, &request(frame::PRODUCE, "two", 1)).unwrap();
    let start = Instant::now();
    while received.lock().len() < 3 {
        assert!(start.elapsed() < Duration::from_secs(5), "it goes up");
        thread::sleep(LOOK);
    }
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(Frame::begin(&mut stream).is_err(), "nothing comes down");
    rules.clear();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(Frame::begin(&mut stream).is_ok());
    rules.cut(&Which { client: Some("two".into()), node: None });
    assert!(ask(&mut other, &request(frame::PRODUCE, "two", 1)).is_err());
    assert!(ask(&mut stream, &request(frame::PRODUCE, "one", 1)).is_ok());
}

#[test]
fn a_throttle_is_kept() {
    let (proxy, rules, _) = proxy();
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    rules.throttle(100_000);
    let start = Instant::now();
    ask(&mut stream, &request(frame::PRODUCE, "one", 50_000)).unwrap();
    assert!(start.elapsed() > Duration::from_millis(300));
}

#[cfg(target_os = "linux")]
#[test]
fn a_node_can_tell_by_the_address_who_comes_through_a_proxy() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (from, node) = (Ipv4Addr::new(127, 0, 0, 2), listener.local_addr().unwrap());
    let proxy = Proxy::start_from(from, 0, 1, node, Arc::default()).unwrap();
    let _client = TcpStream::connect(proxy.address()).unwrap();
    let (_, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), from);
}

#[test]
fn a_node_is_isolated_by_one_request_whether_it_is_reached_or_not() {
    for reached in [false, true] {
        let (proxy, rules, received) = proxy();
        let action = Action::Isolate { reached };
        rules.meddle(Rule { api: END_TXN, which: Which::default(), every: 1, action });
        let (mut stream, mut other) =
            (TcpStream::connect(proxy.address()).unwrap(), TcpStream::connect(proxy.address()).unwrap());
        let (commit, fetch) = (request(END_TXN, "one", 12), request(1, "two", 1));
        ask(&mut other, &fetch).unwrap();
        stream.write_all(&commit).unwrap();
        let start = Instant::now();
        while rules.isolated().is_none() {
            assert!(start.elapsed() < Duration::from_secs(5), "the node is isolated");
            thread::sleep(LOOK);
        }
        other.write_all(&fetch).unwrap();
        for silent in [&mut stream, &mut other] {
            silent.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            assert!(Frame::begin(silent).is_err(), "nothing comes down");
        }
        assert_eq!(received.lock().len(), if reached { 2 } else { 1 });
        let mut third = TcpStream::connect(proxy.address()).unwrap();
        third.write_all(&commit).unwrap();
        thread::sleep(LOOK * 5);
        assert_eq!(rules.isolated(), None, "one request alone isolates");
        rules.clear();
        for sent in [&mut stream, &mut other, &mut third] {
            sent.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            assert!(Frame::begin(sent).is_ok(), "what waited goes on");
        }
        assert_eq!(received.lock().len(), 4, "each once");
    }
}
