//! The assignments whose output a partition's writer no longer accepts. Pure.

use std::collections::HashMap;

use topicmill_mill::{
    batch::{AssignmentId, TopicPartition},
    engine::EngineError,
};

use super::outputs::Provenance;

/// What is refused, and the error it is refused with. Holds one entry for each partition that ever
/// wrote here and failed.
#[derive(Debug, Default)]
pub struct Barred {
    by_origin: HashMap<TopicPartition, (AssignmentId, EngineError)>,
}

impl Barred {
    /// Refuses what comes from there under this assignment or an earlier one. The first error of an
    /// assignment is kept: it is the cause.
    pub fn bar(&mut self, from: Provenance, error: &EngineError) {
        let Provenance { origin, assignment } = from;
        let barred = self.by_origin.entry(origin).or_insert_with(|| (assignment, error.clone()));
        if barred.0 < assignment {
            *barred = (assignment, error.clone());
        }
    }

    /// Why what comes from there is refused, if it is. A later assignment is accepted.
    pub fn check(&self, from: &Provenance) -> Option<&EngineError> {
        let (assignment, error) = self.by_origin.get(&from.origin)?;
        (from.assignment <= *assignment).then_some(error)
    }
}

#[cfg(test)]
mod tests {
    use topicmill_mill::engine::ErrorKind;

    use super::*;

    #[test]
    fn a_later_assignment_is_taken() {
        let mut barred = Barred::default();
        let from = |partition, assignment| Provenance {
            origin: TopicPartition::new("t", partition),
            assignment: AssignmentId(assignment),
        };
        let error = |text: &str| EngineError::new(ErrorKind::Retriable, text);
        barred.bar(from(0, 5), &error("first"));
        barred.bar(from(0, 4), &error("second"));
        let why = |barred: &Barred, at| barred.check(&at).map(|error| error.message.clone());
        assert_eq!(why(&barred, from(0, 5)).as_deref(), Some("first"));
        assert_eq!(why(&barred, from(0, 3)).as_deref(), Some("first"));
        assert_eq!((why(&barred, from(0, 6)), why(&barred, from(1, 1))), (None, None));
        barred.bar(from(0, 7), &error("third"));
        assert_eq!(why(&barred, from(0, 6)).as_deref(), Some("third"));
    }
}
