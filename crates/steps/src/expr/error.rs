//! What is wrong with the text of an expression.

use std::{fmt, ops::Range};

/// Why an expression was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExprError {
    /// What is wrong.
    pub message: String,
    /// Which bytes of the text it is about.
    pub span: Range<usize>,
    /// The line, counted from 1.
    pub line: usize,
    /// The character within the line, counted from 1.
    pub column: usize,
    /// The line's text.
    source_line: String,
}

impl std::error::Error for ExprError {}

impl ExprError {
    /// An error about `span` of `text`.
    pub(super) fn new(text: &str, span: Range<usize>, message: impl Into<String>) -> ExprError {
        let start = (0..=span.start.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        ExprError {
            message: message.into(),
            span: start..span.end.clamp(start, text.len()),
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            source_line: text[line_start..line_end].to_owned(),
        }
    }

    /// An error about `part`, if that is a part of `text`, else about its end.
    pub(super) fn about(text: &str, part: &str, message: impl Into<String>) -> ExprError {
        let start = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
        let span = if start <= text.len() && start + part.len() <= text.len() {
            start..start + part.len()
        } else {
            text.len()..text.len()
        };
        ExprError::new(text, span, message)
    }

    /// The line with a mark below where it is wrong: two lines, without a line break at the end.
    pub fn hint(&self) -> String {
        let marks = self.source_line.chars().count().saturating_sub(self.column - 1);
        let marks = marks.min(self.span.len()).clamp(1, 40);
        format!("{}\n{}{}", self.source_line, " ".repeat(self.column - 1), "^".repeat(marks))
    }
}

impl fmt::Display for ExprError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            1 => write!(f, "at character {}: {}", self.column, self.message),
            line => write!(f, "at line {line}, character {}: {}", self.column, self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_where() {
        let text = ".\u{e9} |\n  .b ==> 1";
        let at = text.find("==>").unwrap();
        let error = ExprError::about(text, &text[at..at + 3], "no operator");
        assert_eq!((error.line, error.column), (2, 6));
        assert_eq!(error.to_string(), "at line 2, character 6: no operator");
        assert_eq!(error.hint(), "  .b ==> 1\n     ^^^");
        let end = ExprError::about(text, "", "more is missing");
        assert_eq!(end.hint(), "  .b ==> 1\n          ^");
    }
}
