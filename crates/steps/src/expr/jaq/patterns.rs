//! The regular expressions that stand in an expression as they are: what is wrong with one would be wrong
//! with every record.

use jaq_core::load::parse::BinaryOp;

use super::{
    super::ExprError,
    parse::{Term, any},
    program::literal,
    regex::Pattern,
};

/// The functions whose first argument is a regular expression, with how many arguments they have and which
/// of them are the flags.
const TAKERS: [(&str, usize, Option<usize>); 13] = [
    ("test", 1, None),
    ("test", 2, Some(1)),
    ("match", 1, None),
    ("match", 2, Some(1)),
    ("capture", 1, None),
    ("capture", 2, Some(1)),
    ("scan", 1, None),
    ("scan", 2, Some(1)),
    ("splits", 1, None),
    ("splits", 2, Some(1)),
    ("split", 2, Some(1)),
    ("sub", 2, None),
    ("sub", 3, Some(2)),
];

/// Compiles the regular expressions of a text's term.
///
/// # Errors
/// What is wrong with the first wrong one, and where.
pub(in super::super) fn check(text: &str, term: &Term<'_>) -> Result<(), ExprError> {
    let mut wrong = None;
    any(term, &mut |own| {
        if let Term::Call(name, args) = own
            && !defines(term, name)
        {
            wrong = of_call(text, name, args);
        }
        wrong.is_some()
    });
    wrong.map_or(Ok(()), Err)
}

/// Whether the expression means something of its own by a name.
fn defines(term: &Term<'_>, name: &str) -> bool {
    any(term, &mut |term| matches!(term, Term::Def(defs, _) if defs.iter().any(|def| def.name == name)))
}

fn of_call(text: &str, name: &str, args: &[Term<'_>]) -> Option<ExprError> {
    let plain = name.strip_prefix('g').filter(|name| *name == "sub").unwrap_or(name);
    let (.., flags) = TAKERS.into_iter().find(|(own, count, _)| *own == plain && *count == args.len())?;
    let both = elements(args.first()?);
    let flags = flags.map(|index| &args[index]).or(both.get(1).copied());
    let pattern = constant(both.first()?)?;
    // Flags that are made are known when they are.
    let flags = flags.map_or(Some(String::new()), constant)?;
    let message = Pattern::compile(&pattern, &flags).err()?;
    Some(ExprError::about(text, name, message))
}

/// A pattern alone, or the array of it and its flags.
fn elements<'t, 's>(term: &'t Term<'s>) -> Vec<&'t Term<'s>> {
    match term {
        Term::Arr(Some(inner)) => match &**inner {
            Term::BinOp(first, BinaryOp::Comma, second) => vec![&**first, &**second],
            inner => vec![inner],
        },
        term => vec![term],
    }
}

/// A text as it stands in the expression; none is null.
fn constant(term: &Term<'_>) -> Option<String> {
    match term {
        Term::Str(None, parts) => literal(parts),
        Term::Call("null", args) if args.is_empty() => Some(String::new()),
        _ => None,
    }
}
