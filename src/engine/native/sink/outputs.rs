//! The output batches of one partition that are under way, and what became of their records.

use std::{collections::VecDeque, ops::Range};

use tokio::sync::oneshot;

use crate::{
    engine::{EngineError, Receipt, Refusal},
    transform::ValueError,
};

/// Where the receipt of an output batch goes.
pub type Done = oneshot::Sender<Result<Receipt, EngineError>>;

/// Counts the records of a partition in the order in which they are written, so that a wire
/// batch may hold a part of an output batch, or several.
#[derive(Debug, Default)]
pub struct Outputs {
    queue: VecDeque<Output>,
    /// The number of the record after all that were accepted.
    end: u64,
}

#[derive(Debug)]
struct Output {
    records: Range<u64>,
    /// The records that are neither written nor refused.
    left: u64,
    refused: Vec<Refusal>,
    done: Done,
}

impl Outputs {
    /// Accepts an output batch of `count` records and returns the number of the first.
    pub fn accept(&mut self, count: usize, done: Done) -> u64 {
        let first = self.end;
        self.end += count as u64;
        self.queue.push_back(Output {
            records: first..self.end,
            left: count as u64,
            refused: Vec::new(),
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

    /// None of the rest will be written for certain.
    pub fn fail(&mut self, error: &EngineError) {
        for output in self.queue.drain(..) {
            // The owner may have lost interest; it closes the sink in any case.
            let _ = output.done.send(Err(error.clone()));
        }
    }

    fn complete(&mut self) {
        while let Some(mut output) = self.queue.pop_front_if(|output| output.left == 0) {
            output.refused.sort_by_key(|refusal| refusal.index);
            let _ = output.done.send(Ok(Receipt { refused: output.refused }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::ErrorKind, transform::ErrorClass};

    type Answer = oneshot::Receiver<Result<Receipt, EngineError>>;

    fn accept<const N: usize>(outputs: &mut Outputs, counts: [usize; N]) -> [Answer; N] {
        counts.map(|count| {
            let (done, answer) = oneshot::channel();
            outputs.accept(count, done);
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
        outputs.fail(&EngineError::new(ErrorKind::Retriable, "gone"));
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
}
