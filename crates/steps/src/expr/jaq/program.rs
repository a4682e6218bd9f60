//! An expression that was compiled for the interpreter, and its evaluation.

use std::{cell::Cell, thread};

use jaq_core::{
    Compiler, Ctx, Exn, Filter, ValT as _, Vars,
    compile::Undefined,
    load::{Arena, File, Loader, lex::StrPart},
};
use jaq_json::{Map, Val};
use topicmill_mill::transform::{ErrorClass, ValueError};

use crate::json::{Found, PathSet};

use super::{
    super::{ExprError, Limits, Meta, meta::Variable},
    Env, Jaq,
    budget::{Budget, STEP, Stage, Stop},
    failure,
    guard::Guard,
    library::{self, refusal, reserved},
    needs::Needs,
    parse::{Def, Term, any, height},
    read,
    regex::Regexes,
    write,
};

/// What fits on any thread's stack.
const SMALL: Stage = Stage { stack: 256 << 10, depth: 100, calls: 300 };

/// For what does not, there is a thread of its own, which costs some 50 µs.
const LARGE: Stage = Stage { stack: 64 << 20, depth: crate::json::MAX_DEPTH, calls: 20_000 };

/// The stack of that thread; only what is used of it is taken.
const LARGE_STACK: usize = 512 << 20;

/// The most terms within each other for which the small stage is tried. Without optimisation, each takes
/// some 15 KB of the stack.
const SMALL_HEIGHT: usize = if cfg!(debug_assertions) { 40 } else { 200 };

/// The function that is the whole expression.
const MAIN: &str = "__main";

/// A compiled expression.
pub(in super::super) struct Program {
    filter: Filter<Jaq>,
    /// What it needs of a document; `None` for all of it.
    needs: Option<Needs>,
    /// The variables that it uses, in the order in which it expects them.
    variables: Vec<Variable>,
    is_tall: bool,
    /// The texts that it gives to `error`, which may be told: nothing of a record is in them.
    messages: Vec<String>,
}

/// What is wanted of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Want {
    /// Whether a result is true.
    Truth,
    /// All results.
    Results,
}

/// An evaluation to do.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Task<'t> {
    /// A valid document.
    pub(in super::super) doc: &'t [u8],
    /// What was found of what [the program needs](Program::needs); not asked for if that is all.
    pub(in super::super) found: &'t Found,
    pub(in super::super) meta: &'t Meta<'t>,
    pub(in super::super) limits: &'t Limits,
    pub(in super::super) want: Want,
}

/// The results of an evaluation.
#[derive(Debug, Default)]
pub(in super::super) struct Results {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    is_true: bool,
}

impl Results {
    /// Whether a result is true, if that was wanted.
    pub(in super::super) fn is_true(&self) -> bool {
        self.is_true
    }

    /// The results as JSON.
    pub(in super::super) fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let start = |index: usize| index.checked_sub(1).map_or(0, |before| self.ends[before]);
        (0..self.ends.len()).map(move |index| &self.bytes[start(index)..self.ends[index]])
    }

    pub(in super::super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.is_true = false;
    }

    /// Adds the result that `write` appends, unless that fails.
    pub(in super::super) fn push_with<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        write(&mut self.bytes)?;
        self.ends.push(self.bytes.len());
        Ok(())
    }

    /// Whether there are no more of them, and they are no longer, than they may.
    pub(in super::super) fn fit(&self, limits: &Limits) -> bool {
        self.ends.len() <= limits.results && self.bytes.len() <= limits.output
    }
}

/// Why an evaluation ended early.
enum End {
    Stop(Stop),
    Error(ValueError),
}

impl Program {
    /// Compiles `term`, the term of `text`.
    pub(in super::super) fn compile(text: &str, term: Term<'_>) -> Result<Program, ExprError> {
        let mut name = None;
        any(&term, &mut |term| {
            name = name.or(reserved(term));
            name.is_some()
        });
        if let Some(name) = name {
            return Err(ExprError::about(text, name, "names that begin with '__' are not for expressions"));
        }
        let uses = |variable: &Variable| {
            any(&term, &mut |term| matches!(term, Term::Var(name) if *name == variable.name()))
        };
        let variables: Vec<Variable> = Variable::ALL.into_iter().filter(uses).collect();
        let messages = messages(&term);
        let needs = Needs::of(&term);
        let is_tall = height(&term) > SMALL_HEIGHT;

        let names = library::names();
        let mut definitions: Vec<Def<'_>> = library::definitions();
        let body = Guard { is_library: false }.term(term);
        definitions.push(Def { name: MAIN, args: Vec::new(), body });
        let arena = Arena::default();
        let modules = Loader::new(definitions).load(&arena, File { code: MAIN, path: () });
        let modules = modules.unwrap_or_else(|_| unreachable!("the main text is a name"));
        let compiler = Compiler::default()
            .with_funs(library::functions(&names))
            .with_global_vars(variables.iter().map(|variable| variable.name()));
        let filter = compiler.compile(modules).map_err(|errors| {
            let errors = errors.into_iter().flat_map(|(_, errors)| errors);
            let (name, kind) = errors.min_by_key(|(name, _)| name.as_ptr()).expect("an error was reported");
            ExprError::about(text, name, undefined(name, &kind))
        })?;
        Ok(Program { filter, needs, variables, is_tall, messages })
    }

    /// The paths that have to be located in a document; `None` if it needs all of it.
    pub(in super::super) fn needs(&self) -> Option<&PathSet> {
        self.needs.as_ref().map(|needs| &needs.paths)
    }

    /// Whether it reads, or may read, anything of a document.
    pub(in super::super) fn reads_value(&self) -> bool {
        self.needs.as_ref().is_none_or(Needs::is_something)
    }

    /// Evaluates, within the limits.
    ///
    /// # Errors
    /// Of the class `type` or `jq` for what the expression does, `limit` or `depth` for what it may not.
    pub(in super::super) fn run(
        &self,
        task: Task<'_>,
        regexes: &Regexes,
        results: &mut Results,
    ) -> Result<(), ValueError> {
        let mut end = if self.is_tall {
            Err(End::Stop(Stop::Stack))
        } else {
            self.attempt(task, SMALL, regexes, results)
        };
        if let Err(End::Stop(Stop::Stack | Stop::Depth)) = end {
            end = thread::scope(|scope| {
                let large = thread::Builder::new().name("expression".to_owned()).stack_size(LARGE_STACK);
                let attempt = || self.attempt(task, LARGE, &Regexes::default(), results);
                match large.spawn_scoped(scope, attempt) {
                    Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                    // Then there is not enough memory for it.
                    Err(_) => Err(End::Stop(Stop::Stack)),
                }
            });
        }
        end.map_err(|end| match end {
            End::Stop(stop) => failure::of_stop(stop, task.limits),
            End::Error(error) => error,
        })
    }

    fn attempt(
        &self,
        task: Task<'_>,
        stage: Stage,
        regexes: &Regexes,
        results: &mut Results,
    ) -> Result<(), End> {
        results.clear();
        let work = task.limits.work.saturating_add(STEP * task.doc.len() as u64);
        let budget = Budget::new(stage, task.limits.time, work);
        let env = Env { lut: &self.filter.lut, budget, regexes, deepened: Cell::new(false) };
        let input = match &self.needs {
            Some(needs) => needs.value(task.doc, task.found, stage.depth),
            None => read::value(task.doc, stage.depth),
        };
        let input = input.map_err(End::Stop)?;
        let variables = Vars::new(self.variables.iter().map(|variable| of_meta(*variable, task.meta)));
        let mut outputs = self.filter.id.run((Ctx::<Jaq>::new(&env, variables), input));
        loop {
            let output = outputs.next();
            // First, as an expression may have gone on without what was refused.
            if let Some(stop) = env.budget.stopped() {
                return Err(End::Stop(stop));
            }
            match output {
                None => return Ok(()),
                Some(Err(error)) => return Err(self.end(error)),
                Some(Ok(value)) if task.want == Want::Truth => {
                    if value.as_bool() {
                        results.is_true = true;
                        return Ok(());
                    }
                }
                Some(Ok(value)) => self.push(&value, task.limits, results)?,
            }
        }
    }

    fn push(&self, value: &Val, limits: &Limits, results: &mut Results) -> Result<(), End> {
        if results.ends.len() == limits.results {
            return Err(End::Stop(Stop::Results));
        }
        let of_type = |message| End::Error(ValueError::new(ErrorClass::Type, message));
        write::value(value, limits.output, &mut results.bytes).map_err(|fault| match fault {
            write::Fault::Bytes => of_type("a result has bytes in it that are no text"),
            write::Fault::Key => of_type("a result has a key that is no string"),
            write::Fault::Length => End::Stop(Stop::Output),
        })?;
        results.ends.push(results.bytes.len());
        Ok(())
    }

    fn end(&self, error: Exn<'_, Val>) -> End {
        match error.get_err() {
            Ok(error) => End::Error(failure::of_error(&error, &self.messages)),
            // The guards note why; what else ends an evaluation is not in the library.
            Err(_) => End::Stop(Stop::Stack),
        }
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("variables", &self.variables).finish_non_exhaustive()
    }
}

fn undefined(name: &str, kind: &Undefined) -> String {
    if let Some(why) = refusal(name) {
        return format!("'{name}' is not available: {why}");
    }
    match kind {
        Undefined::Filter(0) => format!("there is no function '{name}' without arguments"),
        Undefined::Filter(1) => format!("there is no function '{name}' with an argument"),
        Undefined::Filter(count) => format!("there is no function '{name}' with {count} arguments"),
        kind => format!("there is no {} '{name}'", kind.as_str()),
    }
}

/// The texts that are given to `error` as they are.
fn messages(term: &Term<'_>) -> Vec<String> {
    let mut messages = Vec::new();
    any(term, &mut |term| {
        if let Term::Call("error", args) = term
            && let [Term::Str(None, parts)] = args.as_slice()
        {
            messages.extend(literal(parts));
        }
        false
    });
    messages
}

/// The text of parts without values in them.
pub(in super::super) fn literal(parts: &[StrPart<&str, Term<'_>>]) -> Option<String> {
    let mut text = String::new();
    for part in parts {
        match part {
            StrPart::Str(part) => text.push_str(part),
            StrPart::Char(c) => text.push(*c),
            StrPart::Term(_) => return None,
        }
    }
    Some(text)
}

/// The value of a variable.
fn of_meta(variable: Variable, meta: &Meta<'_>) -> Val {
    let text = |text: &str| Val::from(text.to_owned());
    let number = |number: i64| read::of_integer(number);
    match variable {
        Variable::Topic => text(meta.topic),
        Variable::Partition => number(meta.partition.into()),
        Variable::Offset => number(meta.offset),
        Variable::Timestamp => number(meta.timestamp),
        Variable::Key => meta.key_text().map_or(Val::Null, text),
        Variable::Headers => {
            let mut headers = Map::default();
            for (name, value) in meta.header_texts() {
                headers.insert(text(name), value.map_or(Val::Null, text));
            }
            Val::obj(headers)
        }
    }
}
