//! Regular expressions, which are kept once they are compiled.

use std::{cell::RefCell, sync::Arc};

use bytes::Bytes;
use jaq_core::Error;
use jaq_json::{Map, Val};
use jaq_std::ValT as _;
use regex_bites::bytes::{Captures, Match, Regex, RegexBuilder};

/// How many are kept.
const MAX_KEPT: usize = 32;
/// The most bytes that the states of one may take: going through a text takes as many steps for each
/// byte as there are states, at most.
const MAX_SIZE: usize = 1 << 20;

/// Regular expressions by pattern and flags.
#[derive(Debug, Default)]
pub(in super::super) struct Regexes {
    kept: RefCell<Vec<Arc<Kept>>>,
}

#[derive(Debug)]
struct Kept {
    pattern: Vec<u8>,
    flags: Vec<u8>,
    regex: Regex,
    /// Not only the first match.
    is_global: bool,
    /// No matches of nothing.
    skips_empty: bool,
}

/// What is wanted of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Matches,
    /// What is between the matches.
    Rest,
    Both,
}

type Fallible<T> = Result<T, Error<Val>>;

fn bytes(value: &Val) -> Fallible<&[u8]> {
    value.as_utf8_bytes().ok_or_else(|| Error::typ(value.clone(), "string"))
}

impl Regexes {
    /// Whether a text matches.
    pub(super) fn is_match(&self, text: &Val, pattern: &Val, flags: &Val) -> Fallible<bool> {
        let kept = self.get(bytes(pattern)?, bytes(flags)?)?;
        let text = bytes(text)?;
        if kept.skips_empty {
            return Ok(kept.matches(text).next().is_some());
        }
        Ok(kept.regex.is_match(text))
    }

    /// The matches of a text and what is between them, as the library has them.
    pub(super) fn apply(&self, text: &Val, pattern: &Val, flags: &Val, want: Want) -> Fallible<Val> {
        let kept = self.get(bytes(pattern)?, bytes(flags)?)?;
        let whole = bytes(text)?;
        let mut counted = Counted { text: whole, bytes: 0, chars: 0 };
        let mut parts = Vec::new();
        let mut rest = 0;
        for captures in kept.matches(whole) {
            let all = captures.get(0).expect("a match has a whole");
            if want != Want::Matches {
                parts.push(text.as_sub_str(&whole[rest..all.start()]));
                rest = all.end();
            }
            if want != Want::Rest {
                let groups = captures.iter().zip(kept.regex.capture_names());
                let groups =
                    groups.filter_map(|(group, name)| Some(object(text, &mut counted, group?, name)));
                parts.push(groups.collect());
            }
            if !kept.is_global {
                break;
            }
        }
        if want != Want::Matches {
            parts.push(text.as_sub_str(&whole[rest..]));
        }
        Ok(parts.into_iter().collect())
    }

    fn get(&self, pattern: &[u8], flags: &[u8]) -> Fallible<Arc<Kept>> {
        let mut all = self.kept.borrow_mut();
        if let Some(kept) = all.iter().find(|kept| kept.pattern == pattern && kept.flags == flags) {
            return Ok(Arc::clone(kept));
        }
        if all.len() == MAX_KEPT {
            all.clear();
        }
        let kept = Arc::new(Kept::compile(pattern, flags)?);
        all.push(Arc::clone(&kept));
        Ok(kept)
    }
}

impl Kept {
    fn compile(pattern: &[u8], flags: &[u8]) -> Fallible<Kept> {
        let invalid = || Error::str("invalid regex");
        let mut builder = RegexBuilder::new(str::from_utf8(pattern).map_err(|_| invalid())?);
        builder.size_limit(MAX_SIZE);
        let (mut is_global, mut skips_empty) = (false, false);
        for flag in flags {
            match flag {
                b'g' => is_global = true,
                b'n' => skips_empty = true,
                b'i' => drop(builder.case_insensitive(true)),
                b'm' => drop(builder.multi_line(true)),
                b's' => drop(builder.dot_matches_new_line(true)),
                b'l' => drop(builder.swap_greed(true)),
                b'x' => drop(builder.ignore_whitespace(true)),
                b'p' => drop(builder.multi_line(true).dot_matches_new_line(true)),
                _ => return Err(Error::str("invalid regex flag")),
            }
        }
        let regex = builder.build().map_err(|_| invalid())?;
        Ok(Kept { pattern: pattern.to_vec(), flags: flags.to_vec(), regex, is_global, skips_empty })
    }

    fn matches<'t>(&'t self, text: &'t [u8]) -> impl Iterator<Item = Captures<'t>> {
        let is_wanted = |captures: &Captures<'t>| !captures.get(0).is_some_and(|all| all.is_empty());
        self.regex.captures_iter(text).filter(move |captures| !self.skips_empty || is_wanted(captures))
    }
}

/// A group of a match as an object.
fn object(text: &Val, counted: &mut Counted<'_>, group: Match<'_>, name: Option<&str>) -> Val {
    let fixed = |key: &'static str| Val::utf8_str(Bytes::from_static(key.as_bytes()));
    let mut members = Map::default();
    members.insert(fixed("offset"), Val::from(counted.chars_before(group.start())));
    members.insert(fixed("length"), Val::from(chars(group.as_bytes())));
    members.insert(fixed("string"), text.as_sub_str(group.as_bytes()));
    if let Some(name) = name {
        members.insert(fixed("name"), Val::from(name.to_owned()));
    }
    Val::obj(members)
}

/// How many characters there are; a byte that is not UTF-8 counts as one.
fn chars(text: &[u8]) -> usize {
    text.utf8_chunks()
        .map(|chunk| chunk.valid().chars().count() + usize::from(!chunk.invalid().is_empty()))
        .sum()
}

/// Counts the characters before a place, from the last such place on if it comes later.
struct Counted<'t> {
    text: &'t [u8],
    bytes: usize,
    chars: usize,
}

impl Counted<'_> {
    fn chars_before(&mut self, at: usize) -> usize {
        let start = if at < self.bytes { 0 } else { self.bytes };
        let before = if at < self.bytes { 0 } else { self.chars };
        self.chars = before + chars(&self.text[start..at]);
        self.bytes = at;
        self.chars
    }
}
