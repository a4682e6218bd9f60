//! A transform, and how a record that it panics on is found.

use std::{
    any::Any,
    mem::size_of,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use topicmill_records::buffers::memory_of;

use super::{Job, OnPanic, Order, Product, StrategySettings, TransformError};
use crate::{
    batch::PartitionBatch,
    transform::{
        self, Breach, ErrorClass, Failure, OutputRoom, Transform, TransformKind, Transformed, ValueError,
        Values, expected_output,
    },
};

/// The most bytes of a panic's message that a dead letter shows.
const MESSAGE: usize = 300;

/// A transform for one thread.
pub(super) struct Transformer {
    kind: TransformKind,
    transform: Box<dyn Transform>,
    chunk_limit: usize,
    on_panic: OnPanic,
    /// Whether batches come in parts, so that a part's buffer says nothing about its size.
    in_parts: bool,
}

/// The outcome of one call of a transform: the inner error concerns the whole batch.
type Attempt = Result<Result<Transformed, Breach>, Panic>;

/// A panic's message.
struct Panic(String);

impl Transformer {
    pub fn new(settings: &StrategySettings) -> Transformer {
        Transformer {
            kind: settings.transform.clone(),
            transform: settings.transform.build(),
            chunk_limit: settings.chunk_limit,
            on_panic: settings.on_panic,
            in_parts: settings.order == Order::Key,
        }
    }

    /// Transforms one batch.
    pub fn produce(&mut self, job: Job) -> Result<Product, TransformError> {
        let started = Instant::now();
        let batch = &job.batch;
        let all = 0..batch.records.len();
        let transformed = match self.attempt(batch, all.clone()) {
            Ok(applied) => applied.map_err(|breach| self.breach(batch, 0, breach)),
            Err(panic) => match self.on_panic {
                OnPanic::Stop => Err(self.locate(batch, panic)),
                OnPanic::DeadLetter => self.isolate(batch),
            },
        }?;
        job.ticket.charge(memory_of(self.expected(batch, all)), size_of_output(&transformed));
        Ok(Product { job, transformed, time: started.elapsed() })
    }

    /// Lets the transform handle some records of a batch. After a panic it is built anew, as
    /// whatever it keeps between batches may be inconsistent.
    fn attempt(&mut self, batch: &PartitionBatch, indexes: Range<usize>) -> Attempt {
        let room =
            OutputRoom { chunk_limit: self.chunk_limit, expected: self.expected(batch, indexes.clone()) };
        let transform = &mut *self.transform;
        let apply = || transform::apply_to(transform, Values::of(batch, indexes), room);
        catch_unwind(AssertUnwindSafe(apply)).map_err(|panic| {
            let message = message(&*panic);
            match catch_unwind(AssertUnwindSafe(|| self.kind.build())) {
                Ok(transform) => self.transform = transform,
                // The old one stays; the next call shows whether it still works.
                Err(panic) => tracing::warn!(error = self::message(&*panic), "cannot make a transform anew"),
            }
            Panic(message)
        })
    }

    /// The expected bytes of output for some records.
    fn expected(&self, batch: &PartitionBatch, indexes: Range<usize>) -> usize {
        let records = &batch.records[indexes];
        let is_whole = records.len() == batch.records.len() && !self.in_parts;
        let bytes = if is_whole {
            batch.buffer.len()
        } else {
            /// What a record usually has besides key, value and headers.
            const FRAME: usize = 8;
            records.iter().map(|r| r.key.len() + r.value.len() + r.headers.len() + FRAME).sum()
        };
        expected_output(bytes, records.len())
    }

    /// Finds the first record that the transform panics on, by halving.
    fn locate(&mut self, batch: &PartitionBatch, Panic(mut message): Panic) -> TransformError {
        let partition = batch.origin.clone();
        let mut suspects = 0..batch.records.len();
        let mut is_certain = suspects.len() == 1;
        while !is_certain {
            let middle = suspects.start + suspects.len() / 2;
            let (first, second) = (suspects.start..middle, middle..suspects.end);
            let half = match self.attempt(batch, first.clone()) {
                Err(Panic(said)) => {
                    message = said;
                    first
                }
                Ok(_) => match self.attempt(batch, second.clone()) {
                    Err(Panic(said)) => {
                        message = said;
                        second
                    }
                    Ok(_) => break,
                },
            };
            is_certain = half.len() == 1;
            suspects = half;
        }
        match batch.records.get(suspects.start) {
            Some(record) if is_certain => TransformError::Panic { partition, offset: record.offset, message },
            first => {
                let offsets = first.map_or(0, |first| first.offset)..batch.next_offset;
                TransformError::PanicOnce { partition, offsets, message }
            }
        }
    }

    /// Transforms all records except those that the transform panics on, each of which is found by
    /// halving. The order is kept.
    fn isolate(&mut self, batch: &PartitionBatch) -> Result<Transformed, TransformError> {
        let mut whole = Transformed::default();
        let half = batch.records.len() / 2;
        // A stack: the next part is the last.
        let mut left = vec![half..batch.records.len(), 0..half];
        while let Some(part) = left.pop() {
            if part.is_empty() {
                continue;
            }
            match self.attempt(batch, part.clone()) {
                Ok(Ok(transformed)) => {
                    whole.append(transformed, part.start, part.len());
                }
                Ok(Err(breach)) => return Err(self.breach(batch, part.start, breach)),
                Err(Panic(message)) if part.len() == 1 => {
                    let error = ValueError::new(ErrorClass::Panic, message);
                    whole.failures.push(Failure { index: part.start, error });
                }
                Err(_) => {
                    let middle = part.start + part.len() / 2;
                    left.extend([middle..part.end, part.start..middle]);
                }
            }
        }
        Ok(whole)
    }

    /// The error of a batch; the breach counts indexes from the record at `start`.
    fn breach(&self, batch: &PartitionBatch, start: usize, breach: Breach) -> TransformError {
        let record = batch.records.get(start.saturating_add(breach.index())).or(batch.records.last());
        let offset = record.map_or(batch.next_offset, |record| record.offset);
        TransformError::Breach { partition: batch.origin.clone(), offset, breach }
    }
}

/// The memory that the output takes.
fn size_of_output(transformed: &Transformed) -> usize {
    let chunks: usize = transformed.chunks().map(|chunk| chunk.bytes.capacity()).sum();
    let sources: usize = transformed.outputs.iter().map(|output| output.sources.memory()).sum();
    let messages: usize = transformed.failures.iter().map(|failure| failure.error.message.len()).sum();
    chunks + sources + messages + transformed.failures.len() * size_of::<Failure>()
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let mut text =
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned());
    text.truncate(text.floor_char_boundary(MESSAGE));
    text
}
