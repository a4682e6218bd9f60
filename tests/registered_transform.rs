//! A transform of the library's user, chosen and set as the built-in ones are.

use std::{io::Write as _, sync::Arc};

use clap::{CommandFactory as _, Parser as _};
use topicmill::{
    internal::{Cli, Command, Config, ConfigError, DryRunConfig, dry_run},
    transform::{
        Output, Transform, TransformSpec, Values,
        registry::{self, SettingForm, SettingSpec},
    },
};

struct Shout {
    mark: String,
    upper: bool,
}

impl Transform for Shout {
    fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
        for (index, value) in values.iter() {
            let value = if self.upper { value.to_ascii_uppercase() } else { value.to_vec() };
            out.write(index, &[&value, self.mark.as_bytes()]);
        }
    }
}

/// What a transform needs to have its name, its flags and its keys.
static SHOUT: TransformSpec = TransformSpec {
    name: "shout",
    doc: "Any text gets a mark behind it",
    settings: &[
        SettingSpec {
            name: "closing_mark",
            flag: "closing-mark",
            value: "MARK",
            takes: SettingForm::Text(registry::not_empty),
            default: "!",
            doc: "What `shout` sets behind a text",
        },
        SettingSpec {
            name: "letters",
            flag: "letters",
            value: "LETTERS",
            takes: SettingForm::OneOf(&[("upper", "in upper case"), ("kept", "as they are")]),
            default: "upper",
            doc: "How `shout` writes letters",
        },
        SettingSpec {
            name: "source",
            flag: "source",
            value: "TEXT",
            takes: SettingForm::Text(|_| Ok(())),
            default: "",
            doc: "A setting whose flag is taken",
        },
    ],
    make: |chosen| {
        let (mark, upper) = (chosen.get("closing_mark").to_owned(), chosen.get("letters") == "upper");
        Arc::new(move || Box::new(Shout { mark: mark.clone(), upper }))
    },
};

fn run_config(line: &str) -> Result<Config, ConfigError> {
    let words = ["topicmill", "run", "--source", "a", "--destination", "b"];
    let cli = Cli::try_parse_from(words.into_iter().chain(line.split_whitespace())).unwrap();
    let Command::Run(args) = cli.command else { panic!("it is run") };
    Config::for_run(&args)
}

fn dry_run(line: &str, input: &str) -> String {
    let words = ["topicmill", "dry-run"].into_iter().chain(line.split_whitespace());
    let Command::DryRun(args) = Cli::try_parse_from(words).unwrap().command else { panic!("it is dry-run") };
    let config = DryRunConfig::new(&args).unwrap();
    let mut output = Vec::new();
    dry_run::run(&config.transform, input.as_bytes(), &mut output, false, false).unwrap();
    String::from_utf8(output).unwrap()
}

/// One test: the registry is the process's.
#[test]
fn a_registered_transform_has_its_name_its_flags_and_its_keys() {
    registry::register(&SHOUT).unwrap();
    assert!(registry::register(&SHOUT).is_err(), "the name is taken");
    Cli::command().debug_assert();

    // By flags, with the defaults of what is not set.
    assert_eq!(dry_run("--transform shout", "go\n"), "GO!\n");
    assert_eq!(dry_run("--transform shout --closing-mark ? --letters kept", "go\n"), "go?\n");
    let error = Cli::try_parse_from(["topicmill", "run", "--letters", "bold"]).unwrap_err().to_string();
    assert!(error.contains("upper, kept"), "{error}");

    // By the file, under the flags.
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "[transform]\nkind = 'shout'\nclosing-mark = '.'\nletters = 'kept'\nsource = 's'")
        .unwrap();
    let path = file.path().display();
    assert_eq!(dry_run(&format!("--config {path} --letters upper"), "go\n"), "GO.\n");

    // `check` shows it as a file has it, and what cannot hold names its key.
    let config = run_config(&format!("--config {path}")).unwrap();
    let shown = "[transform]\nkind = \"shout\"\nclosing_mark = \".\"\nletters = \"kept\"\nsource = \"s\"\n";
    assert!(config.to_string().contains(shown), "{config}");
    assert_eq!(config.source.as_ref(), "a", "the flag is still that of the topic");
    for (line, said) in [
        ("--transform shout --closing-mark=", "[transform] closing_mark: must not be empty"),
        ("--transform shout --field f", "[transform] field: is only for the transform `hash-field`"),
        ("--transform name-event --letters kept", "[transform] letters: is only for the transform `shout`"),
        (
            "",
            "[transform] kind: is missing: it is required with a source of your own; set it or \
                        --transform to `name-event`, `hash-field`, `identity`, `shout`",
        ),
    ] {
        let error = run_config(line).unwrap_err().to_string();
        assert!(error.contains(said), "{line}: {error}");
    }
    let help = Cli::command().find_subcommand_mut("run").unwrap().render_long_help().to_string();
    for said in ["--closing-mark <MARK>", "[default: !]", "shout:", "Any text gets a mark behind it"] {
        assert!(help.contains(said), "{said}: {help}");
    }
}
