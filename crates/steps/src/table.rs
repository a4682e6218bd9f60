//! Steps as they are written, and what is wrong with them.

/// A step as it is written: its settings in their order, one of which is its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepTable {
    /// Each setting with its value.
    pub settings: Vec<(String, Given)>,
}

/// The value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// `true` or `false`.
    Boolean(bool),
    /// Texts.
    List(Vec<String>),
    /// Something else, by the name of its type, as in "a date".
    Other(&'static str),
}

impl StepTable {
    /// A step with one text, as a flag has it.
    pub fn of(name: &str, text: impl Into<String>) -> StepTable {
        StepTable::default().with(name, Given::Text(text.into()))
    }

    /// With one more setting.
    #[must_use]
    pub fn with(mut self, name: &str, given: Given) -> StepTable {
        self.settings.push((name.to_owned(), given));
        self
    }
}

impl Given {
    /// The name of its type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Given::Text(_) => "a text",
            Given::Integer(_) => "an integer",
            Given::Boolean(_) => "a boolean",
            Given::List(_) => "an array",
            Given::Other(name) => name,
        }
    }
}

/// What is wrong with a step. It contains no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {}{}: {message}", step + 1, key.as_ref().map(|key| format!(", {key}")).unwrap_or_default())]
pub struct StepProblem {
    /// The index of the step, from 0.
    pub step: usize,
    /// The setting that it is about, if it is about one.
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
}
