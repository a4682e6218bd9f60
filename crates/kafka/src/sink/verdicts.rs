//! What a partition's writer does about answers: it goes on, sends again, or sends without the
//! records that a broker refuses.

use std::{mem::take, ops::Range};

use kafka_protocol::{ResponseError, messages::produce_response::PartitionProduceResponse};
use tokio::time::Instant;
use topicmill_mill::{
    engine::{EngineError, ErrorKind},
    transform::{ErrorClass, ValueError},
};
use topicmill_records::{Compression, EncodedBatch, layout::restamp};

use super::{
    carrier::SUSPECT_BYTES_MIN,
    parcel::ParcelOutcome,
    partition::PartitionWriter,
    producer::{Producer, is_disowned},
    request::{ProduceVerdict, verdict},
    rework::runs,
    sealed::{InFlight, Sealed, advance, stamp},
};
use crate::error::{KafkaError, WireError};

/// After this many closings a batch counts as one that the broker does not even read. A single one
/// may be a broker that is stopping; in between the batch was sent alone, over a fresh connection.
const CLOSINGS_MAX: u32 = 2;

impl PartitionWriter {
    /// Takes the outcome of the oldest batch in flight.
    pub(super) async fn settle(&mut self, outcome: Option<ParcelOutcome>) -> Result<(), EngineError> {
        match outcome {
            Some(ParcelOutcome::Answered(answer, throttle)) => {
                let was_alone = self.alone.take().is_some();
                if was_alone {
                    self.carrier = None;
                }
                self.judge(answer, Instant::now() + throttle).await
            }
            Some(ParcelOutcome::Unsent(error)) => self.unsent(error).await,
            Some(ParcelOutcome::Lost { error, is_suspect }) => {
                let oldest = &mut self.oldest().batch;
                oldest.is_suspect |= is_suspect;
                oldest.closings += u32::from(is_suspect);
                if is_suspect && oldest.closings >= CLOSINGS_MAX && oldest.bytes.len() >= SUSPECT_BYTES_MIN {
                    return self.cut_suspect(&error).await;
                }
                // Whatever it is: what was sent is sent again as it was.
                let error = EngineError { kind: ErrorKind::Retriable, ..error.into() };
                self.again(error).await
            }
            None => {
                let message = "the connection to the broker ended";
                self.again(EngineError::new(ErrorKind::Retriable, message)).await
            }
        }
    }

    /// It is certain that the oldest batch was not sent.
    async fn unsent(&mut self, error: WireError) -> Result<(), EngineError> {
        self.recall_lost();
        self.again(error.into()).await
    }

    /// [`recall`](PartitionWriter::recall) after an attempt with the oldest batch that left nothing
    /// in the log.
    fn recall_lost(&mut self) {
        if let Some(InFlight { mut batch, claim, .. }) = self.in_flight.pop_front() {
            batch.attempted = batch.attempted.or(claim.taken_at());
            self.recall();
            self.sealed.push_front(batch);
        }
    }

    /// The same when the transaction before has not quite ended, so that the first batches of the next have to wait.
    /// What follows the oldest is answered as soon as it, and that is waited for: in a transaction in which a record
    /// is refused, nothing may be uncertain.
    async fn recall_waited(&mut self) -> Result<(), EngineError> {
        let Some(InFlight { mut batch, claim, .. }) = self.in_flight.pop_front() else { return Ok(()) };
        batch.attempted = batch.attempted.or(claim.taken_at());
        // Whatever comes of waiting, it is not left out.
        let answered = self.recall_answered().await;
        self.sealed.push_front(batch);
        answered
    }

    async fn judge(&mut self, answer: PartitionProduceResponse, now: Instant) -> Result<(), EngineError> {
        let verdict = verdict(&answer, self.oldest().batch.count);
        let is_lost = verdict.is_certain_loss();
        match verdict {
            ProduceVerdict::Delivered => {
                let written = self.in_flight.pop_front();
                self.established = true;
                if let Some(transaction) = &self.transaction {
                    transaction.begun();
                }
                self.acknowledged = Some(now);
                // Whoever has the receipt finds no trouble any more.
                self.recovered();
                if let Some(InFlight { batch, .. }) = written {
                    self.outputs.written(batch.first..batch.first + batch.count as u64);
                }
                Ok(())
            }
            ProduceVerdict::Again(error) => {
                if error.0 == ResponseError::ConcurrentTransactions {
                    self.recall_waited().await?;
                } else if is_lost {
                    self.recall_lost();
                }
                if error.0 == ResponseError::UnknownTopicOrPartition {
                    // If it is made anew, its leader knows nothing of this producer, and it may take more.
                    (self.established, self.too_large) = (false, None);
                }
                let error = self.shared.cluster.failed(error, "producing", None);
                self.again(error).await
            }
            ProduceVerdict::Cut(error) => self.halve(error).await,
            ProduceVerdict::Refused(refused) => {
                let errors = refused
                    .into_iter()
                    .map(|(index, message)| (index, ValueError::new(ErrorClass::Refused, message)));
                self.refuse(errors.collect()).await
            }
            ProduceVerdict::Failed(error, message) if self.is_denied(error) => {
                let reason = self.shared.cluster.failed(error, "producing", message.as_deref()).message;
                self.denied(reason).await
            }
            ProduceVerdict::Failed(error, message) => {
                if is_disowned(error)
                    && let Some(producer) = self.producer.take()
                {
                    self.shared.producers.disown(producer);
                }
                use ResponseError::{InvalidTxnState, UnsupportedVersion};
                let is_over =
                    self.transaction.is_some() && matches!(error.0, InvalidTxnState | UnsupportedVersion);
                let mut error = self.shared.cluster.failed(error, "producing", message.as_deref());
                if is_over {
                    // The coordinator has ended the transaction on its own, or the cluster has left its version.
                    error.kind = ErrorKind::Retriable;
                }
                Err(error.at(&self.to))
            }
        }
    }

    /// Whether the oldest batch is for a routed topic that this client may not write to.
    fn is_denied(&mut self, error: KafkaError) -> bool {
        // An internal topic is not a valid one.
        use ResponseError::{InvalidTopicException, TopicAuthorizationFailed};
        matches!(error.0, TopicAuthorizationFailed | InvalidTopicException)
            && self.shared.routed.is_routed(&self.to.topic)
            && !self.oldest().batch.uncertain
    }

    /// Nothing more is written to the topic: what follows the oldest batch is refused as it is, unless the answers
    /// to it do not say so.
    async fn denied(&mut self, reason: String) -> Result<(), EngineError> {
        let InFlight { batch, .. } = self.in_flight.pop_front().expect("it was answered");
        self.recall_answered().await?;
        if self.sealed.iter().any(|follower| follower.uncertain) {
            return Err(self.uncertain(&reason));
        }
        self.put_in_front(vec![batch]);
        let error = self.shared.routed.refuse(&self.to.topic, reason);
        self.obey_all()?;
        self.refuse_all(&error)
    }

    fn oldest(&mut self) -> &mut InFlight {
        self.in_flight.front_mut().expect("only what is under way is answered")
    }

    /// [`recall`](PartitionWriter::recall) after the oldest batch was not appended. Those that
    /// follow it are about to get other sequence numbers, so a drop of their answers will not do:
    ///   1. batches 7 (of five records) and 12 are under way, and 7 is refused for one record;
    ///   2. without that record, the rest of 7 takes the numbers 7 to 10, and 12 becomes 11;
    ///   3. had 12 been appended after all, the broker would take 11 for out of order at best, and at
    ///      worst what is sent as 12 after it for a duplicate: acknowledged, and in no log.
    ///
    /// What follows a batch that was not appended is out of order, and its answer says so: that is
    /// waited for (a request has a limit), obeying commands meanwhile. Without such an answer the batch
    /// stays uncertain, and is not numbered anew.
    async fn recall_answered(&mut self) -> Result<(), EngineError> {
        let mut recalled = Vec::new();
        while let Some(InFlight { mut batch, claim, answer }) = self.in_flight.pop_front() {
            let is_lost = claim.withdraw()
                || match self.attend(answer).await? {
                    Ok(ParcelOutcome::Answered(answer, _)) => verdict(&answer, batch.count).is_certain_loss(),
                    Ok(ParcelOutcome::Unsent(_)) => true,
                    Ok(ParcelOutcome::Lost { .. }) | Err(_) => false,
                };
            batch.uncertain |= !is_lost;
            batch.attempted = batch.attempted.or(claim.taken_at());
            recalled.push(batch);
        }
        self.put_in_front(recalled);
        Ok(())
    }

    /// The oldest batch is refused for its size or for a record that is not named. It goes in
    /// halves, with the same sequence numbers in all, down to a single record, which is refused.
    async fn halve(&mut self, error: KafkaError) -> Result<(), EngineError> {
        self.check_oldest_is_certain()?;
        let count = self.oldest().batch.count;
        if count == 1 {
            let class = match error.0 {
                ResponseError::MessageTooLarge | ResponseError::RecordListTooLarge => ErrorClass::Oversized,
                _ => ErrorClass::Refused,
            };
            let error = ValueError::new(class, error.to_string());
            if class == ErrorClass::Oversized {
                self.note_too_large(&error);
            }
            return self.refuse(vec![(0, error)]).await;
        }
        let InFlight { batch, .. } = self.in_flight.pop_front().expect("it was answered");
        if error.0 == ResponseError::MessageTooLarge {
            self.waiting.too_large(batch.bytes.len());
            if self.transaction.is_some() {
                // A transaction has no time to find it out for each batch anew.
                let size = EncodedBatch::unseal(&batch.bytes).map(|records| records.bytes.len());
                let cut = size.and_then(|size| self.waiting.cut_below(size));
                cut.map_err(|error| self.malformed(error))?;
            }
        }
        self.recall_answered().await?;
        let parts = self.recut(&batch, &[0..count / 2, count / 2..count]).await?;
        self.put_in_front(parts);
        Ok(())
    }

    /// Records of the oldest batch are refused. The rest of it goes without them, and what follows
    /// gets new numbers, which is safe only if none of it was appended.
    async fn refuse(&mut self, refused: Vec<(usize, ValueError)>) -> Result<(), EngineError> {
        let InFlight { batch, .. } = self.in_flight.front().expect("only what is under way is answered");
        self.keep(batch, &refused)?;
        self.check_oldest_is_certain()?;
        let InFlight { batch, .. } = self.in_flight.pop_front().expect("it was answered");
        self.recall_answered().await?;
        if self.sealed.iter().any(|follower| follower.uncertain) {
            return Err(self.uncertain("a batch after a refused one may be in the log already"));
        }
        let kept = runs(batch.count, refused.iter().map(|(index, _)| *index));
        let parts = self.recut(&batch, &kept).await?;
        // It answers, and there may be nothing left to write.
        self.recovered();
        for (index, error) in refused {
            self.outputs.refused(batch.first + index as u64, error);
        }
        for follower in take(&mut self.sealed) {
            if !self.pass_over(&follower)? {
                self.sealed.push_back(follower);
            }
        }
        let sequence = parts.iter().fold(batch.sequence, |sequence, part| advance(sequence, part.count));
        let producer = self.known_producer()?;
        self.number_from(producer, sequence);
        self.put_in_front(parts);
        Ok(())
    }

    /// The oldest batch, of one record, is too large.
    fn note_too_large(&mut self, error: &ValueError) {
        let Some(InFlight { batch, .. }) = self.in_flight.front() else { return };
        let least = self.too_large.as_ref().map_or(usize::MAX, |(size, _)| *size);
        let is_plain = batch.codec.compression == Compression::None;
        if self.transaction.is_some() && is_plain && batch.bytes.len() < least {
            self.too_large = Some((batch.bytes.len(), error.clone()));
        }
    }

    /// Whether a batch is refused without asking the broker: a record alone that is at least as large as one that was
    /// too large in the same transaction. To ask for each would take a trip each, after which what follows is sent
    /// once more, and a transaction has no time for that.
    pub(super) fn pass_over(&mut self, batch: &Sealed) -> Result<bool, EngineError> {
        let error = match &self.too_large {
            Some((size, error)) if batch.is_alone_and_as_large_as(*size) => error.clone(),
            _ => return Ok(false),
        };
        self.keep(batch, &[(0, error.clone())])?;
        if self.in_flight.is_empty() {
            self.recovered();
        }
        self.outputs.refused(batch.first, error);
        Ok(true)
    }

    /// In a transaction, records that are refused are kept: if there is no time for the rest, they are known when
    /// they come again.
    fn keep(&self, batch: &Sealed, refused: &[(usize, ValueError)]) -> Result<(), EngineError> {
        let Some(number) = self.transaction.as_ref().map(|of| of.number) else { return Ok(()) };
        let kept = EncodedBatch::unseal(&batch.bytes).and_then(|records| {
            self.shared.known.keep_refused(&self.to, &records, batch.codec, number, refused)
        });
        kept.map_err(|error| self.malformed(error))
    }

    /// The broker closes the connection instead of answering the oldest batch, which is large and
    /// was alone. It goes in halves, down to a single record, which is refused. It is not certain
    /// that its request was not even read, and that nothing of what follows it was appended. So
    /// halves keep their sequence numbers: those of records already in the log would be out of
    /// order. And after a record that is refused in this way, what follows begins a new epoch: a
    /// number used twice could be taken for a duplicate.
    async fn cut_suspect(&mut self, error: &WireError) -> Result<(), EngineError> {
        let InFlight { mut batch, .. } = self.in_flight.pop_front().expect("it was answered");
        batch.uncertain = true;
        self.recall();
        let size = batch.bytes.len();
        tracing::debug!(%error, partition = %self.to, size, records = batch.count, "more than the broker reads?");
        if batch.count > 1 {
            let half = batch.count / 2;
            let mut parts = self.recut(&batch, &[0..half, half..batch.count]).await?;
            for part in &mut parts {
                part.is_suspect = true;
                // One more closing is enough; a record alone has the same chances as a batch.
                part.closings = if part.count == 1 { 0 } else { CLOSINGS_MAX - 1 };
                part.uncertain = true;
            }
            self.put_in_front(parts);
            return Ok(());
        }
        let message = format!(
            "the broker closes the connection on a request of {size} bytes: more than its \
             socket.request.max.bytes? ({error})"
        );
        let refusal = ValueError::new(ErrorClass::Oversized, message);
        if self.transaction.is_some() {
            // The epoch of a transactional producer is the coordinator's to change.
            let record = EncodedBatch::unseal(&batch.bytes);
            let kept = record.and_then(|record| self.shared.known.keep_closing(&self.to, &record, &refusal));
            kept.map_err(|error| self.malformed(error))?;
            return Err(self.uncertain("the broker closes the connection on a record, in a transaction"));
        }
        self.outputs.refused(batch.first, refusal);
        let producer = self.known_producer()?;
        let Some(next) = self.shared.producers.next_epoch(producer) else {
            return Err(self.uncertain("the producer's epochs are used up"));
        };
        self.producer = Some(next);
        self.established = false;
        self.number_from(next, 0);
        Ok(())
    }

    /// Numbers what is sealed from `sequence` on.
    fn number_from(&mut self, producer: Producer, mut sequence: i32) {
        for follower in &mut self.sealed {
            follower.bytes = restamp(&follower.bytes, stamp(producer, sequence));
            follower.sequence = sequence;
            follower.uncertain = false;
            sequence = advance(sequence, follower.count);
        }
        self.next_sequence = sequence;
    }

    /// Whether every attempt to write the oldest batch was answered.
    fn check_oldest_is_certain(&mut self) -> Result<(), EngineError> {
        if self.oldest().batch.uncertain {
            return Err(self.uncertain("a batch that is refused now may have been written before"));
        }
        Ok(())
    }

    pub(super) fn uncertain(&self, message: &str) -> EngineError {
        EngineError::new(ErrorKind::Retriable, message).at(&self.to)
    }

    fn known_producer(&self) -> Result<Producer, EngineError> {
        self.producer.ok_or_else(|| self.uncertain("there is no producer id"))
    }

    /// The `ranges` of a batch as batches of their own, numbered consecutively from its sequence
    /// number.
    async fn recut(&mut self, batch: &Sealed, ranges: &[Range<usize>]) -> Result<Vec<Sealed>, EngineError> {
        let producer = self.known_producer()?;
        let (mut sequence, codec) = (batch.sequence, batch.codec);
        let pieces = EncodedBatch::unseal(&batch.bytes).and_then(|records| records.cut(ranges));
        let mut parts = Vec::with_capacity(ranges.len());
        for (records, range) in pieces.map_err(|error| self.malformed(error))?.into_iter().zip(ranges) {
            let bytes = self.shared.seal(records, self.stamp(producer, sequence), codec).await?;
            let first = batch.first + range.start as u64;
            parts.push(Sealed::new(bytes, sequence, codec, first, range.len()));
            sequence = advance(sequence, range.len());
        }
        Ok(parts)
    }

    fn put_in_front(&mut self, parts: Vec<Sealed>) {
        for part in parts.into_iter().rev() {
            self.sealed.push_front(part);
        }
    }
}
