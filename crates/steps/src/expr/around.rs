//! What an expression reads of what steps can change beside the value: the key and the headers.

use jaq_core::path::Part;

use super::{
    jaq::{Term, children, literal},
    meta::Variable,
};

/// What an expression reads of a record's key and headers, or may read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Around {
    key: bool,
    /// The names of those that are read alone.
    headers: Vec<String>,
    all_headers: bool,
}

impl Around {
    /// What a term reads, on a stack on which it was parsed.
    pub(super) fn of(term: &Term<'_>) -> Around {
        let mut around = Around::default();
        around.add(term);
        around
    }

    /// Whether the key is read.
    pub(crate) fn key(&self) -> bool {
        self.key
    }

    /// Whether the headers of this name are read.
    pub(crate) fn header(&self, name: &str) -> bool {
        self.all_headers || self.headers.iter().any(|own| own == name)
    }

    fn add(&mut self, term: &Term<'_>) {
        let mut inner = children(term);
        match term {
            Term::Var(name) => match Variable::named(name) {
                Some(Variable::Key) => self.key = true,
                Some(Variable::Headers) => self.all_headers = true,
                _ => {}
            },
            Term::Path(base, path) if is_headers(base) => {
                if let Some((Part::Index(Term::Str(None, parts)), _)) = path.0.first()
                    && let Some(name) = literal(parts)
                {
                    self.headers.push(name);
                    // Not the variable once more.
                    inner.remove(0);
                }
            }
            _ => {}
        }
        inner.into_iter().for_each(|term| self.add(term));
    }
}

fn is_headers(term: &Term<'_>) -> bool {
    matches!(term, Term::Var(name) if Variable::named(name) == Some(Variable::Headers))
}

#[cfg(test)]
mod tests {
    use super::super::{Expr, Use};

    #[test]
    fn key_and_headers_are_told_apart() {
        for (text, key, own, other) in [
            (".key", false, false, false),
            ("$key == \"$headers\"", true, false, false),
            ("$headers.own", false, true, false),
            ("$headers[\"own\"] | test(\"a\")", false, true, false),
            ("$headers.own.x[$key]", true, true, false),
            ("$headers[.a]", false, true, true),
            ("$headers | length", false, true, true),
            ("[.[] | \"\\($headers.other)\"]", false, false, true),
            ("if .a then $headers.own else $headers.other end", false, true, true),
        ] {
            let expr = Expr::compile(text, Use::Value).unwrap();
            let around = expr.around();
            assert_eq!(
                (around.key(), around.header("own"), around.header("other")),
                (key, own, other),
                "{text}"
            );
        }
    }
}
