//! The evaluation of plain expressions.

use std::{borrow::Cow, io::Write};

use topicmill_mill::transform::{ErrorClass, ValueError};

use super::{Body, Comparison, Literal, Lookup, Part, Source, Step, Test, Value, item::Item};
use crate::{
    expr::{Located, Meta, meta::Variable},
    json::{Kind, Segment, Site, decode_in, means, write_contents, write_string},
};

/// Why there is no result.
#[derive(Debug)]
pub(in super::super) enum Fault {
    /// It takes a tree.
    Tree,
    Error(ValueError),
}

/// What an evaluation is about.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Context<'d> {
    pub(in super::super) located: Located<'d>,
    pub(in super::super) meta: &'d Meta<'d>,
    /// The element that an iteration is at.
    element: Option<&'d Site>,
}

impl<'d> Context<'d> {
    pub(in super::super) fn new(located: Located<'d>, meta: &'d Meta<'d>) -> Context<'d> {
        Context { located, meta, element: None }
    }

    /// Whether the document is an array.
    pub(super) fn is_array(self) -> bool {
        root_kind(self.located.doc) == Kind::Array
    }

    /// The same, at an element.
    pub(super) fn at(self, element: &'d Site) -> Context<'d> {
        Context { element: Some(element), ..self }
    }
}

/// `None` is no result at all, as of `.a?` in jq.
type Outcome<T> = Result<Option<T>, Fault>;

fn of_type<T>(message: String) -> Result<T, Fault> {
    Err(Fault::Error(ValueError::new(ErrorClass::Type, message)))
}

impl Body {
    /// Whether the value, or a condition's result, is true.
    pub(in super::super) fn is_true(&self, context: Context<'_>) -> Result<bool, Fault> {
        match self {
            Body::Condition(test) | Body::Value(Value::Test(test)) => {
                Ok(test.holds(context)?.unwrap_or(false))
            }
            Body::Value(Value::Text(_)) => Ok(true),
            Body::Value(Value::Source(source)) => {
                Ok(source.item(context)?.is_some_and(|item| item.is_true()))
            }
            Body::Program(_) => Err(Fault::Tree),
        }
    }

    /// Appends the value if it is a text; `false` for all else.
    pub(in super::super) fn append_text(&self, context: Context<'_>, out: &mut String) -> bool {
        let Body::Value(Value::Source(source)) = self else { return false };
        match source.item(context) {
            Ok(Some(Item::Text(text))) => {
                out.push_str(&text);
                true
            }
            _ => false,
        }
    }

    /// Appends the value as JSON; `false` if there is none.
    pub(in super::super) fn write(&self, context: Context<'_>, out: &mut Vec<u8>) -> Result<bool, Fault> {
        let before = out.len();
        let written = match self {
            Body::Condition(test) | Body::Value(Value::Test(test)) => {
                let holds = test.holds(context)?;
                out.extend_from_slice(
                    holds.map_or("", |holds| if holds { "true" } else { "false" }).as_bytes(),
                );
                holds.is_some()
            }
            Body::Value(Value::Source(Source::Path(lookup))) if lookup.steps.is_empty() => {
                out.extend_from_slice(context.located.doc.trim_ascii());
                true
            }
            Body::Value(Value::Source(source)) => match source.written(context)? {
                Some(written) => {
                    written.write(out);
                    true
                }
                None => false,
            },
            Body::Program(_) => return Err(Fault::Tree),
            Body::Value(Value::Text(parts)) => {
                out.push(b'"');
                let is_complete = write_parts(parts, context, out);
                out.push(b'"');
                match is_complete {
                    Ok(is_complete) => is_complete,
                    Err(fault) => {
                        out.truncate(before);
                        return Err(fault);
                    }
                }
            }
        };
        if !written {
            out.truncate(before);
        }
        Ok(written)
    }
}

/// Writes the parts of a text; `false` if one has no result, which comes before errors.
pub(super) fn write_parts(parts: &[Part], context: Context<'_>, out: &mut Vec<u8>) -> Result<bool, Fault> {
    let mut is_complete = true;
    let mut error = None;
    for part in parts {
        match part {
            Part::Literal(text) => write_contents(text, out),
            Part::Value(source) => match source.item(context) {
                Ok(None) => is_complete = false,
                Ok(Some(Item::Text(text))) => write_contents(&text, out),
                Ok(Some(Item::Tree(..))) => return Err(Fault::Tree),
                Ok(Some(item)) => write_scalar(&item, out),
                Err(Fault::Tree) => return Err(Fault::Tree),
                Err(fault) => error = error.or(Some(fault)),
            },
        }
    }
    match error {
        Some(fault) if is_complete => Err(fault),
        _ => Ok(is_complete),
    }
}

/// What is to be written.
enum Written<'d> {
    /// As it stands in the document.
    Site(&'d [u8]),
    Item(Item<'d>),
}

impl Written<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Written::Site(bytes) | Written::Item(Item::Tree(_, bytes)) => out.extend_from_slice(bytes),
            Written::Item(Item::Text(text)) => write_string(text, out),
            Written::Item(item) => write_scalar(item, out),
        }
    }
}

/// Appends what is neither a text nor a tree.
pub(super) fn write_scalar(item: &Item<'_>, out: &mut Vec<u8>) {
    match item {
        Item::Bool(true) => out.extend_from_slice(b"true"),
        Item::Bool(false) => out.extend_from_slice(b"false"),
        Item::Integer(value) => write!(out, "{value}").expect("a vector takes everything"),
        Item::Number(b"-0") => out.push(b'0'),
        Item::Number(text) => out.extend_from_slice(text),
        Item::Null | Item::Text(_) | Item::Tree(..) => out.extend_from_slice(b"null"),
    }
}

impl Source {
    pub(super) fn item<'d>(&'d self, context: Context<'d>) -> Outcome<Item<'d>> {
        match self {
            Source::Path(lookup) => lookup.item(context),
            Source::Literal(literal) => Ok(Some(Item::of_literal(literal))),
            Source::Variable(variable) => Ok(Some(of_meta(*variable, context.meta))),
            Source::Header(name) => Ok(Some(text(context.meta.header(name)))),
            Source::Alternative(first, second) => match first.item(context)? {
                Some(item) if item.is_true() => Ok(Some(item)),
                _ => second.item(context),
            },
            Source::Type(lookup) => Ok(lookup.kind(context)?.map(|kind| {
                Item::Text(Cow::Borrowed(match kind {
                    Kind::Null => "null",
                    Kind::Bool => "boolean",
                    Kind::Number => "number",
                    Kind::String => "string",
                    Kind::Array => "array",
                    Kind::Object => "object",
                }))
            })),
        }
    }

    /// As [`item`](Source::item), without decoding what is only copied.
    fn written<'d>(&'d self, context: Context<'d>) -> Outcome<Written<'d>> {
        match self {
            Source::Path(lookup) => match lookup.place(context)? {
                Some(Place::Site(site)) => Ok(Some(Written::Site(site.value(context.located.doc)))),
                Some(place) => Ok(Some(Written::Item(place.item(context)))),
                None => Ok(None),
            },
            Source::Alternative(first, second) => match first.item(context)? {
                Some(item) if item.is_true() => first.written(context),
                _ => second.written(context),
            },
            source => Ok(source.item(context)?.map(Written::Item)),
        }
    }
}

fn text(text: Option<&str>) -> Item<'_> {
    text.map_or(Item::Null, |text| Item::Text(Cow::Borrowed(text)))
}

fn of_meta<'d>(variable: Variable, meta: &Meta<'d>) -> Item<'d> {
    match variable {
        Variable::Topic => text(Some(meta.topic)),
        Variable::Partition => Item::Integer(meta.partition.into()),
        Variable::Offset => Item::Integer(meta.offset),
        Variable::Timestamp => Item::Integer(meta.timestamp),
        Variable::Key => text(meta.key_text()),
        // Single headers are sources of their own.
        Variable::Headers => Item::Null,
    }
}

/// What a path leads to.
pub(super) enum Place<'d> {
    /// The document.
    Root,
    Site(&'d Site),
    /// Nothing is there, which is null.
    Missing,
}

impl<'d> Place<'d> {
    fn item(&self, context: Context<'d>) -> Item<'d> {
        let doc = context.located.doc;
        let (kind, value) = match self {
            Place::Root => (root_kind(doc), doc.trim_ascii()),
            Place::Site(site) => (site.kind, site.value(doc)),
            Place::Missing => return Item::Null,
        };
        match kind {
            Kind::Null => Item::Null,
            Kind::Bool => Item::Bool(value.first() == Some(&b't')),
            Kind::Number => Item::Number(value),
            Kind::String => {
                Item::Text(decode_in(&value[1..value.len() - 1], context.located.found.has_escapes()))
            }
            kind => Item::Tree(kind, value),
        }
    }

    /// How it compares with a text.
    fn compare_text(&self, comparison: Comparison, text: &str, context: Context<'d>) -> Result<bool, Fault> {
        let Located { doc, found, .. } = context.located;
        if let Place::Site(site) = self
            && let Some(contents) = site.contents(doc)
            && !found.has_escapes()
        {
            // The order of the bytes is that of the code points.
            return Ok(match comparison {
                Comparison::Equal => contents == text.as_bytes(),
                Comparison::NotEqual => contents != text.as_bytes(),
                comparison => comparison.is(contents.cmp(text.as_bytes())),
            });
        }
        match comparison {
            Comparison::Equal => Ok(self.is_text(text, doc)),
            Comparison::NotEqual => Ok(!self.is_text(text, doc)),
            comparison => self.item(context).compare(comparison, &Item::Text(Cow::Borrowed(text))),
        }
    }

    /// Whether it is that text.
    fn is_text(&self, text: &str, doc: &[u8]) -> bool {
        match self {
            Place::Root => {
                let value = doc.trim_ascii();
                root_kind(doc) == Kind::String && means(&value[1..value.len() - 1], text)
            }
            Place::Site(site) => site.contents(doc).is_some_and(|contents| means(contents, text)),
            Place::Missing => false,
        }
    }

    fn kind(&self, doc: &[u8]) -> Kind {
        match self {
            Place::Root => root_kind(doc),
            Place::Site(site) => site.kind,
            Place::Missing => Kind::Null,
        }
    }
}

fn root_kind(doc: &[u8]) -> Kind {
    Kind::of(doc.trim_ascii_start().first().copied().unwrap_or(b'n'))
}

impl Step {
    fn read<'d>(&self, context: Context<'d>) -> Option<&'d Site> {
        let Located { paths, found, ids, .. } = context.located;
        found.read(paths, ids[self.path])
    }

    /// All that it leads to.
    pub(super) fn all_there_are<'d>(&self, context: Context<'d>) -> &'d [Site] {
        let Located { found, ids, .. } = context.located;
        found.all(ids[self.path])
    }

    /// All that it leads to from the value at `outer`, in the order of the document.
    pub(super) fn all<'d>(&self, context: Context<'d>, outer: &Site) -> &'d [Site] {
        let Located { found, ids, .. } = context.located;
        let sites = found.all(ids[self.path]);
        let start = sites.partition_point(|site| site.value.start < outer.value.start);
        let end = sites.partition_point(|site| site.value.start < outer.value.end);
        &sites[start..end]
    }
}

impl Lookup {
    fn item<'d>(&self, context: Context<'d>) -> Outcome<Item<'d>> {
        Ok(self.place(context)?.map(|place| place.item(context)))
    }

    fn kind(&self, context: Context<'_>) -> Outcome<Kind> {
        Ok(self.place(context)?.map(|place| place.kind(context.located.doc)))
    }

    #[inline]
    pub(super) fn place<'d>(&self, context: Context<'d>) -> Outcome<Place<'d>> {
        if let (1.., Some(element)) = (self.from, context.element) {
            return self.place_within(context, element);
        }
        let Some(last) = self.steps.last() else { return Ok(Some(Place::Root)) };
        // If it is there, then all on the way is there and is what it has to be.
        match last.read(context) {
            Some(site) => Ok(Some(Place::Site(site))),
            None => self.missing(context),
        }
    }

    /// From an element on, where each step has to be looked for within the one before.
    fn place_within<'d>(&self, context: Context<'d>, element: &'d Site) -> Outcome<Place<'d>> {
        let mut site = element;
        for step in &self.steps[self.from..] {
            match step.all(context, site).last() {
                Some(next) => site = next,
                None if has_members(site.kind, &step.segment) => return Ok(Some(Place::Missing)),
                // An error, or nothing at all.
                None => return Err(Fault::Tree),
            }
        }
        Ok(Some(Place::Site(site)))
    }

    /// Whether the value there, which is an object, has the member that `step` leads to.
    fn has(&self, step: &Step, context: Context<'_>) -> Result<bool, Fault> {
        match self.place(context)? {
            Some(Place::Site(site)) => Ok(!step.all(context, site).is_empty()),
            _ => Ok(step.read(context).is_some()),
        }
    }

    /// What it is that nothing was found: null, or an error as something on the way has no members.
    fn missing<'d>(&self, context: Context<'d>) -> Outcome<Place<'d>> {
        let mut kind = root_kind(context.located.doc);
        for (index, step) in self.steps.iter().enumerate() {
            if !has_members(kind, &step.segment) {
                if step.is_optional {
                    return Ok(None);
                }
                let at = super::Lookup { steps: self.steps[..index].to_vec(), from: 0 };
                return of_type(format!(
                    "{} is {}, in which {} is looked for",
                    at.path(),
                    kind.name(),
                    step.segment
                ));
            }
            match step.read(context) {
                Some(site) => kind = site.kind,
                None => return Ok(Some(Place::Missing)),
            }
        }
        Ok(Some(Place::Missing))
    }

    fn path(&self) -> crate::json::Path {
        crate::json::Path { segments: self.steps.iter().map(|step| step.segment.clone()).collect() }
    }
}

/// Whether something can be looked for there; an object can be asked for a number, but has none.
fn has_members(kind: Kind, segment: &Segment) -> bool {
    match kind {
        Kind::Null | Kind::Object => true,
        Kind::Array => matches!(segment, Segment::Index(_)),
        Kind::Bool | Kind::Number | Kind::String => false,
    }
}

impl Test {
    /// Whether it holds; `None` if there is nothing to test.
    pub(super) fn holds(&self, context: Context<'_>) -> Outcome<bool> {
        let on_text = |source: &Source, test: &dyn Fn(&str) -> bool| match source.item(context)? {
            None => Ok(None),
            Some(Item::Text(text)) => Ok(Some(test(&text))),
            Some(item) => of_type(format!("{} is used as a string", item.kind().name())),
        };
        match self {
            Test::Truth(source) => Ok(source.item(context)?.map(|item| item.is_true())),
            Test::Compare(Source::Path(lookup), comparison, Source::Literal(Literal::Text(text))) => {
                let Some(place) = lookup.place(context)? else { return Ok(None) };
                place.compare_text(*comparison, text, context).map(Some)
            }
            Test::Compare(left, comparison, right) => {
                let Some(left) = left.item(context)? else { return Ok(None) };
                let Some(right) = right.item(context)? else { return Ok(None) };
                left.compare(*comparison, &right).map(Some)
            }
            Test::And(left, right) => match left.holds(context)? {
                Some(true) => right.holds(context),
                outcome => Ok(outcome),
            },
            Test::Or(left, right) => match left.holds(context)? {
                Some(false) => right.holds(context),
                outcome => Ok(outcome),
            },
            Test::Not(test) => Ok(test.holds(context)?.map(|holds| !holds)),
            Test::In(source, literals) => {
                let Some(item) = source.item(context)? else { return Ok(None) };
                for literal in literals {
                    if item.equals(&Item::of_literal(literal))? {
                        return Ok(Some(true));
                    }
                }
                Ok(Some(false))
            }
            Test::StartsWith(source, start) => on_text(source, &|text| text.starts_with(start.as_str())),
            Test::EndsWith(source, end) => on_text(source, &|text| text.ends_with(end.as_str())),
            Test::Matches(source, regex) => on_text(source, &|text| regex.is_match(text.as_bytes())),
            Test::Contains(source, part) => on_text(source, &|text| text.contains(part.as_str())),
            Test::Has(lookup, step) => match lookup.kind(context)? {
                None => Ok(None),
                Some(Kind::Object) => lookup.has(step, context).map(Some),
                Some(Kind::Null) => Ok(Some(false)),
                Some(kind) => of_type(format!(
                    "{} is {}, in which {} is looked for",
                    lookup.path(),
                    kind.name(),
                    step.segment
                )),
            },
            Test::Within(lookup, test) => match lookup.place(context)? {
                None => Ok(None),
                Some(_) => test.holds(context),
            },
        }
    }
}
