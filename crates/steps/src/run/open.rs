//! The steps that may have any number of results: programs of jq, and transforms.

use std::sync::Arc;

use bytes::Bytes;
use topicmill_mill::{
    batch::{PartitionBatch, Record, Span, TopicPartition},
    metrics::StepOutcome,
    transform::{self, ErrorClass, ValueError},
};

use super::{
    Steps,
    item::{Draft, Item, Partition},
    sink::Sink,
};
use crate::{
    Plan,
    step::{Action, Step},
};

/// The most bytes of an output batch of a transform for one record.
const CHUNK_LIMIT: usize = 64 << 20;

impl Steps {
    /// Does the one step of a pass, a program, and all that follows for each of its results.
    pub(super) fn program(
        &mut self,
        at: usize,
        item: &Item<'_>,
        sink: &mut Sink<'_, '_>,
    ) -> Result<(), ValueError> {
        let step = sink.plan().only_step(at);
        let Action::Jq(program) = &step.action else { unreachable!("the step of such a pass is a program") };
        let Some(value) = self.value_for(at, item, sink)? else {
            return self.pass(at + 1, item, sink);
        };
        let mut results = self.scratch.buffer();
        let mut ends = Vec::new();
        let run = self.scratch.evaluator.run(&program.expr, value, &item.meta(sink.origin()), |result| {
            results.extend_from_slice(result);
            ends.push(results.len());
        });
        let mut done = self.count(step, run, ends.len());
        let mut fork = self.fork(step.index, ends.len());
        let mut start = 0;
        for end in ends {
            if done.is_ok() {
                let item = Item { value: Some(&results[start..end]), ..*item };
                done = self.go_on(at, &item, sink, &mut fork);
            }
            start = end;
        }
        self.scratch.give_back(results);
        done
    }

    /// Does the one step of a pass, a transform, and all that follows for each of its results.
    pub(super) fn transform(
        &mut self,
        at: usize,
        index: usize,
        item: &Item<'_>,
        sink: &mut Sink<'_, '_>,
    ) -> Result<(), ValueError> {
        let step = sink.plan().only_step(at);
        let Some(_) = self.value_for(at, item, sink)? else {
            return self.pass(at + 1, item, sink);
        };
        let batch = batch_of(item, sink.origin());
        let applied = transform::apply(self.transforms[index].as_mut(), &batch, CHUNK_LIMIT);
        let transformed = applied.map_err(|breach| {
            ValueError::new(ErrorClass::Other, format!("the transform breaks its contract: {breach}"))
        });
        let transformed = transformed.and_then(|mut transformed| match transformed.failures.pop() {
            Some(failure) => Err(failure.error),
            None => Ok(transformed),
        });
        let results = transformed
            .as_ref()
            .map_or(0, |transformed| transformed.chunks().map(|chunk| chunk.count as usize).sum());
        let transformed = self.count(step, transformed, results)?;
        let mut fork = self.fork(step.index, results);
        for output in &transformed.outputs {
            for chunk in &output.chunks {
                let bytes = &chunk.bytes;
                for record in chunk.records().expect("what was just encoded is read") {
                    let headers = record.headers.get(bytes).unwrap_or_default();
                    let key = record.key.get(bytes);
                    let is_same =
                        key == item.key && headers == item.headers && record.timestamp == item.timestamp;
                    let item = Item {
                        offset: item.offset,
                        timestamp: record.timestamp,
                        key,
                        value: record.value.get(bytes),
                        headers,
                        topic: output.place.topic.as_ref().or(item.topic),
                        partition: output.place.partition.map_or(item.partition, Partition::Number),
                        is_as_read: item.is_as_read && is_same,
                    };
                    self.go_on(at, &item, sink, &mut fork)?;
                }
            }
        }
        Ok(())
    }

    /// The value for the step of a pass that has one step, if the step is for this record.
    fn value_for<'v>(
        &mut self,
        at: usize,
        item: &Item<'v>,
        sink: &Sink<'_, '_>,
    ) -> Result<Option<&'v [u8]>, ValueError> {
        let (pass, step) = (&sink.plan().passes[at], sink.plan().only_step(at));
        self.tallies[step.index][StepOutcome::In as usize] += 1;
        self.scratch.begin();
        let applies = match item.value {
            Some(_) => self.scratch.applies(pass, step, &Draft::new(item), sink.origin()),
            None => Ok(false),
        };
        let tally = &mut self.tallies[step.index];
        match applies {
            Ok(true) => Ok(item.value),
            Ok(false) => {
                tally[StepOutcome::Out as usize] += 1;
                Ok(None)
            }
            Err(error) => {
                tally[StepOutcome::Failed as usize] += 1;
                Err(step.error(error))
            }
        }
    }

    /// Counts a record without results, and one that fails; each result counts as it goes on.
    fn count<T>(
        &mut self,
        step: &Step,
        done: Result<T, ValueError>,
        results: usize,
    ) -> Result<T, ValueError> {
        let tally = &mut self.tallies[step.index];
        match &done {
            Ok(_) => tally[StepOutcome::Filtered as usize] += u64::from(results == 0),
            Err(_) => tally[StepOutcome::Failed as usize] += 1,
        }
        done.map_err(|error| step.error(error))
    }
}

impl Plan {
    /// The step of the pass at `at`, which has one.
    fn only_step(&self, at: usize) -> &Step {
        &self.steps[self.passes[at].steps.start]
    }
}

/// A batch of one record.
fn batch_of(item: &Item<'_>, origin: &TopicPartition) -> PartitionBatch {
    let mut buffer = Vec::new();
    let mut span = |bytes: Option<&[u8]>| {
        let Some(bytes) = bytes else { return Span::NULL };
        let start = buffer.len() as u32;
        buffer.extend_from_slice(bytes);
        Span::new(start, bytes.len() as u32)
    };
    let record = Record {
        offset: item.offset,
        timestamp: item.timestamp,
        key: span(item.key),
        value: span(item.value),
        headers: span(Some(item.headers)),
    };
    let origin = TopicPartition { topic: Arc::clone(&origin.topic), ..*origin };
    PartitionBatch {
        origin,
        next_offset: item.offset + 1,
        buffer: Bytes::from(buffer),
        records: vec![record],
        ..PartitionBatch::default()
    }
}
