//! The project's habits, checked: what depends on what, how long files may be, what must be documented.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use toml::Table;
use topicmill::{
    internal::Cli,
    metrics::{Exposition, Metrics},
};

/// No file is longer.
const MOST_LINES: usize = 500;

/// Where the fuzz targets are, which are no part of the workspace.
const FUZZING: [&str; 2] = ["fuzz/src", "fuzz/fuzz_targets"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The crates of the workspace, the program's first.
fn crates() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("crates")).unwrap();
    let mut crates: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    crates.sort();
    crates.insert(0, root().to_owned());
    crates
}

/// The Rust files of all crates and of the fuzz targets, with their path from the root.
fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let folders = ["src", "tests", "benches", "examples"];
    let mut folders: Vec<PathBuf> =
        crates().iter().flat_map(|path| folders.map(|folder| path.join(folder))).collect();
    folders.extend(FUZZING.map(|folder| root().join(folder)));
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(files.len() > 300, "the sources are found");
    files
}

/// What each crate needs to be built, by its name without `topicmill-`. What its tests need is not here.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let short = |name: &str| name.strip_prefix("topicmill-").unwrap_or(name).to_owned();
    let read = |path: PathBuf| {
        let manifest: Table = fs::read_to_string(path.join("Cargo.toml")).unwrap().parse().unwrap();
        let needs = manifest["dependencies"].as_table().unwrap().keys();
        (short(manifest["package"]["name"].as_str().unwrap()), needs.map(|name| short(name)).collect())
    };
    crates().into_iter().map(read).collect()
}

/// In ARCHITECTURE.md, a line for each crate: `name → the crates that it needs`.
#[test]
fn the_crates_depend_on_each_other_as_they_are_drawn() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, rest) = text.split_once("<!-- crates -->\n```text\n").expect("the graph's beginning");
    let (drawn, _) = rest.split_once("```\n<!-- /crates -->").expect("the graph's end");
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
    let line = |line: &str| {
        let (name, needs) = line.split_once('→').expect("an arrow in each line");
        (name.trim().to_owned(), words(needs))
    };
    let drawn: BTreeMap<_, _> = drawn.lines().map(line).collect();
    let mut built = dependencies();
    let names: BTreeSet<String> = built.keys().cloned().collect();
    built.values_mut().for_each(|needs| needs.retain(|name| names.contains(name)));
    assert_eq!(built, drawn);
}

#[test]
fn what_is_for_some_crates_alone_is_with_no_other() {
    for (dependency, may) in [
        ("axum", &["topicmill"][..]),
        ("clap", &["topicmill", "torture"]),
        ("kafka-protocol", &["broker", "decode", "kafka"]),
        ("rdkafka", &["librdkafka", "torture"]),
        ("rustls", &["kafka"]),
        ("tokio", &["bench", "broker", "generate", "kafka", "librdkafka", "mill", "topicmill", "torture"]),
    ] {
        let dependencies = dependencies();
        let has = dependencies.iter().filter(|(_, needs)| needs.contains(dependency));
        let has: Vec<_> = has.map(|(name, _)| name.as_str()).collect();
        assert_eq!(has, may, "the crates that depend on {dependency}");
    }
}

#[test]
fn unsafe_code_is_forbidden_but_in_the_kernels() {
    for path in crates().iter().filter(|path| !path.ends_with("crates/kernels")) {
        for file in ["src/lib.rs", "src/main.rs"].map(|file| path.join(file)) {
            let Ok(text) = fs::read_to_string(&file) else { continue };
            assert!(text.contains("\n#![forbid(unsafe_code)]\n"), "{} does not forbid it", file.display());
        }
    }
    // A fuzz target cannot forbid it: the macro that makes it one exports a symbol.
    let targets = sources().into_iter().filter(|(path, _)| FUZZING.iter().any(|f| path.starts_with(f)));
    let targets: Vec<_> = targets.filter(|(_, text)| !text.contains("\n#![forbid(unsafe_code)]\n")).collect();
    assert!(!targets.is_empty(), "the fuzz targets are found");
    for (path, text) in targets {
        assert!(!text.contains("unsafe"), "{} has unsafe code", path.display());
    }
}

#[test]
fn each_fuzz_target_is_built() {
    let manifest: Table = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap().parse().unwrap();
    let built =
        manifest["bin"].as_array().unwrap().iter().map(|bin| bin["path"].as_str().unwrap().to_owned());
    let files = fs::read_dir(root().join("fuzz/fuzz_targets")).unwrap();
    let files = files.map(|file| format!("fuzz_targets/{}", file.unwrap().file_name().display()));
    assert_eq!(built.collect::<BTreeSet<_>>(), files.collect());
}

#[test]
fn no_file_is_too_long() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines; the most is {MOST_LINES}", path.display());
    }
}

#[test]
fn every_metric_is_in_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let shown = Metrics::new().render(Exposition::OpenMetrics);
    let names: Vec<&str> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|rest| rest.split(' ').next())
        .collect();
    assert!(names.len() > 10, "{shown}");
    for name in names {
        assert!(readme.contains(&format!("`{name}")), "{name} is not in the README");
    }
}

#[test]
fn every_command_is_in_the_readme_and_every_flag_has_help() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(command.get_about().is_some(), "{name} says what it does");
        assert!(readme.contains(&format!("`{name}")) || name == "help", "{name} is not in the README");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{name}: {} has no help", argument.get_id());
        }
    }
}
