//! From the terms of a program to what makes its results of parts of a document.

use jaq_core::{
    load::parse::BinaryOp,
    path::{Opt, Part},
};

use super::{
    Lookup, Source, Value,
    amount::Operator,
    compile::{Compiler, MAX_HEIGHT, Why, why},
    make::{Made, Make},
};
use crate::{
    expr::jaq::{Term, literal},
    json::{PathSet, Segment, write_string},
};

/// What is made of what a path leads to.
type Then<'c> = dyn FnMut(&mut Compiler, &Lookup) -> Result<Make, Why> + 'c;

impl Compiler {
    pub(super) fn program(&mut self, term: &Term<'_>) -> Result<Made, Why> {
        let make = self.make(term, &Lookup::default())?;
        if make.height() > MAX_HEIGHT {
            return Err("it is nested deeply".to_owned());
        }
        let paths = PathSet::new(&self.paths).map_err(|_| "it has too many paths".to_owned())?;
        Ok(Made { ids: (0..self.paths.len()).collect(), paths, make })
    }

    fn make(&mut self, term: &Term<'_>, base: &Lookup) -> Result<Make, Why> {
        match term {
            Term::Id => self.read_there(base),
            Term::BinOp(left, BinaryOp::Comma, right) => {
                Ok(Make::Both(Box::new(self.make(left, base)?), Box::new(self.make(right, base)?)))
            }
            Term::BinOp(left, BinaryOp::Math(math), right) => {
                let Some(operator) = Operator::of(*math) else { return Err(why(term)) };
                let (left, right) = (self.single(left, base)?, self.single(right, base)?);
                if [&left, &right].into_iter().any(Make::is_no_number) {
                    return Err("it calculates with something other than numbers".to_owned());
                }
                Ok(Make::Calculation(Box::new(left), operator, Box::new(right)))
            }
            Term::BinOp(left, BinaryOp::Pipe(None), right) => match (&**left, &**right) {
                (_, Term::Call("length", args)) if args.is_empty() => {
                    self.walk(left, base, &mut |own, lookup| own.length(lookup))
                }
                (Term::Arr(Some(inner)), Term::Call("add", args)) if args.is_empty() => {
                    Ok(Make::Sum(Box::new(self.make(inner, base)?)))
                }
                // What is asked about something is not made of it.
                (_, Term::Call("type" | "not", args)) if args.is_empty() => self.value_of(term, base),
                (_, Term::Call(name, _)) if is_test(name) => self.test_of(term, base),
                _ => self.walk(left, base, &mut |own, lookup| Ok(within(lookup, own.make(right, lookup)?))),
            },
            Term::Path(inner, _) if matches!(**inner, Term::Var(_)) => self.value_of(term, base),
            Term::Path(..) => self.walk(term, base, &mut |own, lookup| own.read_there(lookup)),
            Term::Obj(entries) => self.object(entries, base),
            Term::Arr(None) => Ok(Make::Array(Box::new(Make::Nothing))),
            Term::Arr(Some(inner)) => Ok(Make::Array(Box::new(self.make(inner, base)?))),
            Term::IfThenElse(branches, otherwise) => {
                let mut make = match otherwise {
                    Some(otherwise) => self.make(otherwise, base)?,
                    None => self.read_there(base)?,
                };
                for (condition, then) in branches.iter().rev() {
                    let test = self.test(condition, base, MAX_HEIGHT)?;
                    make = Make::If(test, Box::new(self.make(then, base)?), Box::new(make));
                }
                Ok(make)
            }
            Term::Call("length", args) if args.is_empty() => self.length(base),
            Term::Call("empty", args) if args.is_empty() => Ok(Make::Nothing),
            Term::Call("select", args) if args.len() == 1 => {
                self.walk(term, base, &mut |own, lookup| own.read_there(lookup))
            }
            Term::Call("map", args) if args.len() == 1 => {
                let each = self.iterate(base, &mut |own, element| own.make(&args[0], element))?;
                Ok(Make::Array(Box::new(each)))
            }
            Term::Call("add", args) => {
                let inner = match args.as_slice() {
                    [] => self.iterate(base, &mut |own, element| own.read_there(element))?,
                    [inner] => self.make(inner, base)?,
                    _ => return Err(why(term)),
                };
                Ok(Make::Sum(Box::new(inner)))
            }
            Term::Call(name, _) if is_test(name) => self.test_of(term, base),
            term => self.value_of(term, base),
        }
    }

    /// What has one result.
    fn single(&mut self, term: &Term<'_>, base: &Lookup) -> Result<Make, Why> {
        let make = self.make(term, base)?;
        if make.is_single() { Ok(make) } else { Err("a part of it has several results".to_owned()) }
    }

    fn object(&mut self, entries: &[(Term<'_>, Option<Term<'_>>)], base: &Lookup) -> Result<Make, Why> {
        let mut members: Vec<(Vec<u8>, Make)> = Vec::new();
        for (key, value) in entries {
            let Term::Str(None, parts) = key else { return Err("it makes a key".to_owned()) };
            let Some(key) = literal(parts) else { return Err("it makes a key".to_owned()) };
            let made = match value {
                Some(value) => self.single(value, base)?,
                None => {
                    let lookup = self.step(base, Segment::Key(key.as_str().into()), false)?;
                    self.read_there(&lookup)?
                }
            };
            let mut quoted = Vec::new();
            write_string(&key, &mut quoted);
            quoted.push(b':');
            if members.iter().any(|(own, _)| *own == quoted) {
                return Err("it makes an object with the same key twice".to_owned());
            }
            members.push((quoted, made));
        }
        Ok(Make::Object(members))
    }

    fn read_there(&mut self, lookup: &Lookup) -> Result<Make, Why> {
        self.read(lookup);
        Ok(Make::Value(Value::Source(Source::Path(lookup.clone()))))
    }

    fn length(&mut self, lookup: &Lookup) -> Result<Make, Why> {
        self.read(lookup);
        let elements = self.step(lookup, Segment::AnyIndex, false)?;
        let step = elements.steps.last().expect("a step was added").clone();
        Ok(Make::Length(lookup.clone(), step))
    }

    fn value_of(&mut self, term: &Term<'_>, base: &Lookup) -> Result<Make, Why> {
        self.value(term, base).map(Make::Value)
    }

    fn test_of(&mut self, term: &Term<'_>, base: &Lookup) -> Result<Make, Why> {
        self.test(term, base, MAX_HEIGHT).map(|test| Make::Value(Value::Test(test)))
    }

    /// What `then` makes of where `term` leads to from `base`.
    fn walk(&mut self, term: &Term<'_>, base: &Lookup, then: &mut Then<'_>) -> Result<Make, Why> {
        match term {
            Term::Id => then(self, base),
            Term::BinOp(left, BinaryOp::Pipe(None), right) => {
                self.walk(left, base, &mut |own, lookup| Ok(within(lookup, own.walk(right, lookup, then)?)))
            }
            Term::Call("select", args) if args.len() == 1 => {
                let test = self.test(&args[0], base, MAX_HEIGHT)?;
                Ok(Make::If(test, Box::new(then(self, base)?), Box::new(Make::Nothing)))
            }
            Term::Path(inner, path) => {
                self.walk(inner, base, &mut |own, lookup| own.parts(&path.0, lookup, then))
            }
            term => Err(why(term)),
        }
    }

    fn parts(
        &mut self,
        parts: &[(Part<Term<'_>>, Opt)],
        base: &Lookup,
        then: &mut Then<'_>,
    ) -> Result<Make, Why> {
        let Some(((part, opt), rest)) = parts.split_first() else { return then(self, base) };
        let is_optional = matches!(opt, Opt::Optional);
        let segment = match part {
            Part::Range(None, None) if !is_optional => {
                return self.iterate(base, &mut |own, element| own.parts(rest, element, then));
            }
            Part::Index(Term::Str(None, parts)) => literal(parts).map(|key| Segment::Key(key.into())),
            Part::Index(Term::Num(number)) => number.parse().ok().map(Segment::Index),
            _ => None,
        };
        let segment = segment.ok_or_else(|| "an index is not a plain key or number".to_owned())?;
        let lookup = self.step(base, segment, is_optional)?;
        self.parts(rest, &lookup, then)
    }

    /// What `then` makes of each element of the array at `base`.
    fn iterate(&mut self, base: &Lookup, then: &mut Then<'_>) -> Result<Make, Why> {
        self.read(base);
        let mut element = self.step(base, Segment::AnyIndex, false)?;
        element.from = element.steps.len();
        let step = element.steps.last().expect("a step was added").clone();
        Ok(Make::Each(base.clone(), step, Box::new(then(self, &element)?)))
    }
}

/// What is made where a path leads to, whether or not it reads what is there.
fn within(lookup: &Lookup, make: Make) -> Make {
    if lookup.steps.len() == lookup.from { make } else { Make::Within(lookup.clone(), Box::new(make)) }
}

/// Whether it is a function that tells whether something holds.
fn is_test(name: &str) -> bool {
    matches!(name, "startswith" | "endswith" | "contains" | "test" | "has" | "IN")
}

impl Make {
    /// Whether it can be nothing to calculate with.
    fn is_no_number(&self) -> bool {
        match self {
            Make::Value(Value::Source(Source::Literal(literal))) => {
                !matches!(literal, super::Literal::Integer(_) | super::Literal::Number(_))
            }
            Make::Value(Value::Source(_))
            | Make::Calculation(..)
            | Make::Sum(_)
            | Make::Length(..)
            | Make::If(..)
            | Make::Within(..) => false,
            _ => true,
        }
    }
}
