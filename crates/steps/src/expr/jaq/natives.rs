//! The guards: functions that pass on what they are given, and count it.

use jaq_core::{
    Exn, Native, ValX,
    box_iter::box_once,
    native::{Fun, v},
};
use jaq_json::{Num, Val};
use jaq_std::ValT as _;

use super::{
    Env, Jaq,
    budget::{NODE, STEP, Stop},
    delete::delete,
    read,
    regex::Want,
    write,
};

type Checked = Result<(), Stop>;

/// Ends the evaluation; an expression cannot catch that.
fn stopped<'a>(_: Stop) -> Exn<'a, Val> {
    Exn::halt(0)
}

pub(super) fn halt<'a, T>(result: Result<T, Stop>) -> Result<T, Exn<'a, Val>> {
    result.map_err(stopped)
}

/// A guard named `$name` that passes on a value after `$check`.
macro_rules! pass {
    ($name:literal, $check:path) => {
        (
            $name,
            v(0),
            Native::<Jaq>::new(|cv| box_once(halt($check(cv.0.data(), &cv.1)).map(|()| cv.1)))
                .with_paths(|cv| box_once(halt($check(cv.0.data(), &cv.1.0)).map(|()| cv.1)))
                .with_update(|cv, update| match $check(cv.0.data(), &cv.1) {
                    Ok(()) => update(cv.1),
                    Err(stop) => box_once(Err(stopped(stop))),
                }),
        )
    };
}

/// A function of two values.
macro_rules! binary {
    ($name:literal, $function:path) => {
        (
            $name,
            v(2),
            Native::<Jaq>::new(|mut cv| {
                let right = cv.0.pop_var();
                let left = cv.0.pop_var();
                box_once($function(cv.0.data(), left, right))
            }),
        )
    };
}

/// A function of the input and a value.
macro_rules! unary {
    ($name:literal, $function:path) => {
        (
            $name,
            v(1),
            Native::<Jaq>::new(|mut cv| {
                let argument = cv.0.pop_var();
                box_once($function(cv.0.data(), cv.1, argument))
            }),
        )
    };
}

macro_rules! nullary {
    ($name:literal, $function:path) => {
        ($name, v(0), Native::<Jaq>::new(|cv| box_once($function(cv.0.data(), cv.1))))
    };
}

/// A function of the input, a regular expression and its flags.
macro_rules! pattern {
    ($name:literal, $function:path) => {
        (
            $name,
            v(2),
            Native::<Jaq>::new(|mut cv| {
                let flags = cv.0.pop_var();
                let pattern = cv.0.pop_var();
                box_once($function(cv.0.data(), &cv.1, &pattern, &flags).map_err(Exn::from))
            }),
        )
    };
}

macro_rules! comparison {
    ($name:literal, $operator:tt) => {
        (
            $name,
            v(2),
            Native::<Jaq>::new(|mut cv| {
                let right = cv.0.pop_var();
                let left = cv.0.pop_var();
                let weighed = weigh_both(cv.0.data(), &left, &right);
                box_once(halt(weighed).map(|()| Val::Bool(left $operator right)))
            }),
        )
    };
}

pub(super) fn natives() -> Vec<Fun<Jaq>> {
    vec![
        pass!("__step", step),
        pass!("__chain", chain),
        pass!("__each", each),
        pass!("__made", weigh),
        pass!("__weigh", weigh),
        pass!("__size", weigh),
        pass!("__put", put),
        pass!("__changed", changed),
        pass!("__index", index),
        pass!("__wide", wide),
        nullary!("__key", key),
        nullary!("__text", text),
        nullary!("tojson", to_json),
        nullary!("fromjson", from_json),
        nullary!("__number", number),
        unary!("__pairs", pairs),
        unary!("__alike", alike),
        unary!("__keyed", keyed),
        unary!("__delete", delete),
        pattern!("__test", test),
        pattern!("__matches", matches),
        pattern!("__split_matches", split_matches),
        pattern!("__split_", split),
        binary!("__add", add),
        binary!("__sub", sub),
        binary!("__mul", mul),
        binary!("__div", div),
        comparison!("__lt", <),
        comparison!("__le", <=),
        comparison!("__gt", >),
        comparison!("__ge", >=),
        comparison!("__eq", ==),
        comparison!("__ne", !=),
        (
            "range",
            v(3),
            Native::<Jaq>::new(|mut cv| {
                let by = cv.0.pop_var();
                let upto = cv.0.pop_var();
                let from = cv.0.pop_var();
                Box::new(range(cv.0.data(), from, upto, by))
            }),
        ),
    ]
}

fn step(env: &Env<'_>, _: &Val) -> Checked {
    env.budget.step()
}

fn chain(env: &Env<'_>, _: &Val) -> Checked {
    env.budget.chain()
}

fn weigh(env: &Env<'_>, value: &Val) -> Checked {
    env.budget.weigh(value)
}

/// Counts the elements of what is iterated or cut.
fn each(env: &Env<'_>, value: &Val) -> Checked {
    let count = match value {
        Val::Arr(elements) => elements.len(),
        Val::Obj(members) => members.len(),
        Val::TStr(text) | Val::BStr(text) => text.len() / STEP as usize,
        Val::Null | Val::Bool(_) | Val::Num(_) => 0,
    };
    env.budget.spend(STEP * (1 + count as u64))
}

/// Counts the bytes of a text of which a lot more is made.
fn wide(env: &Env<'_>, value: &Val) -> Checked {
    env.budget.spend(STEP * (1 + value.as_bytes().map_or(0, <[u8]>::len) as u64))
}

/// Notes that something other than a scalar is put into a value.
fn put(env: &Env<'_>, value: &Val) -> Checked {
    if matches!(value, Val::Arr(_) | Val::Obj(_)) {
        env.deepened.set(true);
    }
    env.budget.spend(STEP)
}

/// What was changed is no deeper than before, as long as only scalars were put anywhere.
fn changed(env: &Env<'_>, value: &Val) -> Checked {
    if env.deepened.get() { env.budget.weigh(value) } else { Ok(()) }
}

/// An index may be a text or number, a range as in `.[{start: 1, end: 2}]`, or an array to look for.
fn index(env: &Env<'_>, index: &Val) -> Checked {
    match index {
        Val::Arr(_) | Val::Obj(_) => env.budget.weigh(index),
        _ => Ok(()),
    }
}

/// The key of an object is a text.
fn key<'a>(_: &Env<'_>, key: Val) -> ValX<'a, Val> {
    match key {
        Val::TStr(_) => Ok(key),
        key => Err(Exn::from(jaq_core::Error::typ(key, "a key, which has to be a string"))),
    }
}

/// As `tostring`.
fn text<'a>(env: &Env<'_>, value: Val) -> ValX<'a, Val> {
    match value {
        Val::TStr(_) => Ok(value),
        Val::BStr(bytes) => Ok(Val::TStr(bytes)),
        value => to_json(env, value),
    }
}

fn to_json<'a>(env: &Env<'_>, value: Val) -> ValX<'a, Val> {
    halt(env.budget.weigh(&value))?;
    let mut out = Vec::new();
    write::value(&value, usize::MAX, &mut out).map_err(|fault| match fault {
        write::Fault::Bytes => Exn::from(jaq_core::Error::typ(value, "string")),
        write::Fault::Key => Exn::from(jaq_core::Error::typ(value, "JSON")),
        write::Fault::Length => stopped(Stop::Output),
    })?;
    halt(env.budget.spend(out.len() as u64))?;
    Ok(Val::utf8_str(out))
}

fn from_json<'a>(env: &Env<'_>, text: Val) -> ValX<'a, Val> {
    let Some(bytes) = text.as_utf8_bytes() else {
        return Err(Exn::from(jaq_core::Error::typ(text, "string")));
    };
    // Values take more than their text.
    halt(env.budget.spend(NODE * bytes.len() as u64))?;
    if let Err(error) = crate::json::Locator::default().validate(bytes) {
        return match error.fault {
            crate::json::Fault::Depth => halt(env.budget.refuse(Stop::Depth)),
            _ => Err(Exn::from(jaq_core::Error::str("cannot parse a text as JSON"))),
        };
    }
    halt(read::value(bytes, env.budget.depth()).or_else(|stop| env.budget.refuse(stop)))
}

/// The number that a text stands for, where jq is less strict than JSON: `+1`, `.5`, `1.`, `01`.
fn number<'a>(env: &Env<'_>, text: Val) -> ValX<'a, Val> {
    let json = text.as_utf8_bytes().and_then(|bytes| str::from_utf8(bytes).ok()).and_then(as_json_number);
    match json {
        Some(json) => from_json(env, Val::from(json)),
        None => Err(Exn::from(jaq_core::Error::str("cannot parse a text as a number"))),
    }
}

fn as_json_number(text: &str) -> Option<String> {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(whole) || !are_digits(part) || whole.len() + part.len() == 0 {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if part.is_empty() { "" } else { "." };
    // What is wrong with the exponent, JSON refuses as well.
    Some(format!("{sign}{whole}{point}{part}{exponent}"))
}

/// Counts each pair of what is in the input and in the argument.
fn pairs<'a>(env: &Env<'_>, input: Val, argument: Val) -> ValX<'a, Val> {
    halt(weigh_both(env, &input, &argument))?;
    halt(env.budget.spend(count(&input).saturating_mul(count(&argument)).saturating_mul(4)))?;
    Ok(input)
}

/// Only what is of the same type may be contained, as in jq, to which true and false are two types.
fn alike<'a>(_: &Env<'_>, input: Val, part: Val) -> ValX<'a, Val> {
    let are_alike = match (&input, &part) {
        (Val::Null, Val::Null)
        | (Val::Num(_), Val::Num(_))
        | (Val::TStr(_) | Val::BStr(_), Val::TStr(_) | Val::BStr(_))
        | (Val::Arr(_), Val::Arr(_))
        | (Val::Obj(_), Val::Obj(_)) => true,
        (Val::Bool(input), Val::Bool(part)) => input == part,
        _ => false,
    };
    if are_alike {
        Ok(input)
    } else {
        Err(Exn::from(jaq_core::Error::typ(input, "a container of another type")))
    }
}

/// An object has no key that is no text.
fn keyed<'a>(_: &Env<'_>, input: Val, key: Val) -> ValX<'a, Val> {
    match (&input, &key) {
        (Val::Obj(_), Val::TStr(_)) => Ok(input),
        (Val::Obj(_), _) => Err(Exn::from(jaq_core::Error::index(input, key))),
        _ => Ok(input),
    }
}

/// How many values or bytes are in a value; it was weighed.
fn count(value: &Val) -> u64 {
    match value {
        Val::Null | Val::Bool(_) | Val::Num(_) => 1,
        Val::TStr(text) | Val::BStr(text) => 1 + text.len() as u64 / STEP,
        Val::Arr(elements) => 1 + elements.iter().map(count).sum::<u64>(),
        Val::Obj(members) => 1 + members.values().map(count).sum::<u64>(),
    }
}

/// Weighs what is compared, unless one is a scalar: then a look is enough.
fn weigh_both(env: &Env<'_>, left: &Val, right: &Val) -> Checked {
    match (left, right) {
        (Val::Arr(_), Val::Arr(_)) | (Val::Obj(_), Val::Obj(_)) => {
            env.budget.weigh(left)?;
            env.budget.weigh(right)
        }
        (Val::TStr(left) | Val::BStr(left), Val::TStr(_) | Val::BStr(_)) => {
            env.budget.spend(left.len() as u64 / STEP)
        }
        _ => Ok(()),
    }
}

fn add<'a>(env: &Env<'_>, left: Val, right: Val) -> ValX<'a, Val> {
    halt(env.budget.spend(match (&left, &right) {
        (Val::TStr(left) | Val::BStr(left), Val::TStr(right) | Val::BStr(right)) => left.len() + right.len(),
        (Val::Arr(left), Val::Arr(right)) => (left.len() + right.len()) * NODE as usize,
        (Val::Obj(left), Val::Obj(right)) => (left.len() + right.len()) * STEP as usize,
        _ => 0,
    } as u64))?;
    Ok((left + right)?)
}

fn sub<'a>(env: &Env<'_>, left: Val, right: Val) -> ValX<'a, Val> {
    halt(weigh_both(env, &left, &right))?;
    Ok((left - right)?)
}

/// The most bits of a product of integers.
const BITS: u64 = 1 << 16;

fn mul<'a>(env: &Env<'_>, left: Val, right: Val) -> ValX<'a, Val> {
    let cost = match (&left, &right) {
        (text @ (Val::TStr(_) | Val::BStr(_)), times @ Val::Num(_))
        | (times @ Val::Num(_), text @ (Val::TStr(_) | Val::BStr(_))) => return repeat(env, text, times),
        (Val::Num(left), Val::Num(right)) => match bits(left) + bits(right) {
            bits if bits > BITS => u64::MAX,
            bits => bits / STEP,
        },
        (Val::Obj(_), Val::Obj(_)) => {
            halt(weigh_both(env, &left, &right))?;
            0
        }
        _ => 0,
    };
    halt(env.budget.spend(cost))?;
    Ok((left * right)?)
}

/// A text, some times over; of less than one time nothing is left, of less than none there is none.
fn repeat<'a>(env: &Env<'_>, text: &Val, times: &Val) -> ValX<'a, Val> {
    let (bytes, times) = (text.as_bytes().unwrap_or_default(), times.as_f64().unwrap_or_default());
    if times.is_nan() || times < 0.0 {
        return Ok(Val::Null);
    }
    // What has no end is as long as can be, and refused.
    let times = times as usize;
    halt(env.budget.spend((bytes.len() as u64).saturating_mul(times as u64)))?;
    let repeated = bytes.repeat(times);
    Ok(if matches!(text, Val::BStr(_)) { Val::byte_str(repeated) } else { Val::utf8_str(repeated) })
}

fn bits(number: &Num) -> u64 {
    match number {
        Num::BigInt(number) => number.bits(),
        _ => 0,
    }
}

fn div<'a>(env: &Env<'_>, left: Val, right: Val) -> ValX<'a, Val> {
    if let (Val::TStr(text) | Val::BStr(text), Val::TStr(separator) | Val::BStr(separator)) = (&left, &right)
    {
        halt(env.budget.spend(STEP * (1 + text.len() / separator.len().max(1)) as u64))?;
    }
    Ok((left / right)?)
}

type Matched = Result<Val, jaq_json::Error>;

fn test(env: &Env<'_>, text: &Val, pattern: &Val, flags: &Val) -> Matched {
    env.regexes.is_match(text, pattern, flags).map(Val::Bool)
}

fn matches(env: &Env<'_>, text: &Val, pattern: &Val, flags: &Val) -> Matched {
    env.regexes.apply(text, pattern, flags, Want::Matches)
}

fn split_matches(env: &Env<'_>, text: &Val, pattern: &Val, flags: &Val) -> Matched {
    env.regexes.apply(text, pattern, flags, Want::Both)
}

fn split(env: &Env<'_>, text: &Val, pattern: &Val, flags: &Val) -> Matched {
    env.regexes.apply(text, pattern, flags, Want::Rest)
}

/// As `range` of the library, counted; as in jq for numbers only.
fn range<'a>(env: &'a Env<'a>, from: Val, upto: Val, by: Val) -> impl Iterator<Item = ValX<'a, Val>> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let direction = by.cmp(&Val::from(0_isize));
    let strange = [&from, &upto, &by].into_iter().find(|value| !matches!(value, Val::Num(_))).cloned();
    let mut next = Some(match strange {
        Some(value) => Err(Exn::from(jaq_core::Error::typ(value, "number"))),
        None => Ok(from),
    });
    std::iter::from_fn(move || {
        let current = match next.take()? {
            Ok(current) => current,
            Err(error) => return Some(Err(error)),
        };
        let goes_on = match direction {
            Greater => current < upto,
            Less => current > upto,
            Equal => current != upto,
        };
        if !goes_on {
            return None;
        }
        if let Err(stop) = env.budget.spend(STEP) {
            return Some(Err(stopped(stop)));
        }
        next = Some((current.clone() + by.clone()).map_err(Exn::from));
        Some(Ok(current))
    })
}
