//! The metadata of each committed offset: which topic it belongs to, as a topic that was deleted
//! and created again has the same name, and what the group saw when it first read it.

use uuid::Uuid;

/// The note of a committed offset. Offsets committed by other clients have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    /// The id of the topic that the offset belongs to (KIP-516).
    pub topic: Option<Uuid>,
    /// The number of partitions that the topic had when the group started it at its end: later ones
    /// are read from their beginning.
    pub first: Option<i32>,
}

impl Note {
    /// The note as text.
    pub fn encode(&self) -> String {
        let topic = self.topic.map(|topic| format!("topic={}", topic.simple()));
        let first = self.first.map(|first| format!("first={first}"));
        [topic, first].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// Reads a note; what is not understood is left out.
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
