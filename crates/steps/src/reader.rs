//! Reads the settings of a step, and notes everything that is wrong with them.

use std::fmt::Display;

use crate::{
    StepProblem, StepTable,
    expr::{Expr, ExprError, Template, Use},
    json::Path,
    kind::{COMMON, Kind},
    table::Given,
};

/// The settings of one step.
pub(crate) struct Reader<'t> {
    table: &'t StepTable,
    step: usize,
    problems: &'t mut Vec<StepProblem>,
}

impl<'t> Reader<'t> {
    pub(crate) fn new(table: &'t StepTable, step: usize, problems: &'t mut Vec<StepProblem>) -> Reader<'t> {
        Reader { table, step, problems }
    }

    /// Notes a problem with a setting.
    pub(crate) fn problem(&mut self, key: &str, message: impl Into<String>) {
        let key = Some(key.to_owned());
        self.problems.push(StepProblem { step: self.step, key, message: message.into() });
    }

    /// Which step it is.
    pub(crate) fn kind(&mut self) -> Option<Kind> {
        let names: Vec<(&str, Kind)> = self.keys().filter_map(|key| Some((key, Kind::find(key)?))).collect();
        // The settings of a transform may be called like steps.
        let transform = names.iter().find(|(_, kind)| {
            let own = kind.settings();
            matches!(kind, Kind::Transform(_))
                && names.iter().all(|(key, other)| own.contains(key) || other.name() == kind.name())
        });
        match (transform, &names[..]) {
            (Some((_, kind)), _) | (None, [(_, kind)]) => Some(*kind),
            (None, []) => {
                let first = self.keys().next().unwrap_or_default().to_owned();
                let message = match nearest(&first, Kind::names()) {
                    Some(name) => format!("is no step; did you mean `{name}`?"),
                    None => format!("a step has one of the names {}", Kind::names().join(", ")),
                };
                let key = Some(first).filter(|first| !first.is_empty());
                self.problems.push(StepProblem { step: self.step, key, message });
                None
            }
            (None, [(first, _), (second, _), ..]) => {
                let is_secret = [*first, *second].contains(&"hmac") && [*first, *second].contains(&"key");
                if is_secret {
                    let message = "a key is no part of a configuration: name the file that it is in with \
                        `key_file`, or a variable with `key_env`";
                    self.problem("key", message);
                } else {
                    let message = format!("`{first}` and `{second}` are two steps: each takes a [[step]]");
                    self.problem(second, message);
                }
                None
            }
        }
    }

    fn keys(&self) -> impl Iterator<Item = &'t str> + use<'t> {
        self.table.settings.iter().map(|(key, _)| key.as_str())
    }

    /// Notes the settings that a step of this kind has not.
    pub(crate) fn refuse_unknown(&mut self, kind: &Kind) {
        let own = kind.settings();
        let known = |key: &str| own.contains(&key) || COMMON.contains(&key) || self.is_name(key, kind);
        let unknown: Vec<&str> = self.keys().filter(|key| !known(key)).collect();
        for key in unknown {
            let name = kind.name();
            let message = match nearest(key, own.iter().copied().chain(COMMON)) {
                Some(near) => format!("unknown setting of `{name}`; did you mean `{near}`?"),
                None if own.is_empty() => {
                    format!("unknown setting: `{name}` has none but when and on_missing")
                }
                None => format!("unknown setting: `{name}` has {}", own.join(", ")),
            };
            self.problem(key, message);
        }
        if !kind.has_policy() && self.is_given("on_missing") {
            let message = format!("`{}` has no such policy: what it cannot do fails", kind.name());
            self.problem("on_missing", message);
        }
    }

    fn is_name(&self, key: &str, kind: &Kind) -> bool {
        Kind::find(key).is_some_and(|named| named.name() == kind.name())
    }

    /// The setting that names a transform, which may be written with underscores.
    pub(crate) fn given_name(&self, name: &str) -> Option<&'t str> {
        self.keys().find(|key| *key == name || key.replace('_', "-") == name)
    }

    pub(crate) fn given(&self, key: &str) -> Option<&'t Given> {
        self.table.settings.iter().find(|(own, _)| own == key).map(|(_, given)| given)
    }

    pub(crate) fn is_given(&self, key: &str) -> bool {
        self.given(key).is_some()
    }

    fn wrong_type(&mut self, key: &str, wanted: &str, given: &Given) {
        self.problem(key, format!("must be {wanted}, not {}", given.type_name()));
    }

    /// A text, if it is given.
    pub(crate) fn text(&mut self, key: &str) -> Option<&'t str> {
        match self.given(key)? {
            Given::Text(text) => Some(text),
            other => {
                self.wrong_type(key, "a text", other);
                None
            }
        }
    }

    /// A text that must be given.
    pub(crate) fn needed(&mut self, key: &str, what: &str) -> Option<&'t str> {
        if !self.is_given(key) {
            self.problem(key, format!("is missing: {what}"));
        }
        self.text(key)
    }

    /// A text as `parse` reads it.
    pub(crate) fn parsed<T, E: Display>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(key)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(key, error.to_string());
                None
            }
        }
    }

    /// A path.
    pub(crate) fn path(&mut self, key: &str) -> Option<Path> {
        self.parsed(key, str::parse)
    }

    /// One path or several.
    pub(crate) fn paths(&mut self, key: &str) -> Option<Vec<Path>> {
        let texts: Vec<&str> = match self.given(key)? {
            Given::Text(text) => vec![text],
            Given::List(texts) if !texts.is_empty() => texts.iter().map(String::as_str).collect(),
            Given::List(_) => {
                self.problem(key, "must name at least one path");
                return None;
            }
            other => {
                self.wrong_type(key, "a path or an array of paths", other);
                return None;
            }
        };
        let mut paths = Vec::new();
        let mut is_right = true;
        for text in texts {
            match text.parse() {
                Ok(path) => paths.push(path),
                Err(error) => {
                    self.problem(key, format!("`{text}`: {error}"));
                    is_right = false;
                }
            }
        }
        is_right.then_some(paths)
    }

    /// A whole number of that range, if it is given.
    pub(crate) fn number(&mut self, key: &str, range: std::ops::RangeInclusive<usize>) -> Option<usize> {
        match self.given(key)? {
            Given::Integer(number) => {
                let number = usize::try_from(*number).ok().filter(|number| range.contains(number));
                if number.is_none() {
                    self.problem(key, format!("must be between {} and {}", range.start(), range.end()));
                }
                number
            }
            other => {
                self.wrong_type(key, "an integer", other);
                None
            }
        }
    }

    /// `true`, for what needs no value.
    pub(crate) fn yes(&mut self, key: &str) -> Option<()> {
        match self.given(key)? {
            Given::Boolean(true) => Some(()),
            Given::Boolean(false) => {
                self.problem(key, "must be `true`; leave it out instead");
                None
            }
            other => {
                self.wrong_type(key, "`true`", other);
                None
            }
        }
    }

    /// One of a closed set, the first unless it is given.
    pub(crate) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> T {
        let one_of = || {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
            format!("must be one of {}", names.join(", "))
        };
        let find = |text: &str| choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice);
        self.parsed(key, |text| find(text).ok_or_else(one_of)).unwrap_or(choices[0].1)
    }

    /// An expression; a number or a boolean is one as well.
    pub(crate) fn expr(&mut self, key: &str, use_: Use) -> Option<Expr> {
        let text = match self.given(key)? {
            Given::Text(text) => text.clone(),
            Given::Integer(number) => number.to_string(),
            Given::Boolean(flag) => flag.to_string(),
            other => {
                self.wrong_type(key, "an expression", other);
                return None;
            }
        };
        self.compiled(key, Expr::compile(&text, use_))
    }

    /// A text with expressions in it.
    pub(crate) fn template(&mut self, key: &str) -> Option<Template> {
        let text = self.text(key)?;
        self.compiled(key, Template::compile(text))
    }

    fn compiled<T>(&mut self, key: &str, compiled: Result<T, ExprError>) -> Option<T> {
        match compiled {
            Ok(compiled) => Some(compiled),
            Err(error) => {
                self.problem(key, error.to_string());
                None
            }
        }
    }
}

/// The known name that is meant, if one is near.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let nearest = known.into_iter().map(|known| (strsim::levenshtein(name, known), known)).min();
    nearest
        .filter(|(distance, _)| *distance <= 2.max(name.len() / 4) && *distance < name.len())
        .map(|(_, known)| known)
}
