//! From the settings of a step to the step.

use topicmill_mill::transform::{Digest, TransformKind, TransformSpec, registry::Chosen};

use super::{
    Action, Bound, Mask, OnMissing, Slot, Step, TOPICS_MAX, Target, Text, Token, Tokens, Topics, Value,
    check_route, secret, title, token::Algorithm,
};
use crate::{
    StepProblem, StepTable,
    expr::Use,
    json::{Path, Segment, write_string},
    kind::Kind,
    reader::Reader,
    table::Given,
};

/// How many characters `first`, `last` and `length` may be at most.
const MOST_CHARS: usize = 1 << 20;

/// How many topics a route may have unless it is said.
const MOST_TOPICS: usize = 100;

/// What stands in for a character, and for a redacted value, unless it is said.
const MASK_CHAR: char = '*';
const REDACTED: &str = "***";

/// The step of a table; `None` with what is wrong with it in `problems`.
pub(crate) fn read(table: &StepTable, index: usize, problems: &mut Vec<StepProblem>) -> Option<Step> {
    let before = problems.len();
    let mut reader = Reader::new(table, index, problems);
    let kind = reader.kind()?;
    reader.refuse_unknown(&kind);
    let on_missing = if kind.has_policy() {
        reader.choice("on_missing", &[("skip", OnMissing::Skip), ("fail", OnMissing::Fail)])
    } else {
        OnMissing::Fail
    };
    let when = reader.expr("when", Use::Condition).map(Bound::new);
    let action = action(&kind, &mut reader);
    let name = kind.name();
    let about = table.settings.iter().find(|(key, _)| key == name).map(|(_, given)| match given {
        Given::Text(text) => text.clone(),
        Given::List(texts) => texts.join(", "),
        Given::Integer(_) | Given::Boolean(_) | Given::Other(_) => String::new(),
    });
    let title = title(name, &about.unwrap_or_default());
    let action = action.filter(|_| problems.len() == before)?;
    let acts_on_value = action.is_about_value();
    Some(Step { index, name, title, when, on_missing, action, acts_on_value })
}

fn action(kind: &Kind, reader: &mut Reader<'_>) -> Option<Action> {
    let name = kind.name();
    match kind {
        Kind::Filter => reader.expr(name, Use::Condition).map(Bound::new).map(Action::Filter),
        Kind::Drop => slots(reader, name).and_then(|slots| parts_only(reader, name, slots)).map(Action::Drop),
        Kind::Keep => slots(reader, name).and_then(|slots| parts_only(reader, name, slots)).map(Action::Keep),
        Kind::Rename => rename(reader),
        Kind::Set => set(reader),
        Kind::Copy => copy(reader),
        Kind::Mask => mask(reader),
        Kind::Redact => {
            let slots = slots(reader, name);
            let with = if reader.is_given("with") { reader.text("with")? } else { REDACTED };
            Some(Action::Redact(slots?, quoted(with)))
        }
        Kind::Truncate => {
            let slots = slots(reader, name);
            let length = reader.number("length", 0..=MOST_CHARS);
            if !reader.is_given("length") {
                reader.problem("length", "is missing: the most characters that are left");
            }
            Some(Action::Truncate(slots?, length?))
        }
        Kind::Hash => hash(reader),
        Kind::Hmac => hmac(reader),
        Kind::Header => header(reader),
        Kind::Key => {
            let value = reader.expr(name, Use::Value).map(Text::of);
            let by_key = reader.choice("partition", &[("keep", false), ("by-key", true)]);
            Some(Action::Key { value: value?, by_key })
        }
        Kind::Route => route(reader),
        Kind::Jq => reader.expr(name, Use::Program).map(Bound::new).map(Action::Jq),
        Kind::Transform(spec) => transform(reader, spec),
    }
}

fn slots(reader: &mut Reader<'_>, key: &str) -> Option<Vec<Slot>> {
    reader.paths(key).map(|paths| paths.into_iter().map(Slot::new).collect())
}

/// Refuses the whole value, of which nothing would be left, or all.
fn parts_only(reader: &mut Reader<'_>, key: &str, slots: Vec<Slot>) -> Option<Vec<Slot>> {
    if slots.iter().any(|slot| slot.path.is_root()) {
        reader.problem(key, "must be a part of the value, not all of it");
        return None;
    }
    Some(slots)
}

/// A path without wildcards.
fn single(reader: &mut Reader<'_>, key: &str) -> Option<Path> {
    let path = reader.path(key)?;
    if !path.is_single() {
        reader.problem(key, "must lead to one value: it must have no wildcards");
        return None;
    }
    Some(path)
}

/// A path whose last step is a key.
fn is_of_key(path: &Path) -> bool {
    matches!(path.segments.last(), Some(Segment::Key(_)))
}

/// Where a value may be put.
fn target(reader: &mut Reader<'_>, key: &str) -> Option<Target> {
    single(reader, key).map(Target::new)
}

fn quoted(text: &str) -> Vec<u8> {
    let mut quoted = Vec::new();
    write_string(text, &mut quoted);
    quoted
}

fn rename(reader: &mut Reader<'_>) -> Option<Action> {
    let from = reader.path("rename");
    let to = reader.needed("to", "the new path, or the new key")?;
    let from = from?;
    let (Some((Segment::Key(old), before)), true) = (from.segments.split_last(), is_of_key(&from)) else {
        reader.problem("rename", "must end with a key");
        return None;
    };
    let to = if to.starts_with('.') {
        reader.path("to")?
    } else {
        let mut segments = before.to_vec();
        segments.push(Segment::Key(to.into()));
        Path { segments }
    };
    let Some((Segment::Key(new), beside)) = to.segments.split_last() else {
        reader.problem("to", "must end with a key");
        return None;
    };
    if beside == before {
        if new == old {
            reader.problem("to", "is the name that it has");
            return None;
        }
        let parent = Slot::new(Path { segments: before.to_vec() });
        let key = quoted(new);
        return Some(Action::Rename { key, parent, existing: Slot::new(to), from: Slot::new(from) });
    }
    let problem = if !from.is_single() || !to.is_single() {
        "is in another object: then neither path may have wildcards"
    } else if from.meets(&to) {
        "is within the other path, or the other way round"
    } else {
        return Some(Action::Move { from: Slot::new(from), to: Target::new(to) });
    };
    reader.problem("to", problem);
    None
}

fn set(reader: &mut Reader<'_>) -> Option<Action> {
    let to = reader.path("set").map(Target::new);
    let value = match (reader.is_given("value"), reader.is_given("text")) {
        (true, false) => reader.expr("value", Use::Value).map(Bound::new).map(Value::Expr),
        (false, true) => reader.template("text").map(Text::of_template).map(Value::Text),
        (is_given, _) => {
            one_value(reader, is_given);
            None
        }
    };
    Some(Action::Set { value: value?, to: to? })
}

/// Says that there must be a value or a text, and not both.
fn one_value(reader: &mut Reader<'_>, both: bool) {
    let message = if both {
        "and `value` exclude each other"
    } else {
        "is missing: a text with expressions in braces; or an expression, with `value`"
    };
    reader.problem("text", message);
}

fn copy(reader: &mut Reader<'_>) -> Option<Action> {
    let from = single(reader, "copy").map(Slot::new);
    reader.needed("to", "the path of the copy")?;
    let to = target(reader, "to");
    Some(Action::Set { value: Value::Copy(from?), to: to? })
}

fn mask(reader: &mut Reader<'_>) -> Option<Action> {
    let slots = slots(reader, "mask");
    let first = reader.number("first", 0..=MOST_CHARS);
    let last = reader.number("last", 0..=MOST_CHARS);
    let with = reader.parsed("with", |text| {
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(with), None) => Ok(with),
            _ => Err("must be one character, which stands in for each that is masked"),
        }
    });
    let mask = Mask {
        first: first.unwrap_or_default(),
        last: last.unwrap_or_default(),
        with: with.unwrap_or(MASK_CHAR),
    };
    Some(Action::Mask(slots?, mask))
}

fn hash(reader: &mut Reader<'_>) -> Option<Action> {
    let digests = [
        ("sha256", Digest::Sha256),
        ("md5", Digest::Md5),
        ("xxh3", Digest::Xxh3),
        ("blake3", Digest::Blake3),
    ];
    let token = Token::of_digest(reader.choice("digest", &digests));
    if !reader.is_given("to") {
        return slots(reader, "hash").map(|slots| Action::Tokens(slots, token));
    }
    let from = single(reader, "hash").map(Slot::new);
    let to = target(reader, "to");
    Some(Action::TokensTo { from: from?, tokens: Tokens { token: (token, to?), previous: None } })
}

fn hmac(reader: &mut Reader<'_>) -> Option<Action> {
    let algorithms = [("hmac-sha256", Algorithm::HmacSha256), ("blake3", Algorithm::Blake3)];
    let algorithm = reader.choice("algorithm", &algorithms);
    let token = secret::token(reader, "", algorithm);
    let of_previous = ["previous_key_file", "previous_key_env", "previous_key_id", "previous_to"];
    let has_previous = of_previous.iter().any(|key| reader.is_given(key));
    if !has_previous && !reader.is_given("to") {
        let slots = slots(reader, "hmac");
        return Some(Action::Tokens(slots?, token?));
    }
    let from = single(reader, "hmac");
    let to = if reader.is_given("to") { single(reader, "to") } else { from.clone() };
    let previous = if has_previous {
        let token = secret::token(reader, "previous_", algorithm);
        reader.needed("previous_to", "the path for the token by the previous key");
        let to = target(reader, "previous_to");
        Some((token?, to?))
    } else {
        None
    };
    let (from, to) = (from?, to?);
    if let Some((_, beside)) = &previous
        && (beside.sites.path.meets(&to) || beside.sites.path.meets(&from))
    {
        reader.problem("previous_to", "must be a place of its own");
        return None;
    }
    let tokens = Tokens { token: (token?, Target::new(to)), previous };
    Some(Action::TokensTo { from: Slot::new(from), tokens })
}

fn header(reader: &mut Reader<'_>) -> Option<Action> {
    let name = reader.text("header").map(str::to_owned);
    if name.as_ref().is_some_and(String::is_empty) {
        reader.problem("header", "must not be empty");
    }
    let given = ["value", "text", "remove"].map(|key| reader.is_given(key));
    let value = match given {
        [true, false, false] => Some(Text::of(reader.expr("value", Use::Value)?)),
        [false, true, false] => Some(Text::of_template(reader.template("text")?)),
        [false, false, true] => {
            reader.yes("remove")?;
            None
        }
        [false, false, false] => {
            let message = "is missing: a text with expressions in braces; or an expression, with `value`; or \
                `remove = true`";
            reader.problem("text", message);
            return None;
        }
        _ => {
            reader.problem("header", "takes one of `value`, `text` and `remove`");
            return None;
        }
    };
    Some(Action::Header { name: name?, value })
}

fn route(reader: &mut Reader<'_>) -> Option<Action> {
    let topic = reader.template("route").map(Text::of_template);
    let most = reader.number("max_topics", 1..=TOPICS_MAX).unwrap_or(MOST_TOPICS);
    let topic = topic?;
    if let Text::Constant(name) = &topic
        && let Err(message) = check_route(name)
    {
        reader.problem("route", message);
        return None;
    }
    Some(Action::Route { topic, topics: Topics::new(most) })
}

/// One of the transforms by name, whose value is `true`.
fn transform(reader: &mut Reader<'_>, spec: &'static TransformSpec) -> Option<Action> {
    let mut chosen = Vec::new();
    let mut is_right = reader.given_name(spec.name).is_some_and(|key| reader.yes(key).is_some());
    for setting in spec.settings {
        let value = if reader.is_given(setting.name) {
            reader.parsed(setting.name, |value| setting.takes.check(value).map(|()| value.to_owned()))
        } else {
            Some(setting.default.to_owned())
        };
        is_right &= value.is_some();
        chosen.push((setting.name, value.unwrap_or_default()));
    }
    is_right.then(|| Action::Transform(TransformKind::of(spec, Chosen(chosen))))
}
