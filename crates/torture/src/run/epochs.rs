//! Begins with a transactional id as another client would, and tells which producer it was given.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{admin, error::RunError};

/// `InitProducerId`, in the version without tagged fields.
const INIT_PRODUCER_ID: i16 = 22;
const VERSION: i16 = 0;

/// The epoch up to which a coordinator gives the same producer id, less what an instance needs to begin and to work
/// for a little.
const NEARLY_ALL: i16 = i16::MAX - 200;

/// How long a transaction may stay open, in milliseconds: none is begun.
const TIMEOUT_MS: i32 = 10_000;

/// How long it may take to use up nearly all epochs.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Errors after which it is asked again.
const CONCURRENT_TRANSACTIONS: i16 = 51;
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
/// Another node is the coordinator.
const NOT_COORDINATOR: i16 = 16;

/// Who writes under a transactional id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Producer {
    pub id: i64,
    pub epoch: i16,
}

/// Takes `id` from whoever has it.
pub(super) fn take(brokers: &str, id: &str, stop: &AtomicBool) -> Result<Producer, RunError> {
    begin_until(brokers, id, stop, admin::PATIENCE, |_| true)
}

/// Begins with `id` until nearly all epochs of a producer are used up. Nobody else may use the id meanwhile.
pub(super) fn use_up(brokers: &str, id: &str, stop: &AtomicBool) -> Result<Producer, RunError> {
    begin_until(brokers, id, stop, PATIENCE, |producer| producer.epoch >= NEARLY_ALL)
}

/// Begins again and again until the producer is one that will do.
fn begin_until(
    brokers: &str,
    id: &str,
    stop: &AtomicBool,
    limit: Duration,
    will_do: impl Fn(Producer) -> bool,
) -> Result<Producer, RunError> {
    let failed = || RunError::io(format!("the producer of {id}"));
    let start = Instant::now();
    let request = request(id);
    for broker in brokers.split(',').cycle() {
        let mut node = TcpStream::connect(broker).map_err(failed())?;
        node.set_nodelay(true).map_err(failed())?;
        node.set_read_timeout(Some(Duration::from_secs(30))).map_err(failed())?;
        loop {
            if stop.load(Ordering::SeqCst) {
                return Err(RunError::Stopped);
            }
            if start.elapsed() > limit {
                return Err(RunError::Late { what: format!("{id} is taken"), limit });
            }
            match begin(&mut node, &request).map_err(failed())? {
                (0, producer) if will_do(producer) => return Ok(producer),
                (0, _) => {}
                (CONCURRENT_TRANSACTIONS | COORDINATOR_LOAD_IN_PROGRESS, _) => {
                    thread::sleep(Duration::from_millis(20));
                }
                (NOT_COORDINATOR, _) => break,
                (error, _) => {
                    let error = std::io::Error::other(format!("InitProducerId is answered by {error}"));
                    return Err(failed()(error));
                }
            }
        }
    }
    unreachable!("there are brokers")
}

/// The error and the producer of an answer.
fn begin(node: &mut TcpStream, request: &[u8]) -> std::io::Result<(i16, Producer)> {
    node.write_all(request)?;
    // Length, correlation id, throttle time, error, producer id, epoch.
    let mut answer = [0; 4 + 4 + 4 + 2 + 8 + 2];
    node.read_exact(&mut answer)?;
    let number = |at: usize| i16::from_be_bytes([answer[at], answer[at + 1]]);
    let id = i64::from_be_bytes(answer[14..22].try_into().expect("eight bytes"));
    Ok((number(12), Producer { id, epoch: number(22) }))
}

fn request(id: &str) -> Vec<u8> {
    let mut body = [INIT_PRODUCER_ID.to_be_bytes(), VERSION.to_be_bytes()].concat();
    // The correlation id, and no client id.
    body.extend([0; 4]);
    body.extend((-1_i16).to_be_bytes());
    body.extend(i16::try_from(id.len()).unwrap_or(i16::MAX).to_be_bytes());
    body.extend(id.as_bytes());
    body.extend(TIMEOUT_MS.to_be_bytes());
    [&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes()[..], &body].concat()
}
