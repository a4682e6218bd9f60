//! A step, ready to be planned: what it does, what it reads and what it writes.

mod parts;
mod read;
mod secret;
mod text;
mod hmac;
mod token;
mod topics;

use topicmill_mill::transform::{TransformKind, ValueError};

pub(crate) use parts::{Bound, Slot, Target, Text, Value};
pub(crate) use read::read;
pub(crate) use text::{Mask, truncated};
pub(crate) use token::{Token, Tokens};
pub use topics::check_topic;
pub(crate) use topics::{TOPICS_MAX, Topics, TopicsError, check_route};

use crate::json::Path;

/// The most characters of a step's title.
const TITLE: usize = 60;

#[derive(Debug)]
pub(crate) struct Step {
    /// From 0.
    pub(crate) index: usize,
    pub(crate) name: &'static str,
    /// The name and what it is about, as `mask .email`.
    pub(crate) title: String,
    pub(crate) when: Option<Bound>,
    pub(crate) on_missing: OnMissing,
    pub(crate) action: Action,
    /// Whether the action reads or writes something of the value.
    pub(crate) acts_on_value: bool,
}

/// What to do where a path leads nowhere, or to something of the wrong type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnMissing {
    /// Leave the record as it is.
    Skip,
    /// Give it to the dead letters.
    Fail,
}

#[derive(Debug)]
pub(crate) enum Action {
    Filter(Bound),
    Drop(Vec<Slot>),
    Keep(Vec<Slot>),
    /// A new key in the same object, in the place of another one of that name.
    Rename {
        from: Slot,
        key: Vec<u8>,
        parent: Slot,
        existing: Slot,
    },
    /// To another object.
    Move {
        from: Slot,
        to: Target,
    },
    Set {
        value: Value,
        to: Target,
    },
    Mask(Vec<Slot>, Mask),
    /// With the JSON to put there.
    Redact(Vec<Slot>, Vec<u8>),
    Truncate(Vec<Slot>, usize),
    /// In place.
    Tokens(Vec<Slot>, Token),
    /// Beside.
    TokensTo {
        from: Slot,
        tokens: Tokens,
    },
    /// `None` removes it.
    Header {
        name: String,
        value: Option<Text>,
    },
    Key {
        value: Text,
        by_key: bool,
    },
    Route {
        topic: Text,
        topics: Topics,
    },
    Jq(Bound),
    Transform(TransformKind),
}

impl Step {
    /// Whether it does nothing to a record without a value.
    pub(crate) fn needs_value(&self) -> bool {
        self.acts_on_value || self.when.as_ref().is_some_and(|when| when.reads_value)
    }

    /// What is looked up in the value, as a reader of it would: of duplicate keys the last one counts, and what is
    /// on the way has to be of the right type. What the step works on wherever it stands is what it writes.
    pub(crate) fn reads(&self) -> Vec<Path> {
        let mut reads = self.when.as_ref().map(Bound::reads).unwrap_or_default();
        reads.extend(self.action.reads());
        reads
    }

    /// What it reads and writes of the value, but for what `keep` removes.
    pub(crate) fn touches(&self) -> Vec<Path> {
        [self.reads(), self.action.writes()].concat()
    }

    /// Replaces the ids of its paths by those in `paths`, to which what is missing there is added.
    pub(crate) fn bind(&mut self, paths: &mut Vec<Path>) {
        if let Some(when) = &mut self.when {
            when.bind(paths);
        }
        self.action.bind(paths, self.on_missing);
    }

    /// `error` with the step's number and title.
    #[cold]
    pub(crate) fn error(&self, error: ValueError) -> ValueError {
        let message = format!("step {} ({}): {}", self.index + 1, self.title, error.message);
        ValueError { class: error.class, message }
    }
}

impl Action {
    /// Whether it reads or writes something of the value.
    pub(crate) fn is_about_value(&self) -> bool {
        let may_do_without = self.is_about_record() || matches!(self, Action::Filter(_));
        !may_do_without || !self.reads().is_empty()
    }

    /// Whether it is about what stands around the value, so that it is for tombstones, too.
    pub(crate) fn is_about_record(&self) -> bool {
        matches!(self, Action::Header { .. } | Action::Key { .. } | Action::Route { .. })
    }

    /// Whether it may have any number of results.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Action::Jq(_) | Action::Transform(_))
    }

    /// Whether it only replaces values where they stand: none comes or goes.
    pub(crate) fn is_in_place(&self) -> bool {
        matches!(self, Action::Mask(..) | Action::Redact(..) | Action::Truncate(..) | Action::Tokens(..))
    }

    fn reads(&self) -> Vec<Path> {
        match self {
            Action::Filter(condition) => condition.reads(),
            Action::Drop(_)
            | Action::Keep(_)
            | Action::Rename { .. }
            | Action::Mask(..)
            | Action::Redact(..)
            | Action::Truncate(..)
            | Action::Tokens(..) => Vec::new(),
            Action::Move { from, .. } | Action::TokensTo { from, .. } => vec![from.path.clone()],
            Action::Set { value, .. } => value.reads(),
            Action::Header { value, .. } => value.as_ref().map(Text::reads).unwrap_or_default(),
            Action::Key { value, .. } => value.reads(),
            Action::Route { topic, .. } => topic.reads(),
            Action::Jq(_) | Action::Transform(_) => vec![Path::default()],
        }
    }

    /// What is written of the value; of `keep`, which writes all the rest, nothing.
    pub(crate) fn writes(&self) -> Vec<Path> {
        let paths = |slots: &[Slot]| slots.iter().map(|slot| slot.path.clone()).collect();
        match self {
            Action::Filter(_)
            | Action::Keep(_)
            | Action::Header { .. }
            | Action::Key { .. }
            | Action::Route { .. } => Vec::new(),
            Action::Drop(slots)
            | Action::Mask(slots, _)
            | Action::Redact(slots, _)
            | Action::Truncate(slots, _)
            | Action::Tokens(slots, _) => paths(slots),
            Action::Rename { from, existing, .. } => vec![from.path.clone(), existing.path.clone()],
            Action::Move { from, to } => vec![from.path.clone(), to.sites.path.clone()],
            Action::Set { to, .. } => vec![to.sites.path.clone()],
            Action::TokensTo { tokens, .. } => tokens.places().map(|(_, to)| to.sites.path.clone()).collect(),
            Action::Jq(_) | Action::Transform(_) => vec![Path::default()],
        }
    }

    fn bind(&mut self, paths: &mut Vec<Path>, on_missing: OnMissing) {
        match self {
            Action::Filter(condition) => condition.bind(paths),
            // The rest is located, not what is kept, unless it has to be there.
            Action::Keep(_) if on_missing == OnMissing::Skip => {}
            Action::Drop(slots)
            | Action::Keep(slots)
            | Action::Mask(slots, _)
            | Action::Redact(slots, _)
            | Action::Truncate(slots, _)
            | Action::Tokens(slots, _) => slots.iter_mut().for_each(|slot| slot.bind(paths)),
            Action::Rename { from, parent, existing, .. } => {
                [from, parent, existing].into_iter().for_each(|slot| slot.bind(paths));
            }
            Action::Move { from, to } => {
                from.bind(paths);
                to.bind(paths);
            }
            Action::Set { value, to } => {
                value.bind(paths);
                to.bind(paths);
            }
            Action::TokensTo { from, tokens } => {
                from.bind(paths);
                tokens.places_mut().for_each(|(_, to)| to.bind(paths));
            }
            Action::Header { value, .. } => value.iter_mut().for_each(|value| value.bind(paths)),
            Action::Key { value, .. } => value.bind(paths),
            Action::Route { topic, .. } => topic.bind(paths),
            Action::Jq(_) | Action::Transform(_) => {}
        }
    }
}

/// What a step is called where people read it: its name and what it is about.
pub(crate) fn title(name: &str, about: &str) -> String {
    let mut title = format!("{name} {about}").split_whitespace().collect::<Vec<_>>().join(" ");
    if title.chars().count() > TITLE {
        title = title.chars().take(TITLE - 1).chain(['\u{2026}']).collect();
    }
    title
}
