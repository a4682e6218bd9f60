//! What went wrong in an expression, without what is in the record.

use std::fmt::{self, Write};

use jaq_json::Error;
use topicmill_mill::transform::{ErrorClass, ValueError};

use super::super::Limits;
use super::budget::Stop;

/// How much is looked at of what the interpreter says.
const HEAD: usize = 64;

/// The error of an evaluation that gave this. What the interpreter says has values of the record in it;
/// only what is known to be no such is told. `messages` are texts that the expression gives to `error`.
pub(super) fn of_error(error: &Error, messages: &[String]) -> ValueError {
    let mut said = Said { head: String::new(), tail: String::new() };
    // Never fails: the sink takes everything.
    let _ = write!(said, "{error}");
    let of_type = |message: String| ValueError::new(ErrorClass::Type, message);
    let head = said.head.as_str();
    if let Some(own) = messages.iter().find(|own| said.is_text(own)) {
        return ValueError::new(ErrorClass::Jq, own.clone());
    }
    if head.starts_with("cannot use ") {
        let wanted = said.tail.rsplit_once(" as ").map_or("that", |(_, wanted)| wanted);
        return of_type(format!("a value of the wrong type is used as {wanted}"));
    }
    if head.starts_with("cannot index ") {
        return of_type("a value of the wrong type is indexed".to_owned());
    }
    if head.starts_with("cannot calculate ") {
        return of_type("values of the wrong types are calculated with".to_owned());
    }
    if head.starts_with("invalid path expression") {
        return ValueError::new(ErrorClass::Jq, "what is no path is used as one");
    }
    // Texts stand in quotes; these are of the library.
    if head.starts_with("\"cannot parse ") {
        return of_type("a text cannot be parsed".to_owned());
    }
    if head.starts_with("\"invalid regex") {
        return ValueError::new(ErrorClass::Jq, "a text is not a valid regular expression");
    }
    if head.ends_with(" has no length\"") {
        return of_type("a boolean has no length".to_owned());
    }
    if head.starts_with("\"index ") && head.ends_with(" out of bounds\"") {
        return of_type("an index is out of bounds".to_owned());
    }
    ValueError::new(ErrorClass::Jq, "the expression calls 'error'")
}

/// The error of an evaluation that was stopped.
pub(super) fn of_stop(stop: Stop, limits: &Limits) -> ValueError {
    let limit = |message: String| ValueError::new(ErrorClass::Limit, message);
    match stop {
        Stop::Time => limit(format!("the expression takes more than {:?}", limits.time)),
        Stop::Work => limit("the expression does or makes too much for one record".to_owned()),
        Stop::Stack => limit("the expression's calls are nested too deeply".to_owned()),
        Stop::Depth => ValueError::new(ErrorClass::Depth, "arrays and objects are nested too deeply"),
        Stop::Output => limit(format!("the expression's results are longer than {} bytes", limits.output)),
        Stop::Results => limit(format!("the expression has more than {} results", limits.results)),
    }
}

/// The beginning and the end of what is written to it.
struct Said {
    head: String,
    tail: String,
}

impl Said {
    /// Whether all of it is this text in quotes.
    fn is_text(&self, text: &str) -> bool {
        let mut quoted = Vec::new();
        crate::json::write_string(text, &mut quoted);
        quoted.len() <= HEAD && self.head.as_bytes() == quoted
    }
}

impl fmt::Write for Said {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        // One more than what a known text may have, so that it is known to be longer.
        for c in part.chars().take((HEAD + 1).saturating_sub(self.head.len())) {
            self.head.push(c);
        }
        if part.len() >= HEAD {
            self.tail.clear();
        }
        let start = part.len().saturating_sub(HEAD);
        self.tail.extend(part.char_indices().filter(|(at, _)| *at >= start).map(|(_, c)| c));
        if self.tail.len() > 4 * HEAD {
            self.tail = self.tail.split_off(self.tail.floor_char_boundary(self.tail.len() - HEAD));
        }
        Ok(())
    }
}
