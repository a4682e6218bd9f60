//! The steps that protect, at work on records as they were read.

use std::sync::Arc;

use topicmill_mill::{batch::TopicPartition, transform::RecordView};

use super::{
    item::{Draft, Item},
    scratch::Scratch,
};
use crate::{
    Plan, Protection,
    json::{Found, Locator},
    protection::protected,
};

/// Applies a [`Protection`]; for one thread.
#[derive(Debug)]
pub struct Protector {
    protection: Protection,
    scratch: Scratch,
    /// Where the paths lead after a step.
    after: Found,
    locator: Locator,
}

impl Protector {
    /// One that applies this.
    pub fn new(protection: Protection) -> Protector {
        let (scratch, after, locator) = Default::default();
        Protector { protection, scratch, after, locator }
    }

    /// Puts the value of a record of `origin` into `out`, with all protected that is to be. Each part of the value
    /// that is replaced is passed to `plain` as it stands there, as JSON. What a step cannot do is redacted.
    ///
    /// Returns whether the value is JSON; otherwise it is in `out` as it is. A tombstone is not.
    pub fn protect(
        &mut self,
        origin: &TopicPartition,
        record: &RecordView<'_>,
        out: &mut Vec<u8>,
        mut plain: impl FnMut(&[u8]),
    ) -> bool {
        out.clear();
        out.extend_from_slice(record.value.unwrap_or_default());
        if self.locator.validate(out).is_err() {
            return false;
        }
        let stages = Arc::clone(&self.protection.stages);
        let mut made = self.scratch.buffer();
        for stage in &stages[..] {
            let mut plan = &stage.plan;
            let mut is_changed = self.stage(plan, origin, record, out, &mut made);
            if is_changed.is_none() {
                plan = &stage.instead;
                is_changed = self.stage(plan, origin, record, out, &mut made);
            }
            if is_changed == Some(true) {
                self.replaced(plan, out, &made, &mut plain);
                std::mem::swap(out, &mut made);
            }
        }
        self.scratch.give_back(made);
        true
    }

    /// Does a step to `value`. Whether it changes anything: then it is in `made`; `None` if it cannot be done.
    fn stage(
        &mut self,
        plan: &Plan,
        origin: &TopicPartition,
        record: &RecordView<'_>,
        value: &[u8],
        made: &mut Vec<u8>,
    ) -> Option<bool> {
        let item = Item { value: Some(value), ..Item::of(record) };
        let mut draft = Draft::new(&item);
        self.scratch.begin();
        self.scratch.act(&plan.passes[0], &plan.steps[0], &mut draft, origin).ok()?;
        let is_changed = !self.scratch.edits.is_empty();
        if is_changed {
            made.clear();
            self.scratch.edits.splice(value, made);
        }
        Some(is_changed)
    }

    /// Passes what of `before` the step has replaced to `plain`. It leaves as many values as it found.
    fn replaced(&mut self, plan: &Plan, before: &[u8], after: &[u8], plain: &mut impl FnMut(&[u8])) {
        if self.locator.locate(after, &plan.passes[0].paths, &mut self.after).is_err() {
            return;
        }
        for slot in protected(&plan.steps[0].action) {
            let (old, new) = (self.scratch.found.all(slot.id), self.after.all(slot.id));
            for (at, old) in old.iter().enumerate() {
                let old = old.value(before);
                if new.get(at).is_none_or(|new| new.value(after) != old) {
                    plain(old);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Given, StepTable};

    fn step(settings: &[(&str, &str)]) -> StepTable {
        settings
            .iter()
            .fold(StepTable::default(), |table, (key, text)| table.with(key, Given::Text((*text).to_owned())))
    }

    /// What becomes of a value, and what is replaced in it.
    fn protect(steps: &[StepTable], value: &str) -> Option<(String, Vec<String>)> {
        let plan = Plan::new(steps.to_vec()).unwrap();
        let mut protector = Protector::new(plan.protection().unwrap().unwrap());
        let record =
            RecordView { offset: 0, timestamp: 0, key: None, value: Some(value.as_bytes()), headers: &[] };
        let (mut out, mut plain) = (Vec::new(), Vec::new());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let origin = TopicPartition::new("s", 0);
        protector
            .protect(&origin, &record, &mut out, |bytes| plain.push(text(bytes)))
            .then(|| (text(&out), plain))
    }

    #[test]
    fn only_what_is_replaced_is_plain() {
        let steps = [step(&[("filter", ".go")]), step(&[("mask", ".mail")])];
        let redact = step(&[("redact", ".a[].b"), ("when", ".x > 1"), ("on_missing", "fail")]);
        let all = [&steps[..], &[redact]].concat();
        let done = protect(&all, r#"{"x":2,"mail":"ada@x","a":[{"b":1},{"c":2},{"b":{"d":"e"}}]}"#);
        let (value, plain) = done.unwrap();
        assert_eq!(value, r#"{"x":2,"mail":"*****","a":[{"b":"***"},{"c":2},{"b":"***"}]}"#);
        assert_eq!(plain, [r#""ada@x""#, "1", r#"{"d":"e"}"#]);
        // Where the condition does not hold nothing is protected, and what is null has nothing to protect.
        let open = r#"{"x":1,"mail":null,"a":[{"b":1}]}"#;
        assert_eq!(protect(&all, open), Some((open.to_owned(), Vec::new())));
        // What cannot be masked is redacted.
        let (value, plain) = protect(&all, r#"{"mail":{"to":"ada"}}"#).unwrap();
        assert_eq!((value.as_str(), plain.len()), (r#"{"mail":"***"}"#, 1));
        assert_eq!(protect(&all, "{"), None);
    }

    #[test]
    fn a_hash_beside_protects_what_is_dropped_later() {
        let beside = step(&[("hash", ".id"), ("digest", "sha256"), ("to", ".token")]);
        let plan = |steps: &[StepTable]| Plan::new(steps.to_vec()).unwrap();
        assert!(plan(std::slice::from_ref(&beside)).protection().unwrap().is_none());
        let both = [beside, step(&[("drop", ".id")])];
        let (value, plain) = protect(&both, r#"{"id":"ada"}"#).unwrap();
        assert_eq!((value.as_str(), plain), (r#"{"id":"***"}"#, vec![r#""ada""#.to_owned()]));
    }

    /// Otherwise what is written tells what was to be protected.
    #[test]
    fn what_depends_on_an_earlier_step_cannot_be_told() {
        let when = |condition: &str| step(&[("mask", ".email"), ("when", condition)]);
        let drop = step(&[("drop", ".x")]);
        let keep = |path: &str| step(&[("keep", path)]);
        let one = step(&[("header", "h"), ("text", "1")]);
        let key = step(&[("key", ".x")]);
        let element = step(&[("mask", ".b[1]")]);
        let problem = |steps: &[StepTable]| Plan::new(steps.to_vec()).unwrap().protection().err();
        for (earlier, later) in [
            (&drop, &when(".x == null")),
            (&drop, &when("[.x] | length > 1")),
            (&keep(".email"), &when(".x == null")),
            (&keep(".a.b"), &when(".a.b == 1")),
            (&one, &when("$headers.h == \"1\"")),
            (&one, &when("$headers | length > 0")),
            (&key, &when("$key == \"1\"")),
            (&step(&[("drop", ".b[0]")]), &element),
            (&step(&[("drop", ".*[0]")]), &step(&[("redact", ".b[1].c")])),
            (&keep(".b[1]"), &element),
            (&keep(".b[].c"), &step(&[("hash", ".b[0].c")])),
        ] {
            let problem = problem(&[earlier.clone(), later.clone()]).unwrap();
            assert_eq!(problem.step, 1);
            assert!(
                problem.message.contains("depends on what step 1 (")
                    && problem.message.contains(" has changed")
            );
        }
        for (earlier, later) in [
            (&drop, &when(".y == null")),
            (&drop, &step(&[("mask", ".x")])),
            (&keep(".vip"), &when(".vip | not")),
            (&keep(".b"), &element),
            (&one, &when("$headers.other == \"1\" and $key == \"1\"")),
            (&key, &when("$headers.h == \"1\"")),
            (&step(&[("drop", ".b[2]")]), &element),
            (&step(&[("drop", ".b[0]")]), &step(&[("mask", ".b[]")])),
        ] {
            assert_eq!(problem(&[earlier.clone(), later.clone()]), None, "{earlier:?} {later:?}");
        }
        // It fails for what is dropped, and redacts instead, which the condition would see.
        let both = StepTable::default().with("mask", Given::List(vec![".x".into(), ".y".into()]));
        let redact = step(&[("redact", ".z"), ("when", ".y == \"*\"")]);
        assert_eq!(problem(&[both.clone(), redact.clone()]), None);
        assert_eq!(problem(&[drop, both, redact]).unwrap().step, 2);
    }

    #[test]
    fn what_is_dropped_later_is_seen_until_then() {
        let steps = [
            step(&[("hash", ".id"), ("to", ".token")]),
            step(&[("mask", ".name"), ("when", ".id == \"ada\"")]),
            step(&[("drop", ".id")]),
        ];
        let (value, plain) = protect(&steps, r#"{"id":"ada","name":"Ada"}"#).unwrap();
        assert_eq!(value, r#"{"id":"***","name":"***"}"#);
        assert_eq!(plain, [r#""Ada""#, r#""ada""#]);
        // With a condition of its own it is done where it stands.
        let mut steps = steps.to_vec();
        steps[0] = steps[0].clone().with("when", Given::Text(".x".into()));
        let problem = Plan::new(steps).unwrap().protection().unwrap_err();
        assert_eq!(problem.step, 1);
        assert!(problem.message.starts_with("depends on what step 1 (hash .id)"), "{problem}");
    }

    #[test]
    fn a_token_in_place_protects_while_its_key_changes() {
        let key = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(key.path(), "a key").unwrap();
        let key = key.path().to_str().unwrap();
        let rotating = step(&[
            ("hmac", ".id"),
            ("key_file", key),
            ("previous_key_file", key),
            ("previous_to", ".before"),
        ]);
        let (value, plain) = protect(&[rotating], r#"{"id":"ada"}"#).unwrap();
        assert_eq!((value.as_str(), plain), (r#"{"id":"***"}"#, vec![r#""ada""#.to_owned()]));
    }

    #[test]
    fn what_another_step_has_made_cannot_be_told() {
        let steps = [step(&[("rename", ".mail"), ("to", ".email")]), step(&[("mask", ".email")])];
        let problem = Plan::new(steps.to_vec()).unwrap().protection().unwrap_err();
        assert_eq!(problem.step, 1);
        assert!(problem.message.contains("step 1 (rename .mail)"), "{problem}");
        let steps = [step(&[("set", ".now"), ("value", "1")]), step(&[("mask", ".email")])];
        assert!(Plan::new(steps.to_vec()).unwrap().protection().unwrap().is_some());
    }
}
