//! The flags of the configuration's keys, built from the table: the row of a key gives its flag, its
//! help and the check of its value.

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches,
    builder::{PossibleValue, PossibleValuesParser, ValueParser},
};

use crate::{
    config::{
        keys::{self, Form, Group, Key},
        units::{parse_duration, parse_size},
    },
    transform::registry::SettingForm,
};

/// The keys of the configuration that were given as flags of a group of commands.
#[derive(Clone, Debug, Default)]
pub struct KeyArgs<const GROUP: Group> {
    given: Vec<(Key, String)>,
}

impl<const GROUP: Group> KeyArgs<GROUP> {
    /// Adds a flag as if `--flag value` had been typed; a switch takes `true` or `false`.
    ///
    /// # Panics
    /// When there is no such flag.
    #[must_use]
    pub fn with(mut self, flag: &str, value: impl Into<String>) -> KeyArgs<GROUP> {
        let key = flags(GROUP).find(|(key, _)| key.flag == flag);
        let (key, _) = key.unwrap_or_else(|| panic!("there is no flag --{flag}"));
        self.given.push((key, value.into()));
        self
    }

    /// The value of a flag, as it was typed.
    pub fn get(&self, flag: &str) -> Option<&str> {
        self.given.iter().rev().find(|(key, _)| key.flag == flag).map(|(_, value)| value.as_str())
    }

    pub(crate) fn given(&self) -> &[(Key, String)] {
        &self.given
    }
}

/// The keys that these commands have flags for, with their help.
fn flags(group: Group) -> impl Iterator<Item = (Key, String)> {
    keys::all().into_iter().filter_map(move |key| Some((key, key.help(group)?)))
}

impl<const GROUP: Group> Args for KeyArgs<GROUP> {
    fn augment_args(mut command: Command) -> Command {
        for (key, help) in flags(GROUP) {
            command = command.arg(argument(&key, GROUP).help(help));
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const GROUP: Group> FromArgMatches for KeyArgs<GROUP> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for (key, _) in flags(GROUP) {
            let value = match key.form {
                Form::Boolean(means) => matches.get_flag(key.flag).then(|| means.to_string()),
                _ => matches.get_one::<String>(key.flag).cloned(),
            };
            self.given.extend(value.map(|value| (key, value)));
        }
        Ok(())
    }
}

fn argument(key: &Key, group: Group) -> Arg {
    let argument = Arg::new(key.flag).long(key.flag).short(key.short).help_heading(heading(group));
    let valued = |argument: Arg| argument.value_name(key.value).value_parser(parser(key.form));
    match key.form {
        Form::Boolean(_) => argument.action(ArgAction::SetTrue),
        Form::Text | Form::Choice(_) | Form::Setting(_) => valued(argument),
        // A negative number is a wrong value, not another flag.
        Form::Integer => valued(argument).allow_negative_numbers(true),
        Form::Size | Form::Duration | Form::Limit => valued(argument).allow_hyphen_values(true),
    }
}

fn heading(group: Group) -> Option<&'static str> {
    match group {
        keys::CONNECTION => Some("Connection"),
        keys::TRANSFORM => Some("Transform"),
        _ => None,
    }
}

/// Checks the syntax of a value and returns it as it was typed, as the layers are merged as text.
fn parser(form: Form) -> ValueParser {
    match form {
        Form::Text | Form::Limit | Form::Boolean(_) | Form::Setting(SettingForm::Text(_)) => {
            ValueParser::string()
        }
        Form::Integer => checked(|text| text.parse::<u64>().map(drop).map_err(|error| error.to_string())),
        Form::Size => checked(|text| parse_size(text).map(drop)),
        Form::Duration => checked(|text| parse_duration(text).map(drop)),
        Form::Choice(values) => PossibleValuesParser::new(values()).into(),
        Form::Setting(SettingForm::OneOf(choices)) => {
            let value =
                |(name, meaning): &(&'static str, &'static str)| PossibleValue::new(*name).help(*meaning);
            PossibleValuesParser::new(choices.iter().map(value)).into()
        }
    }
}

fn checked(check: fn(&str) -> Result<(), String>) -> ValueParser {
    ValueParser::new(move |text: &str| check(text).map(|()| text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::RunArgs;
    use crate::config::{Config, keys};

    fn parse(words: &[String]) -> RunArgs {
        let command = RunArgs::augment_args(Command::new("run").no_binary_name(true));
        let matches = command.try_get_matches_from(words).unwrap_or_else(|error| panic!("{error}"));
        RunArgs::from_arg_matches(&matches).unwrap()
    }

    /// With the row alone: the flag is there, takes the default, and means the key.
    #[test]
    fn every_key_has_its_flag_which_takes_the_default() {
        let defaults = Config::for_run(&RunArgs::default()).unwrap().to_string();
        for key in keys::all().into_iter().filter(|key| !key.default.is_empty()) {
            let word = match key.form {
                Form::Boolean(_) => format!("--{}", key.flag),
                _ => format!("--{}={}", key.flag, key.default),
            };
            let args = parse(std::slice::from_ref(&word));
            let get =
                |flag| args.keys.get(flag).or(args.connection.keys.get(flag)).or(args.transform.get(flag));
            match key.form {
                Form::Boolean(means) => assert_eq!(get(key.flag), Some(means.to_string().as_str()), "{word}"),
                _ => assert_eq!(get(key.flag), Some(key.default), "{word}"),
            }
            let alone = [&keys::SOURCE, &keys::WORKERS].iter().all(|other| other.flag != key.flag);
            if alone && !matches!(key.form, Form::Boolean(_) | Form::Setting(_)) {
                assert_eq!(Config::for_run(&args).unwrap().to_string(), defaults, "{word}");
            }
        }
    }

    #[test]
    fn the_last_of_repeated_values_counts() {
        let args = RunArgs::default().with("workers", "2").with("strategy", "worker").with("workers", "3");
        assert_eq!(args.keys.get("workers"), Some("3"));
        assert_eq!(Config::for_run(&args).unwrap().workers, 3);
    }
}
