//! Expressions, compiled.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    thread,
};

use super::{
    ExprError,
    around::Around,
    jaq::{COMPILE_STACK, Program, Term, any, changes, check_patterns, parse},
    plain::{self, Plain},
};
use crate::json::Path;

/// What an expression is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It holds if it has a result that is neither null nor false, as for `select` in jq; it is looked
    /// no further than to the first.
    Condition,
    /// Its result is the value; more than one is an error.
    Value,
    /// Its results are written one after the other.
    Program,
}

/// How an expression is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way<'e> {
    /// On the bytes of a document in which its paths were located.
    Plain {
        /// What is read of the document.
        reads: &'e [Path],
    },
    /// By jaq.
    Jaq {
        /// Why, as in "because {why}".
        why: &'e str,
        /// Whether it reads, or may read, anything of the document.
        reads_value: bool,
    },
}

/// An expression, compiled; clones share it.
#[derive(Clone)]
pub struct Expr(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    use_: Use,
    plain: Result<Plain, String>,
    warning: Option<&'static str>,
    around: Around,
    /// Of a plain one, made when it is needed.
    program: OnceLock<Program>,
}

impl Expr {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it and where.
    pub fn compile(text: &str, use_: Use) -> Result<Expr, ExprError> {
        let compiled = on_a_large_stack(text, || {
            let term = parse(text)?;
            check_patterns(text, &term)?;
            let plain = plain::compile(&term, use_);
            let warning = warning(&term, use_);
            let around = Around::of(&term);
            let program = OnceLock::new();
            if plain.is_err() {
                // Nobody else has it yet.
                let _ = program.set(Program::compile(text, term)?);
            }
            Ok(Compiled { text: text.into(), use_, plain, warning, around, program })
        })?;
        Ok(Expr(Arc::new(compiled)))
    }

    /// The text that it was compiled from.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// What it is for.
    pub fn use_(&self) -> Use {
        self.0.use_
    }

    /// How it is evaluated.
    pub fn way(&self) -> Way<'_> {
        match &self.0.plain {
            Ok(plain) => Way::Plain { reads: &plain.reads },
            Err(why) => Way::Jaq { why, reads_value: self.program().reads_value() },
        }
    }

    /// What is allowed but surely not meant.
    pub fn warning(&self) -> Option<&'static str> {
        self.0.warning
    }

    /// The paths that have to be located for it: what it reads, and what is on the way there. Their
    /// order is that of [`Located::ids`](super::Located::ids). None if it is evaluated by jaq.
    pub fn paths(&self) -> &[Path] {
        self.0.plain.as_ref().map_or(&[], |plain| &plain.paths)
    }

    /// What it reads of a record beside the value.
    pub(crate) fn around(&self) -> &Around {
        &self.0.around
    }

    pub(super) fn plain(&self) -> Option<&Plain> {
        self.0.plain.as_ref().ok()
    }

    pub(super) fn program(&self) -> &Program {
        self.0.program.get_or_init(|| {
            let compiled =
                on_a_large_stack(self.text(), || Program::compile(self.text(), parse(self.text())?));
            compiled.expect("what is plain compiles")
        })
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expr").field("text", &self.text()).field("way", &self.way()).finish_non_exhaustive()
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// What is surely not meant.
fn warning(term: &Term<'_>, use_: Use) -> Option<&'static str> {
    if use_ == Use::Condition && changes(term) {
        return Some("the condition sets something, so it holds: '==' compares");
    }
    let is_not = |term: &Term<'_>| matches!(term, Term::Call("not", args) if args.is_empty());
    let is_part_of_not = |term: &Term<'_>| matches!(term, Term::Path(whole, _) if is_not(whole));
    any(term, &mut |term| is_part_of_not(term))
        .then_some("'not' is about what comes before it, as in '.a | not', and its result has no parts")
}

/// Runs `compile` where terms within terms do not overflow the stack.
fn on_a_large_stack<T: Send>(
    text: &str,
    compile: impl FnOnce() -> Result<T, ExprError> + Send,
) -> Result<T, ExprError> {
    let failed = |message| Err(ExprError::new(text, 0..text.len(), message));
    thread::scope(|scope| {
        match thread::Builder::new().stack_size(COMPILE_STACK).spawn_scoped(scope, compile) {
            Ok(thread) => thread.join().unwrap_or_else(|_| failed("jaq cannot read this")),
            Err(_) => failed("there is no memory to compile it"),
        }
    })
}
