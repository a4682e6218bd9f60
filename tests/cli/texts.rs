//! Help, completions, the examples.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

use clap::{CommandFactory, Parser};
use topicmill::internal::Cli;

use super::program::Program;

const COMMANDS: [&str; 11] =
    ["demo", "run", "generate", "verify", "dry-run", "test", "diff", "lag", "broker", "check", "completions"];

#[test]
fn every_command_has_help() {
    let overview = Program::new(["--help"]).run();
    overview.expect(0, &COMMANDS);
    for command in COMMANDS {
        let usage = format!("Usage: topicmill {command}");
        Program::new([command, "--help"]).run().expect(0, &[&usage, "--log-level"]);
    }
    Program::new(["--version"]).run().expect(0, &[concat!("topicmill ", env!("CARGO_PKG_VERSION"))]);
}

#[test]
fn run_offers_what_the_contract_names() {
    let flags = [
        "--brokers",
        "--source",
        "--destination",
        "--dead-letter",
        "--group",
        "--strategy",
        "--workers",
        "--order",
        "--delivery",
        "--engine",
        "--until-caught-up",
        "--config",
        "-X",
        "--admin",
        "--transform",
        "--field",
        "--digest",
        "--memory",
        "--connect-timeout",
        "--drain-timeout",
        "--commit-interval",
        "--retries",
        "--give-up-after",
        "--on-gap",
        "--on-panic",
        "--no-create-topics",
    ];
    Program::new(["run", "--help"]).run().expect(0, &flags);
    Program::new(["check", "--help"]).run().expect(0, &flags);
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = Program::new(["completions", shell]).run();
        ended.expect(0, &COMMANDS);
        assert_eq!(ended.stderr, "");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    for line in ["completions zsh", "check", "run --help"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_topicmill"))
            .args(line.split(' '))
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{line}");
        assert_eq!(output.status.code(), Some(0), "{line}");
    }
}

/// Parses every line that begins with `topicmill`, up to a comment, a redirection or an ellipsis; returns
/// how many there are.
fn parse_all(text: &str) -> usize {
    let text = text.replace("\\\n", " ");
    let commands = text.lines().map(|line| line.trim_start_matches(['$', ' ']));
    let commands = commands.filter(|line| line.starts_with("topicmill "));
    let commands = commands.filter(|line| !line.starts_with("topicmill reads"));
    let mut parsed = 0;
    for line in commands {
        let words = line.split_whitespace().take_while(|word| !["#", "…", "<", ">", "|"].contains(word));
        if let Err(error) = Cli::try_parse_from(words) {
            panic!("{line}: {error}");
        }
        parsed += 1;
    }
    parsed
}

#[test]
fn the_readme_types_what_the_program_takes() {
    let parsed = parse_all(include_str!("../../README.md"));
    assert!(parsed >= 6, "{parsed}");
}

#[test]
fn the_help_of_every_command_has_examples_that_parse_and_its_exit_codes() {
    for command in Cli::command().get_subcommands_mut().filter(|command| command.get_name() != "help") {
        let name = command.get_name().to_owned();
        let end = command.get_after_long_help().unwrap_or_else(|| panic!("{name}")).to_string();
        assert!(parse_all(&end) >= 2, "{name}: {end}");
        assert!(end.contains("Exit codes: 0") || name == "completions", "{name}: {end}");
    }
}

#[test]
fn a_flag_has_the_same_short_form_and_value_in_every_command() {
    let mut seen = BTreeMap::new();
    for command in Cli::command().get_subcommands() {
        for argument in command.get_arguments().filter(|argument| argument.get_long().is_some()) {
            let values = argument.get_value_names().map(|names| names.concat());
            // A list of the benchmark is one of the same things.
            let values = values.map(|values| values.trim_end_matches(",…").to_owned());
            let form = (argument.get_short(), values);
            let (other, before) = seen
                .entry(argument.get_long().unwrap().to_owned())
                .or_insert_with(|| (command.get_name().to_owned(), form.clone()));
            assert_eq!(*before, form, "--{} of {} and {other}", argument.get_id(), command.get_name());
        }
    }
}

#[test]
fn the_examples_hold() {
    let expected = [
        ("serial", "consumer_golang_serial", "name_stream_serial_transformed"),
        ("pipeline", "consumer_golang_concurrent", "name_stream_concurrent_transformed"),
        ("worker", "consumer_golang_concurrent", "name_stream_concurrent_transformed"),
    ];
    for (strategy, group, destination) in expected {
        let path = format!("{}/examples/{strategy}.toml", env!("CARGO_MANIFEST_DIR"));
        let strategy = format!("strategy = \"{strategy}\"");
        let (group, destination) = (format!("group = \"{group}\""), format!("topic = \"{destination}\""));
        let parts = ["topic = \"name_stream\"", &strategy, &group, &destination, "\n# ok\n"];
        Program::new(["check", "--config", &path]).run().expect(0, &parts);
    }
}

#[test]
fn the_reference_names_every_key_and_holds_the_defaults() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/reference.toml");
    let reference = std::fs::read_to_string(path).unwrap();
    let check = Program::new(["check", "--config", path]).run();
    let defaults = Program::new(["check"]).run();
    let rest = |stdout: &str| stdout.split_once("[source]").unwrap().1.to_owned();
    assert_eq!(rest(&check.stdout), rest(&defaults.stdout), "{}", check.stderr);
    for line in defaults.stdout.lines().filter(|line| line.contains(" = ")) {
        let key = line.split(" = ").next().unwrap();
        let stands =
            reference.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = ")));
        assert!(stands, "{key}");
    }
}
