//! The output batches of one partition that are in flight, and what became of their records.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use tokio::sync::oneshot;
use topicmill_mill::{
    batch::{AssignmentId, TopicPartition},
    engine::{EngineError, Receipt, Refusal},
    transform::ValueError,
};

/// Where the receipt of an output batch goes.
#[derive(Debug)]
pub struct ReceiptSender {
    to: oneshot::Sender<Result<Receipt, EngineError>>,
    /// Says that it has not been sent yet.
    _open: Arc<()>,
}

impl ReceiptSender {
    pub fn new(to: oneshot::Sender<Result<Receipt, EngineError>>, open: Arc<()>) -> ReceiptSender {
        ReceiptSender { to, _open: open }
    }

    /// The receiver may have lost interest.
    pub fn send(self, answer: Result<Receipt, EngineError>) {
        let _ = self.to.send(answer);
    }
}

/// Counts the records of a partition in the order in which they are written, so that a wire batch
/// may hold part of an output batch, or several.
#[derive(Debug, Default)]
pub struct Outputs {
    queue: VecDeque<Output>,
    /// The number of the record after all that were accepted.
    end: u64,
}

/// Where the records of an output batch were read, and under which assignment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    pub origin: TopicPartition,
    pub assignment: AssignmentId,
}

#[derive(Debug)]
struct Output {
    from: Provenance,
    records: Range<u64>,
    /// The records that are neither written nor refused.
    left: u64,
    refused: Vec<Refusal>,
    /// Those that were refused before, by their index among all; they have no numbers.
    known: Vec<Refusal>,
    done: ReceiptSender,
}

impl Outputs {
    /// Accepts an output batch of `count` records, and of others that are `known` to be refused; returns the number
    /// of the first.
    pub fn accept(
        &mut self,
        count: usize,
        known: Vec<Refusal>,
        from: Provenance,
        done: ReceiptSender,
    ) -> u64 {
        let first = self.end;
        self.end += count as u64;
        self.queue.push_back(Output {
            from,
            records: first..self.end,
            left: count as u64,
            refused: Vec::new(),
            known,
            done,
        });
        self.complete();
        first
    }

    /// The records of these numbers are written.
    pub fn written(&mut self, numbers: Range<u64>) {
        for output in &mut self.queue {
            let end = output.records.end.min(numbers.end);
            output.left -= end.saturating_sub(output.records.start.max(numbers.start));
        }
        self.complete();
    }

    /// The record of this number is refused.
    pub fn refused(&mut self, number: u64, error: ValueError) {
        if let Some(output) = self.queue.iter_mut().find(|output| output.records.contains(&number)) {
            let index = (number - output.records.start) as usize;
            output.refused.push(Refusal { index, error });
            output.left -= 1;
        }
        self.complete();
    }

    /// The records of these numbers, none of which is written or refused, are refused.
    pub fn all_refused(&mut self, numbers: Range<u64>, error: &ValueError) {
        for output in &mut self.queue {
            let start = output.records.start.max(numbers.start);
            for number in start..output.records.end.min(numbers.end) {
                let index = (number - output.records.start) as usize;
                output.refused.push(Refusal { index, error: error.clone() });
                output.left -= 1;
            }
        }
        self.complete();
    }

    /// The rest is not certain to be written; returns where it comes from.
    pub fn fail(&mut self, error: &EngineError) -> Vec<Provenance> {
        let fail = |output: Output| {
            output.done.send(Err(error.clone()));
            output.from
        };
        self.queue.drain(..).map(fail).collect()
    }

    /// What comes from `origin` under `assignment` or an earlier one is not written any more, as
    /// far as its records have number `unsent` or a later one; returns their numbers.
    pub fn forget(&mut self, from: &Provenance, unsent: u64, error: &EngineError) -> Vec<Range<u64>> {
        let mut forgotten = Vec::new();
        for output in std::mem::take(&mut self.queue) {
            let is_meant = output.from.origin == from.origin && output.from.assignment <= from.assignment;
            if is_meant && output.records.end > unsent {
                forgotten.push(output.records.start.max(unsent)..output.records.end);
                output.done.send(Err(error.clone()));
            } else {
                self.queue.push_back(output);
            }
        }
        forgotten
    }

    /// These numbers as ranges, one for each output batch that they belong to.
    pub fn ranges(&self, numbers: Range<u64>) -> Vec<Range<u64>> {
        let part =
            |output: &Output| output.records.start.max(numbers.start)..output.records.end.min(numbers.end);
        self.queue.iter().map(part).filter(|part| !part.is_empty()).collect()
    }

    /// The number of the record after all that were accepted.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Whether everything accepted is answered.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn complete(&mut self) {
        while let Some(mut output) = self.queue.pop_front_if(|output| output.left == 0) {
            output.refused.sort_by_key(|refusal| refusal.index);
            let refused = among_all(output.refused, output.known);
            output.done.send(Ok(Receipt { refused }));
        }
    }
}

/// What is refused, with indexes that leave out those that were `known`, and these, by their index among all.
fn among_all(refused: Vec<Refusal>, known: Vec<Refusal>) -> Vec<Refusal> {
    if known.is_empty() {
        return refused;
    }
    let mut all = Vec::with_capacity(refused.len() + known.len());
    let (mut known, mut passed) = (known.into_iter().peekable(), 0);
    for refusal in refused {
        while let Some(before) = known.next_if(|before| before.index <= refusal.index + passed) {
            all.push(before);
            passed += 1;
        }
        all.push(Refusal { index: refusal.index + passed, ..refusal });
    }
    all.extend(known);
    all
}

#[cfg(test)]
mod tests {
    use topicmill_mill::{engine::ErrorKind, transform::ErrorClass};

    use super::*;

    fn gone() -> EngineError {
        EngineError::new(ErrorKind::Retriable, "gone")
    }

    type Answer = oneshot::Receiver<Result<Receipt, EngineError>>;

    fn accept<const N: usize>(outputs: &mut Outputs, counts: [usize; N]) -> [Answer; N] {
        counts.map(|count| {
            let (done, answer) = oneshot::channel();
            let done = ReceiptSender::new(done, Arc::default());
            outputs.accept(count, Vec::new(), Provenance::default(), done);
            answer
        })
    }

    fn refused(answer: &mut Answer) -> Vec<usize> {
        let receipt = answer.try_recv().expect("an answer").unwrap();
        receipt.refused.iter().map(|refusal| refusal.index).collect()
    }

    #[test]
    fn each_output_is_answered_when_all_of_it_is_written() {
        let mut outputs = Outputs::default();
        let [mut a, mut empty, mut b, mut c] = accept(&mut outputs, [3, 0, 2, 4]);
        outputs.written(0..2);
        assert!(a.try_recv().is_err());
        outputs.written(2..7);
        for answer in [&mut a, &mut empty, &mut b] {
            assert!(refused(answer).is_empty());
        }
        assert!(c.try_recv().is_err());
        assert_eq!(outputs.fail(&gone()), [Provenance::default()]);
        assert!(c.try_recv().unwrap().is_err());
    }

    #[test]
    fn a_refused_record_is_named_by_its_place_in_its_own_output() {
        let mut outputs = Outputs::default();
        let [mut a, mut b] = accept(&mut outputs, [3, 3]);
        let error = || ValueError::new(ErrorClass::Refused, "no");
        for number in [4, 2, 3] {
            outputs.refused(number, error());
        }
        outputs.written(0..2);
        assert_eq!(refused(&mut a), [2]);
        outputs.written(5..6);
        assert_eq!(refused(&mut b), [0, 1]);
    }

    #[test]
    fn what_was_known_before_is_named_among_all() {
        let mut outputs = Outputs::default();
        let error = || ValueError::new(ErrorClass::Refused, "no");
        let mut accept = |count, known: &[usize]| {
            let (done, answer) = oneshot::channel();
            let known = known.iter().map(|index| Refusal { index: *index, error: error() }).collect();
            let done = ReceiptSender::new(done, Arc::default());
            (outputs.accept(count, known, Provenance::default(), done), answer)
        };
        // Of the first, records 0, 2, 4, 6 and 7 have the numbers 0 to 4.
        let [(first, mut a), (next, mut none), (last, mut b)] =
            [accept(5, &[1, 3, 5, 8]), accept(0, &[0, 1]), accept(2, &[0])];
        assert_eq!((first, next, last), (0, 5, 5));
        [0, 2, 3, 6].into_iter().for_each(|number| outputs.refused(number, error()));
        for number in [1, 4, 5] {
            outputs.written(number..number + 1);
        }
        assert_eq!(refused(&mut a), [0, 1, 3, 4, 5, 6, 8]);
        assert_eq!((refused(&mut none), refused(&mut b)), (vec![0, 1], vec![0, 2]));
    }

    #[test]
    fn only_what_is_not_sent_of_an_assignment_that_is_over_is_forgotten() {
        let mut outputs = Outputs::default();
        let from = |partition, assignment| Provenance {
            origin: TopicPartition::new("t", partition),
            assignment: AssignmentId(assignment),
        };
        let mut answers = [(0, 1), (0, 1), (1, 1), (0, 2), (0, 3)].map(|(partition, assignment)| {
            let (done, answer) = oneshot::channel();
            let done = ReceiptSender::new(done, Arc::default());
            outputs.accept(10, Vec::new(), from(partition, assignment), done);
            answer
        });
        assert_eq!(outputs.ranges(13..31), [13..20, 20..30, 30..31]);
        assert_eq!(outputs.forget(&from(0, 2), 13, &gone()), [13..20, 30..40]);
        outputs.written(0..13);
        outputs.written(20..30);
        outputs.written(40..50);
        let answered = answers.each_mut().map(|answer| answer.try_recv().unwrap().is_ok());
        assert_eq!(answered, [true, false, true, false, true]);
        assert!(outputs.is_empty());
    }
}
