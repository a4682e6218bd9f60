//! The events themselves: names from prepared tables, encoded straight into record batches.

use fake::locales::{Data, EN};
use rand::{RngCore, SeedableRng, rngs::SmallRng};
use topicmill_records::{EncodedBatch, NO_HEADERS, RecordWriter};

use super::keys::KeySource;

/// An upper bound of the encoded size of one event in bytes, for planning batches.
pub(super) const EVENT_SIZE_MAX: usize = 128;

/// Makes name events: `{"first_name":"…","last_name":"…"}`.
///
/// The same seed gives the same events in the same order, with the same release of this program on
/// machines of the same word size; only the timestamps differ.
#[derive(Debug)]
pub struct EventMaker {
    random: SmallRng,
    first: Vec<Vec<u8>>,
    last: Vec<Vec<u8>>,
    keys: KeySource,
}

impl EventMaker {
    /// A maker of the sequence of `seed`.
    pub fn new(seed: u64, keys: KeySource) -> EventMaker {
        EventMaker {
            random: SmallRng::seed_from_u64(seed),
            first: pieces(EN::NAME_FIRST_NAME, r#"{"first_name":"#, r#","last_name":"#),
            last: pieces(EN::NAME_LAST_NAME, "", "}"),
            keys,
        }
    }

    /// Makes the next `count` events, all with `timestamp` (milliseconds), and adds each to the
    /// writer of its partition; `partition_of` gets the key.
    #[inline]
    pub fn write(
        &mut self,
        count: usize,
        timestamp: i64,
        writers: &mut [RecordWriter],
        mut partition_of: impl FnMut(Option<&[u8]>) -> usize,
    ) {
        for _ in 0..count {
            // One draw serves all three choices: each takes bits of its own.
            let draw = self.random.next_u64();
            let first = &self.first[pick(draw as u16, self.first.len())];
            let last = &self.last[pick((draw >> 16) as u16, self.last.len())];
            let key = self.keys.next((draw >> 32) as u16);
            let writer = &mut writers[partition_of(key)];
            writer.push(timestamp, key, Some(&[first, last]), NO_HEADERS);
        }
    }

    /// Makes `count` events for one partition, as batches of at most `limit` bytes.
    pub fn batches(&mut self, count: usize, timestamp: i64, limit: usize) -> Vec<EncodedBatch> {
        let mut writers = [RecordWriter::new(limit, count * EVENT_SIZE_MAX / 2)];
        self.write(count, timestamp, &mut writers, |_| 0);
        let [writer] = writers;
        writer.finish()
    }
}

/// Maps 16 random bits to `0..len` by multiplication, with a bias of at most `len/65536`.
#[inline]
fn pick(bits: u16, len: usize) -> usize {
    (usize::from(bits) * len) >> 16
}

/// Each plain ASCII name as a JSON string between `before` and `after`, ready to be copied.
fn pieces(names: &[&str], before: &str, after: &str) -> Vec<Vec<u8>> {
    let plain = names.iter().filter(|name| name.is_ascii());
    let encoded = plain.map(|name| serde_json::to_string(name).expect("a string is always JSON"));
    encoded.map(|name| format!("{before}{name}{after}").into_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Keys;

    fn values(batches: &[EncodedBatch]) -> Vec<(Option<String>, String)> {
        let mut values = Vec::new();
        for batch in batches {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            for record in batch.records().unwrap() {
                assert_eq!(record.timestamp, 7);
                let key = record.key.get(&batch.bytes).map(text);
                values.push((key, text(record.value.get(&batch.bytes).unwrap())));
            }
        }
        values
    }

    fn make(seed: u64, keys: Keys, count: usize) -> Vec<(Option<String>, String)> {
        values(&EventMaker::new(seed, KeySource::new(keys)).batches(count, 7, 10_000))
    }

    #[test]
    fn values_are_name_events_and_nothing_else() {
        for (key, value) in make(1, Keys::None, 5_000) {
            let parsed: std::collections::BTreeMap<String, String> = serde_json::from_str(&value).unwrap();
            assert_eq!(
                value,
                format!(
                    r#"{{"first_name":"{}","last_name":"{}"}}"#,
                    parsed["first_name"], parsed["last_name"]
                )
            );
            assert_eq!((key, parsed.len()), (None, 2));
        }
    }

    #[test]
    fn a_seed_gives_its_sequence_again_and_another_seed_another() {
        let events = make(1, Keys::Zipf, 1_000);
        assert_eq!(events, make(1, Keys::Zipf, 1_000));
        assert_ne!(events, make(2, Keys::Zipf, 1_000));
    }

    #[test]
    fn the_choice_of_keys_leaves_the_names_as_they_are() {
        let names = |keys| make(3, keys, 500).into_iter().map(|(_, value)| value).collect::<Vec<_>>();
        assert_eq!(names(Keys::None), names(Keys::Sequence));
        assert_eq!(names(Keys::None), names(Keys::Zipf));
    }

    #[test]
    fn an_event_is_smaller_than_planned() {
        let longest = |pieces: &[Vec<u8>]| pieces.iter().map(Vec::len).max().unwrap();
        let maker = EventMaker::new(0, KeySource::new(Keys::None));
        // 31 bytes of framing and 20 of a key at most.
        assert!(longest(&maker.first) + longest(&maker.last) + 51 <= EVENT_SIZE_MAX);
    }
}
