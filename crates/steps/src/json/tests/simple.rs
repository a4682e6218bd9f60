//! The same as the locator does, byte by byte: what it is compared with.

use std::ops::Range;

use topicmill_mill::transform::json::{scalar_end, skip_space, string_end};

use crate::json::{
    Fault, Found, JsonError, Kind, MAX_DEPTH, PathSet, Site, Top,
    set::{DEAD, ROOT, State, StateId},
};

/// Locates values.
#[derive(Debug, Default)]
pub struct Simple {
    /// What is open, outermost first.
    open: Vec<Open>,
}

/// An array or object that is open.
#[derive(Clone, Copy, Debug)]
struct Open {
    is_object: bool,
    state: StateId,
    /// The state of its member or element that is not complete yet.
    current: StateId,
    /// The index of that element.
    index: u32,
    /// Where the last comma stands, or the opening bracket.
    before: u32,
}

enum Next {
    Value,
    Key,
    After,
}

impl Simple {
    /// As [`Locator::locate`](crate::json::Locator::locate).
    pub fn locate(&mut self, doc: &[u8], paths: &PathSet, found: &mut Found) -> Result<Top, JsonError> {
        found.begin(paths);
        let top = self.walk(doc, paths, found)?;
        match str::from_utf8(doc) {
            Ok(_) => Ok(top),
            Err(error) => Err(JsonError { offset: error.valid_up_to(), fault: Fault::Utf8 }),
        }
    }

    fn walk(&mut self, doc: &[u8], paths: &PathSet, found: &mut Found) -> Result<Top, JsonError> {
        if doc.is_empty() {
            return Err(JsonError { offset: 0, fault: Fault::Empty });
        }
        self.open.clear();
        let start = skip_space(doc, 0);
        let mut at = start;
        let mut key = 0..0;
        // The state of the value that comes next.
        let mut state = ROOT;
        let mut next = Next::Value;
        loop {
            next = match next {
                Next::Value => {
                    let kind = doc.get(at).map_or(Kind::Null, |&first| Kind::of(first));
                    self.enter(&paths.states[state as usize], state, &key, at, kind, found);
                    if let Kind::Object | Kind::Array = kind {
                        if self.open.len() == MAX_DEPTH {
                            return Err(JsonError { offset: at, fault: Fault::Depth });
                        }
                        let is_object = kind == Kind::Object;
                        self.open.push(Open { is_object, state, current: DEAD, index: 0, before: at as u32 });
                        at = skip_space(doc, at + 1);
                        let close = if is_object { b'}' } else { b']' };
                        if doc.get(at) == Some(&close) {
                            self.open.pop();
                            at += 1;
                            Next::After
                        } else if is_object {
                            Next::Key
                        } else {
                            key = 0..0;
                            state = self.element(paths);
                            Next::Value
                        }
                    } else {
                        at = scalar_end(doc, at)?;
                        Next::After
                    }
                }
                Next::Key => {
                    expect(doc, at, b'"', "a key in quotes")?;
                    let end = string_end(doc, at + 1)?;
                    let colon = skip_space(doc, end);
                    expect(doc, colon, b':', "a colon")?;
                    key = at as u32..end as u32;
                    state = self.member(paths, &doc[at + 1..end - 1]);
                    at = skip_space(doc, colon + 1);
                    Next::Value
                }
                Next::After => {
                    let end = at as u32;
                    at = skip_space(doc, at);
                    let Some(open) = self.open.last_mut() else {
                        complete(&paths.states[ROOT as usize], end, at as u32, found);
                        break;
                    };
                    complete(&paths.states[open.current as usize], end, at as u32, found);
                    match (open.is_object, doc.get(at)) {
                        (_, Some(b',')) => {
                            open.before = at as u32;
                            open.index += 1;
                            at = skip_space(doc, at + 1);
                            if open.is_object {
                                Next::Key
                            } else {
                                key = 0..0;
                                state = self.element(paths);
                                Next::Value
                            }
                        }
                        (true, Some(b'}')) | (false, Some(b']')) => {
                            self.open.pop();
                            at += 1;
                            Next::After
                        }
                        (true, found) => return Err(missing(found, at, "a comma or '}'")),
                        (false, found) => return Err(missing(found, at, "a comma or ']'")),
                    }
                }
            };
        }
        match doc.get(at) {
            Some(&found) => Err(JsonError { offset: at, fault: Fault::Trailing { found } }),
            None => {
                let end = start + doc[start..].trim_ascii_end().len();
                Ok(Top { kind: Kind::of(doc[start]), range: start..end })
            }
        }
    }

    /// The state of the member with this key of what is open.
    fn member(&mut self, paths: &PathSet, key: &[u8]) -> StateId {
        let open = self.open.last_mut().expect("an object");
        open.current = paths.states[open.state as usize].escaped_key(key);
        open.current
    }

    /// The state of the next element of what is open.
    fn element(&mut self, paths: &PathSet) -> StateId {
        let open = self.open.last_mut().expect("an array");
        open.current = paths.states[open.state as usize].index(open.index);
        open.current
    }

    /// Notes that a value begins.
    fn enter(&self, state: &State, id: StateId, key: &Range<u32>, at: usize, kind: Kind, found: &mut Found) {
        let start = at as u32;
        found.entered[id as usize] = start;
        let before = self.open.last().map_or(start, |open| open.before);
        let site = || Site { key: key.clone(), value: start..start, before, after: start, kind };
        let is_scalar = !matches!(kind, Kind::Array | Kind::Object);
        let rest = state.rest_if_scalar.filter(|_| is_scalar);
        for &path in state.paths.iter().chain(&rest) {
            found.sites[path].push(site());
        }
    }
}

/// Notes that the value with `state` is complete: no two values of a path are within each other. Those of
/// the rest may be within one that would belong to it if it had no parts, and are complete already.
fn complete(state: &State, end: u32, after: u32, found: &mut Found) {
    for &path in state.paths.iter().chain(&state.rest_if_scalar) {
        if let Some(site) = found.sites[path].last_mut()
            && site.value.is_empty()
        {
            (site.value.end, site.after) = (end, after);
        }
    }
}

fn expect(doc: &[u8], at: usize, byte: u8, expected: &'static str) -> Result<(), JsonError> {
    let found = doc.get(at);
    if found == Some(&byte) { Ok(()) } else { Err(missing(found, at, expected)) }
}

fn missing(found: Option<&u8>, offset: usize, expected: &'static str) -> JsonError {
    let fault = match found {
        Some(&found) => Fault::Unexpected { found, expected },
        None => Fault::Eof { expected },
    };
    JsonError { offset, fault }
}
