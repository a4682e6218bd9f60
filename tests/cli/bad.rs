//! Configurations and flags that cannot hold: each with its exit code and a message that names it.

use super::program::Program;

const USAGE: i32 = 2;
const CONFIG: i32 = 78;

/// What follows `topicmill check`, the exit code, and what must be said.
const FLAGS: &[(&str, i32, &str)] = &[
    ("--no-such-flag", USAGE, "--no-such-flag"),
    ("--strategy parallel", USAGE, "--strategy"),
    ("--order random", USAGE, "--order"),
    ("--delivery at-most-once", USAGE, "--delivery"),
    ("--engine java", USAGE, "--engine"),
    ("--workers many", USAGE, "--workers"),
    ("--workers -1", USAGE, "--workers"),
    ("--memory plenty", USAGE, "--memory"),
    ("--memory 1.5GiB", USAGE, "--memory"),
    ("--drain-timeout 30", USAGE, "--drain-timeout"),
    ("--connect-timeout soon", USAGE, "--connect-timeout"),
    ("--commit-interval -1s", USAGE, "--commit-interval"),
    ("--retries few", USAGE, "--retries"),
    ("--transform upper-case", USAGE, "--transform"),
    ("--digest crc32", USAGE, "--digest"),
    ("--auto-offset-reset middle", USAGE, "--auto-offset-reset"),
    ("--log-level loud", USAGE, "--log-level"),
    ("--log-format xml", USAGE, "--log-format"),
    ("-X acks", USAGE, "-X"),
    ("--config /no/such/file.toml", CONFIG, "/no/such/file.toml: cannot be read"),
    ("--workers 0", CONFIG, "config: [run] workers: must be at least 1 (from flag --workers)"),
    ("--strategy worker --workers 100000", CONFIG, "[run] workers: must be at most"),
    ("--strategy serial --workers 4", CONFIG, "[run] workers: only the strategy `worker`"),
    ("--order key", CONFIG, "[run] order: `key` is for the strategy `worker`"),
    ("--strategy serial --order none", CONFIG, "[run] order: `none` is for the strategy `worker`"),
    ("--memory 1MiB", CONFIG, "[run] memory: must be at least 16MiB (from flag --memory)"),
    (
        "--delivery exactly-once --commit-interval 5s",
        CONFIG,
        "[run] commit_interval: must be at most a quarter of transaction.timeout.ms",
    ),
    (
        "--delivery exactly-once --retries 7",
        CONFIG,
        "[run] retries: must fit into transaction.timeout.ms, exactly once: the pauses between 7 retries are",
    ),
    ("--retries 99999999999", CONFIG, "[run] retries: must be between"),
    ("--connect-timeout 0s", CONFIG, "[run] connect_timeout: must be more than 0"),
    ("--drain-timeout 25h", CONFIG, "[run] drain_timeout: must be more than 0 and at most 24h"),
    ("--on-gap skip", USAGE, "--on-gap"),
    ("--on-panic ignore", USAGE, "--on-panic"),
    ("--give-up-after soon", CONFIG, "[run] give_up_after: must be a duration"),
    ("--give-up-after 0s", CONFIG, "[run] give_up_after: must be more than 0"),
    ("--brokers localhost", CONFIG, "[kafka] bootstrap.servers: must be `host:port`"),
    ("--brokers localhost:0", CONFIG, "`localhost:0` is not (from flag --brokers)"),
    ("--brokers a:9092,,b:9092", CONFIG, "[kafka] bootstrap.servers"),
    ("--brokers ::1:9092", CONFIG, "[kafka] bootstrap.servers"),
    ("--source bad/name", CONFIG, "[source] topic: must consist of"),
    ("--source ..", CONFIG, "[source] topic: must not be `.` or `..`"),
    ("--source a --destination a", CONFIG, "[destination] topic: must differ from the source, `a`"),
    ("--source a --dead-letter a", CONFIG, "[dead_letter] topic: must differ from the source, `a`"),
    ("--destination b --dead-letter b", CONFIG, "[dead_letter] topic: must differ from the destination, `b`"),
    ("--group=", CONFIG, "[source] group: must not be empty"),
    ("--field sum", CONFIG, "[transform] field: is only for the transform `hash-field`"),
    ("--transform hash-field --field=", CONFIG, "[transform] field: must not be empty"),
    ("--admin 9464", CONFIG, "[admin] listen: must be an address"),
    ("-X session.timeout.ms=-5", CONFIG, "[kafka] session.timeout.ms: -5 is not in "),
    ("-X acks=1", CONFIG, "[kafka] acks: must be `all`: anything less may lose records (from flag -X acks)"),
    ("-X enable.idempotence=false", CONFIG, "[kafka] enable.idempotence: must be `true`"),
    ("-X linger=5", CONFIG, "[kafka] linger: unknown property"),
    ("-X linger.sm=5", CONFIG, "unknown property; did you mean `linger.ms`? (from flag -X linger.sm)"),
    ("-X linger.ms=soon", CONFIG, "[kafka] linger.ms: must be an integer"),
    ("-X sasl.mechanism=KERBEROS", CONFIG, "[kafka] sasl.mechanism: must be one of"),
    ("-X security.protocol=tls", CONFIG, "[kafka] security.protocol: must be one of"),
    ("-X compression.type=brotli", CONFIG, "[kafka] compression.type: must be one of"),
    ("-X auto.offset.reset=middle", CONFIG, "[source] auto_offset_reset: must be one of"),
    (
        "-X security.protocol=sasl_ssl -X sasl.mechanism=PLAIN -X sasl.username=mill",
        CONFIG,
        "[kafka] sasl.password: is missing; set TOPICMILL_KAFKA_SASL_PASSWORD",
    ),
    (
        "-X sasl.mechanism=PLAIN -X sasl.username=mill",
        CONFIG,
        "[kafka] sasl.mechanism: needs security.protocol `sasl_ssl` or `sasl_plaintext`",
    ),
    (
        "-X security.protocol=ssl -X ssl.ca.location=/no/such/file",
        CONFIG,
        "[kafka] ssl.ca.location: cannot read /no/such/file: No such file or directory (os error 2) (from flag",
    ),
    ("-X retries=5", CONFIG, "[kafka] retries: "),
    ("-X enable.auto.commit=true", CONFIG, "[kafka] enable.auto.commit: "),
    ("-X max.in.flight=9", CONFIG, "[kafka] max.in.flight.requests.per.connection: "),
    ("-X sasl.password=x", CONFIG, "[kafka] sasl.password: a secret comes from the environment"),
    ("-X ssl.key.password=x", CONFIG, "TOPICMILL_KAFKA_SSL_KEY_PASSWORD"),
    ("-X sasl.password_file=/no/such/file", CONFIG, "[kafka] sasl.password: /no/such/file cannot be read"),
];

#[test]
fn flags() {
    for (line, code, said) in FLAGS {
        Program::new(["check"].into_iter().chain(line.split(' '))).run().expect(*code, &[said]);
    }
}

#[test]
fn times_that_cannot_be_are_all_that_is_told() {
    for value in ["0", "-5", "soon", "99999999999999"] {
        let property = format!("transaction.timeout.ms={value}");
        let ended = Program::new(["check", "--delivery", "exactly-once", "-X", &property]).run();
        ended.expect(CONFIG, &["[kafka] transaction.timeout.ms: "]);
        assert_eq!(ended.stderr.matches("config: [").count(), 1, "{}", ended.stderr);
    }
}

/// The file and what must be said.
const FILES: &[(&str, &str)] = &[
    ("[run\n", "line 1"),
    ("strategy = 'worker'", "[strategy]: unknown section"),
    ("run = 1", "[run]: must be a section"),
    ("[rum]\nworkers = 1", "[rum]: unknown section; did you mean `run`?"),
    ("[run]\nworker = 1", "[run] worker: unknown key; did you mean `workers`?"),
    ("\n[run]\nworkers = 0", "line 3)"),
    ("[run]\nworkers = '4'", "[run] workers: must be an integer, not a string"),
    ("[run]\nworkers = 1.5", "[run] workers: must be an integer, not a float"),
    ("[run]\nstrategy = 1", "[run] strategy: must be a string, not an integer"),
    ("[run]\nstrategy = 'parallel'", "[run] strategy: must be one of `serial`, `pipeline`, `worker`"),
    (
        "[run]\ndelivery = 'exactly-once'\ncommit_interval = '1m'",
        "[run] commit_interval: must be at most a quarter of transaction.timeout.ms",
    ),
    ("[run]\ncommit_interval = 5", "[run] commit_interval: must be a string, not an integer"),
    ("[run]\ndrain_timeout = '5'", "[run] drain_timeout: must be a duration"),
    (
        "[run]\ngive_up_after = 'nie'",
        "[run] give_up_after: must be a duration such as `500ms`, `10s` or `2m`, or `never`",
    ),
    ("[run]\non_panic = 'skip'", "[run] on_panic: must be one of `stop`, `dead-letter`"),
    ("[source]\non_gap = 'fail'", "[source] on_gap: must be one of `continue`, `stop`"),
    ("[run]\nmemory = 1024", "[run] memory: must be at least 16MiB"),
    ("[run]\nmemory = -1", "[run] memory: must not be negative"),
    ("[run]\nretries = -1", "[run] retries: must be between"),
    ("[run]\nuntil_caught_up = 'yes'", "[run] until_caught_up: must be a boolean, not a string"),
    ("[source]\ntopic = ''", "[source] topic: must not be empty"),
    ("[source]\nname = 'a'", "[source] name: unknown key"),
    ("[source.topic]\nname = 'a'", "[source] topic: must be a string, not a table"),
    ("[destination]\ntopic = 'name_stream'", "[destination] topic: must differ from the source"),
    ("[destination]\ncreate = 1", "[destination] create: must be a boolean, not an integer"),
    ("[transform]\nkind = 'upper'", "[transform] kind: must be one of `name-event`, `hash-field`"),
    ("[transform]\ndigest = 'md5'", "[transform] digest: is only for the transform `hash-field`"),
    ("[dead_letter]\ntopic = 'a b'", "[dead_letter] topic: must consist of"),
    ("[admin]\nlisten = 'localhost'", "[admin] listen: must be an address"),
    ("[kafka]\nbootstrap.servers = ['a:1']", "[kafka] bootstrap.servers: must be a string, not an array"),
    ("[kafka]\nbootstrap.server = 'a:1'", "did you mean `bootstrap.servers`?"),
    ("[kafka]\nacks = 1", "[kafka] acks: must be `all`"),
    ("[kafka]\nlinger.ms = 1.5", "[kafka] linger.ms: must be a string, an integer or a boolean, not a float"),
    ("[kafka]\nclient.id = ''", "[kafka] client.id: must not be empty"),
    (
        "[kafka]\ncompression.type = 'gzip'\ncompression.codec = 'lz4'",
        "[kafka] compression.type: is given twice",
    ),
    ("[kafka]\nsasl.password = 'x'", "[kafka] sasl.password: a secret comes from the environment"),
    ("[kafka]\nsasl.password_file = 1", "[kafka] sasl.password_file: must be the path of a file"),
];

#[test]
fn files() {
    for (toml, said) in FILES {
        Program::new(["check"]).config(toml).run().expect(CONFIG, &[said]);
    }
}

/// A variable, its value and what must be said.
const VARIABLES: &[(&str, &str, &str)] = &[
    (
        "TOPICMILL_RUN_WORKERS",
        "0",
        "[run] workers: must be at least 1 (from environment TOPICMILL_RUN_WORKERS)",
    ),
    ("TOPICMILL_RUN_WORKERS", "four", "[run] workers: must be an integer"),
    (
        "TOPICMILL_RUN_WORKER",
        "4",
        "TOPICMILL_RUN_WORKER: unknown variable; did you mean `TOPICMILL_RUN_WORKERS`?",
    ),
    ("TOPICMILL_WHATEVER", "1", "TOPICMILL_WHATEVER: unknown variable; they are named by section and key"),
    ("TOPICMILL_RUN_UNTIL_CAUGHT_UP", "1", "[run] until_caught_up: must be `true` or `false`"),
    ("TOPICMILL_DEAD_LETTER_TOPIC", "a/b", "[dead_letter] topic: must consist of"),
    ("TOPICMILL_KAFKA_BOOTSTRAP_SERVERS", "a", "[kafka] bootstrap.servers: must be `host:port`"),
    ("TOPICMILL_KAFKA_ACKS", "0", "[kafka] acks: must be `all`"),
    (
        "TOPICMILL_KAFKA_SASL_PASSWORD_FILE",
        "/no/such/file",
        "[kafka] sasl.password: /no/such/file cannot be read",
    ),
    ("TOPICMILL_LOG", "loud", "TOPICMILL_LOG: must be one of `off`"),
];

#[test]
fn variables() {
    for (name, value, said) in VARIABLES {
        Program::new(["check"]).environment(name, value).run().expect(CONFIG, &[said]);
    }
}

/// It can hold, and may not be what is meant.
#[test]
fn reading_what_may_be_aborted_exactly_once_is_warned_of() {
    const WARNING: &str = "[kafka] isolation.level: read_uncommitted reads what its producer may abort later";
    let (uncommitted, exactly_once) =
        (["-X", "isolation.level=READ_UNCOMMITTED"], ["--delivery", "exactly-once"]);
    let nobody = ["--brokers", "127.0.0.1:1", "--connect-timeout", "100ms"];
    for (command, more, code) in [("check", &[][..], 0), ("run", &nobody, 75)] {
        let run = |flags: &[&[&'static str]]| {
            Program::new([command].into_iter().chain([more, &flags.concat()].concat())).run()
        };
        run(&[&uncommitted, &exactly_once]).expect(code, &[WARNING]);
        for flags in [&[&uncommitted[..]][..], &[&exactly_once]] {
            let ended = run(flags);
            assert!(!ended.expect(code, &[]).stderr.contains("read_uncommitted"), "{}", ended.stderr);
        }
    }
}

/// The other commands read the same layers.
const COMMANDS: &[(&str, i32, &str)] = &[
    ("", USAGE, "Usage"),
    ("transform", USAGE, "transform"),
    ("run --workers 0", CONFIG, "[run] workers: must be at least 1"),
    ("demo --events few", USAGE, "--events"),
    ("demo --events 0", USAGE, "invalid value '0' for '--events <N>': must be greater than 0"),
    ("demo --partitions 0", USAGE, "--partitions"),
    ("generate --rate 0", USAGE, "--rate"),
    ("generate --keys random", USAGE, "--keys"),
    ("generate --topic a/b", CONFIG, "config: --topic: must consist of"),
    ("verify --source a --destination a", CONFIG, "[destination] topic: must differ"),
    ("lag --group=", CONFIG, "[source] group: must not be empty"),
    ("lag --source a", CONFIG, "[source] group: is missing"),
    ("dry-run --digest md5", CONFIG, "[transform] digest: is only for"),
    ("broker --listen 19092", USAGE, "--listen"),
    ("completions csh", USAGE, "csh"),
];

#[test]
fn commands() {
    for (line, code, said) in COMMANDS {
        Program::new(line.split_terminator(' ')).run().expect(*code, &[said]);
    }
}

#[test]
fn a_property_that_is_none_shows_the_usage_of_its_command() {
    for command in ["run", "check", "lag", "generate", "verify"] {
        let usage = format!("Usage: topicmill {command} ");
        Program::new([command, "-X", "bogus"]).run().expect(USAGE, &["-X: write it as KEY=VALUE", &usage]);
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let toml = "[run]\nworkers = 0\nspeed = 9\n[source]\ntopic = '.'\n[destination]\ntopic = 'd'\n[transform]\nkind = 'name-event'\n[kafka]\nacks = 0\nlingr.ms = 5";
    let ended = Program::new(["check", "--memory", "1"]).config(toml).run();
    ended.expect(
        CONFIG,
        &["[run] workers", "[run] speed", "[run] memory", "[source] topic", "acks", "lingr.ms"],
    );
    assert_eq!(ended.stderr.lines().count(), 6, "{}", ended.stderr);
    assert!(ended.stderr.lines().all(|line| line.starts_with("config: ")), "{}", ended.stderr);
}

/// With a file that says nothing, nearly everything is missing.
#[test]
fn what_keeps_the_file_from_being_read_is_all_that_is_told() {
    for (toml, told) in [
        (
            "[source]\ntopic = 'a'\n[[step]\nfilter = '.a'\n[destination]\ntopic = 'b'",
            ["column 8: ", " line 3)"],
        ),
        ("[source]\ntopic = 'a\n[run]\nworkers = 0", ["column 11: ", " line 2)"]),
        ("[source]\ntopic = 'a'\ntopic = 'b'\n[run]\nworkers = 0", ["column 1: ", " line 3)"]),
        ("'ä' 'b' = 1\nc d", ["column 5: ", " line 1)"]),
    ] {
        let commands = [
            &["check"][..],
            &["check", "--source", "x"],
            &["run"],
            &["verify"],
            &["dry-run"],
            &["test"],
            &["lag"],
        ];
        for command in commands {
            let ended = Program::new(command.iter().copied()).config(toml).run();
            ended.expect(CONFIG, &["not TOML at ", told[0], told[1]]);
            assert_eq!(ended.stderr.lines().count(), 1, "{command:?} {toml}\n{}", ended.stderr);
        }
    }
    let missing = ["check", "--config", "/no/such/file.toml", "--source", "a", "--destination", "a"];
    let ended = Program::new(missing).run();
    ended.expect(CONFIG, &["/no/such/file.toml: cannot be read"]);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
}

/// What the configuration refuses of a value, what the engine does, and what does not hold between two.
#[test]
fn all_problems_of_properties_are_told_at_once() {
    let properties = ["acks=1", "linger.ms=soon", "max.in.flight=9", "retries=5", "delivery.timeout.ms=100"];
    let flags = properties.iter().flat_map(|property| ["-X", property]);
    let ended = Program::new(["check"].into_iter().chain(flags)).run();
    ended.expect(
        CONFIG,
        &["acks:", "linger.ms:", "requests.per.connection:", "retries:", "delivery.timeout.ms:"],
    );
    assert_eq!(ended.stderr.lines().count(), 5, "{}", ended.stderr);
}

/// One refused value says nothing of what depends on it.
#[test]
fn what_follows_from_a_refused_property_is_not_told() {
    let sasl = ["check", "-X", "security.protocol=sasl_tls", "-X", "sasl.mechanism=PLAIN"];
    let ended = Program::new(sasl).run();
    ended.expect(CONFIG, &["[kafka] security.protocol: must be one of"]);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
}

#[test]
fn the_names_of_topics_have_a_length() {
    let (longest, longer) = ("s".repeat(249), "s".repeat(250));
    let topics = ["check", "--destination", "d", "--transform", "name-event", "--source"];
    Program::new(topics.into_iter().chain([longest.as_str()])).run().expect(0, &["ok"]);
    let refused = ["[source] topic: must have at most 249 characters (from flag --source)"];
    Program::new(topics.into_iter().chain([longer.as_str()])).run().expect(CONFIG, &refused);
    let refused = ["[dead_letter] topic: the default, made of"];
    Program::new(["check", "--destination", &longest]).run().expect(CONFIG, &refused);
}

#[cfg(not(feature = "librdkafka"))]
#[test]
fn an_engine_that_is_not_built_names_its_feature() {
    let ended = Program::new(["run", "--engine", "librdkafka"]).run();
    ended.expect(CONFIG, &["[run] engine", "--features librdkafka"]);
}
