//! The steps that change something of the value.

use topicmill_mill::transform::{ErrorClass, ValueError};

use super::{
    act::{Outcome, about, missing},
    scratch::{Scratch, located},
};
use crate::{
    expr::Meta,
    fuse::Pass,
    json::{Found, Kind, Site, decode, decode_in, write_contents, write_string},
    step::{Action, OnMissing, Slot, Step, Target, Tokens, Value, truncated},
};

impl Scratch {
    /// Notes the changes of a step.
    pub(super) fn change(
        &mut self,
        pass: &Pass,
        step: &Step,
        action: &Action,
        doc: &[u8],
        meta: &Meta<'_>,
    ) -> Result<Outcome, ValueError> {
        match action {
            Action::Drop(slots) => {
                let Scratch { found, edits, .. } = self;
                all(slots, found, step, |site| {
                    edits.remove(site);
                    Ok(())
                })?;
            }
            Action::Keep(slots) => {
                let Scratch { found, edits, .. } = self;
                if step.on_missing == OnMissing::Fail {
                    all(slots, found, step, |_| Ok(()))?;
                }
                let rest = pass.rest.map(|rest| found.all(rest)).unwrap_or_default();
                rest.iter().for_each(|site| edits.remove(site));
            }
            Action::Rename { from, key, parent, existing } => {
                self.rename(from, key, parent, existing)?;
            }
            Action::Move { from, to } => {
                self.json.clear();
                let site = self.found.read(&pass.paths, from.id).ok_or_else(|| nowhere(from))?;
                self.json.extend_from_slice(site.value(doc));
                self.put(to)?;
                self.found.all(from.id).iter().for_each(|site| self.edits.remove(site));
            }
            Action::Set { value, to } => {
                self.value_of(pass, value, doc, meta)?;
                self.put(to)?;
            }
            Action::Mask(slots, mask) => {
                let Scratch { found, edits, .. } = self;
                let mut is_done = false;
                all(slots, found, step, |site| {
                    let text = match site.kind {
                        Kind::Null => return Ok(()),
                        Kind::String => {
                            decode_in(site.contents(doc).unwrap_or_default(), found.has_escapes())
                        }
                        Kind::Number | Kind::Bool => String::from_utf8_lossy(site.value(doc)),
                        kind @ (Kind::Array | Kind::Object) => return Err(wrong_type(kind, "a text")),
                    };
                    is_done = true;
                    edits.replace_with(site, |out| {
                        out.push(b'"');
                        mask.write(&text, out);
                        out.push(b'"');
                    });
                    Ok(())
                })?;
                return Ok(if is_done { Outcome::Protected } else { Outcome::Done });
            }
            Action::Redact(slots, with) => {
                let Scratch { found, edits, .. } = self;
                let sites = all(slots, found, step, |site| {
                    edits.replace(site, with);
                    Ok(())
                })?;
                return Ok(protected(sites));
            }
            Action::Truncate(slots, length) => {
                let Scratch { found, edits, .. } = self;
                all(slots, found, step, |site| {
                    let contents = site.contents(doc).ok_or_else(|| wrong_type(site.kind, "a text"))?;
                    // Most have no more bytes than characters are left.
                    if contents.len() <= *length {
                        return Ok(());
                    }
                    if let Some(text) = truncated(&decode(contents), *length) {
                        edits.replace_with(site, |out| write_string(text, out));
                    }
                    Ok(())
                })?;
            }
            Action::Tokens(slots, token) => {
                let Scratch { found, edits, .. } = self;
                let sites = all(slots, found, step, |site| {
                    edits.replace_with(site, |out| token.write(doc, found, site, out));
                    Ok(())
                })?;
                return Ok(protected(sites));
            }
            Action::TokensTo { from, tokens } => return self.tokens(pass, from, tokens, doc),
            Action::Filter(_)
            | Action::Header { .. }
            | Action::Key { .. }
            | Action::Route { .. }
            | Action::Jq(_)
            | Action::Transform(_) => unreachable!("it changes nothing of the value"),
        }
        Ok(Outcome::Done)
    }

    /// Puts a value into `self.json`.
    fn value_of(
        &mut self,
        pass: &Pass,
        value: &Value,
        doc: &[u8],
        meta: &Meta<'_>,
    ) -> Result<(), ValueError> {
        match value {
            Value::Expr(bound) => {
                self.json.clear();
                let located = located(doc, pass, &self.found, &bound.ids);
                let is_there = self.evaluator.value(&bound.expr, located, meta, &mut self.json);
                if !is_there.map_err(|error| about("value", bound, error))? {
                    return Err(missing("the expression has no result"));
                }
            }
            Value::Text(text) => {
                self.text_of(pass, text, doc, meta)?;
                self.json.clear();
                self.json.push(b'"');
                write_contents(&self.text, &mut self.json);
                self.json.push(b'"');
            }
            Value::Copy(from) => {
                let site = self.found.read(&pass.paths, from.id).ok_or_else(|| nowhere(from))?;
                self.json.clear();
                self.json.extend_from_slice(site.value(doc));
            }
        }
        Ok(())
    }

    /// Puts `self.json` where `target` leads: in the place of what is there, or as a new member.
    fn put(&mut self, target: &Target) -> Result<(), ValueError> {
        let Scratch { found, edits, json, .. } = self;
        let sites = found.all(target.sites.id);
        sites.iter().for_each(|site| edits.replace(site, json));
        let mut is_put = !sites.is_empty();
        if let Some(parent) = &target.parent {
            let mut rest = sites;
            for object in found.all(parent.slot.id) {
                let has_it = !within(&mut rest, object).is_empty();
                if object.kind == Kind::Object && !has_it {
                    edits.insert(object, &parent.key, json);
                    is_put = true;
                }
            }
        }
        if is_put { Ok(()) } else { Err(missing("there is no object to put it in")) }
    }

    fn rename(&mut self, from: &Slot, key: &[u8], parent: &Slot, existing: &Slot) -> Result<(), ValueError> {
        let Scratch { found, edits, .. } = self;
        let sites = found.all(from.id);
        if sites.is_empty() {
            return Err(nowhere(from));
        }
        sites.iter().for_each(|site| edits.rename(site, key));
        let (mut sites, mut others) = (sites, found.all(existing.id));
        if !others.is_empty() {
            for object in found.all(parent.id) {
                let others = within(&mut others, object);
                if !within(&mut sites, object).is_empty() {
                    others.iter().for_each(|site| edits.remove(site));
                }
            }
        }
        Ok(())
    }

    fn tokens(
        &mut self,
        pass: &Pass,
        from: &Slot,
        tokens: &Tokens,
        doc: &[u8],
    ) -> Result<Outcome, ValueError> {
        for (token, to) in tokens.places() {
            let site = self.found.read(&pass.paths, from.id).ok_or_else(|| nowhere(from))?;
            self.json.clear();
            token.write(doc, &self.found, site, &mut self.json);
            self.put(to)?;
        }
        Ok(Outcome::Protected)
    }
}

/// Does something with all that the paths lead to. The number of what was found.
fn all(
    slots: &[Slot],
    found: &Found,
    step: &Step,
    mut each: impl FnMut(&Site) -> Result<(), ValueError>,
) -> Result<usize, ValueError> {
    let mut count = 0;
    for slot in slots {
        let sites = found.all(slot.id);
        if sites.is_empty() && step.on_missing == OnMissing::Fail {
            return Err(nowhere(slot));
        }
        count += sites.len();
        for site in sites {
            match each(site) {
                Err(error)
                    if step.on_missing == OnMissing::Skip && !matches!(step.action, Action::Mask(..)) =>
                {
                    debug_assert_eq!(error.class, ErrorClass::Type);
                }
                done => done?,
            }
        }
    }
    Ok(count)
}

/// Takes those sites from the front of `rest` that are within `object`, and those before it. Both are in the
/// order of the document.
fn within<'s>(rest: &mut &'s [Site], object: &Site) -> &'s [Site] {
    let before = rest.partition_point(|site| site.value.start < object.value.start);
    let after = rest.partition_point(|site| site.value.start < object.value.end);
    let inside = &rest[before..after];
    *rest = &rest[after..];
    inside
}

fn protected(sites: usize) -> Outcome {
    if sites > 0 { Outcome::Protected } else { Outcome::Done }
}

#[cold]
fn nowhere(slot: &Slot) -> ValueError {
    missing(&format!("{} leads nowhere", slot.path))
}

#[cold]
fn wrong_type(kind: Kind, wanted: &str) -> ValueError {
    ValueError::new(ErrorClass::Type, format!("{} where {wanted} is needed", kind.name()))
}
