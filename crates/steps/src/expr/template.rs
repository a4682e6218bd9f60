//! Texts with expressions in them, as for the topics of a route.

use std::{fmt, ops::Range};

use topicmill_mill::transform::{ErrorClass, ValueError};

use super::{Evaluator, Expr, ExprError, Located, Meta, Use, plain::Context};
use crate::json::{Kind, Path, decode};

/// A text with expressions in braces, as in `orders_{.country}`; `{{` and `}}` are braces.
#[derive(Clone, Debug)]
pub struct Template {
    text: Box<str>,
    parts: Vec<Part>,
    paths: Vec<Path>,
}

#[derive(Clone, Debug)]
enum Part {
    Literal(String),
    /// An expression, and which of the template's paths are its own.
    Value(Expr, Range<usize>),
}

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    /// For a brace without its counterpart, and what is wrong with an expression; positions are those in
    /// the whole text.
    pub fn compile(text: &str) -> Result<Template, ExprError> {
        let mut template = Template { text: text.into(), parts: Vec::new(), paths: Vec::new() };
        let mut literal = String::new();
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at..];
            if rest.starts_with("{{") || rest.starts_with("}}") {
                literal.push(c);
                at += 2;
            } else if c == '}' {
                return Err(ExprError::new(text, at..at + 1, "this brace closes nothing; '}}' is a brace"));
            } else if c == '{' {
                let Some(end) = closing(rest) else {
                    return Err(ExprError::new(
                        text,
                        at..at + 1,
                        "this brace is not closed; '{{' is a brace",
                    ));
                };
                if !literal.is_empty() {
                    template.parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                let expr = Expr::compile(&rest[1..end], Use::Value).map_err(|error| {
                    let start = at + 1;
                    ExprError::new(text, start + error.span.start..start + error.span.end, error.message)
                })?;
                let first = template.paths.len();
                template.paths.extend_from_slice(expr.paths());
                template.parts.push(Part::Value(expr, first..template.paths.len()));
                at += end + 1;
            } else {
                literal.push(c);
                at += c.len_utf8();
            }
        }
        if !literal.is_empty() {
            template.parts.push(Part::Literal(literal));
        }
        Ok(template)
    }

    /// The text that it was compiled from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text that it always gives, if there is no expression in it.
    pub fn constant(&self) -> Option<String> {
        let literal = |part: &Part| match part {
            Part::Literal(text) => Some(text.clone()),
            Part::Value(..) => None,
        };
        self.parts.iter().map(literal).collect()
    }

    /// The expressions in it.
    pub fn exprs(&self) -> impl Iterator<Item = &Expr> {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Value(expr, _) => Some(expr),
        })
    }

    /// The paths that have to be located for it, in the order of [`Located::ids`].
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// Appends the text for a document. Numbers and booleans are as in JSON.
    ///
    /// # Errors
    /// Those of the expressions; of the class `missing` for one without a result or with null, and of the
    /// class `type` for an array or object.
    pub fn write(
        &self,
        evaluator: &mut Evaluator,
        located: Located<'_>,
        meta: &Meta<'_>,
        out: &mut String,
    ) -> Result<(), ValueError> {
        let mut value = Vec::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Value(expr, ids) => {
                    let located = Located { ids: &located.ids[ids.clone()], ..located };
                    if expr
                        .plain()
                        .is_some_and(|plain| plain.body.append_text(Context::new(located, meta), out))
                    {
                        continue;
                    }
                    value.clear();
                    let is_there = evaluator.value(expr, located, meta, &mut value)?;
                    append(expr, if is_there { &value } else { b"null" }, out)?;
                }
            }
        }
        Ok(())
    }
}

fn append(expr: &Expr, value: &[u8], out: &mut String) -> Result<(), ValueError> {
    match Kind::of(value.first().copied().unwrap_or(b'n')) {
        Kind::String => out.push_str(&decode(&value[1..value.len() - 1])),
        Kind::Number | Kind::Bool => out.push_str(&String::from_utf8_lossy(value)),
        Kind::Null => {
            return Err(ValueError::new(ErrorClass::Missing, format!("{{{expr}}} has no value")));
        }
        kind @ (Kind::Array | Kind::Object) => {
            let message = format!("{{{expr}}} is {}, which is no text", kind.name());
            return Err(ValueError::new(ErrorClass::Type, message));
        }
    }
    Ok(())
}

/// Where the brace closes that opens `text`; braces and texts of the expression are passed over.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut in_text = false;
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if in_text => {
                bytes.next();
            }
            b'"' => in_text = !in_text,
            b'{' if !in_text => depth += 1,
            b'}' if !in_text => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
