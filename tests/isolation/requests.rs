//! Requests that are throttled, slow, or refused a login.

use std::{
    fs,
    time::{Duration, Instant},
};

use topicmill_broker::{ApiKey, Fault, FaultAction};

use crate::{
    IMPATIENT, broker, expect_undisturbed, poll, stall, stop,
    support::{Names, goods, program::Running, topicmill},
    until_committed, with_topics,
};

#[test]
fn a_quota_costs_time_and_nothing_else() {
    let names = Names::new("quota");
    let cluster = with_topics(&names, 2);
    (0..2).for_each(|partition| cluster.produce(&names.source, partition, &goods(6000)));
    // So that all of it takes longer than a delivery may, each batch longer than a request, and there is
    // more than may be under way at once.
    broker(&cluster).limit_produce_quota(Some(20_000));
    let mill = Running::run(&cluster, &names, &[&IMPATIENT[..], &["-X", "batch.size=40000"]].concat());
    let written = |partition| broker(&cluster).offsets(&names.destination, partition).unwrap().1;
    poll("records", || written(0) > 0 && written(1) > 0);
    stall();
    assert!(written(0) + written(1) < 12_000, "the quota is no limit");
    assert_eq!(mill.metric("topicmill_rewinds_total"), Some(0.0), "what waits for it is not late");
    expect_undisturbed(&cluster, &mill);
    broker(&cluster).limit_produce_quota(None);
    until_committed(&cluster, &names, 0..2, 6000);
    expect_undisturbed(&cluster, &mill);
    stop(mill);
    names.expect_clean(&cluster, "partition");
}

#[test]
fn a_login_that_is_refused_in_a_running_program_is_tried_again_with_the_password_of_now() {
    let names = Names::new("login");
    let cluster = with_topics(&names, 1);
    let file = std::env::temp_dir().join(format!("{}.toml", names.source));
    let password = std::env::temp_dir().join(format!("{}.password", names.source));
    fs::write(&password, "old").unwrap();
    let toml = format!("[kafka]\nsasl.password_file = '{}'", password.display());
    fs::write(&file, toml).unwrap();
    cluster.produce(&names.source, 0, &goods(10));
    broker(&cluster).require_login(Some(("mill", "old")));
    let login = ["-X", "security.protocol=sasl_plaintext", "-X", "sasl.mechanism=PLAIN"];
    let config = ["-X", "sasl.username=mill", "--config", file.to_str().unwrap()];
    let mill = Running::run(&cluster, &names, &[&login[..], &config].concat());
    mill.until_metric("topicmill_records_written_total", 10.0);
    broker(&cluster).require_login(Some(("mill", "new")));
    broker(&cluster).close_connections();
    mill.until_said("refused");
    fs::write(&password, "new").unwrap();
    // Whoever produces here does not log in.
    broker(&cluster).require_login(None);
    cluster.produce(&names.source, 0, &goods(10));
    broker(&cluster).require_login(Some(("mill", "new")));
    mill.until_metric("topicmill_records_written_total", 20.0);
    stop(mill);
    fs::remove_file(file).unwrap();
    fs::remove_file(password).unwrap();
}

#[test]
fn a_slow_broker_is_kept_up_with_by_fuller_requests() {
    let names = Names::new("slow");
    let cluster = with_topics(&names, 100);
    // Requests of a connection are answered one after the other: no more than 100 a second.
    let delay = FaultAction::Delay(Duration::from_millis(10));
    broker(&cluster).inject(Fault::always(ApiKey::Produce, delay));
    let mill = Running::run(&cluster, &names, &[]);
    mill.until_metric("topicmill_partitions_assigned", 100.0);
    let before = broker(&cluster).seen(ApiKey::Produce);
    let generate = ["generate", "--brokers", &cluster.brokers, "--topic", &names.source];
    let began = Instant::now();
    let generated = topicmill(&[&generate[..], &["--rate", "6000", "--count", "12000"]].concat());
    assert!(generated.status.success(), "{generated:?}");
    let generated = began.elapsed();
    mill.until_metric("topicmill_records_written_total", 12_000.0);
    let after = broker(&cluster).seen(ApiKey::Produce);
    let (requests, batches) = (after.requests - before.requests, after.partitions - before.partitions);
    eprintln!("generated in {generated:?}, written in {:?}", began.elapsed());
    eprintln!("{batches} batches in {requests} requests");
    assert!(batches > requests, "{batches} batches in {requests} requests");
    stop(mill);
    names.expect_clean(&cluster, "partition");
}
