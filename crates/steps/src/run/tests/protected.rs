//! What random steps protect is protected in a record as it was read, too; or it is said that this cannot be told.

use topicmill_mill::transform::RecordView;

use super::{
    generator::{BESIDE, Generator, Owned, has, leaf, setting},
    ordered::Alone,
    *,
};
use crate::Protector;

const RECORDS: u64 = 10;

/// Whether a step protects something where it stands, and overwrites nothing else.
fn protects(table: &StepTable) -> bool {
    let overwrites = ["to", "previous_to"].iter().any(|to| has(table, to));
    let is_beside = overwrites && !table.settings.contains(&("previous_to".to_owned(), text(BESIDE)));
    let in_place = !is_beside && (has(table, "hash") || has(table, "hmac"));
    in_place || has(table, "mask") || has(table, "redact")
}

/// The numbers of those leaves that steps have protected when they are done, one after the other, or when one of
/// them has failed.
fn hidden(alone: &Alone, steps: &[StepTable], record: &Owned, leaves: usize) -> Vec<usize> {
    let mut now = record.clone();
    let mut hidden = Vec::new();
    for table in steps {
        let Ok(Some(Written { key, value, headers, .. })) = alone.step(table, &now) else { break };
        let next = Owned { key, value, headers };
        if protects(table) {
            let count = |record: &Owned, number: usize| {
                record.value.as_ref().map_or(0, |value| value.matches(&leaf(number)).count())
            };
            hidden.extend((0..leaves).filter(|number| count(&next, *number) < count(&now, *number)));
        }
        now = next;
    }
    hidden
}

fn protected_value(protector: &mut Protector, record: &Owned) -> (String, String) {
    let mut headers = HeadersWriter::default();
    let pairs =
        record.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref().map(str::as_bytes)));
    pairs.for_each(|(name, value)| headers.push(name, value));
    let headers = headers.finish();
    let view = RecordView {
        offset: 10,
        timestamp: 1_700_000_000_000,
        key: record.key.as_deref().map(str::as_bytes),
        value: record.value.as_deref().map(str::as_bytes),
        headers: &headers,
    };
    let (mut out, mut plain) = (Vec::new(), Vec::new());
    protector
        .protect(&TopicPartition::new("orders", 2), &view, &mut out, |bytes| plain.extend_from_slice(bytes));
    (String::from_utf8(out).unwrap(), String::from_utf8(plain).unwrap())
}

/// `STEP_CASES` in the environment asks for more, `STEP_SEED` for others.
#[test]
fn what_steps_protect_is_protected_as_it_was_read() {
    let (lists, seed) = (setting("STEP_CASES", 10_000).div_ceil(RECORDS), setting("STEP_SEED", 1));
    let mut generator = Generator::new(seed);
    let alone = Alone::default();
    let (mut told, mut refused, mut seen) = (0, 0, 0);
    for _ in 0..lists {
        generator.leaves = Some(0);
        let steps = generator.steps();
        let protection = match plan(&steps).protection() {
            Ok(Some(protection)) => protection,
            Ok(None) => continue,
            Err(_) => {
                refused += 1;
                continue;
            }
        };
        told += 1;
        let mut protector = Protector::new(protection);
        for _ in 0..RECORDS {
            generator.leaves = Some(0);
            let record = generator.record();
            let hidden = hidden(&alone, &steps, &record, generator.leaves.unwrap_or_default());
            seen += u64::from(!hidden.is_empty());
            if hidden.is_empty() {
                continue;
            }
            let (value, plain) = protected_value(&mut protector, &record);
            for number in hidden {
                let leaf = leaf(number);
                assert!(
                    !value.contains(&leaf) && plain.contains(&leaf),
                    "STEP_SEED={seed}\n{leaf}\n{steps:#?}\n{record:?}\n{value}\n{plain}"
                );
            }
        }
    }
    // Enough of each to have said something.
    assert!(
        told > lists / 5 && refused > lists / 20 && seen > lists / 4,
        "{told} told, {refused} refused, {seen} seen of {lists}"
    );
}
