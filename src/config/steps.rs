//! The steps: from the layers to a plan, and which of them and a transform counts.

use std::sync::Arc;

use topicmill_steps::{Given, Plan, Protection, StepTable};
use tracing::warn;

use super::{
    Origin,
    keys::{self, Section},
    rules,
    settings::Settings,
};
use crate::{cli::pair_form, dead_letter::Protect, transform::TransformKind};

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
        warn_of_displaced(settings.steps(), &settings.origin_of(&keys::KIND));
        return rules::transform(settings).into();
    }
    if let Some(first) = settings.steps().first() {
        warn_of_displaced(settings.displaced(), &first.origin);
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

/// Says which steps are not done because something that weighs more takes their place: what they would have
/// protected is written as it is.
fn warn_of_displaced(displaced: &[GivenStep], by: &Origin) {
    let Some(first) = displaced.first() else { return };
    let place = match &first.origin {
        Origin::File { path, .. } => path.display().to_string(),
        other => other.to_string(),
    };
    let names: Vec<&str> = displaced.iter().filter_map(|step| Plan::name_in(&step.table)).collect();
    warn!(
        "{by} takes the place of ALL {} steps of {place} ({}): none of them is done",
        displaced.len(),
        names.join(", ")
    );
}

fn plan(settings: &mut Settings) -> Option<Arc<Plan>> {
    let given = settings.steps().to_vec();
    let problems = match Plan::new(given.iter().map(|step| step.table.clone()).collect()) {
        Ok(plan) => {
            for report in plan.report() {
                if let Some(warning) = report.warning {
                    warn!("step {} ({}): {warning}", report.number, report.title);
                }
            }
            return Some(Arc::new(plan));
        }
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
        let is_unpaired = problem.key.as_deref().is_some_and(|key| matches!(key, "text" | "to"));
        let unpaired = step.filter(|_| is_unpaired).and_then(unpaired);
        let (subject, message) = match (&problem.key, unpaired) {
            (_, Some((flag, form))) => (flag, format!("must be {form}")),
            (Some(key), None) => (format!("[[step]] {number} {key}"), problem.message),
            (None, None) => (format!("[[step]] {number}"), problem.message),
        };
        settings.problem(subject, message, origin.cloned().unwrap_or(Origin::Default));
    }
    None
}

/// The flag of a step that lacks the second half of its value, and the form that it should have.
fn unpaired(step: &GivenStep) -> Option<(String, &'static str)> {
    let (Origin::Flag(flag), [(name, _)]) = (&step.origin, &step.table.settings[..]) else { return None };
    Some((flag.clone(), pair_form(name)?))
}

/// What the steps protect, for `--no-plaintext`; a problem if that is nothing, or cannot be told.
pub(super) fn protection(settings: &mut Settings, steps: Option<&Plan>) -> Option<Protection> {
    let flag = "--no-plaintext";
    if settings.has_wrong_steps() {
        return None;
    }
    protected(steps)
        .inspect_err(|message| settings.problem(flag.into(), message.as_str(), Origin::Flag(flag.into())))
        .ok()
}

/// How the values of dead letters are protected, if they are to be; a problem as of [`protection`].
pub(super) fn protect_letters(settings: &mut Settings, steps: Option<&Plan>) -> Option<Protect> {
    // What steps protect that are wrong cannot be told.
    if !settings.boolean(&keys::PROTECT) || settings.has_wrong_steps() {
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
