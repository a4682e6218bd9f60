//! Records that the destination does not take.

use crate::support::{Cluster, Names, START, TestRecord, good};

#[test]
fn what_a_topic_does_not_take_stands_in_the_dead_letter_topic_and_its_neighbours_go_on() {
    let hour_ms = 60 * 60 * 1000;
    let now = *START;
    let is_bad = |number: usize| number % 40 == 7 || (1000..1100).contains(&number);
    // What the destination is told to mind, and the records that it does.
    let cases: [(&str, &str, TestRecord); 3] = [
        ("cleanup.policy", "compact", TestRecord { key: None, timestamp: now, ..good(0) }),
        (
            "message.timestamp.before.max.ms",
            "3600000",
            TestRecord { key: Some("k".into()), timestamp: now - 2 * hour_ms, ..good(0) },
        ),
        (
            "message.timestamp.after.max.ms",
            "60000",
            TestRecord { key: Some("k".into()), timestamp: now + hour_ms / 2, ..good(0) },
        ),
    ];
    for (setting, value, bad) in cases {
        let (cluster, names) = (Cluster::embedded(), Names::new("refused"));
        cluster.create(&names.source, 1, &[]);
        cluster.create(&names.destination, 1, &[(setting, value)]);
        let fine = |number| TestRecord { key: Some("k".into()), timestamp: now, ..good(number) };
        let records: Vec<_> = (0..3000).map(|n| if is_bad(n) { bad.clone() } else { fine(n) }).collect();
        cluster.produce(&names.source, 0, &records);
        // Small batches: those behind a refused one are under way with it.
        names.catch_up(&cluster, &["-X", "batch.size=4000"]);
        names.expect_clean(&cluster, "partition");
        let refused: Vec<usize> = (0..3000).filter(|n| is_bad(*n)).collect();
        let letters = cluster.consume(&names.dead_letter, 0);
        let offsets: Vec<usize> =
            letters.iter().map(|letter| letter.header("__connect.errors.offset").parse().unwrap()).collect();
        assert_eq!(offsets, refused, "{setting}");
        assert!(letters.iter().all(|letter| letter.timestamp == bad.timestamp), "{setting}");
    }
}
