//! Any bytes from a broker before it has proved who it is: no panic, an error in time, bounded memory,
//! no proof to who must not have one, and not a question beyond the login. `SEED` repeats a run,
//! `CASES` makes it longer.

mod broker;
mod meeting;

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{RngSeed, TestRunner},
};
use tokio::time::timeout;
use topicmill_kafka::Client;
use topicmill_mill::engine::ClientSettings;

use broker::{Complaints, listen};
use meeting::{Meeting, meeting};

/// How many connect side by side.
const CLIENTS: usize = 16;

/// For how long each tries, and how long a login may take.
const PATIENCE: Duration = Duration::from_millis(200);
const LOGIN_MS: &str = "150";

/// When one hangs.
const HANG: Duration = Duration::from_secs(20);

/// What all of them may take together: a multiple of what each may be answered.
const MEMORY_BYTES: usize = 64 << 20;

/// The longest error, in bytes.
const ERROR_BYTES: usize = 4 << 10;

/// How many cases there are unless `CASES` says otherwise.
const CASES_USUAL: u64 = 48;

/// What a usual run reaches, by the words of the errors. With fewer, hostility ends at the first
/// question, and the checks behind it are not tried at all.
const REACHED: [&str; 10] = [
    "answers request",
    "is not ready within",
    "is not among the broker's",
    "does not have r= in its place",
    "nonce does not continue ours",
    "salt is not base64",
    "iterations are out of range",
    "the broker refuses: ",
    "does not prove that it knows the password",
    "the token is refused",
];

/// How often each of [`REACHED`] was.
static TIMES: Mutex<[usize; REACHED.len()]> = Mutex::new([0; REACHED.len()]);

/// What the client of a meeting makes of it.
async fn meet(meeting: Meeting) -> Result<(), String> {
    let properties = [
        ("security.protocol", meeting.protocol),
        ("enable.ssl.certificate.verification", "false"),
        ("sasl.mechanism", meeting.mechanism),
        ("sasl.username", "user"),
        ("sasl.password", "pencil"),
        ("sasl.oauthbearer.token", "a.token"),
        ("socket.connection.setup.timeout.ms", LOGIN_MS),
    ];
    let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let complaints = Complaints::default();
    let address = listen(meeting, Complaints::clone(&complaints)).await;
    let settings = ClientSettings {
        brokers: vec![address.to_string()],
        properties: BTreeMap::from(properties),
        connect_timeout: PATIENCE,
    };
    let connected = timeout(HANG, Client::connect(&settings)).await.map_err(|_| "it hangs".to_owned())?;
    let error = connected.map(drop).err().ok_or("a broker that does not know any topic is believed")?;
    if error.message.len() > ERROR_BYTES {
        return Err(format!("an error of {} bytes", error.message.len()));
    }
    for (times, words) in TIMES.lock().unwrap().iter_mut().zip(REACHED) {
        *times += usize::from(error.message.contains(words));
    }
    let complaints = complaints.lock().unwrap();
    if complaints.is_empty() { Ok(()) } else { Err(format!("{complaints:?}")) }
}

/// The greatest resident memory of this process so far, in bytes.
fn peak_memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn a_hostile_broker_gets_nowhere() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Those of tasks reach nobody otherwise.
        PANICS.fetch_add(1, Ordering::Relaxed);
        told(panic);
    }));
    let seed = setting("SEED").unwrap_or_else(rand::random);
    let cases = setting("CASES").unwrap_or(CASES_USUAL);
    println!("SEED={seed}");
    let config = ProptestConfig {
        cases: cases as u32,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 200,
        // One that hangs takes long each time.
        max_shrink_time: 120_000,
        ..ProptestConfig::default()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let before = peak_memory();
    let outcome = TestRunner::new(config).run(&vec(meeting(), CLIENTS), |meetings| {
        let met = runtime.block_on(join_all(meetings.into_iter().map(meet)));
        for outcome in met {
            prop_assert_eq!(outcome, Ok(()));
        }
        prop_assert_eq!(PANICS.load(Ordering::Relaxed), 0);
        let taken = peak_memory() - before;
        prop_assert!(taken < MEMORY_BYTES, "{} bytes are taken", taken);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("SEED={seed}: {error}"));
    let reached: Vec<_> = REACHED.into_iter().zip(*TIMES.lock().unwrap()).collect();
    println!("{reached:?}");
    assert!(cases < CASES_USUAL || reached.iter().all(|(_, times)| *times > 0), "SEED={seed}: {reached:?}");
}
