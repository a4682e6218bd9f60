//! The flags of the common steps; the order in which they are typed is that of the steps.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use topicmill_steps::{Given, StepTable};

/// A step as a flag.
struct StepFlag {
    /// The name of the flag and of the step.
    name: &'static str,
    /// What its value is called in the help.
    value: &'static str,
    /// How its value is read.
    form: Form,
    help: &'static str,
}

/// How the value of a flag becomes settings.
#[derive(Clone, Copy)]
enum Form {
    /// As it is.
    Text,
    /// Paths, separated by commas.
    Paths,
    /// The step's own value, then an equals sign, then the setting of that name.
    Pair(&'static str),
}

const FLAGS: [StepFlag; 11] = [
    StepFlag {
        name: "filter",
        value: "COND",
        form: Form::Text,
        help: "Keep the records for which a condition holds, such as '.country == \"DE\"'",
    },
    StepFlag {
        name: "drop",
        value: "PATH,…",
        form: Form::Paths,
        help: "Remove what these paths lead to, such as .password,.items[].secret",
    },
    StepFlag {
        name: "keep",
        value: "PATH,…",
        form: Form::Paths,
        help: "Remove all but what these paths lead to",
    },
    StepFlag {
        name: "rename",
        value: "PATH=NAME",
        form: Form::Pair("to"),
        help: "Give a field another name, or with a path as its name another place",
    },
    StepFlag {
        name: "set",
        value: "PATH=EXPR",
        form: Form::Pair("value"),
        help: "Set a field to a value, such as '.source=$topic'",
    },
    StepFlag {
        name: "mask",
        value: "PATH,…",
        form: Form::Paths,
        help: "Put an asterisk in the place of every character",
    },
    StepFlag {
        name: "redact", value: "PATH,…", form: Form::Paths, help: "Put *** in the place of a value"
    },
    StepFlag {
        name: "header",
        value: "NAME=EXPR",
        form: Form::Pair("value"),
        help: "Set a header, such as 'country=.address.country'",
    },
    StepFlag {
        name: "key",
        value: "EXPR",
        form: Form::Text,
        help: "Set the key, such as .customer.id; the partition stays",
    },
    StepFlag {
        name: "route",
        value: "TOPIC",
        form: Form::Text,
        help: "Write to another topic, such as 'orders_{.country}'",
    },
    StepFlag {
        name: "jq",
        value: "EXPR",
        form: Form::Text,
        help: "Write the results of a jq expression, none or one or several",
    },
];

/// The steps that were given as flags, in the order in which they were typed.
#[derive(Clone, Debug, Default)]
pub struct StepArgs {
    given: Vec<(&'static str, StepTable)>,
}

impl StepArgs {
    /// Each with the name of its flag.
    pub(crate) fn given(&self) -> &[(&'static str, StepTable)] {
        &self.given
    }
}

/// Whether there is a step with a flag of that name.
pub(crate) fn is_step_flag(name: &str) -> bool {
    FLAGS.iter().any(|flag| flag.name == name)
}

/// The form of a value that is a pair, if that of this flag is one.
pub(crate) fn pair_form(name: &str) -> Option<&'static str> {
    let flag = FLAGS.iter().find(|flag| flag.name == name)?;
    matches!(flag.form, Form::Pair(_)).then_some(flag.value)
}

impl StepFlag {
    fn table(&self, value: &str) -> StepTable {
        match self.form {
            Form::Text => StepTable::of(self.name, value),
            Form::Paths => {
                let paths = split_outside_quotes(value, ',', usize::MAX);
                StepTable::default().with(self.name, Given::List(paths))
            }
            Form::Pair(setting) => {
                let mut parts = split_outside_quotes(value, '=', 2).into_iter();
                let table = StepTable::of(self.name, parts.next().unwrap_or_default());
                match parts.next() {
                    Some(part) => table.with(setting, Given::Text(part)),
                    None => table,
                }
            }
        }
    }
}

/// The parts of a text between separators that are not in quotes, at most so many.
fn split_outside_quotes(text: &str, separator: char, most: usize) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut in_quotes, mut is_escaped) = (false, false);
    for c in text.chars() {
        if c == separator && !in_quotes && parts.len() < most {
            parts.push(String::new());
            continue;
        }
        in_quotes ^= c == '"' && !is_escaped;
        is_escaped = in_quotes && c == '\\' && !is_escaped;
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

impl Args for StepArgs {
    fn augment_args(command: Command) -> Command {
        let arg = |flag: &StepFlag| {
            let arg = Arg::new(flag.name).long(flag.name).value_name(flag.value).help(flag.help);
            // A condition may begin with a minus sign.
            arg.action(ArgAction::Append).allow_hyphen_values(true).help_heading("Steps, in the order given")
        };
        command.args(FLAGS.iter().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for StepArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let mut typed = Vec::new();
        for flag in &FLAGS {
            let values = matches.get_many::<String>(flag.name).into_iter().flatten();
            let indices = matches.indices_of(flag.name).into_iter().flatten();
            typed.extend(indices.zip(values).map(|(index, value)| (index, flag.name, flag.table(value))));
        }
        typed.sort_by_key(|(index, ..)| *index);
        self.given.extend(typed.into_iter().map(|(_, name, table)| (name, table)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Vec<StepTable> {
        let command = StepArgs::augment_args(Command::new("run").no_binary_name(true));
        let matches = command.try_get_matches_from(words).unwrap_or_else(|error| panic!("{error}"));
        StepArgs::from_arg_matches(&matches).unwrap().given.into_iter().map(|(_, table)| table).collect()
    }

    #[test]
    fn steps_are_in_the_order_in_which_they_are_typed() {
        let list = |paths: &[&str]| Given::List(paths.iter().map(|path| (*path).to_owned()).collect());
        let text = |text: &str| Given::Text(text.to_owned());
        let steps = parse(&[
            "--drop",
            ".a",
            "--filter",
            "-1 < .b",
            "--drop=.c, .\"d,e\".f",
            "--set",
            ".g=.h == \"=\"",
            "--jq",
            ".",
            "--rename",
            ".\"a=b\"=c",
        ]);
        assert_eq!(
            steps,
            [
                StepTable::default().with("drop", list(&[".a"])),
                StepTable::of("filter", "-1 < .b"),
                StepTable::default().with("drop", list(&[".c", ".\"d,e\".f"])),
                StepTable::of("set", ".g").with("value", text(".h == \"=\"")),
                StepTable::of("jq", "."),
                StepTable::of("rename", ".\"a=b\"").with("to", text("c")),
            ]
        );
    }
}
