//! A flag outweighs the environment, that the file, and that the default.

use super::program::Program;

const FILE: &str = "
    [kafka]
    bootstrap.servers = 'file:1'
    'client.id' = 'file'
    [source]
    topic = 'file'
    auto-offset-reset = 'latest'
    [run]
    strategy = 'worker'
    workers = 2
    memory = 67108864
    [destination]
    topic = 'written'
    [transform]
    kind = 'hash-field'
    field = 'sum'
    digest = 'xxh3'
";

#[test]
fn the_defaults_are_the_experiments() {
    Program::new(["check"]).run().expect(
        0,
        &[
            "bootstrap.servers = \"localhost:19092\"",
            "topic = \"name_stream\"",
            "group = \"consumer_golang_concurrent\"",
            "auto_offset_reset = \"earliest\"",
            "topic = \"name_stream_concurrent_transformed\"",
            "topic = \"name_stream_concurrent_transformed_dead_letter\"",
            "strategy = \"pipeline\"",
            "memory = \"256MiB\"",
            "retries = 3",
            "connect_timeout = \"10s\"",
            "drain_timeout = \"30s\"",
            "listen = \"127.0.0.1:9464\"",
            "\n# ok\n",
        ],
    );
    let serial = ["\"consumer_golang_serial\"", "\"name_stream_serial_transformed\"", "workers = 1"];
    Program::new(["check", "--strategy", "serial"]).run().expect(0, &serial);
    Program::new(["check", "--strategy", "worker"]).run().expect(0, &["workers = 4"]);
}

/// Somebody waits for a run to the end; one that goes on for ever can wait for ever.
#[test]
fn only_a_run_to_the_end_gives_up_unless_it_is_told_to() {
    let never = ["give_up_after = \"never\""];
    Program::new(["check"]).run().expect(0, &never);
    Program::new(["check", "--until-caught-up"]).run().expect(0, &["give_up_after = \"10m\""]);
    Program::new(["check", "--until-caught-up", "--give-up-after", "never"]).run().expect(0, &never);
    Program::new(["check", "--give-up-after", "1h"]).run().expect(0, &["give_up_after = \"1h\""]);
}

#[test]
fn the_file_outweighs_the_default() {
    let expected = [
        "bootstrap.servers = \"file:1\"",
        "client.id = \"file\"",
        "auto_offset_reset = \"latest\"",
        "strategy = \"worker\"",
        "workers = 2",
        "memory = \"64MiB\"",
        "digest = \"xxh3\"",
        "topic = \"written\"",
        "topic = \"written_dead_letter\"",
    ];
    Program::new(["check"]).config(FILE).run().expect(0, &expected);
}

#[test]
fn the_environment_outweighs_the_file() {
    let program = Program::new(["check"])
        .config(FILE)
        .environment("TOPICMILL_KAFKA_BOOTSTRAP_SERVERS", "environment:2,other:3")
        .environment("TOPICMILL_KAFKA_CLIENT_ID", "environment")
        .environment("TOPICMILL_RUN_WORKERS", "3");
    let expected =
        ["\"environment:2,other:3\"", "client.id = \"environment\"", "workers = 3", "topic = \"file\""];
    program.run().expect(0, &expected);
}

#[test]
fn a_flag_outweighs_the_environment() {
    let flags = ["check", "--brokers", "flag:4", "-X", "client.id=flag", "--workers", "5", "--admin", "off"];
    let program = Program::new(flags)
        .config(FILE)
        .environment("TOPICMILL_KAFKA_BOOTSTRAP_SERVERS", "environment:2")
        .environment("TOPICMILL_KAFKA_CLIENT_ID", "environment")
        .environment("TOPICMILL_ADMIN_LISTEN", "0.0.0.0:1")
        .environment("TOPICMILL_RUN_WORKERS", "3");
    program.run().expect(0, &["\"flag:4\"", "client.id = \"flag\"", "workers = 5", "listen = \"off\""]);
}

#[test]
fn what_a_weightier_choice_leaves_behind_is_no_contradiction() {
    let flags = ["check", "--strategy", "serial", "--transform", "name-event"];
    Program::new(flags).config(FILE).run().expect(0, &["strategy = \"serial\"", "workers = 1"]);
}

#[test]
fn the_last_of_repeated_properties_counts() {
    let flags = ["check", "-X", "linger.ms=1", "-X", "queue.buffering.max.ms=2", "-X", "group.id=g"];
    Program::new(flags).run().expect(0, &["linger.ms = \"2\"", "group = \"g\""]);
}

#[test]
fn the_effective_configuration_is_a_configuration() {
    let first = Program::new(["check", "--strategy", "worker"]).run();
    let toml = first.stdout.strip_suffix("\n# ok\n").unwrap();
    let second = Program::new(["check"]).config(toml).run();
    second.expect(0, &[toml]);
}

#[test]
fn a_flag_turns_off_how_the_file_logs_in() {
    let file =
        "[kafka]\n'security.protocol' = 'sasl_ssl'\n'sasl.mechanism' = 'PLAIN'\n'sasl.username' = 'mill'\n";
    let flag = ["check", "-X", "security.protocol=plaintext"];
    Program::new(flag).config(file).run().expect(0, &["security.protocol = \"plaintext\""]);
}

/// Whatever the rest of the service's name is, unless it makes the name of a key.
#[test]
fn what_kubernetes_says_of_a_service_beside_it_is_no_setting() {
    for service in ["TOPICMILL", "TOPICMILL_METRICS", "TOPICMILL_RUN", "TOPICMILL_ORDERS_V2"] {
        let mut program = Program::new(["check"]);
        for (link, value) in [
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT", "9464"),
            ("SERVICE_PORT_METRICS", "9464"),
            ("PORT", "tcp://10.0.0.1:9464"),
            ("PORT_9464_TCP", "tcp://10.0.0.1:9464"),
            ("PORT_9464_TCP_ADDR", "10.0.0.1"),
            ("PORT_9464_TCP_PORT", "9464"),
            ("PORT_9464_TCP_PROTO", "tcp"),
        ] {
            program = program.environment(&format!("{service}_{link}"), value);
        }
        program.run().expect(0, &["# ok"]);
    }
    for typo in ["TOPICMILL_PORTS", "TOPICMILL_PORT_HTTP_TCP", "TOPICMILL_RUN_SERVICE"] {
        Program::new(["check"]).environment(typo, "1").run().expect(78, &[&format!("{typo}: unknown")]);
    }
}

#[test]
fn an_empty_variable_is_unset() {
    let mut program = Program::new(["check"]).config("[source]\ngroup = 'file'");
    for name in ["SOURCE_GROUP", "RUN_WORKERS", "KAFKA_SASL_PASSWORD", "NO_SUCH_KEY", "LOG"] {
        program = program.environment(&format!("TOPICMILL_{name}"), "");
    }
    program.run().expect(0, &["group = \"file\"", "workers = 1"]);
}

/// The defaults for another source would write the wrong thing, or to the wrong place.
#[test]
fn what_a_source_of_ones_own_needs_must_be_said() {
    let missing = [
        "config: [destination] topic: is missing",
        "--destination",
        "config: [transform] kind: is missing",
        "--transform to `name-event`, `hash-field`",
    ];
    for command in ["run", "check", "verify"] {
        Program::new([command, "--source", "orders"]).run().expect(78, &missing);
        Program::new([command]).config("[source]\ntopic = 'orders'").run().expect(78, &missing);
    }
    let half = Program::new(["run", "--source", "orders", "--destination", "o"]).run();
    assert!(!half.expect(78, &missing[2..]).stderr.contains("[destination]"), "{}", half.stderr);
}

#[test]
fn nothing_but_the_experiment_depends_on_the_strategy() {
    let with = |strategy: &str| {
        let flags = ["check", "--source", "orders", "--destination", "hashed", "--transform", "hash-field"];
        let ended = Program::new(flags.into_iter().chain(["--strategy", strategy])).run();
        let expected =
            ["group = \"topicmill-orders-hashed\"", "topic = \"hashed\"", "topic = \"hashed_dead_letter\""];
        ended.expect(0, &expected).stdout.replace(&format!("strategy = \"{strategy}\""), "")
    };
    assert_eq!(with("serial"), with("pipeline"));
    assert_eq!(with("serial"), with("worker").replace("workers = 4", "workers = 1"));
    // Another destination is another pipeline, whatever it reads.
    let group = ["group = \"topicmill-name_stream-elsewhere\""];
    Program::new(["check", "--destination", "elsewhere"]).run().expect(0, &group);
}
