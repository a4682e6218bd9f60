//! Regular expressions, which are kept once they are compiled.

use std::{cell::RefCell, sync::Arc};

use bytes::Bytes;
use jaq_core::Error;
use jaq_json::{Map, Val};
use jaq_std::ValT as _;
use regex::bytes::{Captures, Match, Regex, RegexBuilder};

/// How many are kept.
const MAX_KEPT: usize = 32;
/// The most bytes that one may take: going through a text takes as many steps for each byte as it has
/// states, at most. Each `\w` takes some 70 KB, as it stands for all letters there are.
const MAX_SIZE: usize = 10 << 20;

/// Regular expressions by pattern and flags.
#[derive(Debug, Default)]
pub(in super::super) struct Regexes {
    kept: RefCell<Vec<Arc<Kept>>>,
}

#[derive(Debug)]
struct Kept {
    pattern: Vec<u8>,
    flags: Vec<u8>,
    compiled: Pattern,
}

/// A regular expression, compiled.
#[derive(Debug)]
pub(in super::super) struct Pattern {
    pub(in super::super) regex: Regex,
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

/// A pattern and its flags, which may be an array of the two; no flags are null.
fn both<'v>(pattern: &'v Val, flags: &'v Val) -> Fallible<(&'v [u8], &'v [u8])> {
    let (pattern, flags) = match pattern {
        Val::Arr(both) if !both.is_empty() => (&both[0], both.get(1).unwrap_or(flags)),
        _ => (pattern, flags),
    };
    let flags: &[u8] = if matches!(flags, Val::Null) { &[] } else { bytes(flags)? };
    Ok((bytes(pattern)?, flags))
}

impl Regexes {
    /// Whether a text matches.
    pub(super) fn is_match(&self, text: &Val, pattern: &Val, flags: &Val) -> Fallible<bool> {
        let kept = self.get(pattern, flags)?;
        let text = bytes(text)?;
        if kept.compiled.skips_empty {
            return Ok(kept.compiled.matches(text).next().is_some());
        }
        Ok(kept.compiled.regex.is_match(text))
    }

    /// The matches of a text and what is between them, as the library has them.
    pub(super) fn apply(&self, text: &Val, pattern: &Val, flags: &Val, want: Want) -> Fallible<Val> {
        let kept = self.get(pattern, flags)?;
        let compiled = &kept.compiled;
        let whole = bytes(text)?;
        let mut counted = Counted { text: whole, bytes: 0, chars: 0 };
        let mut parts = Vec::new();
        let mut rest = 0;
        for captures in compiled.matches(whole) {
            let all = captures.get(0).expect("a match has a whole");
            if want != Want::Matches {
                parts.push(text.as_sub_str(&whole[rest..all.start()]));
                rest = all.end();
            }
            if want != Want::Rest {
                let groups = captures.iter().zip(compiled.regex.capture_names());
                // As in jq, where nothing matches every group is nothing, too.
                let nothing = Some(all).filter(Match::is_empty);
                let groups = groups.map(|(group, name)| object(text, &mut counted, group.or(nothing), name));
                parts.push(groups.collect());
            }
            if !compiled.is_global {
                break;
            }
        }
        if want != Want::Matches {
            parts.push(text.as_sub_str(&whole[rest..]));
        }
        Ok(parts.into_iter().collect())
    }

    fn get(&self, pattern: &Val, flags: &Val) -> Fallible<Arc<Kept>> {
        let (pattern, flags) = both(pattern, flags)?;
        let mut all = self.kept.borrow_mut();
        if let Some(kept) = all.iter().find(|kept| kept.pattern == pattern && kept.flags == flags) {
            return Ok(Arc::clone(kept));
        }
        if all.len() == MAX_KEPT {
            all.clear();
        }
        let invalid = || Error::str("invalid regex");
        let text = |bytes| str::from_utf8(bytes).map_err(|_| invalid());
        let compiled = Pattern::compile(text(pattern)?, text(flags)?).map_err(|_| invalid())?;
        let kept = Arc::new(Kept { pattern: pattern.to_vec(), flags: flags.to_vec(), compiled });
        all.push(Arc::clone(&kept));
        Ok(kept)
    }
}

impl Pattern {
    /// Compiles a regular expression with the flags of jq.
    ///
    /// # Errors
    /// Why it is none.
    pub(in super::super) fn compile(pattern: &str, flags: &str) -> Result<Pattern, String> {
        let mut builder = RegexBuilder::new(pattern);
        builder.size_limit(MAX_SIZE);
        let (mut is_global, mut skips_empty) = (false, false);
        for flag in flags.chars() {
            match flag {
                'g' => is_global = true,
                'n' => skips_empty = true,
                'i' => drop(builder.case_insensitive(true)),
                'm' => drop(builder.multi_line(true)),
                // In jq the text is one line for `^` and `$` anyhow, and `.` is no line break with it.
                's' => {}
                'l' => drop(builder.swap_greed(true)),
                'x' => drop(builder.ignore_whitespace(true)),
                'p' => drop(builder.dot_matches_new_line(true)),
                flag => return Err(format!("'{flag}' is no flag of a regular expression")),
            }
        }
        let regex = builder
            .build()
            .map_err(|error| format!("the regular expression is not valid: {}", reason(&error)))?;
        Ok(Pattern { regex, is_global, skips_empty })
    }

    fn matches<'t>(&'t self, text: &'t [u8]) -> impl Iterator<Item = Captures<'t>> {
        // Nothing is also found within a character.
        let is_within = move |at: usize| text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
        let is_wanted = move |captures: &Captures<'t>| {
            let all = captures.get(0).expect("a match has a whole");
            !all.is_empty() || !self.skips_empty && !is_within(all.start())
        };
        self.regex.captures_iter(text).filter(is_wanted)
    }
}

/// Why a regular expression was refused, in a line.
fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => format!("it takes more than {} MiB", limit >> 20),
        error => {
            // The pattern with a mark below comes first.
            let said = error.to_string();
            let last = said.lines().next_back().unwrap_or_default();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        }
    }
}

/// A group of a match as an object; of one that takes no part, as jq has it.
fn object(text: &Val, counted: &mut Counted<'_>, group: Option<Match<'_>>, name: Option<&str>) -> Val {
    let fixed = |key: &'static str| Val::utf8_str(Bytes::from_static(key.as_bytes()));
    let mut members = Map::default();
    let (offset, length, string) = match group {
        Some(group) => {
            let offset = Val::from(counted.chars_before(group.start()));
            (offset, chars(group.as_bytes()), text.as_sub_str(group.as_bytes()))
        }
        None => (Val::from(-1_isize), 0, Val::Null),
    };
    members.insert(fixed("offset"), offset);
    members.insert(fixed("length"), Val::from(length));
    members.insert(fixed("string"), string);
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
