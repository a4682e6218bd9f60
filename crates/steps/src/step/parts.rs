//! What steps are made of: paths and expressions, each with its place in the set of paths of a pass.

use crate::{
    expr::{Expr, Template, Way},
    json::{Path, PathId, Segment, write_string},
};

/// A path and its id in the set of its pass.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) path: Path,
    pub(crate) id: PathId,
}

/// An expression and the ids of its paths.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) expr: Expr,
    pub(crate) ids: Vec<PathId>,
    /// Whether it reads anything of the value.
    pub(crate) reads_value: bool,
}

/// Where a value is put.
#[derive(Debug)]
pub(crate) struct Target {
    /// What is replaced.
    pub(crate) sites: Slot,
    /// Where it is inserted if it is not there; nowhere if the last step of the path is no key.
    pub(crate) parent: Option<Parent>,
}

#[derive(Debug)]
pub(crate) struct Parent {
    pub(crate) slot: Slot,
    /// The key as a JSON string.
    pub(crate) key: Vec<u8>,
}

/// A text to be made.
#[derive(Debug)]
pub(crate) enum Text {
    Constant(String),
    /// A string as its text, other values as their JSON.
    Expr(Bound),
    Template(Template, Vec<PathId>),
}

/// A JSON value to be made.
#[derive(Debug)]
pub(crate) enum Value {
    Expr(Bound),
    /// As a string.
    Text(Text),
    /// What stands there.
    Copy(Slot),
}

/// The id of `path` among `paths`, to which it is added if it is missing.
fn place(path: &Path, paths: &mut Vec<Path>) -> PathId {
    paths.iter().position(|own| own == path).unwrap_or_else(|| {
        paths.push(path.clone());
        paths.len() - 1
    })
}

fn places(of: &[Path], paths: &mut Vec<Path>) -> Vec<PathId> {
    of.iter().map(|path| place(path, paths)).collect()
}

/// What an expression reads: by jaq, all of the value or nothing.
fn reads(expr: &Expr) -> Vec<Path> {
    match expr.way() {
        Way::Plain { reads } => reads.to_vec(),
        Way::Jaq { reads_value: true, .. } => vec![Path::default()],
        Way::Jaq { reads_value: false, .. } => Vec::new(),
    }
}

impl Slot {
    pub(crate) fn new(path: Path) -> Slot {
        Slot { path, id: 0 }
    }

    pub(super) fn bind(&mut self, paths: &mut Vec<Path>) {
        self.id = place(&self.path, paths);
    }
}

impl Bound {
    pub(crate) fn new(expr: Expr) -> Bound {
        let reads_value = !reads(&expr).is_empty();
        Bound { expr, ids: Vec::new(), reads_value }
    }

    pub(crate) fn reads(&self) -> Vec<Path> {
        reads(&self.expr)
    }

    pub(super) fn bind(&mut self, paths: &mut Vec<Path>) {
        self.ids = places(self.expr.paths(), paths);
    }
}

impl Target {
    pub(crate) fn new(path: Path) -> Target {
        let parent = match path.segments.split_last() {
            Some((Segment::Key(key), before)) => {
                let mut quoted = Vec::new();
                write_string(key, &mut quoted);
                Some(Parent { slot: Slot::new(Path { segments: before.to_vec() }), key: quoted })
            }
            _ => None,
        };
        Target { sites: Slot::new(path), parent }
    }

    pub(super) fn bind(&mut self, paths: &mut Vec<Path>) {
        self.sites.bind(paths);
        if let Some(parent) = &mut self.parent {
            parent.slot.bind(paths);
        }
    }
}

impl Text {
    /// The text of an expression.
    pub(crate) fn of(expr: Expr) -> Text {
        Text::Expr(Bound::new(expr))
    }

    /// The text of a template.
    pub(crate) fn of_template(template: Template) -> Text {
        match template.constant() {
            Some(text) => Text::Constant(text),
            None => Text::Template(template, Vec::new()),
        }
    }

    pub(crate) fn reads(&self) -> Vec<Path> {
        match self {
            Text::Constant(_) => Vec::new(),
            Text::Expr(bound) => bound.reads(),
            Text::Template(template, _) => template.exprs().flat_map(reads).collect(),
        }
    }

    /// Its expressions.
    pub(crate) fn exprs(&self) -> Vec<&Expr> {
        match self {
            Text::Constant(_) => Vec::new(),
            Text::Expr(bound) => vec![&bound.expr],
            Text::Template(template, _) => template.exprs().collect(),
        }
    }

    pub(super) fn bind(&mut self, paths: &mut Vec<Path>) {
        match self {
            Text::Constant(_) => {}
            Text::Expr(bound) => bound.bind(paths),
            Text::Template(template, ids) => *ids = places(template.paths(), paths),
        }
    }
}

impl Value {
    pub(super) fn reads(&self) -> Vec<Path> {
        match self {
            Value::Expr(bound) => bound.reads(),
            Value::Text(text) => text.reads(),
            Value::Copy(from) => vec![from.path.clone()],
        }
    }

    /// Its expressions.
    pub(crate) fn exprs(&self) -> Vec<&Expr> {
        match self {
            Value::Expr(bound) => vec![&bound.expr],
            Value::Text(text) => text.exprs(),
            Value::Copy(_) => Vec::new(),
        }
    }

    pub(super) fn bind(&mut self, paths: &mut Vec<Path>) {
        match self {
            Value::Expr(bound) => bound.bind(paths),
            Value::Text(text) => text.bind(paths),
            Value::Copy(from) => from.bind(paths),
        }
    }
}
