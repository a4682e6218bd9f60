//! Where reading goes on when what was to be read is gone, or new.

use topicmill_broker::{ApiKey, Fault, FaultAction};

use crate::{
    ATTENTIVE, broker, expect_undisturbed, poll, stop,
    support::{
        Cluster, Names, goods,
        program::{Running, SOON},
    },
    until_committed, with_topics,
};

const NOT_LEADER_OR_FOLLOWER: i16 = 6;

/// A member at work that has read 10 records of one partition; it does not see the next 90, of
/// which 60 are deleted before it can.
fn overtaken(cluster: &Cluster, names: &Names, more: &[&str]) -> Running {
    let mill = Running::run(cluster, names, more);
    mill.until_metric("topicmill_partitions_assigned", 1.0);
    cluster.produce(&names.source, 0, &goods(10));
    until_committed(cluster, names, 0..1, 10);
    let blind = FaultAction::Error(NOT_LEADER_OR_FOLLOWER);
    let fault = broker(cluster).inject(Fault::always(ApiKey::Fetch, blind).on_partition(&names.source, 0));
    // The fetches that wait have passed the fault already and would see what is produced.
    let waiting = broker(cluster).seen(ApiKey::Fetch).requests;
    poll("fetches that meet the fault", || broker(cluster).seen(ApiKey::Fetch).requests > waiting + 2);
    cluster.produce(&names.source, 0, &goods(90));
    broker(cluster).delete_records(&names.source, 0, 70).unwrap();
    broker(cluster).lift(fault);
    mill
}

#[test]
fn a_reader_that_is_overtaken_goes_on_at_the_start_whatever_the_policy() {
    for policy in ["earliest", "latest"] {
        let names = Names::new("overtaken");
        let cluster = with_topics(&names, 1);
        let mill = overtaken(&cluster, &names, &["--auto-offset-reset", policy]);
        until_committed(&cluster, &names, 0..1, 100);
        expect_undisturbed(&cluster, &mill);
        assert_eq!(mill.metric("topicmill_skipped_offsets_total"), Some(60.0), "{policy}");
        assert!(mill.get("/metrics").1.contains("reason=\"retention\""));
        assert_eq!(broker(&cluster).offsets(&names.destination, 0), Some((0, 40)), "{policy}");
        stop(mill);
    }
}

#[test]
fn a_partition_that_is_overtaken_stops_where_it_is_told_to() {
    let names = Names::new("overtaken");
    let cluster = with_topics(&names, 1);
    let mill = overtaken(&cluster, &names, &["--on-gap", "stop"]);
    mill.until_metric("topicmill_partitions_stopped", 1.0);
    mill.until_status("/readyz", 503, "60 offsets are gone");
    assert_eq!(broker(&cluster).offsets(&names.destination, 0), Some((0, 10)), "nothing behind is read");
    assert_eq!(cluster.committed(&names.group, &names.source)[&0], 10, "nothing is passed over");
    mill.signal("-TERM");
    let (code, _, log) = mill.end(SOON);
    assert_eq!(code, 1, "{log:?}");
    let place = format!("{}[0] at offset 10", names.source);
    assert!(log.last().unwrap().contains(&place), "{log:?}");
    let goes_on = |line: &String| line.contains("reading on") || line.contains("passed over");
    assert!(!log.iter().any(goes_on), "it says what it does: {log:?}");
}

#[test]
fn a_topic_made_anew_is_read_from_its_beginning() {
    for policy in ["earliest", "latest"] {
        let names = Names::new("anew");
        let cluster = with_topics(&names, 2);
        let mill =
            Running::run(&cluster, &names, &[&ATTENTIVE[..], &["--auto-offset-reset", policy]].concat());
        mill.until_metric("topicmill_partitions_assigned", 2.0);
        mill.until_status("/readyz", 200, "ok");
        (0..2).for_each(|partition| cluster.produce(&names.source, partition, &goods(50)));
        until_committed(&cluster, &names, 0..2, 50);
        broker(&cluster).delete_topic(&names.source).unwrap();
        cluster.create(&names.source, 2, &[]);
        // Fewer than before, so that the old offset lies past the end, then more.
        for (records, total) in [(20, 140), (60, 260)] {
            (0..2).for_each(|partition| cluster.produce(&names.source, partition, &goods(records)));
            mill.until_metric("topicmill_records_written_total", f64::from(total));
        }
        assert_eq!(mill.metric("topicmill_restarts_total").unwrap_or(0.0), 0.0);
        until_committed(&cluster, &names, 0..2, 80);
        assert!(mill.lines().iter().any(|line| line.contains("WARN") && line.contains(&names.source)));
        stop(mill);
    }
}

#[test]
fn latest_is_where_a_group_starts_and_never_again() {
    let names = Names::new("latest");
    let cluster = with_topics(&names, 1);
    cluster.produce(&names.source, 0, &goods(100));
    let latest = [&ATTENTIVE[..], &["--auto-offset-reset", "latest"]].concat();
    let mill = Running::run(&cluster, &names, &latest);
    // Before it has read anything: the place where it starts is kept.
    until_committed(&cluster, &names, 0..1, 100);
    stop(mill);
    cluster.produce(&names.source, 0, &goods(10));
    let mill = Running::run(&cluster, &names, &latest);
    mill.until_metric("topicmill_records_written_total", 10.0);
    // A partition that appears while the group is there is new from its beginning.
    broker(&cluster).add_partitions(&names.source, 2).unwrap();
    cluster.produce(&names.source, 1, &goods(20));
    mill.until_metric("topicmill_records_written_total", 30.0);
    stop(mill);
}
