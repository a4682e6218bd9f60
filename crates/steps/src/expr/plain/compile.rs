//! From terms to what is evaluated on bytes, if they can be.

use jaq_core::{
    load::{lex::StrPart, parse::BinaryOp},
    ops::Cmp,
    path::{Opt, Part as PathPart},
};
use regex::bytes::Regex;

use super::{Body, Comparison, Literal, Lookup, Part, Plain, Source, Step, Test, Value};
use crate::{
    expr::{
        Use,
        jaq::{Pattern, Term, as_json, literal},
        meta::Variable,
    },
    json::{MAX_SEGMENTS, Path, Segment},
};

/// Why a term is not plain, as in "because {why}".
pub(in super::super) type Why = String;

/// How deep tests may be within each other.
pub(super) const MAX_HEIGHT: usize = 50;

/// The plain form of a term.
///
/// # Errors
/// Why there is none.
pub(in super::super) fn compile(term: &Term<'_>, use_: Use) -> Result<Plain, Why> {
    let mut compiler = Compiler { paths: Vec::new(), reads: Vec::new() };
    let root = Lookup::default();
    let body = match use_ {
        Use::Condition => Body::Condition(compiler.test(term, &root, MAX_HEIGHT)?),
        Use::Value => Body::Value(compiler.value(term, &root)?),
        Use::Program => Body::Program(compiler.program(term)?),
    };
    Ok(Plain { paths: compiler.paths, reads: compiler.reads, body })
}

pub(super) struct Compiler {
    pub(super) paths: Vec<Path>,
    pub(super) reads: Vec<Path>,
}

/// The index of `item` in `list`, which gets it if it lacks it.
fn index_in<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|own| *own == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

impl Compiler {
    pub(super) fn value(&mut self, term: &Term<'_>, base: &Lookup) -> Result<Value, Why> {
        match term {
            Term::Str(None, parts) if literal(parts).is_none() => {
                let part = |part: &StrPart<&str, Term<'_>>| match part {
                    StrPart::Str(text) => Ok(Part::Literal((*text).to_owned())),
                    StrPart::Char(c) => Ok(Part::Literal(c.to_string())),
                    StrPart::Term(term) => self.source(term, base).map(Part::Value),
                };
                Ok(Value::Text(parts.iter().map(part).collect::<Result<_, _>>()?))
            }
            Term::BinOp(_, BinaryOp::Cmp(_) | BinaryOp::And | BinaryOp::Or, _) => {
                self.test(term, base, MAX_HEIGHT).map(Value::Test)
            }
            term => self.source(term, base).map(Value::Source),
        }
    }

    pub(super) fn test(&mut self, term: &Term<'_>, base: &Lookup, height: usize) -> Result<Test, Why> {
        let Some(height) = height.checked_sub(1) else { return Err("it is nested deeply".to_owned()) };
        let boxed = |test: Result<Test, Why>| test.map(Box::new);
        match term {
            Term::BinOp(left, BinaryOp::And, right) => {
                Ok(Test::And(boxed(self.test(left, base, height))?, boxed(self.test(right, base, height))?))
            }
            Term::BinOp(left, BinaryOp::Or, right) => {
                Ok(Test::Or(boxed(self.test(left, base, height))?, boxed(self.test(right, base, height))?))
            }
            Term::BinOp(left, BinaryOp::Cmp(cmp), right) => {
                Ok(Test::Compare(self.source(left, base)?, comparison(*cmp), self.source(right, base)?))
            }
            Term::BinOp(left, BinaryOp::Pipe(None), right) => match &**right {
                Term::Call("not", args) if args.is_empty() => {
                    Ok(Test::Not(boxed(self.test(left, base, height))?))
                }
                Term::Call("type", _) => self.source(term, base).map(Test::Truth),
                Term::Call(name, args) => self.call(left, base, name, args),
                _ => {
                    let within = self.lookup(left, base)?;
                    self.read(&within);
                    let test = self.test(right, &within, height)?;
                    Ok(Test::Within(within, Box::new(test)))
                }
            },
            Term::Call("not", args) if args.is_empty() => {
                Ok(Test::Not(Box::new(Test::Truth(self.source(&Term::Id, base)?))))
            }
            Term::Call("true" | "false" | "null" | "type", _) => self.source(term, base).map(Test::Truth),
            Term::Call(name, args) => self.call(&Term::Id, base, name, args),
            term => self.source(term, base).map(Test::Truth),
        }
    }

    /// `left | name(args)`
    fn call(&mut self, left: &Term<'_>, base: &Lookup, name: &str, args: &[Term<'_>]) -> Result<Test, Why> {
        let text = |index: usize| match args.get(index) {
            Some(Term::Str(None, parts)) => literal(parts),
            _ => None,
        };
        match (name, args.len(), text(0), text(1)) {
            ("startswith", 1, Some(text), _) => Ok(Test::StartsWith(self.source(left, base)?, text)),
            ("endswith", 1, Some(text), _) => Ok(Test::EndsWith(self.source(left, base)?, text)),
            ("contains", 1, Some(text), _) => Ok(Test::Contains(self.source(left, base)?, text)),
            ("test", 1, Some(pattern), _) => {
                Ok(Test::Matches(self.source(left, base)?, regex(&pattern, "")?))
            }
            ("test", 2, Some(pattern), Some(flags)) => {
                Ok(Test::Matches(self.source(left, base)?, regex(&pattern, &flags)?))
            }
            ("has", 1, Some(key), _) => {
                let lookup = self.lookup(left, base)?;
                let whole = self.step(&lookup, Segment::Key(key.into()), false)?;
                self.read(&whole);
                let last = whole.steps.last().expect("a step was added").clone();
                Ok(Test::Has(lookup, last))
            }
            ("IN", 1, ..) => {
                let mut literals = Vec::new();
                list(&args[0], &mut literals)?;
                Ok(Test::In(self.source(left, base)?, literals))
            }
            _ => Err(format!("it calls '{name}'")),
        }
    }

    fn source(&mut self, term: &Term<'_>, base: &Lookup) -> Result<Source, Why> {
        if let Some(literal) = scalar(term) {
            return Ok(Source::Literal(literal));
        }
        match term {
            Term::Var(name) => match Variable::named(name) {
                Some(Variable::Headers) => Err("it takes all headers".to_owned()),
                Some(variable) => Ok(Source::Variable(variable)),
                None => Err(format!("it uses {name}")),
            },
            Term::Path(inner, path) if matches!(**inner, Term::Var("$headers")) => match path.0.as_slice() {
                [(PathPart::Index(Term::Str(None, parts)), _)] => match literal(parts) {
                    Some(name) => Ok(Source::Header(name.into())),
                    None => Err("it makes the name of a header".to_owned()),
                },
                _ => Err("it takes all headers".to_owned()),
            },
            Term::BinOp(left, BinaryOp::Alt, right) => {
                let (left, right) = (self.source(left, base)?, self.source(right, base)?);
                Ok(Source::Alternative(Box::new(left), Box::new(right)))
            }
            Term::BinOp(left, BinaryOp::Pipe(None), right) if matches!(&**right, Term::Call("type", args) if args.is_empty()) =>
            {
                let lookup = self.lookup(left, base)?;
                self.read(&lookup);
                Ok(Source::Type(lookup))
            }
            Term::Call("type", args) if args.is_empty() => {
                self.read(base);
                Ok(Source::Type(base.clone()))
            }
            term => {
                let lookup = self.lookup(term, base)?;
                self.read(&lookup);
                Ok(Source::Path(lookup))
            }
        }
    }

    fn lookup(&mut self, term: &Term<'_>, base: &Lookup) -> Result<Lookup, Why> {
        match term {
            Term::Id => Ok(base.clone()),
            Term::BinOp(left, BinaryOp::Pipe(None), right) => {
                // A variable alone could be had.
                if matches!(&**left, Term::Var(name) if Variable::named(name).is_some()) {
                    return Err(why(right));
                }
                let left = self.lookup(left, base)?;
                self.lookup(right, &left)
            }
            Term::Path(inner, path) => {
                let mut lookup = self.lookup(inner, base)?;
                for (part, opt) in &path.0 {
                    let segment = match part {
                        PathPart::Index(Term::Str(None, parts)) => {
                            literal(parts).map(|key| Segment::Key(key.into()))
                        }
                        PathPart::Index(Term::Num(number)) => number.parse().ok().map(Segment::Index),
                        PathPart::Range(None, None) => return Err("it iterates by '[]'".to_owned()),
                        _ => None,
                    };
                    let Some(segment) = segment else {
                        return Err("an index is not a plain key or number".to_owned());
                    };
                    lookup = self.step(&lookup, segment, matches!(opt, Opt::Optional))?;
                }
                Ok(lookup)
            }
            term => Err(why(term)),
        }
    }

    pub(super) fn step(
        &mut self,
        lookup: &Lookup,
        segment: Segment,
        is_optional: bool,
    ) -> Result<Lookup, Why> {
        let mut lookup = lookup.clone();
        if lookup.steps.len() == MAX_SEGMENTS {
            return Err("a path is too long".to_owned());
        }
        lookup.steps.push(Step { segment, path: 0, is_optional });
        let path = index_in(&mut self.paths, path(&lookup));
        lookup.steps.last_mut().expect("a step was added").path = path;
        Ok(lookup)
    }

    pub(super) fn read(&mut self, lookup: &Lookup) {
        index_in(&mut self.reads, path(lookup));
    }
}

fn path(lookup: &Lookup) -> Path {
    Path { segments: lookup.steps.iter().map(|step| step.segment.clone()).collect() }
}

const fn comparison(cmp: Cmp) -> Comparison {
    match cmp {
        Cmp::Lt => Comparison::Less,
        Cmp::Le => Comparison::LessOrEqual,
        Cmp::Gt => Comparison::Greater,
        Cmp::Ge => Comparison::GreaterOrEqual,
        Cmp::Eq => Comparison::Equal,
        Cmp::Ne => Comparison::NotEqual,
    }
}

/// A value as it stands in the expression.
fn scalar(term: &Term<'_>) -> Option<Literal> {
    match term {
        Term::Str(None, parts) => literal(parts).map(Literal::Text),
        Term::Num(number) => Some(number_literal(as_json(number).to_owned())),
        Term::Neg(inner) => match &**inner {
            Term::Num(number) => Some(number_literal(format!("-{}", as_json(number)))),
            _ => None,
        },
        Term::Call("true", args) if args.is_empty() => Some(Literal::Bool(true)),
        Term::Call("false", args) if args.is_empty() => Some(Literal::Bool(false)),
        Term::Call("null", args) if args.is_empty() => Some(Literal::Null),
        _ => None,
    }
}

fn number_literal(text: String) -> Literal {
    text.parse().map_or(Literal::Number(text), Literal::Integer)
}

/// The scalars of `a, b, c`.
fn list(term: &Term<'_>, literals: &mut Vec<Literal>) -> Result<(), Why> {
    match term {
        Term::BinOp(left, BinaryOp::Comma, right) => {
            list(left, literals)?;
            list(right, literals)
        }
        term => {
            literals.push(scalar(term).ok_or_else(|| why(term))?);
            Ok(())
        }
    }
}

/// The regular expression that `test` has for these flags.
fn regex(pattern: &str, flags: &str) -> Result<Regex, Why> {
    if let Some(flag) = flags.chars().find(|flag| !"gisxp".contains(*flag)) {
        return Err(format!("a regular expression has the flag '{flag}'"));
    }
    Pattern::compile(pattern, flags).map(|pattern| pattern.regex)
}

/// What a term does that is not done on bytes.
pub(super) fn why(term: &Term<'_>) -> Why {
    match term {
        Term::Call(name, _) => format!("it calls '{name}'"),
        Term::Var(name) => format!("it uses {name}"),
        Term::Recurse => "it goes through everything by '..'".to_owned(),
        Term::Arr(_) | Term::Obj(_) => "it makes an array or object".to_owned(),
        Term::Str(..) => "it makes a text".to_owned(),
        Term::Neg(_) | Term::BinOp(_, BinaryOp::Math(_), _) => "it calculates".to_owned(),
        Term::BinOp(_, BinaryOp::Comma, _) => "it has several results".to_owned(),
        Term::BinOp(_, BinaryOp::Pipe(Some(_)), _) => "it names values by 'as'".to_owned(),
        Term::BinOp(_, BinaryOp::Cmp(_) | BinaryOp::And | BinaryOp::Or, _) => {
            "it uses the result of a comparison".to_owned()
        }
        Term::BinOp(..) => "it changes its input".to_owned(),
        Term::Fold(name, ..) => format!("it has '{name}'"),
        Term::TryCatch(..) => "it catches errors".to_owned(),
        Term::IfThenElse(..) => "it has 'if'".to_owned(),
        Term::Def(..) => "it defines a function".to_owned(),
        Term::Label(..) | Term::Break(_) => "it has 'label'".to_owned(),
        Term::Id | Term::Num(_) | Term::Path(..) => "it is no plain path".to_owned(),
    }
}
