//! Deletes what paths lead to: all of it at once, so that nothing moves before it is deleted.

use std::collections::BTreeSet;

use jaq_core::{Error, Exn, ValX};
use jaq_json::{Map, Rc, Val};
use jaq_std::ValT as _;

use super::{Env, budget::STEP, natives::halt};

/// `delpaths` of jq: a path that leads nowhere is nothing to delete.
pub(super) fn delete<'a>(env: &Env<'_>, value: Val, paths: Val) -> ValX<'a, Val> {
    halt(env.budget.weigh(&paths))?;
    let Val::Arr(paths) = paths else { return Err(Exn::from(Error::typ(paths, "array"))) };
    let mut all: Vec<&[Val]> = Vec::with_capacity(paths.len());
    for path in paths.iter() {
        let Val::Arr(path) = path else { return Err(Exn::from(Error::typ(path.clone(), "array"))) };
        all.push(path);
    }
    all.sort_unstable();
    match all.first() {
        Some([]) => Ok(Val::Null),
        _ => within(env, value, &all),
    }
}

/// Deletes what the paths, which are sorted, lead to from a value.
fn within<'a>(env: &Env<'_>, value: Val, paths: &[&[Val]]) -> ValX<'a, Val> {
    let mut value = value;
    let mut whole = Vec::new();
    for same in paths.chunk_by(|one, other| one[0] == other[0]) {
        let key = &same[0][0];
        if same[0].len() == 1 {
            // What is further along is deleted with it.
            whole.push(key);
            continue;
        }
        let further: Vec<&[Val]> = same.iter().map(|path| &path[1..]).collect();
        value = part(env, value, key, &further)?;
    }
    if whole.is_empty() { Ok(value) } else { parts(env, value, &whole) }
}

/// Deletes within one part of a value.
fn part<'a>(env: &Env<'_>, value: Val, key: &Val, paths: &[&[Val]]) -> ValX<'a, Val> {
    match (value, key) {
        (Val::Null, _) => Ok(Val::Null),
        (Val::Arr(mut elements), Val::Num(_)) => {
            halt(env.budget.spend(STEP * (1 + elements.len() as u64)))?;
            if let Some(at) = place(key, elements.len()) {
                let own = &mut Rc::make_mut(&mut elements)[at];
                *own = within(env, std::mem::take(own), paths)?;
            }
            Ok(Val::Arr(elements))
        }
        (Val::Arr(mut elements), Val::Obj(slice)) => {
            halt(env.budget.spend(STEP * (1 + elements.len() as u64)))?;
            let (from, upto) = range(slice, elements.len())?;
            let own = Rc::make_mut(&mut elements);
            let some: Val = own[from..upto].iter().cloned().collect();
            let Val::Arr(left) = within(env, some, paths)? else { return Ok(Val::Arr(elements)) };
            drop(own.splice(from..upto, left.iter().cloned()));
            Ok(Val::Arr(elements))
        }
        (Val::Obj(mut members), Val::TStr(_)) => {
            halt(env.budget.spend(STEP * (1 + members.len() as u64)))?;
            if let Some(own) = Rc::make_mut(&mut members).get_mut(key) {
                *own = within(env, std::mem::take(own), paths)?;
            }
            Ok(Val::Obj(members))
        }
        (value, key) => Err(Exn::from(Error::index(value, key.clone()))),
    }
}

/// Deletes parts of a value.
fn parts<'a>(env: &Env<'_>, value: Val, keys: &[&Val]) -> ValX<'a, Val> {
    match value {
        Val::Null => Ok(Val::Null),
        Val::Arr(mut elements) => {
            halt(env.budget.spend(STEP * (1 + elements.len() as u64)))?;
            let mut gone = BTreeSet::new();
            for key in keys {
                match key {
                    Val::Num(_) => gone.extend(place(key, elements.len())),
                    Val::Obj(slice) => {
                        let (from, upto) = range(slice, elements.len())?;
                        halt(env.budget.spend(STEP * (upto - from) as u64))?;
                        gone.extend(from..upto);
                    }
                    key => return Err(Exn::from(Error::index(Val::Arr(elements), (*key).clone()))),
                }
            }
            let mut at = 0;
            Rc::make_mut(&mut elements).retain(|_| {
                at += 1;
                !gone.contains(&(at - 1))
            });
            Ok(Val::Arr(elements))
        }
        Val::Obj(mut members) => {
            halt(env.budget.spend(STEP * (1 + members.len() as u64)))?;
            if let Some(key) = keys.iter().find(|key| !matches!(key, Val::TStr(_))) {
                return Err(Exn::from(Error::index(Val::Obj(members), (*key).clone())));
            }
            match keys {
                [key] => drop(Rc::make_mut(&mut members).shift_remove(*key)),
                keys => Rc::make_mut(&mut members).retain(|own, _| keys.binary_search(&own).is_err()),
            }
            Ok(Val::Obj(members))
        }
        value => Err(Exn::from(Error::index(value, keys[0].clone()))),
    }
}

/// Where an index is in an array of that length; from its end if it is negative.
fn place(index: &Val, length: usize) -> Option<usize> {
    let index = index.as_f64()?.floor();
    let index = if index < 0.0 { index + length as f64 } else { index };
    (index >= 0.0 && index < length as f64).then_some(index as usize)
}

/// Which elements are in a slice.
fn range<'a>(slice: &Map, length: usize) -> Result<(usize, usize), Exn<'a, Val>> {
    let end = |name: &str, otherwise: usize, round: fn(f64) -> f64| {
        let Some(end) = slice.get(&Val::from(name.to_owned())).filter(|end| !matches!(end, Val::Null)) else {
            return Ok(otherwise);
        };
        let Some(number) = end.as_f64() else { return Err(Exn::from(Error::typ(end.clone(), "number"))) };
        let number = if number < 0.0 { number + length as f64 } else { number };
        Ok(round(number.clamp(0.0, length as f64)) as usize)
    };
    let from = end("start", 0, f64::floor)?;
    Ok((from, end("end", length, f64::ceil)?.max(from)))
}
