//! Programs that make something of parts of a document: their results are written as they are found.
//!
//! What is out of the ordinary, as all that is an error, is left to the interpreter: what is done here is
//! what both have the same results for.

use super::{
    Lookup, Source, Step, Test, Value,
    amount::Operator,
    eval::{Context, Fault, Place, write_parts, write_scalar},
    item::Item,
};
use crate::{
    expr::{
        Limits,
        jaq::{Results, rewrite},
    },
    json::{Kind, PathId, PathSet, Site, write_string},
};

/// A program and what has to be located for it.
#[derive(Debug)]
pub(in super::super) struct Made {
    pub(in super::super) paths: PathSet,
    /// All of `paths`.
    pub(in super::super) ids: Vec<PathId>,
    pub(super) make: Make,
}

/// What results are made by.
#[derive(Debug)]
pub(super) enum Make {
    /// `empty`
    Nothing,
    Value(Value),
    /// `.a[] | …`: the array, the step to its elements, and what is made of each.
    Each(Lookup, Step, Box<Make>),
    /// `.a | …`, where `.a` has to be something that is there, or null.
    Within(Lookup, Box<Make>),
    /// `a, b`
    Both(Box<Make>, Box<Make>),
    If(Test, Box<Make>, Box<Make>),
    /// Each key as a JSON string with its colon.
    Object(Vec<(Vec<u8>, Make)>),
    Array(Box<Make>),
    Calculation(Box<Make>, Operator, Box<Make>),
    /// `[…] | add`
    Sum(Box<Make>),
    /// `.a | length`: the array and the step to its elements.
    Length(Lookup, Step),
}

/// The most bytes of a result that is made of an array or object as it stands.
const MOST: usize = 64 << 20;

impl Made {
    /// Puts the results into `results`; `false` if that is for the interpreter to do.
    pub(in super::super) fn run(&self, context: Context<'_>, limits: &Limits, results: &mut Results) -> bool {
        results.clear();
        let made =
            self.make.each(context, &mut |make, context| results.push_with(|out| make.write(context, out)));
        made.is_ok() && results.fit(limits)
    }
}

/// What gets each result: what makes it and where.
type Taker<'r> = dyn FnMut(&Make, Context<'_>) -> Result<(), Fault> + 'r;

impl Make {
    /// Whether there is one result, or none.
    pub(super) fn is_single(&self) -> bool {
        match self {
            Make::Each(..) | Make::Both(..) => false,
            Make::If(_, then, otherwise) => then.is_single() && otherwise.is_single(),
            Make::Within(_, inner) => inner.is_single(),
            Make::Nothing
            | Make::Value(_)
            | Make::Object(_)
            | Make::Array(_)
            | Make::Calculation(..)
            | Make::Sum(_)
            | Make::Length(..) => true,
        }
    }

    /// How many of these are within each other at most.
    pub(super) fn height(&self) -> usize {
        let inner = match self {
            Make::Nothing | Make::Value(_) | Make::Length(..) => 0,
            Make::Each(_, _, inner) | Make::Within(_, inner) | Make::Array(inner) | Make::Sum(inner) => {
                inner.height()
            }
            Make::Both(one, other) | Make::If(_, one, other) | Make::Calculation(one, _, other) => {
                one.height().max(other.height())
            }
            Make::Object(members) => members.iter().map(|(_, member)| member.height()).max().unwrap_or(0),
        };
        1 + inner
    }

    /// Passes each result to `each`.
    pub(super) fn each(&self, context: Context<'_>, each: &mut Taker<'_>) -> Result<(), Fault> {
        match self {
            Make::Nothing => Ok(()),
            Make::Each(array, elements, inner) => {
                for element in array.elements(elements, context)? {
                    inner.each(context.at(element), each)?;
                }
                Ok(())
            }
            Make::Within(lookup, inner) => match lookup.place(context)? {
                Some(_) => inner.each(context, each),
                None => Err(Fault::Tree),
            },
            Make::Both(first, second) => {
                first.each(context, each)?;
                second.each(context, each)
            }
            Make::If(test, then, otherwise) => match test.holds(context)? {
                Some(true) => then.each(context, each),
                Some(false) => otherwise.each(context, each),
                None => Err(Fault::Tree),
            },
            Make::Value(_)
            | Make::Object(_)
            | Make::Array(_)
            | Make::Calculation(..)
            | Make::Sum(_)
            | Make::Length(..) => each(self, context),
        }
    }

    /// Appends the only result.
    fn write(&self, context: Context<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
        match self {
            Make::Value(value) => value.rewrite(context, out),
            Make::Object(members) => {
                out.push(b'{');
                for (index, (key, member)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(key);
                    member.write(context, out)?;
                }
                out.push(b'}');
                Ok(())
            }
            Make::Array(inner) => {
                out.push(b'[');
                let mut is_first = true;
                inner.each(context, &mut |make, context| {
                    if !is_first {
                        out.push(b',');
                    }
                    is_first = false;
                    make.write(context, out)
                })?;
                out.push(b']');
                Ok(())
            }
            Make::Calculation(..) | Make::Sum(_) | Make::Length(..) => {
                self.amount(context)?.write(out);
                Ok(())
            }
            Make::Nothing | Make::Each(..) | Make::Within(..) | Make::Both(..) | Make::If(..) => {
                let mut count = 0;
                self.each(context, &mut |make, context| {
                    count += 1;
                    make.write(context, out)
                })?;
                // Without a result, or with several, there are as many of what it is a part of.
                if count == 1 { Ok(()) } else { Err(Fault::Tree) }
            }
        }
    }
}

impl Lookup {
    /// The elements of the array that it leads to, by the step to them.
    pub(super) fn elements<'d>(&self, elements: &Step, context: Context<'d>) -> Result<&'d [Site], Fault> {
        match self.place(context)? {
            Some(Place::Site(site)) if site.kind == Kind::Array => Ok(elements.all(context, site)),
            Some(Place::Root) if context.is_array() => Ok(elements.all_there_are(context)),
            _ => Err(Fault::Tree),
        }
    }

    /// The length of what is there, if that is an array or null.
    pub(super) fn length(&self, elements: &Step, context: Context<'_>) -> Result<usize, Fault> {
        match self.place(context)? {
            Some(Place::Missing) => Ok(0),
            Some(Place::Site(site)) if site.kind == Kind::Null => Ok(0),
            _ => self.elements(elements, context).map(<[Site]>::len),
        }
    }
}

impl Value {
    /// Appends the value as the interpreter writes it.
    fn rewrite(&self, context: Context<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
        match self {
            Value::Source(source) => source.rewrite(context, out),
            Value::Test(test) => {
                let holds = test.holds(context)?.ok_or(Fault::Tree)?;
                write_scalar(&Item::Bool(holds), out);
                Ok(())
            }
            Value::Text(parts) => {
                out.push(b'"');
                let is_complete = write_parts(parts, context, out)?;
                out.push(b'"');
                if is_complete { Ok(()) } else { Err(Fault::Tree) }
            }
        }
    }
}

impl Source {
    fn rewrite(&self, context: Context<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
        match self.item(context)?.ok_or(Fault::Tree)? {
            Item::Text(text) => write_string(&text, out),
            Item::Tree(_, bytes) => {
                if !rewrite(bytes, MOST, out) {
                    return Err(Fault::Tree);
                }
            }
            item => write_scalar(&item, out),
        }
        Ok(())
    }
}
