//! The commands one after the other, as a user types them, on an embedded broker.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    process::{Command, Output, Stdio},
    time::Duration,
};

use kafka_protocol::{ResponseError, messages::ApiKey};
use serde_json::{Value, json};
use topicmill_broker::{Broker, BrokerSettings, Fault, FaultAction};
use topicmill_kafka::{Client, NativeSink};
use topicmill_mill::{
    batch::{OutputBatch, TopicPartition},
    engine::{ClientSettings, Sink, Troubles},
};
use topicmill_records::{NO_HEADERS, RecordWriter};

async fn broker() -> Broker {
    let settings =
        BrokerSettings { listen: (Ipv4Addr::LOCALHOST, 0).into(), memory: 256 << 20, partitions: 1 };
    Broker::start(settings).await.expect("a free port")
}

/// Runs the program away from the runtime that serves the broker.
async fn topicmill(broker: Option<&Broker>, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_topicmill"));
    command.args(["--log-level", "warn"]).args(arguments.split(' '));
    if let Some(broker) = broker {
        command.args(["--brokers", &broker.address().to_string()]);
    }
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    output.expect("it does not panic").expect("the program starts")
}

/// As [`topicmill`], and what it printed; it has to exit with `code`.
async fn printed(broker: &Broker, code: i32, arguments: &str) -> String {
    let output = topicmill(Some(broker), arguments).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

fn objects(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_generated_and_transformed_verifies() {
    let broker = broker().await;
    let summary = printed(&broker, 0, "generate --topic s --partitions 2 --count 40000 --keys zipf").await;
    assert!(summary.starts_with("40000 events in "), "{summary}");

    // Nobody has joined it: that it is 40000 records behind would be a guess.
    printed(&broker, 1, "lag --source s --group g --json").await;

    let run = "run --source s --destination d --transform name-event --group g --until-caught-up --admin off";
    printed(&broker, 0, run).await;
    let verify = "verify --transform name-event --source s --destination d --json";
    let clean = json!({
        "source": "s", "destination": "d", "dead_letter": "d_dead_letter", "missing": 0, "duplicates": 0,
        "reordered": 0, "corrupt": 0, "phantom": 0, "misrouted": 0, "ok": true,
    });
    for order in ["partition", "key", "none"] {
        assert_eq!(
            objects(&printed(&broker, 0, &format!("{verify} --order {order}")).await),
            std::slice::from_ref(&clean)
        );
    }
    let lag = objects(&printed(&broker, 0, "lag --source s --group g --json").await);
    assert!(lag.iter().all(|of| of["lag"] == 0 && of["lag_seconds"].is_null()), "{lag:?}");

    // Events that nobody transformed, in the destination.
    printed(&broker, 0, "generate --topic d --count 3 --seed 9").await;
    let report = objects(&printed(&broker, 65, verify).await).remove(0);
    assert_eq!((&report["phantom"], &report["ok"]), (&json!(3), &json!(false)));
    let text = printed(&broker, 65, "verify --transform name-event --source s --destination d").await;
    assert!(text.contains("phantom: d[") && text.contains("3 phantom"), "{text}");
    broker.stop().await;
}

/// Writes records to partition 0.
async fn produce(broker: &Broker, topic: &str, values: &[&str]) {
    let settings = client_settings(broker);
    let client = Client::connect(&settings).await.unwrap();
    let mut sink = NativeSink::new(&client, &settings, Troubles::default()).await.unwrap();
    let mut writer = RecordWriter::new(900_000, 0);
    values.iter().for_each(|value| writer.push(1, None, Some(&[value.as_bytes()]), NO_HEADERS));
    let destination = TopicPartition::new(topic, 0);
    sink.send(OutputBatch { destination, chunks: writer.finish(), ..Default::default() }).await.unwrap();
    sink.close().await;
}

/// All fail on the same records. By itself each has a group and a dead letter topic of its own; where
/// they share one, the group tells whose letters are whose.
#[tokio::test(flavor = "multi_thread")]
async fn pipelines_over_one_source_verify_each_for_itself() {
    let broker = broker().await;
    printed(&broker, 0, "generate --topic s --count 5000").await;
    produce(&broker, "s", &["", "{"]).await;
    let pipelines = [
        "--source s --destination a --transform name-event",
        "--source s --destination b --transform hash-field",
        "--source s --destination c --transform name-event --dead-letter shared",
        "--source s --destination d --transform hash-field --dead-letter shared",
        "--source s --destination e --transform name-event --dead-letter shared --group g",
    ];
    for pipeline in pipelines {
        printed(&broker, 0, &format!("run {pipeline} --until-caught-up --admin off")).await;
    }
    for pipeline in pipelines {
        printed(&broker, 0, &format!("verify {pipeline}")).await;
    }
    let letters =
        ["a_dead_letter", "b_dead_letter", "shared"].map(|topic| broker.offsets(topic, 0).unwrap().1);
    assert_eq!(letters, [2, 2, 6]);
    let groups = ["topicmill-s-a", "topicmill-s-d", "g"].map(|group| broker.group_members(group, "Empty"));
    assert_eq!(groups, [Some(0); 3]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_group_has_not_come_to_is_behind() {
    let broker = broker().await;
    printed(&broker, 0, "generate --topic s --count 3000").await;
    let topics = "--source s --destination d --transform name-event";
    printed(&broker, 0, &format!("run {topics} --until-caught-up --admin off")).await;
    printed(&broker, 0, "generate --topic s --count 2000 --seed 5").await;

    let text = printed(&broker, 65, &format!("verify {topics}")).await;
    assert!(text.contains("missing: s[0]@3000–4999 (2,000), the end of the partition"), "{text}");
    let text = printed(&broker, 0, &format!("verify {topics} --group topicmill-s-d")).await;
    assert!(text.contains("behind: s[0]@3000–4999 (2,000), not committed yet"), "{text}");
    let report = printed(&broker, 0, &format!("verify {topics} --group topicmill-s-d --json")).await;
    let report = objects(&report).remove(0);
    assert_eq!(
        (&report["missing"], &report["behind"], &report["ok"]),
        (&json!(0), &json!(2000), &json!(true))
    );
    printed(&broker, 1, &format!("verify {topics} --group nobody")).await;
    broker.stop().await;
}

/// Half of the source is gone after it was transformed, the dead letter of one of its records stays.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_source_no_longer_holds_cannot_be_checked() {
    let broker = broker().await;
    printed(&broker, 0, "generate --topic s --count 3000").await;
    produce(&broker, "s", &["{"]).await;
    printed(&broker, 0, "generate --topic s --count 3000 --seed 5").await;
    let topics = "--source s --destination d --transform name-event";
    printed(&broker, 0, &format!("run {topics} --until-caught-up --admin off")).await;
    broker.delete_records("s", 0, 3501).unwrap();
    for order in ["partition", "key", "none"] {
        let text = printed(&broker, 0, &format!("verify {topics} --order {order}")).await;
        assert!(text.contains("cannot be checked: d[0]@0–3499 (3,500), made of records"), "{order}: {text}");
    }
    let report = objects(&printed(&broker, 0, &format!("verify {topics} --json")).await).remove(0);
    assert_eq!((&report["phantom"], &report["unchecked"]), (&json!(0), &json!(3500)));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_is_exact_whatever_the_rate() {
    let broker = broker().await;
    printed(&broker, 0, "generate --topic s --count 50001").await;
    printed(&broker, 0, "generate --topic t --count 1001 --rate 10000").await;
    assert_eq!(broker.offsets("s", 0), Some((0, 50001)));
    assert_eq!(broker.offsets("t", 0), Some((0, 1001)));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_named_and_no_broker_is_75() {
    let broker = broker().await;
    let output =
        topicmill(Some(&broker), "verify --transform name-event --source nowhere --destination nowhere_else")
            .await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere_else"), "{output:?}");
    let output = topicmill(Some(&broker), "generate --topic nowhere --count 1 --no-create-topics").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere"), "{output:?}");
    let address = broker.address();
    broker.stop().await;
    for command in ["generate --count 1", "verify", "lag", "demo --events 1"] {
        let arguments = format!("{command} --brokers {address} --connect-timeout 300ms");
        assert_eq!(topicmill(None, &arguments).await.status.code(), Some(75), "{command}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_ends_with_a_clean_proof() {
    for strategy in ["serial", "pipeline", "worker"] {
        let output = topicmill(None, &format!("demo --events 30000 --strategy {strategy}")).await;
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{strategy}: {output:?}");
        assert!(text.contains("30000 events generated and transformed in "), "{text}");
        assert!(text.contains(": ok"), "{text}");
    }
}

/// What a demo says that it makes on a foreign cluster: topics and a group.
struct Made {
    topics: [String; 3],
    group: String,
}

impl Made {
    /// Reads the log up to where it is told.
    fn read(log: &mut impl BufRead) -> Made {
        let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        let told = lines.find(|line| line["message"].as_str().is_some_and(|said| said.contains("writes to")));
        let told = told.expect("it says that it writes to a cluster");
        let name = |field: &str| told[field].as_str().expect(field).to_owned();
        Made { topics: ["source", "destination", "dead_letter"].map(name), group: name("group") }
    }

    async fn expect_gone(&self, client: &Client) {
        for topic in &self.topics {
            assert_eq!(client.topic(topic).await.unwrap(), None, "{topic}");
        }
        assert_eq!(client.group(&self.group).await.unwrap().state, "Dead");
    }
}

fn client_settings(broker: &Broker) -> ClientSettings {
    let connect_timeout = Duration::from_secs(10);
    ClientSettings { brokers: vec![broker.address().to_string()], connect_timeout, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_on_a_foreign_broker_leaves_nothing_behind() {
    let broker = broker().await;
    let output = topicmill(Some(&broker), "demo --events 20k --partitions 3").await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains(": ok"), "{output:?}");
    let client = Client::connect(&client_settings(&broker)).await.unwrap();
    Made::read(&mut &output.stderr[..]).expect_gone(&client).await;
    assert_eq!(broker.memory_used(), 0);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_once_the_demo_ends_with_a_clean_proof_as_well() {
    let broker = broker().await;
    let client = Client::connect(&client_settings(&broker)).await.unwrap();
    for strategy in ["serial", "pipeline", "worker"] {
        let before = broker.seen(ApiKey::EndTxn).requests;
        let arguments = format!("demo --events 3000 --delivery exactly-once --strategy {strategy}");
        let output = topicmill(Some(&broker), &arguments).await;
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{strategy}: {output:?}");
        assert!(
            text.contains("3000 events generated and transformed in ") && text.contains(": ok"),
            "{text}"
        );
        assert!(broker.seen(ApiKey::EndTxn).requests > before, "{strategy}: in transactions");
        Made::read(&mut &output.stderr[..]).expect_gone(&client).await;
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_demo_on_a_foreign_broker_leaves_nothing_behind() {
    let broker = broker().await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_topicmill"))
        .args(["demo", "--events", "100M", "--brokers", &broker.address().to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let made = tokio::task::spawn_blocking(move || {
        let made = Made::read(&mut log);
        // What else it says must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        made
    });
    let made = made.await.unwrap();
    let client = Client::connect(&client_settings(&broker)).await.unwrap();
    while client.committed(&made.group, &made.topics[0]).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let status = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(130));
    made.expect_gone(&client).await;
    assert_eq!(broker.memory_used(), 0);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_demo_cannot_delete_is_named() {
    let broker = broker().await;
    let forbidden = FaultAction::Error(ResponseError::TopicAuthorizationFailed.code());
    broker.inject(Fault::once(ApiKey::DeleteTopics, forbidden));
    let output = topicmill(Some(&broker), "demo --events 1000").await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let left = said.split_once("left behind on the cluster: topic ").expect(&said).1;
    let name = left.split_once(' ').unwrap().0;
    let client = Client::connect(&client_settings(&broker)).await.unwrap();
    assert!(client.topic(name).await.unwrap().is_some(), "{said}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_beyond_the_machines_memory_is_refused() {
    for events in ["1e12", "18446744073709551615"] {
        let output = topicmill(None, &format!("demo --events {events}")).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(" GiB for the embedded broker, and ") && said.contains("--events"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn generate_writes_to_its_own_topic_and_says_so() {
    let broker = broker().await;
    let mut config = tempfile::NamedTempFile::new().unwrap();
    config.write_all(b"[source]\ntopic = 'orders'\n").unwrap();
    let generate = format!("generate --count 1_000 --config {}", config.path().display());
    let summary = printed(&broker, 0, &generate).await;
    assert!(summary.trim_end().ends_with("; written to name_stream"), "{summary}");
    assert_eq!((broker.offsets("orders", 0), broker.offsets("name_stream", 0)), (None, Some((0, 1000))));

    let output = topicmill(Some(&broker), "generate --count 1 --partitions 5").await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("another number of partitions"), "{said}");
    let output = topicmill(Some(&broker), "generate --count 1").await;
    assert!(!String::from_utf8_lossy(&output.stderr).contains("partitions"), "{output:?}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_benchmark_that_cannot_be_saved_does_not_begin() {
    let broker = broker().await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let output = topicmill(Some(&broker), &format!("bench --output {file}")).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("cannot write to {file}: ")), "{said}");
    assert_eq!(broker.memory_used(), 0);
    broker.stop().await;
}

/// The native engine, which prepares the topics, has none of these properties, or not these values.
#[cfg(feature = "librdkafka")]
#[tokio::test(flavor = "multi_thread")]
async fn what_only_librdkafka_knows_disturbs_no_command() {
    let mut config = tempfile::NamedTempFile::new().unwrap();
    let toml = "[run]\nengine = 'librdkafka'\n[kafka]\n'statistics.interval.ms' = 60000\n\
                'partition.assignment.strategy' = 'roundrobin'\n'topic.blacklist' = '^none$'\n";
    config.write_all(toml.as_bytes()).unwrap();
    let with = |command: &str| format!("{command} --config {}", config.path().display());
    let broker = broker().await;
    printed(&broker, 0, &with("generate --topic s --count 1000")).await;
    let run = "run --source s --destination d --transform name-event --group g --until-caught-up --admin off";
    printed(&broker, 0, &with(run)).await;
    printed(&broker, 0, &with("verify --transform name-event --source s --destination d")).await;
    let lag = objects(&printed(&broker, 0, &with("lag --source s --group g --json")).await);
    assert_eq!(lag[0]["committed"], 1000);
    printed(&broker, 0, &with("demo --events 1000")).await;

    for (property, refusal) in [
        ("ssl.cipher.suites=DEFAULT", "[kafka] ssl.cipher.suites: is not supported by the native engine"),
        ("no.such.property=1", "[kafka] no.such.property: "),
    ] {
        let output = topicmill(Some(&broker), &with(&format!("run -X {property}"))).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(refusal), "{said}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_where_records_go_is_seen() {
    let broker = broker().await;
    broker.create_topic("orders", 3, &[]).expect("a new topic");
    let values: Vec<String> = (0..30).map(|id| format!(r#"{{"id":{id}}}"#)).collect();
    produce(&broker, "orders", &values.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, destination: &str, steps: &str| {
        let path = folder.path().join(name);
        let text = format!("[source]\ntopic = 'orders'\n[destination]\ntopic = '{destination}'\n{steps}");
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let key = "[[step]]\nkey = '.id'\n";
    let old = file("old.toml", "shown", key);
    let by_key = file("key.toml", "shown", &format!("{key}partition = 'by-key'"));
    let moved = printed(&broker, 1, &format!("diff -c {old} -c {by_key}")).await;
    assert!(moved.contains(" rerouted\n") && moved.contains(" shown → shown["), "{moved}");
    let tried =
        printed(&broker, 0, &format!("dry-run -c {by_key} --from-topic orders --count 30 --json")).await;
    let partitions: BTreeSet<u64> =
        objects(&tried).iter().filter_map(|tried| tried["outputs"][0]["partition"].as_u64()).collect();
    assert_eq!(partitions.last(), Some(&2), "{tried}");
    let headed = format!("dry-run -c {old} --key \"k\" --header h=$topic --from-topic orders --count 1");
    let headed = printed(&broker, 0, &headed).await;
    let said = r#"orders[0]@0 → the destination, key "k", headers {"h":"orders"}: {"id":"#;
    assert!(headed.starts_with(said), "{headed}");
    let renamed = file("renamed.toml", "other", key);
    let moved = printed(&broker, 1, &format!("diff -c {old} -c {renamed}")).await;
    assert!(moved.contains("30 rerouted\n") && moved.contains("30 shown → other\n"), "{moved}");
    let named = file("named.toml", "shown", &format!("{key}[[step]]\nroute = 'shown'"));
    let same = printed(&broker, 0, &format!("diff -c {old} -c {named}")).await;
    assert_eq!(same, "orders: 30 records compared, 30 unchanged\n");
    broker.create_topic("none", 1, &[]).expect("a new topic");
    let none = printed(&broker, 1, &format!("diff -c {old} -c {named} --source none")).await;
    assert!(none.ends_with("not allowed: no-records: nothing was compared\n"), "{none}");
    let any = format!("diff -c {old} -c {named} --source none --allow no-records");
    printed(&broker, 0, &any).await;

    // What a template must not name is a dead letter in every command.
    let open = file("open.toml", "shown", "[[step]]\nroute = '{.id | tostring | \"shown_dead_letter\"}'");
    let tried = printed(&broker, 0, &format!("dry-run -c {open} --from-topic orders --count 1")).await;
    assert!(
        tried.contains(": dead letter: route: ") && tried.contains("that of the dead letters"),
        "{tried}"
    );
    let ran = format!("run -c {open} --until-caught-up --admin off");
    let output = topicmill(Some(&broker), &ran).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    printed(&broker, 0, &format!("verify -c {open}")).await;
    let (_, letters) = broker.offsets("shown_dead_letter", 0).unwrap();
    assert_eq!(letters, 30, "each once, as a dead letter");
    let cases = folder.path().join("open.test.toml");
    std::fs::write(&cases, "[[case]]\nvalue = '{\"id\":1}'\ndead_letter = 'route'\n").unwrap();
    assert_eq!(topicmill(None, &format!("test -c {open}")).await.status.code(), Some(0));

    // A second process gives another name than the first one did, as each counts its own.
    let few = file("few.toml", "few", "[[step]]\nroute = 'few_{.id % 2}'\nmax_topics = 1");
    let ran = format!("run -c {few} --until-caught-up --admin off");
    printed(&broker, 0, &ran).await;
    produce(&broker, "orders", &[r#"{"id":31}"#, r#"{"id":32}"#]).await;
    printed(&broker, 0, &ran).await;
    let counts = ["few_0", "few_1", "few_dead_letter"].map(|topic| broker.offsets(topic, 0).unwrap().1);
    assert_eq!(counts, [15, 1, 16]);
    printed(&broker, 0, &format!("verify -c {few}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_configuration_is_tried_on_real_records_without_a_trace() {
    let broker = broker().await;
    printed(&broker, 0, "generate --topic s --partitions 2 --count 3000 --keys zipf").await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, digest: &str| {
        let path = folder.path().join(name);
        let text = format!(
            "[source]\ntopic = \"s\"\n[transform]\nkind = \"hash-field\"\nfield = \"sum\"\ndigest = \"{digest}\"\n"
        );
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (old, new) = (file("old.toml", "md5"), file("new.toml", "xxh3"));

    let same = printed(&broker, 0, &format!("diff -c {old} -c {old}")).await;
    assert_eq!(same, "s: 3,000 records compared, 3,000 unchanged\n");
    let changed = printed(&broker, 1, &format!("diff -c {old} -c {new} --from -1h --json")).await;
    let changed: Value = serde_json::from_str(&changed).unwrap();
    assert_eq!((&changed["records"], &changed["unchanged"]), (&json!(3000), &json!(0)));
    assert_eq!(changed["changed"]["records"], 3000);
    let parts = changed["changed"]["parts"].as_array().unwrap();
    assert_eq!((parts.len(), &parts[0]["part"], &parts[0]["records"]), (1, &json!(".sum"), &json!(3000)));
    assert!(!parts[0]["old"].as_str().unwrap().contains(['a', 'b', 'c']), "masked: {parts:?}");
    let some = printed(&broker, 0, &format!("diff -c {old} -c {new} --sample 100 --allow changed=100")).await;
    assert!(some.starts_with("s: 100 records compared, 0 unchanged\n         100 changed\n"), "{some}");
    let told = topicmill(Some(&broker), &format!("diff -c {old}")).await;
    assert_eq!(told.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&told.stderr).contains("--config: must be given twice"), "{told:?}");

    let shown = printed(&broker, 0, "dry-run --transform name-event --from-topic s --count 3 --json").await;
    let shown = objects(&shown);
    assert_eq!(shown.len(), 3);
    assert_eq!((&shown[2]["partition"], &shown[2]["offset"]), (&json!(0), &json!(2)));
    let value: Value = serde_json::from_str(shown[0]["outputs"][0]["value"].as_str().unwrap()).unwrap();
    assert_eq!(value["hash"].as_str().unwrap().len(), 32);
    let lines = printed(&broker, 0, "dry-run --transform name-event --from-topic s --count 2").await;
    assert!(lines.starts_with("s[0]@0 → the destination: {\"first_name\":"), "{lines}");

    let client = Client::connect(&client_settings(&broker)).await.unwrap();
    assert!(client.topic("s_concurrent_transformed").await.unwrap().is_none(), "nothing is created");
}
