//! From the text of an expression to its terms.

use jaq_core::load::{
    Lexer, Parser,
    lex::{StrPart, Token},
    parse::{BinaryOp, Pattern},
};
use jaq_core::path::Part;

use super::super::ExprError;

/// A term of an expression; its names are parts of the text.
pub(in super::super) type Term<'s> = jaq_core::load::parse::Term<&'s str>;
/// A definition.
pub(super) type Def<'s> = jaq_core::load::parse::Def<&'s str>;

/// The longest text, in bytes. It bounds how deep terms are nested, and with [`COMPILE_STACK`], that
/// nothing overflows on the way from the text to the program.
pub(in super::super) const MAX_TEXT: usize = 16 << 10;

/// Reads the term of a text, on a stack as large as [`COMPILE_STACK`].
///
/// # Errors
/// What is wrong with the text and where.
///
/// [`COMPILE_STACK`]: super::COMPILE_STACK
pub(in super::super) fn parse(text: &str) -> Result<Term<'_>, ExprError> {
    if text.len() > MAX_TEXT {
        let message = format!("longer than {MAX_TEXT} bytes");
        return Err(ExprError::new(text, MAX_TEXT..text.len(), message));
    }
    let tokens = Lexer::new(text).lex().map_err(|errors| {
        let (expected, rest) = first(errors, |(_, rest)| rest.as_ptr() as usize);
        let found = rest.chars().next().map_or(0, char::len_utf8);
        let message = format!("{} expected, not {}", article(expected.as_str()), shown(&rest[..found]));
        ExprError::about(text, &rest[..found], message)
    })?;
    Parser::new(&tokens).parse(|parser| parser.term()).map_err(|errors| {
        let at = |found: Option<&Token<&str>>| {
            found.map_or(text.len(), |token| token.as_str().as_ptr() as usize - text.as_ptr() as usize)
        };
        let (expected, found) = first(errors, |(_, found)| at(*found));
        let found = Token::opt_as_str(found, text);
        let message = format!("{} expected, not {}", article(expected.as_str()), shown(found));
        ExprError::about(text, found, message)
    })
}

fn first<T>(errors: Vec<T>, at: impl Fn(&T) -> usize) -> T {
    errors.into_iter().min_by_key(at).expect("an error was reported")
}

fn article(expected: &str) -> String {
    match expected {
        "nothing" => "nothing more".to_owned(),
        "term" => "a value, a path or a call".to_owned(),
        word if word.starts_with(['a', 'e', 'i', 'o', 'u']) => format!("an {word}"),
        word if word.chars().all(|c| c.is_ascii_lowercase() || c == ' ') => format!("a {word}"),
        sign => format!("'{sign}'"),
    }
}

fn shown(found: &str) -> String {
    match found.chars().count() {
        0 => "the end".to_owned(),
        1..=20 => format!("'{found}'"),
        _ => format!("'{}…'", found.chars().take(20).collect::<String>()),
    }
}

/// The terms within a term.
pub(in super::super) fn children<'t, 's>(term: &'t Term<'s>) -> Vec<&'t Term<'s>> {
    use jaq_core::load::parse::Term as T;
    let mut all: Vec<&Term<'s>> = Vec::new();
    match term {
        T::Id | T::Recurse | T::Num(_) | T::Arr(None) | T::Break(_) | T::Var(_) => {}
        T::Str(_, parts) => all.extend(parts.iter().filter_map(|part| match part {
            StrPart::Term(term) => Some(term),
            StrPart::Str(_) | StrPart::Char(_) => None,
        })),
        T::Arr(Some(inner)) | T::Neg(inner) | T::Label(_, inner) => all.push(inner),
        T::Obj(entries) => {
            for (key, value) in entries {
                all.push(key);
                all.extend(value);
            }
        }
        T::BinOp(left, op, right) => {
            all.push(left);
            if let BinaryOp::Pipe(Some(pattern)) = op {
                pattern_terms(pattern, &mut all);
            }
            all.push(right);
        }
        T::Fold(_, source, pattern, args) => {
            all.push(source);
            pattern_terms(pattern, &mut all);
            all.extend(args);
        }
        T::TryCatch(body, catch) => {
            all.push(body);
            all.extend(catch.as_deref());
        }
        T::IfThenElse(branches, otherwise) => {
            for (condition, then) in branches {
                all.extend([condition, then]);
            }
            all.extend(otherwise.as_deref());
        }
        T::Def(defs, body) => {
            all.extend(defs.iter().map(|def| &def.body));
            all.push(body);
        }
        T::Call(_, args) => all.extend(args),
        T::Path(base, path) => {
            all.push(base);
            for (part, _) in &path.0 {
                match part {
                    Part::Index(index) => all.push(index),
                    Part::Range(from, upto) => all.extend(from.iter().chain(upto)),
                }
            }
        }
    }
    all
}

fn pattern_terms<'t, 's>(pattern: &'t Pattern<&'s str>, all: &mut Vec<&'t Term<'s>>) {
    match pattern {
        Pattern::Var(_) => {}
        Pattern::Arr(parts) => parts.iter().for_each(|part| pattern_terms(part, all)),
        Pattern::Obj(entries) => {
            for (key, part) in entries {
                all.push(key);
                pattern_terms(part, all);
            }
        }
    }
}

/// Whether a term within `term`, or itself, is one that `test` is looking for.
pub(in super::super) fn any<'s>(term: &Term<'s>, test: &mut dyn FnMut(&Term<'s>) -> bool) -> bool {
    test(term) || children(term).into_iter().any(|child| any(child, test))
}

/// Whether the result of a term is its input, changed.
pub(in super::super) fn changes(term: &Term<'_>) -> bool {
    use BinaryOp::{Assign, Update, UpdateAlt, UpdateMath};
    matches!(term, Term::BinOp(_, Assign | Update | UpdateAlt | UpdateMath(_), _))
}

/// How many terms are within each other at most, where those of a row are within each other, too: so
/// the interpreter goes through them.
pub(super) fn height(term: &Term<'_>) -> usize {
    use jaq_core::load::parse::Term as T;
    let row = match term {
        T::Str(_, parts) => parts.len(),
        T::Obj(entries) => entries.len(),
        T::IfThenElse(branches, _) => branches.len(),
        T::Path(_, path) => path.0.len(),
        term => children(term).len(),
    };
    1 + row + children(term).into_iter().map(height).max().unwrap_or(0)
}
