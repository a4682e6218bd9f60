//! The flags of the configuration's keys: made from the table, so that a key has its flag, its help
//! and the check of its value by its row.

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

/// The keys of the configuration that were given as flags of these commands.
#[derive(Clone, Debug, Default)]
pub struct KeyArgs<const GROUP: Group> {
    given: Vec<(Key, String)>,
}

impl<const GROUP: Group> KeyArgs<GROUP> {
    /// As if `--flag value` had been typed; the value of a flag without one is `true` or `false`.
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

    /// The value of a flag as it was typed.
    pub fn get(&self, flag: &str) -> Option<&str> {
        self.given.iter().rev().find(|(key, _)| key.flag == flag).map(|(_, value)| value.as_str())
    }

    pub(crate) fn given(&self) -> &[(Key, String)] {
        &self.given
    }
}

/// The keys that these commands have flags for, with what they do.
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
    let argument = Arg::new(key.flag).long(key.flag).help_heading(heading(group));
    match key.form {
        Form::Boolean(_) => argument.action(ArgAction::SetTrue),
        form => argument
            .value_name(key.value)
            .value_parser(parser(form))
            .allow_hyphen_values(!matches!(form, Form::Text | Form::Choice(_) | Form::Setting(_))),
    }
}

fn heading(group: Group) -> Option<&'static str> {
    match group {
        keys::CONNECTION => Some("Connection"),
        keys::TRANSFORM => Some("Transform"),
        _ => None,
    }
}

/// Checks how a value is written, and leaves it as it was typed: the layers are merged as text.
fn parser(form: Form) -> ValueParser {
    match form {
        Form::Text | Form::Boolean(_) | Form::Setting(SettingForm::Text(_)) => ValueParser::string(),
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
