//! Puts guards into an expression, so that it can neither run forever nor take more than it may.
//!
//! The interpreter knows no limits. But what is endless or grows comes from few places, and each gets a
//! call of one of the [guards](super::natives), which pass on what they are given and stop the
//! evaluation when the [budget](super::budget) is used up:
//!
//! - what runs again: the bodies of functions, `.[]`, `..`, what follows a comma; `range` counts itself
//! - what is nested deeper: array and object construction, updates with something that is no scalar.
//!   Every array and object is weighed when it is made, so that none is deeper or has more in it than
//!   allowed, however often it holds the same part; comparing, printing and dropping it is bounded then
//! - what may be long: sums and products, texts with values in them, what is caught of an error
//! - what a function of the library does at once: that is weighed by its [wrapper](super::library)
//!
//! A guard in front of a body or behind a comma keeps tail calls what they are, as `f | G` hands on what
//! `G` gives. Guards are identities for paths and updates, too.

use jaq_core::load::{
    lex::StrPart,
    parse::{BinaryOp, Pattern, Term as T},
};
use jaq_core::ops::{Cmp, Math};
use jaq_core::path::{Opt, Part, Path};

use super::parse::{Def, Term, any};

/// Guards the terms of an expression or of the library.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    /// In the library, only functions that call themselves can run for long.
    pub(super) is_library: bool,
}

fn call<'s>(name: &'s str, args: Vec<Term<'s>>) -> Term<'s> {
    T::Call(name, args)
}

fn pipe<'s>(left: Term<'s>, right: Term<'s>) -> Term<'s> {
    T::BinOp(Box::new(left), BinaryOp::Pipe(None), Box::new(right))
}

/// `left | guard`
fn then<'s>(left: Term<'s>, guard: &'s str) -> Term<'s> {
    pipe(left, call(guard, Vec::new()))
}

/// `guard | right`
fn before<'s>(guard: &'s str, right: Term<'s>) -> Term<'s> {
    pipe(call(guard, Vec::new()), right)
}

/// Whether a term is a number as it stands in the text.
fn is_number(term: &Term<'_>) -> bool {
    match term {
        T::Num(_) => true,
        T::Neg(inner) => is_number(inner),
        _ => false,
    }
}

/// Whether a term is a text as it stands in the expression.
fn is_text(parts: &[StrPart<&str, Term<'_>>]) -> bool {
    parts.iter().all(|part| !matches!(part, StrPart::Term(_)))
}

/// Whether a term is a number, text, boolean or null as it stands in the expression.
fn is_scalar(term: &Term<'_>) -> bool {
    match term {
        T::Str(None, parts) => is_text(parts),
        T::Call("true" | "false" | "null", args) => args.is_empty(),
        term => is_number(term),
    }
}

/// A number without zeros in front, which JSON does not know.
pub(in super::super) fn as_json(number: &str) -> &str {
    let rest = number.trim_start_matches('0');
    if rest.starts_with(|c: char| c.is_ascii_digit()) || number.len() == rest.len() {
        return rest;
    }
    &number[number.len() - rest.len() - 1..]
}

impl Guard {
    pub(super) fn def<'s>(self, def: Def<'s>) -> Def<'s> {
        let calls_itself = any(
            &def.body,
            &mut |term| matches!(term, T::Call(name, args) if *name == def.name && args.len() == def.args.len()),
        );
        let has_functions = def.args.iter().any(|arg| !arg.starts_with('$'));
        let body = self.term(def.body);
        let body = match (calls_itself, has_functions, self.is_library) {
            (false, _, true) => body,
            (true, true, _) => before("__chain", body),
            _ => before("__step", body),
        };
        Def { name: def.name, args: def.args, body }
    }

    fn boxed<'s>(self, mut term: Box<Term<'s>>) -> Box<Term<'s>> {
        *term = self.term(std::mem::take(&mut *term));
        term
    }

    fn terms<'s>(self, terms: Vec<Term<'s>>) -> Vec<Term<'s>> {
        terms.into_iter().map(|term| self.term(term)).collect()
    }

    pub(super) fn term<'s>(self, term: Term<'s>) -> Term<'s> {
        match term {
            T::Num(number) => T::Num(as_json(number)),
            T::Id | T::Break(_) | T::Var(_) | T::Arr(None) => term,
            T::Recurse => before("__weigh", T::Recurse),
            T::Str(None, parts) if is_text(&parts) => T::Str(None, parts),
            T::Str(format, parts) => then(T::Str(format, self.parts(format.is_none(), parts)), "__size"),
            T::Arr(Some(inner)) => then(T::Arr(Some(self.boxed(inner))), "__made"),
            T::Obj(entries) if entries.is_empty() => T::Obj(entries),
            T::Obj(entries) => {
                let entry = |(key, value): (Term<'s>, Option<Term<'s>>)| {
                    (self.key(key), value.map(|value| self.term(value)))
                };
                then(T::Obj(entries.into_iter().map(entry).collect()), "__made")
            }
            T::Neg(inner) => T::Neg(self.boxed(inner)),
            T::BinOp(left, op, right) => self.binary(*left, op, *right),
            T::Label(name, body) => T::Label(name, self.boxed(body)),
            T::Fold(name, source, pattern, args) => {
                T::Fold(name, self.boxed(source), self.pattern(pattern), self.terms(args))
            }
            T::TryCatch(body, catch) => {
                let catch = catch.map(|catch| Box::new(before("__weigh", self.term(*catch))));
                T::TryCatch(self.boxed(body), catch)
            }
            T::IfThenElse(branches, otherwise) => {
                let branch = |(condition, then)| (self.term(condition), self.term(then));
                let branches = branches.into_iter().map(branch).collect();
                T::IfThenElse(branches, otherwise.map(|otherwise| self.boxed(otherwise)))
            }
            T::Def(defs, body) => {
                T::Def(defs.into_iter().map(|def| self.def(def)).collect(), self.boxed(body))
            }
            T::Call(name, args) => T::Call(name, self.terms(args)),
            T::Path(base, path) => self.path(self.term(*base), path),
        }
    }

    fn parts<'s>(
        self,
        as_text: bool,
        parts: Vec<StrPart<&'s str, Term<'s>>>,
    ) -> Vec<StrPart<&'s str, Term<'s>>> {
        let part = |part| match part {
            StrPart::Term(term) if as_text => StrPart::Term(then(self.term(term), "__text")),
            StrPart::Term(term) => StrPart::Term(self.term(term)),
            part => part,
        };
        parts.into_iter().map(part).collect()
    }

    /// A key of an object: `{$x}` means what it says only as long as it stays a variable.
    fn key<'s>(self, key: Term<'s>) -> Term<'s> {
        match key {
            T::Var(_) => key,
            key if is_scalar(&key) => key,
            key => then(self.term(key), "__key"),
        }
    }

    fn pattern(self, pattern: Pattern<&str>) -> Pattern<&str> {
        match pattern {
            Pattern::Var(name) => Pattern::Var(name),
            Pattern::Arr(parts) => Pattern::Arr(parts.into_iter().map(|part| self.pattern(part)).collect()),
            Pattern::Obj(entries) => {
                let entry = |(key, part)| (self.key(key), self.pattern(part));
                Pattern::Obj(entries.into_iter().map(entry).collect())
            }
        }
    }

    fn binary<'s>(self, left: Term<'s>, op: BinaryOp<&'s str>, right: Term<'s>) -> Term<'s> {
        // A comparison with one of these is a look at the other.
        let is_small = |term: &Term<'s>| match term {
            T::Arr(None) => true,
            T::Obj(entries) => entries.is_empty(),
            term => is_scalar(term),
        };
        let has_small = is_small(&left) || is_small(&right);
        let has_number = is_number(&left) || is_number(&right);
        let is_scalar_right = is_scalar(&right);
        let (left, right) = (self.term(left), self.term(right));
        let plain = |left, op, right| T::BinOp(Box::new(left), op, Box::new(right));
        match op {
            BinaryOp::Pipe(pattern) => {
                plain(left, BinaryOp::Pipe(pattern.map(|pattern| self.pattern(pattern))), right)
            }
            BinaryOp::Comma if is_scalar_right => plain(left, BinaryOp::Comma, right),
            BinaryOp::Comma => plain(left, BinaryOp::Comma, before("__step", right)),
            BinaryOp::Alt | BinaryOp::Or | BinaryOp::And => plain(left, op, right),
            BinaryOp::Math(math) => match guarded(math, has_number) {
                Some(guard) => call(guard, vec![left, right]),
                None => plain(left, op, right),
            },
            BinaryOp::Cmp(_) if has_small => plain(left, op, right),
            BinaryOp::Cmp(cmp) => {
                let guard = match cmp {
                    Cmp::Lt => "__lt",
                    Cmp::Le => "__le",
                    Cmp::Gt => "__gt",
                    Cmp::Ge => "__ge",
                    Cmp::Eq => "__eq",
                    Cmp::Ne => "__ne",
                };
                call(guard, vec![left, right])
            }
            // What is put in place of something is no array or object: nothing gets deeper.
            BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateAlt if is_scalar_right => {
                plain(left, op, right)
            }
            BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateAlt => {
                then(plain(left, op, then(right, "__put")), "__changed")
            }
            // `p += f` is `f as $x | p |= . + $x`.
            BinaryOp::UpdateMath(math) => match guarded(math, has_number) {
                Some(guard) => {
                    let sum = call(guard, vec![T::Id, T::Var("$__right")]);
                    let update = plain(left, BinaryOp::Update, then(sum, "__put"));
                    let pattern = Some(Pattern::Var("$__right"));
                    plain(right, BinaryOp::Pipe(pattern), then(update, "__changed"))
                }
                None => plain(left, op, right),
            },
        }
    }

    /// Counts before each `[]` how many there are, and looks at indexes that are made on the way.
    fn path<'s>(self, base: Term<'s>, path: Path<Term<'s>>) -> Term<'s> {
        let mut base = base;
        let mut parts: Vec<(Part<Term<'s>>, Opt)> = Vec::new();
        for (part, opt) in path.0 {
            let part = match part {
                Part::Index(index) if is_scalar(&index) => Part::Index(index),
                Part::Index(index) => Part::Index(then(self.term(index), "__index")),
                Part::Range(from, upto) => {
                    if !parts.is_empty() {
                        base = T::Path(Box::new(base), Path(std::mem::take(&mut parts)));
                    }
                    base = then(base, "__each");
                    Part::Range(from.map(|from| self.term(from)), upto.map(|upto| self.term(upto)))
                }
            };
            parts.push((part, opt));
        }
        T::Path(Box::new(base), Path(parts))
    }
}

/// The guard for an operation, if one is needed: with a number on one side, sums and differences are
/// numbers, and only a product can be long.
fn guarded(math: Math, has_number: bool) -> Option<&'static str> {
    match math {
        Math::Mul => Some("__mul"),
        Math::Rem => None,
        _ if has_number => None,
        Math::Add => Some("__add"),
        Math::Sub => Some("__sub"),
        Math::Div => Some("__div"),
    }
}
