//! What stands beside each committed offset (its metadata): of which topic it is, as a topic that
//! was deleted and made anew has the same name, and what the group saw when it first read it.

use uuid::Uuid;

/// A note beside a committed offset. Offsets that others committed have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    /// The id of the topic that the offset is of (KIP-516).
    pub topic: Option<Uuid>,
    /// The number of partitions that the topic had when the group started it at its end: those
    /// that came later are read from their beginning.
    pub first: Option<i32>,
}

impl Note {
    /// As it is committed.
    pub fn encode(&self) -> String {
        let topic = self.topic.map(|topic| format!("topic={}", topic.simple()));
        let first = self.first.map(|first| format!("first={first}"));
        [topic, first].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// As it was committed; what is not understood is left out.
    pub fn decode(text: &str) -> Note {
        let mut note = Note::default();
        for (key, value) in text.split(' ').filter_map(|pair| pair.split_once('=')) {
            match key {
                "topic" => note.topic = value.parse().ok(),
                "first" => note.first = value.parse().ok(),
                _ => {}
            }
        }
        note
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_comes_back_as_it_was() {
        let topic = Some(Uuid::from_u128(7 << 100));
        for note in [Note::default(), Note { topic, first: None }, Note { topic, first: Some(12) }] {
            assert_eq!(Note::decode(&note.encode()), note);
        }
        assert_eq!(Note::default().encode(), "");
        assert_eq!(Note::decode("committed by x topic=? first=a=b"), Note::default());
    }
}
