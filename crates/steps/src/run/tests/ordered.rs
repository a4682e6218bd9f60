//! Random steps in one plan, and each in a plan of its own, one after the other: the same comes of a record.

use std::{cell::RefCell, collections::HashMap};

use super::{
    generator::{Generator, Owned, has, setting},
    *,
};

/// How many records there are for each list of steps.
const RECORDS: u64 = 5;

/// What becomes of a record: nothing, if it is filtered.
type End = Result<Option<Written>, ErrorClass>;

/// Single steps, compiled.
#[derive(Default)]
pub(super) struct Alone(RefCell<HashMap<String, TransformKind>>);

impl Alone {
    /// What a step alone makes of a record.
    pub(super) fn step(&self, table: &StepTable, record: &Owned) -> End {
        let mut known = self.0.borrow_mut();
        let kind =
            known.entry(format!("{table:?}")).or_insert_with(|| plan(std::slice::from_ref(table)).kind());
        end(kind, record)
    }

    /// What steps make of a record, one after the other.
    fn all(&self, tables: &[StepTable], record: &Owned) -> End {
        let Owned { key, value, headers } = record.clone();
        let mut written = Written { key, value, headers, ..Written::default() };
        for table in tables {
            let Written { key, value, headers, topic, .. } = written;
            let Some(mut next) = self.step(table, &Owned { key, value, headers })? else { return Ok(None) };
            next.topic = next.topic.or(topic);
            written = next;
        }
        Ok(Some(written))
    }
}

fn end(kind: &TransformKind, record: &Owned) -> End {
    let fate = record.read(|read| fates_of(kind, &[read])).remove(0);
    let mut written = fate.map_err(|(class, _)| class)?;
    assert!(written.len() <= 1, "steps that have several results are not among them");
    Ok(written.pop())
}

/// Without blanks, but those in texts.
fn packed(json: &str) -> String {
    let (mut in_text, mut is_escaped) = (false, false);
    let is_kept = |c: &char| {
        in_text ^= *c == '"' && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        in_text || !c.is_ascii_whitespace()
    };
    json.chars().filter(is_kept).collect()
}

fn all_packed(end: End) -> End {
    let text = |text: Option<String>| text.map(|text| packed(&text));
    Ok(end?.map(|Written { key, value, headers, topic, partition }| Written {
        key: text(key),
        value: text(value),
        headers: headers.into_iter().map(|(name, value)| (name, text(value))).collect(),
        topic,
        partition,
    }))
}

/// What comes of the steps at once and one by one, if that differs.
fn difference(
    alone: &Alone,
    at_once: &TransformKind,
    steps: &[StepTable],
    record: &Owned,
) -> Option<[End; 2]> {
    let ends = [end(at_once, record), alone.all(steps, record)].map(all_packed);
    (ends[0] != ends[1]).then_some(ends)
}

/// Fails with no more steps than it takes.
fn report(alone: &Alone, mut steps: Vec<StepTable>, record: &Owned, seed: u64) -> ! {
    let mut nth = 0;
    while nth < steps.len() {
        let mut fewer = steps.clone();
        fewer.remove(nth);
        if !fewer.is_empty() && difference(alone, &plan(&fewer).kind(), &fewer, record).is_some() {
            steps = fewer;
        } else {
            nth += 1;
        }
    }
    let ends = difference(alone, &plan(&steps).kind(), &steps, record);
    panic!("STEP_SEED={seed}\n{steps:#?}\n{record:?}\nat once and one by one:\n{ends:#?}");
}

/// `STEP_CASES` in the environment asks for more, `STEP_SEED` for others.
#[test]
fn any_steps_at_once_do_what_they_do_one_after_the_other() {
    let (lists, seed) = (setting("STEP_CASES", 10_000).div_ceil(RECORDS), setting("STEP_SEED", 1));
    let mut generator = Generator::new(seed);
    let alone = Alone::default();
    let (mut together, mut written, mut failed, mut filtered) = (0, 0, 0, 0);
    for _ in 0..lists {
        let steps = generator.steps();
        let at_once = plan(&steps);
        together += u64::from(at_once.passes.len() < steps.len());
        let at_once = at_once.kind();
        // How blanks are left depends on what is removed at once, which digests and texts of JSON show.
        let shows = ["hash", "hmac", "header", "key"];
        let shows_blanks = steps.iter().any(|step| shows.iter().any(|name| has(step, name)));
        generator.blanks = !shows_blanks && generator.one_in(2);
        for _ in 0..RECORDS {
            let record = generator.record();
            if difference(&alone, &at_once, &steps, &record).is_some() {
                report(&alone, steps, &record, seed);
            }
            match end(&at_once, &record) {
                Ok(Some(_)) => written += 1,
                Ok(None) => filtered += 1,
                Err(_) => failed += 1,
            }
        }
    }
    let cases = lists * RECORDS;
    // Enough of each to have said something.
    assert!(together > lists / 2, "{together} of {lists}");
    assert!(
        written > cases / 4 && failed > cases / 10 && filtered > cases / 50,
        "{written} written, {failed} failed, {filtered} filtered of {cases}"
    );
}
