//! Segments of the formats before record batch v2, as they may still stand on the disks of brokers
//! that were upgraded: Kafka 4 sends them as they are (KIP-724).

mod support;

use std::{fs, time::Duration};

use support::{Names, TestRecord, expect, nodes::Nodes, pause};

/// Five messages in each format, one a line: magic, compression, whose timestamps, the bytes.
const MESSAGES: &str = include_str!("../crates/records/src/java_messages.txt");

#[test]
fn segments_of_old_formats_are_read_and_what_is_appended_to_them() {
    let sets: Vec<Vec<&str>> = MESSAGES
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(' ').collect())
        .collect();
    let nodes = Nodes::one();
    let cluster = &nodes.cluster;
    let names = Names::new("formats");
    // The messages are of 2023.
    cluster.create(&names.source, sets.len() as i32, &[("retention.ms", "-1")]);
    let folder = |partition: usize| nodes.logs(1).join(format!("{}-{partition}", names.source));
    // The answer to the creation may come before the node has made them.
    for partition in 0..sets.len() {
        for _ in 0..300 {
            if folder(partition).exists() {
                break;
            }
            pause(Duration::from_millis(100));
        }
    }
    nodes.kill(1).unwrap();
    for (partition, set) in sets.iter().enumerate() {
        let folder = folder(partition);
        for file in fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()) {
            if file.extension().is_some_and(|kind| kind == "index" || kind == "timeindex") {
                fs::remove_file(file).unwrap();
            }
        }
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let bytes: Vec<u8> = set[3].as_bytes().chunks(2).map(byte).collect();
        fs::write(folder.join("00000000000000000000.log"), bytes).unwrap();
    }
    nodes.start(1).unwrap();
    let new = TestRecord::value(br#"{"first_name":"New","last_name":"Format"}"#.to_vec());
    for partition in 0..sets.len() as i32 {
        cluster.produce(&names.source, partition, std::slice::from_ref(&new));
    }

    names.catch_up(cluster, &[]);
    names.expect_clean(cluster, "partition");
    for (partition, set) in (0..).zip(&sets) {
        let written = cluster.consume(&names.destination, partition);
        let timestamps: Vec<i64> = written[..5].iter().map(|record| record.timestamp).collect();
        let expected = match (set[0], set[2]) {
            ("0", _) => [-1; 5],
            (_, "append") => [1_700_000_009_000; 5],
            _ => [0, -100, 200, -300, 400].map(|delta| 1_700_000_000_000 + delta),
        };
        assert_eq!(timestamps, expected, "{set:?}");
        let texts: Vec<_> = written
            .iter()
            .map(|record| record.value.as_deref().map(|value| String::from_utf8_lossy(value).into_owned()))
            .collect();
        assert_eq!(texts[1], None, "{set:?}");
        for value in [0, 2, 3, 4].map(|index: usize| texts[index].as_deref().unwrap()) {
            assert!(value.starts_with(r#"{"first_name":"Ada","last_name":"Lovelace","hash":""#), "{value}");
        }
        assert!(texts[5].as_deref().unwrap().contains("New"), "{set:?}");
        assert_eq!(texts.len(), 6);
        let keys: Vec<_> = written[..5].iter().map(|record| record.key.clone()).collect();
        let key = |index: usize| (index != 0).then(|| format!("key-{index}").into_bytes());
        assert_eq!(keys, (0..5).map(key).collect::<Vec<_>>(), "{set:?}");
    }
    let shown = expect(
        &["lag", "--brokers", &cluster.brokers, "--group", &names.group, "--source", &names.source],
        0,
    );
    assert!(shown.lines().count() > sets.len(), "{shown}");
}
