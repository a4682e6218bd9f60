//! One step on one record.

use topicmill_mill::{
    batch::TopicPartition,
    transform::{ErrorClass, ValueError},
};
use topicmill_records::Headers;

use super::{
    item::{Draft, Partition},
    scratch::{Scratch, located},
};
use crate::{
    expr::Meta,
    fuse::Pass,
    json::{Kind, decode},
    step::{Action, Bound, OnMissing, Step, Text, title},
};

/// What a step has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The record goes on, changed or not.
    Done,
    /// It goes on with something protected in it.
    Protected,
    /// It goes on with a topic.
    Routed,
    /// It is passed over.
    Filtered,
}

/// What stands in for the value of an expression that does not read it.
pub(super) const NO_VALUE: &[u8] = b"null";

impl Scratch {
    pub(super) fn act(
        &mut self,
        pass: &Pass,
        step: &Step,
        draft: &mut Draft<'_>,
        origin: &TopicPartition,
    ) -> Result<Outcome, ValueError> {
        let doc = match draft.before.value {
            Some(value) => value,
            None if !step.needs_value() => NO_VALUE,
            None => return tombstone(step),
        };
        if !self.applies(pass, step, draft, origin)? {
            return Ok(Outcome::Done);
        }
        if step.acts_on_value {
            self.locate(pass, doc)?;
        }
        let done = match &step.action {
            Action::Filter(condition) => {
                let holds = self.holds(pass, condition, doc, &draft.meta(origin))?;
                return Ok(if holds { Outcome::Done } else { Outcome::Filtered });
            }
            Action::Header { name, value } => self.header(pass, name, value.as_ref(), doc, draft, origin),
            Action::Key { value, by_key } => self.key(pass, value, *by_key, doc, draft, origin),
            Action::Route { topic, topics } => {
                self.text_of(pass, topic, doc, &draft.meta(origin)).and_then(|()| {
                    let topic = self.topics.get(step.index, topics, &self.text);
                    let topic =
                        topic.map_err(|error| ValueError::new(ErrorClass::Route, error.to_string()))?;
                    if topic == origin.topic {
                        let message = "the topic is the one that is read";
                        return Err(ValueError::new(ErrorClass::Route, message));
                    }
                    draft.topic = Some(topic);
                    Ok(Outcome::Routed)
                })
            }
            action => self.change(pass, step, action, doc, &draft.meta(origin)),
        };
        match done {
            Err(error) if step.on_missing == OnMissing::Skip && may_be_skipped(&error, &step.action) => {
                Ok(Outcome::Done)
            }
            done => done,
        }
    }

    /// Whether the step's own condition holds.
    pub(super) fn applies(
        &mut self,
        pass: &Pass,
        step: &Step,
        draft: &Draft<'_>,
        origin: &TopicPartition,
    ) -> Result<bool, ValueError> {
        let Some(when) = &step.when else { return Ok(true) };
        let doc = draft.before.value.unwrap_or(NO_VALUE);
        if when.reads_value {
            self.locate(pass, doc)?;
        }
        let holds = self.holds(pass, when, doc, &draft.meta(origin));
        holds.map_err(|error| about("when", when, error))
    }

    /// Whether a condition does.
    pub(super) fn holds(
        &mut self,
        pass: &Pass,
        condition: &Bound,
        doc: &[u8],
        meta: &Meta<'_>,
    ) -> Result<bool, ValueError> {
        let doc = if self.is_located { doc } else { NO_VALUE };
        self.evaluator.holds(&condition.expr, located(doc, pass, &self.found, &condition.ids), meta)
    }

    /// Puts a text into `self.text`; an error of the class `missing` if there is none.
    pub(super) fn text_of(
        &mut self,
        pass: &Pass,
        text: &Text,
        doc: &[u8],
        meta: &Meta<'_>,
    ) -> Result<(), ValueError> {
        self.text.clear();
        let doc = if self.is_located { doc } else { NO_VALUE };
        match text {
            Text::Constant(constant) => self.text.push_str(constant),
            Text::Template(template, ids) => {
                let located = located(doc, pass, &self.found, ids);
                template.write(&mut self.evaluator, located, meta, &mut self.text)?;
            }
            Text::Expr(Bound { expr, ids, .. }) => {
                self.json.clear();
                let located = located(doc, pass, &self.found, ids);
                let is_there = self.evaluator.value(expr, located, meta, &mut self.json)?;
                let json = if is_there { &*self.json } else { NO_VALUE };
                match Kind::of(json[0]) {
                    Kind::Null => return Err(missing("there is no value")),
                    Kind::String => self.text.push_str(&decode(&json[1..json.len() - 1])),
                    _ => self.text.push_str(&String::from_utf8_lossy(json)),
                }
            }
        }
        Ok(())
    }

    fn header(
        &mut self,
        pass: &Pass,
        name: &str,
        value: Option<&Text>,
        doc: &[u8],
        draft: &mut Draft<'_>,
        origin: &TopicPartition,
    ) -> Result<Outcome, ValueError> {
        if let Some(value) = value {
            self.text_of(pass, value, doc, &draft.meta(origin))?;
        }
        let mut headers = self.buffer();
        let others = Headers::new(draft.item(None).headers).filter(|(own, _)| *own != name.as_bytes());
        others.for_each(|(own, value)| self.headers.push(own, value));
        if value.is_some() {
            self.headers.push(name.as_bytes(), Some(self.text.as_bytes()));
        }
        self.headers.finish_into(&mut headers);
        if let Some(before) = draft.headers.replace(headers) {
            self.give_back(before);
        }
        Ok(Outcome::Done)
    }

    fn key(
        &mut self,
        pass: &Pass,
        value: &Text,
        by_key: bool,
        doc: &[u8],
        draft: &mut Draft<'_>,
        origin: &TopicPartition,
    ) -> Result<Outcome, ValueError> {
        self.text_of(pass, value, doc, &draft.meta(origin))?;
        let mut key = self.buffer();
        key.extend_from_slice(self.text.as_bytes());
        if let Some(before) = draft.key.replace(key) {
            self.give_back(before);
        }
        draft.partition = if by_key { Partition::ByKey } else { draft.partition };
        Ok(Outcome::Done)
    }
}

/// What a step that needs a value does with a record that has none.
fn tombstone(step: &Step) -> Result<Outcome, ValueError> {
    let is_asked_for = step.action.is_about_record() && step.when.is_none();
    if is_asked_for && step.on_missing == OnMissing::Fail {
        return Err(missing("a tombstone has no value"));
    }
    Ok(Outcome::Done)
}

/// Whether the policy is about this error. What is to be protected and cannot be is no such thing: it would
/// be written as it is.
fn may_be_skipped(error: &ValueError, action: &Action) -> bool {
    match error.class {
        ErrorClass::Missing => true,
        ErrorClass::Type => !matches!(action, Action::Mask(..)),
        _ => false,
    }
}

/// `error` with the setting that the expression is the value of.
#[cold]
pub(super) fn about(setting: &str, bound: &Bound, error: ValueError) -> ValueError {
    let message = format!("{}: {}", title(setting, bound.expr.text()), error.message);
    ValueError { class: error.class, message }
}

#[cold]
pub(super) fn missing(message: &str) -> ValueError {
    ValueError::new(ErrorClass::Missing, message)
}
