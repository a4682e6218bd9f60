//! The steps: from the layers to a plan, and which of them and a transform counts.

use std::sync::Arc;

use topicmill_steps::{Given, Plan, Protection, StepTable};

use super::{
    Origin,
    keys::{self, Section},
    rules,
    settings::Settings,
};
use crate::{dead_letter::Protect, transform::TransformKind};

/// A step and where it came from.
#[derive(Clone)]
pub(super) struct GivenStep {
    pub(super) table: StepTable,
    pub(super) origin: Origin,
    /// Where its settings came from, in their order; none for a flag, which is one place.
    pub(super) origins: Vec<Origin>,
}

/// What is done with records.
pub(super) struct Transforming {
    pub(super) kind: TransformKind,
    /// The steps that it was made of, if it was.
    pub(super) steps: Option<Arc<Plan>>,
}

impl From<TransformKind> for Transforming {
    fn from(kind: TransformKind) -> Transforming {
        Transforming { kind, steps: None }
    }
}

/// The steps if there are some, or else the transform. A layer of higher precedence decides; in one layer they
/// contradict each other.
pub(super) fn transforming(settings: &mut Settings) -> Transforming {
    let Some(layer) = settings.steps().first().map(|step| step.origin.layer()) else {
        return rules::transform(settings).into();
    };
    let is_above = |origin: &Origin| origin.layer() > layer;
    if settings.is_given(&keys::KIND) && is_above(&settings.origin_of(&keys::KIND)) {
        return rules::transform(settings).into();
    }
    for (key, setting) in settings.section(Section::Transform) {
        if setting.origin.layer() >= layer {
            let message = if key == keys::KIND.name {
                "excludes steps: a transform may be one of them, as `name-event = true` in a [[step]]"
            } else {
                "is for a transform: with steps it stands in the [[step]]"
            };
            settings.reject_named(Section::Transform, &key, message);
        }
    }
    match plan(settings) {
        Some(plan) => Transforming { kind: plan.kind(), steps: Some(plan) },
        // That there is none has been said.
        None => rules::default_transform().into(),
    }
}

fn plan(settings: &mut Settings) -> Option<Arc<Plan>> {
    let given = settings.steps().to_vec();
    let problems = match Plan::new(given.iter().map(|step| step.table.clone()).collect()) {
        Ok(plan) => return Some(Arc::new(plan)),
        Err(problems) => problems,
    };
    for problem in problems {
        let number = problem.step + 1;
        let step = given.get(problem.step);
        let of_key = |key: &String| {
            let step = step?;
            let index = step.table.settings.iter().position(|(own, _)| own == key)?;
            step.origins.get(index)
        };
        let origin = problem.key.as_ref().and_then(of_key).or(step.map(|step| &step.origin));
        let subject = match &problem.key {
            Some(key) => format!("[[step]] {number} {key}"),
            None => format!("[[step]] {number}"),
        };
        settings.problem(subject, problem.message, origin.cloned().unwrap_or(Origin::Default));
    }
    None
}

/// What the steps protect, for `--no-plaintext`; a problem if that is nothing, or cannot be told.
pub(super) fn protection(settings: &mut Settings, steps: Option<&Plan>) -> Option<Protection> {
    let flag = "--no-plaintext";
    protected(steps)
        .inspect_err(|message| settings.problem(flag.into(), message.as_str(), Origin::Flag(flag.into())))
        .ok()
}

/// How the values of dead letters are protected, if they are to be; a problem as of [`protection`].
pub(super) fn protect_letters(settings: &mut Settings, steps: Option<&Plan>) -> Option<Protect> {
    if !settings.boolean(&keys::PROTECT) {
        return None;
    }
    match protected(steps) {
        Ok(protection) => Some(protection.of_letters()),
        Err(message) => {
            settings.reject(&keys::PROTECT, message);
            None
        }
    }
}

fn protected(steps: Option<&Plan>) -> Result<Protection, String> {
    match steps.map(Plan::protection) {
        Some(Ok(Some(protection))) => Ok(protection),
        Some(Err(problem)) => Err(problem.to_string()),
        Some(Ok(None)) | None => Err(
            "is about what steps protect, but none does: no mask or redact, no hash or hmac in place or with a drop \
             of the original behind it"
                .into(),
        ),
    }
}

/// A step as it stands in a file, its name first.
pub(super) fn written(table: &StepTable) -> String {
    let value = |given: &Given| match given {
        Given::Text(text) => toml::Value::from(text.as_str()),
        Given::Integer(number) => toml::Value::from(*number),
        Given::Boolean(flag) => toml::Value::from(*flag),
        Given::List(texts) => toml::Value::from(texts.clone()),
        Given::Other(name) => toml::Value::from(*name),
    };
    let name = Plan::name_in(table);
    let (own, others): (Vec<_>, Vec<_>) =
        table.settings.iter().partition(|(key, _)| Some(key.as_str()) == name);
    let lines = own.into_iter().chain(others).map(|(key, given)| format!("{key} = {}\n", value(given)));
    format!("[[step]]\n{}", lines.collect::<String>())
}
