//! The commands of a partition's writer, and what becomes of the batches it was given: accepted,
//! forgotten before they were sent, or given up.

use std::sync::Arc;

use topicmill_mill::{
    engine::{EngineError, ErrorKind, Place, Refusal},
    transform::ValueError,
};
use topicmill_records::{Codec, EncodedBatch, RecordsError};

use super::{
    outputs::{Provenance, ReceiptSender},
    partition::PartitionWriter,
    rework::runs,
    sealed::{InFlight, Sealed},
    transaction::Transaction,
    waiting::Unsealed,
    writers::given_up,
};

/// A command for a writer.
pub enum WriteCommand {
    /// Writes a batch.
    Write(Job),
    /// Drops what comes from there and has not been sent.
    Forget(Provenance),
    /// Drops everything: its transaction is aborted.
    Abandon,
}

/// An output batch to write.
pub struct Job {
    pub chunks: Vec<EncodedBatch>,
    pub codec: Codec,
    pub transaction: Option<Arc<Transaction>>,
    pub from: Provenance,
    pub done: ReceiptSender,
}

impl PartitionWriter {
    /// Takes every command given so far: batches that wait are joined, and forgotten ones are not
    /// sent.
    pub(super) fn obey_all(&mut self) -> Result<(), EngineError> {
        while let Ok(command) = self.commands.try_recv() {
            self.obey(Some(command))?;
        }
        Ok(())
    }

    pub(super) fn obey(&mut self, command: Option<WriteCommand>) -> Result<(), EngineError> {
        match command {
            Some(WriteCommand::Write(job)) => self.accept(job),
            Some(WriteCommand::Forget(from)) => self.forget(from),
            Some(WriteCommand::Abandon) => {
                self.is_abandoned = true;
                Err(EngineError::new(ErrorKind::Retriable, "its transaction is aborted"))
            }
            None => {
                // What was accepted is still written.
                self.is_open = false;
                self.waiting.hurry();
                Ok(())
            }
        }
    }

    fn accept(&mut self, job: Job) -> Result<(), EngineError> {
        let Job { chunks, codec, transaction, from, done } = job;
        if let Some(error) = self.barred.check(&from) {
            done.send(Err(error.clone()));
            return Ok(());
        }
        let (chunks, known) = match self.without_known(chunks, codec, transaction.as_deref()) {
            Ok(kept) => kept,
            Err(error) => {
                self.outputs.accept(1, Vec::new(), from, done);
                return Err(self.malformed(error));
            }
        };
        let count = chunks.iter().map(|chunk| chunk.count as usize).sum();
        let mut first = self.outputs.accept(count, known, from, done);
        for records in chunks {
            let next = first + u64::from(records.count);
            let transaction = transaction.clone();
            let pushed = self.waiting.push(Unsealed { records, first, codec, transaction });
            pushed.map_err(|error| self.malformed(error))?;
            first = next;
        }
        Ok(())
    }

    /// Chunks without the records that no broker takes, as is known, and these, by their index in all of them.
    fn without_known(
        &self,
        chunks: Vec<EncodedBatch>,
        codec: Codec,
        transaction: Option<&Transaction>,
    ) -> Result<(Vec<EncodedBatch>, Vec<Refusal>), RecordsError> {
        let Some(transaction) = transaction else { return Ok((chunks, Vec::new())) };
        let (mut kept, mut known) = (Vec::with_capacity(chunks.len()), Vec::new());
        let mut before = 0;
        for chunk in chunks {
            let found = self.shared.known.find(&self.to, &chunk, codec, transaction.number)?;
            let count = chunk.count as usize;
            if found.is_empty() {
                kept.push(chunk);
            } else {
                let runs = runs(count, found.iter().map(|(index, _)| *index));
                if !runs.is_empty() {
                    kept.push(EncodedBatch::join(chunk.cut(&runs)?)?);
                }
            }
            known.extend(found.into_iter().map(|(index, error)| Refusal { index: before + index, error }));
            before += count;
        }
        Ok((kept, known))
    }

    /// What was never sent is waiting again, without the records that come from there, and gets new
    /// sequence numbers.
    fn forget(&mut self, from: Provenance) -> Result<(), EngineError> {
        let error = given_up(&self.to);
        while let Some(last) = self.in_flight.pop_back_if(|last| last.claim.withdraw()) {
            self.sealed.push_front(last.recalled());
        }
        while let Some(batch) = self.sealed.pop_back_if(|batch| batch.attempted.is_none()) {
            let Sealed { bytes, sequence, codec, first, .. } = batch;
            let records = EncodedBatch::unseal(&bytes).map_err(|error| self.malformed(error))?;
            self.next_sequence = sequence;
            let transaction = self.transaction.clone();
            self.put_back(Unsealed { records, first, codec, transaction })?;
        }
        let unsent = self.waiting.first().unwrap_or(self.outputs.end());
        let forgotten = self.outputs.forget(&from, unsent, &error);
        self.waiting.forget(&forgotten);
        self.barred.bar(from, &error);
        if self.outputs.is_empty() && self.sealed.is_empty() && self.in_flight.is_empty() {
            self.recovered();
        }
        Ok(())
    }

    /// Puts records back in front of what waits, those of each output batch separately.
    fn put_back(&mut self, batch: Unsealed) -> Result<(), EngineError> {
        let Unsealed { records, first, codec, transaction } = batch;
        let ranges = self.outputs.ranges(first..first + u64::from(records.count));
        if ranges.len() == 1 {
            self.waiting.put_back(Unsealed { records, first, codec, transaction });
            return Ok(());
        }
        let within: Vec<_> =
            ranges.iter().map(|range| (range.start - first) as usize..(range.end - first) as usize).collect();
        let parts = records.cut(&within).map_err(|error| self.malformed(error))?;
        for (records, range) in parts.into_iter().zip(ranges).rev() {
            let transaction = transaction.clone();
            self.waiting.put_back(Unsealed { records, first: range.start, codec, transaction });
        }
        Ok(())
    }

    /// Everything accepted is refused for a reason that is none of its own. Nothing of it may be in flight, or in a
    /// log that is still there; in a transaction it fails if that is not certain.
    pub(super) fn refuse_all(&mut self, error: &ValueError) -> Result<(), EngineError> {
        tracing::debug!(%error, partition = %self.to, "what was accepted for the partition is refused");
        if self.transaction.is_some() && self.sealed.iter().any(|batch| batch.uncertain) {
            return Err(self.uncertain(&error.to_string()));
        }
        (self.carrier, self.alone) = (None, None);
        let sealed = self.sealed.iter().map(|batch| batch.first..batch.first + batch.count as u64);
        let refused: Vec<_> = sealed.chain(self.waiting.ranges()).collect();
        self.waiting.clear();
        match self.sealed.front().map(|oldest| oldest.sequence) {
            None => {}
            // The transaction goes on, and with version 1 the next ones have the same epoch: there the numbers go
            // on after those that were written. Were they to begin anew, the leader would take what has the numbers
            // of an earlier batch for that one, acknowledge it and not append it.
            Some(unwritten) if self.transaction.is_some() => self.next_sequence = unwritten,
            // Their sequence numbers were never written, and are not used again.
            Some(_) => self.renew(),
        }
        self.sealed.clear();
        self.recovered();
        for numbers in refused {
            self.outputs.all_refused(numbers, error);
        }
        Ok(())
    }

    /// Everything accepted fails, as do later batches of the same assignments; those of later
    /// assignments begin a new epoch. An error that is fatal without a partition concerns all of
    /// them.
    pub(super) fn give_up(&mut self, error: EngineError) {
        let is_of_all = error.kind == ErrorKind::Fatal && error.partition.is_none();
        let error = if is_of_all { error } else { error.at(&self.to) };
        tracing::debug!(%error, "what was accepted for the partition is given up");
        // What was given until now fails as well. What is given once somebody knows of the failure
        // may belong to a later assignment, so the commands that wait are taken first.
        // But what follows an abort belongs to another transaction.
        while !self.is_abandoned
            && let Ok(command) = self.commands.try_recv()
        {
            match command {
                WriteCommand::Write(Job { from, done, .. }) => {
                    self.outputs.accept(1, Vec::new(), from, done);
                }
                WriteCommand::Forget(from) => self.barred.bar(from, &error),
                WriteCommand::Abandon => self.is_abandoned = true,
            }
        }
        self.failing_since = None;
        let is_wanted = self.fail_all(&error);
        let is_abandoned = std::mem::take(&mut self.is_abandoned);
        if is_wanted && !is_abandoned {
            // It counts as failing until it is written again, or forgotten.
            self.failures = self.failures.max(1);
            self.shared.troubles.begin(Place::Write(self.to.clone()), &error);
        } else {
            self.recovered();
        }
        self.renew();
    }

    /// Returns whether any of it was still wanted.
    fn fail_all(&mut self, error: &EngineError) -> bool {
        let failed = self.outputs.fail(error);
        let is_wanted = failed.iter().any(|from| self.barred.check(from).is_none());
        failed.into_iter().for_each(|from| self.barred.bar(from, error));
        self.waiting.clear();
        self.sealed.clear();
        (self.carrier, self.alone) = (None, None);
        let is_under_way = |sent: &InFlight| !sent.claim.withdraw() && !sent.answer.is_terminated();
        let sent = self.in_flight.drain(..).filter(is_under_way);
        self.disowned.extend(sent.map(|sent| sent.answer));
        is_wanted
    }

    /// The next batch begins a new epoch, or a new producer where there is none. The brokers accept
    /// nothing of the old epoch once they have the new one's first batch.
    fn renew(&mut self) {
        if self.transaction.take().is_some() {
            // What comes next is of a transaction under another epoch.
            self.producer = None;
            self.disowned.clear();
            self.ledger.clear();
            return;
        }
        self.producer = self.producer.and_then(|producer| self.shared.producers.next_epoch(producer));
        if self.producer.is_some() {
            self.disowned.clear();
        }
        (self.next_sequence, self.established) = (0, false);
    }
}
