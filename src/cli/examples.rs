//! What the long help of each command ends with: examples, the environment and exit codes.

/// The environment variables of the commands that read a configuration.
macro_rules! environment {
    () => {
        "Environment:
  TOPICMILL_SECTION_KEY sets a key of the file, such as TOPICMILL_RUN_WORKERS or
  TOPICMILL_KAFKA_SASL_PASSWORD. Flags take precedence over the environment, the
  environment over the file. TOPICMILL_LOG is the log level.
"
    };
}

pub(super) const ALL: &str = "\
`topicmill COMMAND --help` has examples.

Exit codes: 0 done, 1 failed, 2 the command line is wrong, 65 verify found violations,
75 no broker answered in time, 78 the configuration is wrong, 129, 130 and 143 stopped at
once by a second signal";

pub(super) const DEMO: &str = concat!(
    "\
Without --brokers an embedded broker serves. On a cluster the demo deletes its topics and its
group at the end.

Examples:
  topicmill demo
  topicmill demo --events 20M --partitions 4 --strategy worker
  topicmill demo -b localhost:19092

",
    environment!(),
    "
Exit codes: 0 done and verified, 1 failed, 2 usage, 65 violations, 75 no broker, 78 configuration,
130 stopped"
);

pub(super) const RUN: &str = concat!(
    "\
Examples:
  topicmill run -b broker1:9092 --source orders --destination orders_hashed -g hasher \\
    --transform hash-field --field sha --digest sha256
  topicmill run -b broker1:9092 --source orders --destination orders_shown \
    --drop '.password,.items[].cost' --mask .email --key .customer.id
  topicmill run -c orders.toml --until-caught-up
  topicmill run -c orders.toml -X group.instance.id=hasher-0 --admin 0.0.0.0:9464

",
    environment!(),
    "
Exit codes: 0 done, 1 failed, 2 usage, 75 no broker within --connect-timeout, 78 configuration,
129, 130 and 143 stopped at once by a second signal"
);

pub(super) const GENERATE: &str = concat!(
    "\
Examples:
  topicmill generate --count 1M --partitions 3 --keys zipf
  topicmill generate -b localhost:19092 --topic names --rate 1000

",
    environment!(),
    "
Exit codes: 0 done, 1 failed, 2 usage, 75 no broker, 78 configuration, 129, 130 and 143 stopped
at once by a second signal"
);

pub(super) const VERIFY: &str = concat!(
    "\
Examples:
  topicmill verify -b broker1:9092 --source orders --destination orders_hashed -g hasher \\
    --transform hash-field --field sha --digest sha256
  topicmill verify -c orders.toml --json
  topicmill verify -c orders.toml --no-plaintext

Findings:
  missing     expected, and neither in the destination nor in the dead letter topic
  duplicates  there more than once
  reordered   there, but out of order
  corrupt     other bytes in its place
  phantom     there, but nothing like it is expected
  misrouted   there, but expected in another partition
  plaintext   with --no-plaintext: a text or number that a step protects, of 4 characters or more,
              in a value, a key or a header; never printed itself

",
    environment!(),
    "
Exit codes: 0 nothing found, 1 failed, 2 usage, 65 violations, 75 no broker, 78 configuration"
);

pub(super) const DRY_RUN: &str = concat!(
    "\
A line that fails is reported on standard error, or as an object with --json; the exit code
stays 0. With --from-topic it shows what becomes of each record, which stays where it is.

Examples:
  topicmill dry-run --transform hash-field --field sha < values.jsonl
  topicmill dry-run --jq '.items[]' < values.jsonl
  topicmill dry-run -c orders.toml --json < values.jsonl
  topicmill dry-run -c orders.toml --from-topic orders --count 20

",
    environment!(),
    "
Exit codes: 0 done, 1 failed, 2 usage, 75 no broker, 78 configuration"
);

pub(super) const TEST: &str = concat!(
    "\
A file of cases, such as orders.test.toml beside orders.toml:

  [[case]]
  name = \"an order keeps its id\"
  value = '{\"id\":1,\"password\":\"x\"}'   # or value_base64, or tombstone = true
  key = \"1\"                             # and headers, topic, partition, offset, timestamp
  [[case.output]]                       # one for each record; what is absent may be anything
  value = '{\"id\":1}'                   # or json, value_base64, tombstone = true
  topic = \"orders_DE\"                   # without: the destination
  headers = { source = \"orders\" }       # and key, partition
  no_headers = [\"trace\"]                # not to be there; and no_key = true

  [[case]]
  value = 'no JSON'
  dead_letter = \"syntax\"                # or filtered = true

Examples:
  topicmill test -c orders.toml
  topicmill test -c orders.toml --junit report.xml cases/*.toml

",
    environment!(),
    "
Exit codes: 0 all passed, 1 a case failed, 2 usage, 78 configuration or cases"
);

pub(super) const DIFF: &str = concat!(
    "\
Reads the source of the new configuration without a consumer group, transforms each record by both
configurations and tells the differences apart: changed (by field), newly filtered, newly dead,
rerouted. Examples show the form of a value only, unless --show-values is given.

Examples:
  topicmill diff -c orders.toml -c orders-new.toml --from -1h
  topicmill diff -c orders.toml -c orders-new.toml --sample 10000 --allow changed --allow newly-dead=0.1%

",
    environment!(),
    "
Exit codes: 0 no differences but allowed ones, 1 others or failed, 2 usage, 75 no broker,
78 configuration"
);

pub(super) const LAG: &str = concat!(
    "\
LAG_SECONDS is the age of the first record that is not committed.

Examples:
  topicmill lag -b broker1:9092 -g hasher
  topicmill lag -b broker1:9092 -g hasher --watch 5s
  topicmill lag -c orders.toml --json | jq .lag

",
    environment!(),
    "
Exit codes: 0 done, 1 failed, 2 usage, 75 no broker, 78 configuration"
);

pub(super) const BENCH: &str = concat!(
    "\
Without --brokers an embedded broker serves.

Examples:
  topicmill bench --codec none --partitions 1
  topicmill bench --codec none --partitions 1 --delivery exactly-once --commit-interval 20ms
  topicmill bench -b localhost:19092 --peers bench/peers/bin --output results

",
    environment!(),
    "
Exit codes: 0 done, 1 failed, 2 usage, 75 no broker, 78 configuration"
);

pub(super) const BROKER: &str = "\
Examples:
  topicmill broker
  topicmill broker --listen 127.0.0.1:0 --memory 4GiB

Exit codes: 0 stopped by a signal, 1 failed, 2 usage";

pub(super) const CHECK: &str = concat!(
    "\
Examples:
  topicmill check -c orders.toml
  topicmill check --source orders --destination hashed --transform hash-field > orders.toml

",
    environment!(),
    "
Exit codes: 0 it is valid, 2 usage, 78 it is not"
);

pub(super) const COMPLETIONS: &str = "\
Examples:
  topicmill completions bash > ~/.local/share/bash-completion/completions/topicmill
  topicmill completions zsh > ~/.zfunc/_topicmill";
