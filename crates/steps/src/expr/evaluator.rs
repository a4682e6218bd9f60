//! The evaluation of expressions.

use topicmill_mill::transform::{ErrorClass, ValueError};

use super::{
    Expr, Limits, Meta,
    jaq::{Regexes, Results, Task, Want},
    plain::{Context, Fault, Plain},
};
use crate::json::{Found, Locator, PathId, PathSet};

/// A document in which the paths of an expression were located.
#[derive(Clone, Copy, Debug)]
pub struct Located<'d> {
    /// The document; it is valid.
    pub doc: &'d [u8],
    /// What was looked for.
    pub paths: &'d PathSet,
    /// What was found.
    pub found: &'d Found,
    /// Which of `paths` each of the [expression's](Expr::paths) is; nothing for one that is evaluated by
    /// jaq.
    pub ids: &'d [PathId],
}

/// Evaluates expressions; one for each thread, as it keeps its memory.
#[derive(Debug, Default)]
pub struct Evaluator {
    limits: Limits,
    results: Results,
    regexes: Regexes,
    locator: Locator,
    found: Found,
}

impl Evaluator {
    /// One with these limits.
    pub fn new(limits: Limits) -> Evaluator {
        Evaluator { limits, ..Evaluator::default() }
    }

    /// Whether a condition holds for a document.
    ///
    /// # Errors
    /// Of the class `type` or `jq` for what jq has an error for, `limit` or `depth` for what takes more
    /// than it may.
    pub fn holds(&mut self, expr: &Expr, located: Located<'_>, meta: &Meta<'_>) -> Result<bool, ValueError> {
        if let Some(plain) = expr.plain() {
            match plain.body.is_true(Context::new(located, meta)) {
                Ok(holds) => return Ok(holds),
                Err(Fault::Error(error)) => return Err(error),
                Err(Fault::Tree) => {}
            }
        }
        self.holds_by_jaq(expr, located.doc, meta)
    }

    /// Appends a value as JSON. `false` if the expression has no result.
    ///
    /// # Errors
    /// As [`holds`](Evaluator::holds), and of the class `jq` if there are several results.
    pub fn value(
        &mut self,
        expr: &Expr,
        located: Located<'_>,
        meta: &Meta<'_>,
        out: &mut Vec<u8>,
    ) -> Result<bool, ValueError> {
        if let Some(plain) = expr.plain() {
            match plain.body.write(Context::new(located, meta), out) {
                Ok(written) => return Ok(written),
                Err(Fault::Error(error)) => return Err(error),
                Err(Fault::Tree) => {}
            }
        }
        self.value_by_jaq(expr, located.doc, meta, out)
    }

    /// Hands the results of a program for a record's value to `each`, as JSON and in their order; none
    /// of them if there is an error.
    ///
    /// # Errors
    /// As [`holds`](Evaluator::holds), and those of a value that is not [valid](crate::json).
    pub fn run(
        &mut self,
        expr: &Expr,
        value: &[u8],
        meta: &Meta<'_>,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), ValueError> {
        if !self.make(expr, value, meta)? {
            self.run_by_jaq(expr, value, meta)?;
        }
        self.results.iter().for_each(&mut each);
        Ok(())
    }

    /// Puts the results of a plain program into `self.results`; `false` if jaq has to do it.
    pub(super) fn make(&mut self, expr: &Expr, value: &[u8], meta: &Meta<'_>) -> Result<bool, ValueError> {
        let Some(made) = expr.plain().and_then(Plain::made) else { return Ok(false) };
        self.locator.locate(value, &made.paths, &mut self.found)?;
        let located = Located { doc: value, paths: &made.paths, found: &self.found, ids: &made.ids };
        Ok(made.run(Context::new(located, meta), &self.limits, &mut self.results))
    }

    pub(super) fn run_by_jaq(
        &mut self,
        expr: &Expr,
        value: &[u8],
        meta: &Meta<'_>,
    ) -> Result<(), ValueError> {
        if expr.program().needs().is_none() {
            self.locator.validate(value)?;
        }
        self.evaluate(expr, value, meta, Want::Results)
    }

    /// The results of the last program.
    #[cfg(test)]
    pub(super) fn results(&self) -> impl Iterator<Item = &[u8]> {
        self.results.iter()
    }

    pub(super) fn holds_by_jaq(
        &mut self,
        expr: &Expr,
        doc: &[u8],
        meta: &Meta<'_>,
    ) -> Result<bool, ValueError> {
        self.evaluate(expr, doc, meta, Want::Truth)?;
        Ok(self.results.is_true())
    }

    pub(super) fn value_by_jaq(
        &mut self,
        expr: &Expr,
        doc: &[u8],
        meta: &Meta<'_>,
        out: &mut Vec<u8>,
    ) -> Result<bool, ValueError> {
        self.evaluate(expr, doc, meta, Want::Results)?;
        let mut results = self.results.iter();
        if results.len() > 1 {
            return Err(ValueError::new(
                ErrorClass::Jq,
                "the expression has several results where one is needed",
            ));
        }
        let result = results.next();
        out.extend_from_slice(result.unwrap_or_default());
        Ok(result.is_some())
    }

    fn evaluate(&mut self, expr: &Expr, doc: &[u8], meta: &Meta<'_>, want: Want) -> Result<(), ValueError> {
        let program = expr.program();
        if let Some(paths) = program.needs() {
            self.locator.locate(doc, paths, &mut self.found)?;
        }
        let task = Task { doc, found: &self.found, meta, limits: &self.limits, want };
        program.run(task, &self.regexes, &mut self.results)
    }
}
