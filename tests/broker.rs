//! The embedded broker as kcat (librdkafka) meets it; kcat has to be installed.

use std::{
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use topicmill_broker::{ApiKey, Broker, BrokerSettings, Fault, FaultAction};

/// The longest that kcat may take.
const TIMEOUT_S: &str = "60";

async fn broker() -> Broker {
    let settings =
        BrokerSettings { listen: (Ipv4Addr::LOCALHOST, 0).into(), memory: 64 << 20, partitions: 1 };
    Broker::start(settings).await.expect("a free port")
}

/// Runs kcat against the broker, away from the runtime that serves it.
async fn kcat(broker: &Broker, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", TIMEOUT_S, "kcat", "-b", &broker.address().to_string()]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let run = move || {
        let mut child = command.spawn().expect("timeout(1) is installed");
        let mut stdin = child.stdin.take().expect("piped");
        // It may end before it has read everything.
        let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().expect("it ran");
        writer.join().expect("the writer ends");
        output
    };
    let output = tokio::task::spawn_blocking(run).await.expect("it does not panic");
    assert_ne!(output.status.code(), Some(127), "kcat is missing: install it to run these tests");
    assert_ne!(output.status.code(), Some(124), "kcat {arguments:?} took more than {TIMEOUT_S} s");
    output
}

/// As [`kcat`], and its standard output; it has to succeed.
async fn kcat_ok(broker: &Broker, arguments: &[&str], input: &str) -> String {
    let output = kcat(broker, arguments, input).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kcat {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

fn lines(count: usize) -> String {
    (1..=count).map(|i| format!("{i}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_back_as_they_were_sent_in_every_compression() {
    let broker = broker().await;
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let sent = lines(5000);
        kcat_ok(&broker, &["-P", "-t", codec, "-z", codec], &sent).await;
        assert_eq!(broker.offsets(codec, 0), Some((0, 5000)), "{codec}");
        let read = kcat_ok(&broker, &["-C", "-t", codec, "-e", "-q"], "").await;
        assert_eq!(read, sent, "{codec}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_headers_offsets_and_partitions_are_kept() {
    let broker = broker().await;
    broker.create_topic("t", 3, &[]).unwrap();
    kcat_ok(&broker, &["-P", "-t", "t", "-p", "2", "-K:", "-H", "h=1"], "k1:v1\nk2:v2\n").await;
    let format = "%t %p %o %k %s %h\n";
    let read = kcat_ok(&broker, &["-C", "-t", "t", "-e", "-q", "-f", format], "").await;
    assert_eq!(read, "t 2 0 k1 v1 h=1\nt 2 1 k2 v2 h=1\n");
    let from_one = kcat_ok(&broker, &["-C", "-t", "t", "-p", "2", "-o", "1", "-e", "-q"], "").await;
    assert_eq!(from_one, "v2\n");
    let latest = kcat_ok(&broker, &["-Q", "-t", "t:2:-1"], "").await;
    assert_eq!(latest, "t [2] offset 2\n");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_lists_the_node_and_its_topics() {
    let broker = broker().await;
    broker.create_topic("listed", 3, &[]).unwrap();
    let listed = kcat_ok(&broker, &["-L"], "").await;
    assert!(listed.contains(&format!("broker 1 at {}", broker.address())), "{listed}");
    assert!(listed.contains("topic \"listed\" with 3 partitions"), "{listed}");
    broker.advertise("localhost", broker.address().port());
    let listed = kcat_ok(&broker, &["-L"], "").await;
    assert!(listed.contains(&format!("broker 1 at localhost:{}", broker.address().port())), "{listed}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_on_where_it_stopped() {
    let broker = broker().await;
    kcat_ok(&broker, &["-P", "-t", "t"], &lines(100)).await;
    let group = ["-G", "g", "-X", "auto.offset.reset=earliest", "-e", "-q", "t"];
    assert_eq!(kcat_ok(&broker, &group, "").await, lines(100));
    kcat_ok(&broker, &["-P", "-t", "t"], "next\n").await;
    assert_eq!(kcat_ok(&broker, &group, "").await, "next\n");
    broker.stop().await;
}

/// A kcat that ends with its test.
struct Member(Child);

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_share_the_partitions() {
    let broker = broker().await;
    broker.create_topic("t", 2, &[]).unwrap();
    let address = broker.address().to_string();
    let group = ["-b", &address, "-G", "g", "-u", "-f", "%p\n", "-X", "auto.offset.reset=earliest", "t"];
    // Ended by force: kcat 1.7.1 may wait for ever when it leaves during a rebalance.
    let member = || {
        let mut kcat = Command::new("kcat");
        kcat.args(group).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Member(kcat.spawn().expect("kcat is installed"))
    };
    let mut members = [member(), member()];
    let both = async {
        while broker.group_members("g", "Stable") != Some(2) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for partition in ["0", "1"] {
            kcat_ok(&broker, &["-P", "-t", "t", "-p", partition], "one\n").await;
        }
        let mut partitions = Vec::new();
        for member in &mut members {
            let mut output = BufReader::new(member.0.stdout.take().expect("piped"));
            let mut line = String::new();
            let read = tokio::task::spawn_blocking(move || output.read_line(&mut line).map(|_| line));
            partitions.push(read.await.expect("it does not panic").expect("text").trim().to_owned());
        }
        partitions.sort_unstable();
        partitions
    };
    let partitions = tokio::time::timeout(Duration::from_secs(60), both).await;
    drop(members);
    assert_eq!(partitions.expect("both read in time"), ["0", "1"]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotent_producer_survives_lost_answers_closed_connections_and_errors() {
    let broker = broker().await;
    broker.create_topic("t", 1, &[]).unwrap();
    let not_leader = 6;
    broker.inject(Fault::once(ApiKey::Produce, FaultAction::LoseResponse));
    broker.inject(Fault::once(ApiKey::Produce, FaultAction::Close).after(3));
    broker.inject(Fault::once(ApiKey::Produce, FaultAction::Error(not_leader)).after(6).times(2));
    broker.inject(Fault::always(ApiKey::Produce, FaultAction::LoseResponse).after(9).times(1));
    let sent = lines(2000);
    // With -E it goes on when the only broker is away for a moment.
    let producer = ["-E", "-P", "-t", "t", "-X", "enable.idempotence=true", "-X", "batch.num.messages=100"];
    kcat_ok(&broker, &producer, &sent).await;
    broker.clear_faults();
    let read = kcat_ok(&broker, &["-C", "-t", "t", "-e", "-q"], "").await;
    assert!(read == sent, "lost, repeated or reordered: {} lines of 2000", read.lines().count());
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_its_topic_is_refused() {
    let broker = broker().await;
    broker.create_topic("small", 1, &[("max.message.bytes", "1000")]).unwrap();
    let output = kcat(&broker, &["-P", "-t", "small"], &"x".repeat(2000)).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("Message size too large"), "{errors}");
    assert_eq!(broker.offsets("small", 0), Some((0, 0)));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_records_are_out_of_range_and_earliest_moves_on() {
    let settings = BrokerSettings { listen: (Ipv4Addr::LOCALHOST, 0).into(), memory: 100_000, partitions: 1 };
    let broker = Broker::start(settings).await.expect("a free port");
    kcat_ok(&broker, &["-P", "-t", "t", "-X", "batch.num.messages=100"], &lines(50_000)).await;
    let (start, end) = broker.offsets("t", 0).unwrap();
    assert!(start > 0 && end == 50_000, "{start} to {end}");
    assert!(broker.memory_used() <= 100_000);
    let consumer = ["-C", "-t", "t", "-o", "0", "-e", "-q", "-X", "auto.offset.reset=earliest"];
    let read = kcat_ok(&broker, &consumer, "").await;
    assert_eq!(read.lines().next(), Some((start + 1).to_string().as_str()));
    assert_eq!(read.lines().count() as i64, end - start);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_knows_the_password_is_let_in_and_who_does_not_is_refused() {
    let broker = broker().await;
    broker.require_login(Some(("me", "secret")));
    let login = |password| {
        let user = ["-X", "security.protocol=SASL_PLAINTEXT", "-X", "sasl.mechanisms=PLAIN"];
        [&user[..], &["-X", "sasl.username=me", "-X", password]].concat()
    };
    let (right, wrong) = (login("sasl.password=secret"), login("sasl.password=wrong"));
    kcat_ok(&broker, &[&right[..], &["-P", "-t", "t"]].concat(), &lines(10)).await;
    let consumer = ["-C", "-t", "t", "-e", "-q"];
    assert_eq!(kcat_ok(&broker, &[&right[..], &consumer].concat(), "").await, lines(10));
    let refused = kcat(&broker, &[&wrong[..], &["-L", "-m", "5"]].concat(), "").await;
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && errors.contains("Authentication failed"), "{errors}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_on_when_its_partition_has_a_leader_again() {
    let broker = broker().await;
    broker.create_topic("t", 2, &[]).unwrap();
    broker.set_leaderless("t", 0, true).unwrap();
    let (records, producer) = (lines(10), ["-E", "-P", "-t", "t", "-p", "0"]);
    let producing = kcat_ok(&broker, &producer, &records);
    let electing = async {
        // It has to have met the partition without a leader before.
        while broker.seen(ApiKey::Metadata).requests < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        broker.set_leaderless("t", 0, false).unwrap();
    };
    tokio::join!(producing, electing);
    assert_eq!(broker.offsets("t", 0), Some((0, 10)));
    broker.stop().await;
}
