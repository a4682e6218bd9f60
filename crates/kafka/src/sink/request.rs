//! A produce request for batches of several partitions, and what its answer means for each.
//!
//! The request is assembled by hand so that a batch is written without copying it: a codec would
//! copy it once more.

use std::{mem::take, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{ApiKey, ProduceRequest, ProduceResponse, produce_response::PartitionProduceResponse},
    protocol::HeaderVersion,
};
use topicmill_mill::batch::TopicPartition;
use topicmill_records::put_unsigned_varint;

use crate::{
    connection::Connection,
    error::{KafkaError, Remedy, WireError, check},
    pieces::FramePieces,
    reply::Reply,
};

use super::protocol::{Mode, Protocol};

/// From this version on lengths are compact and structures end with tagged fields (KIP-482).
const FLEXIBLE_VERSION: i16 = 9;

/// The version in which producing enlists a partition in the transaction (KIP-890).
const ENLISTING_VERSION: i16 = 12;

/// `acks=all`: every in-sync replica has the batch before the answer comes.
const ACKS_ALL: i16 = -1;

/// A batch of at most this size in bytes is copied: a piece of its own costs more.
const COPY_BYTES_MAX: usize = 4 << 10;

/// A sealed batch and its partition.
#[derive(Clone, Copy, Debug)]
pub struct ProducePart<'a> {
    pub to: &'a TopicPartition,
    pub batch: &'a Bytes,
}

/// Queues sealed batches, at most one for each partition; those of one topic stand together.
pub async fn send(
    connection: &Connection,
    parts: &[ProducePart<'_>],
    timeout: Duration,
    mode: Option<&Mode>,
) -> Result<Reply<ProduceResponse>, WireError> {
    let version = match mode {
        Some(Mode { protocol: Protocol::Second, .. }) => ENLISTING_VERSION,
        Some(_) | None => connection.version(ApiKey::Produce)?,
    };
    let header_version = ProduceRequest::header_version(version);
    let copied =
        |part: &ProducePart<'_>| if part.batch.len() > COPY_BYTES_MAX { 0 } else { part.batch.len() };
    let size = parts.iter().map(|part| 64 + part.to.topic.len() + copied(part)).sum();
    let mut head = connection.head(ApiKey::Produce, version, header_version, size);
    // The broker gives up a little before this side does, so that its answer still arrives.
    let broker_timeout = timeout.as_millis() * 9 / 10;
    let mut body = Body { bytes: take(&mut head.bytes), before: None, pieces: FramePieces::default() };
    let name = mode.map(|mode| mode.name.as_str());
    body.put_request(version, name, parts, broker_timeout as i32);
    let (first, pieces) = body.finish();
    head.bytes = first;
    connection.send_parts(head, pieces, timeout).await
}

/// A request's body while it is written.
struct Body {
    /// What is being written, after all the pieces.
    bytes: BytesMut,
    /// The start of the request, once there are pieces.
    before: Option<BytesMut>,
    pieces: FramePieces,
}

impl Body {
    /// The start of the request, and the rest of it.
    fn finish(mut self) -> (BytesMut, FramePieces) {
        match self.before {
            None => (self.bytes, self.pieces),
            Some(before) => {
                self.pieces.push(self.bytes.freeze());
                (before, self.pieces)
            }
        }
    }

    fn put_request(
        &mut self,
        version: i16,
        transactional_id: Option<&str>,
        parts: &[ProducePart<'_>],
        timeout_ms: i32,
    ) {
        let compact = version >= FLEXIBLE_VERSION;
        let topics = || parts.chunk_by(|a, b| a.to.topic == b.to.topic);
        match transactional_id {
            Some(name) => {
                if compact {
                    self.put_length(compact, name.len());
                } else {
                    self.bytes.put_i16(name.len() as i16);
                }
                self.bytes.put_slice(name.as_bytes());
            }
            None if compact => self.bytes.put_u8(0),
            None => self.bytes.put_i16(-1),
        }
        self.bytes.put_i16(ACKS_ALL);
        self.bytes.put_i32(timeout_ms);
        self.put_length(compact, topics().count());
        for parts in topics() {
            let topic = &parts[0].to.topic;
            if compact {
                self.put_length(compact, topic.len());
            } else {
                self.bytes.put_i16(topic.len() as i16);
            }
            self.bytes.put_slice(topic.as_bytes());
            self.put_length(compact, parts.len());
            for part in parts {
                self.bytes.put_i32(part.to.partition);
                self.put_length(compact, part.batch.len());
                self.put_batch(part.batch);
                self.put_no_tags(compact);
            }
            self.put_no_tags(compact);
        }
        self.put_no_tags(compact);
    }

    fn put_batch(&mut self, batch: &Bytes) {
        if batch.len() <= COPY_BYTES_MAX {
            return self.bytes.put_slice(batch);
        }
        let written = self.bytes.split();
        match self.before {
            None => self.before = Some(written),
            Some(_) => self.pieces.push(written.freeze()),
        }
        self.pieces.push(batch.clone());
    }

    /// A length, of bytes or of an array: compact is one more than it is, as an unsigned varint.
    fn put_length(&mut self, compact: bool, length: usize) {
        if compact {
            put_unsigned_varint(&mut self.bytes, length as u64 + 1);
        } else {
            self.bytes.put_i32(length as i32);
        }
    }

    /// The end of a structure.
    fn put_no_tags(&mut self, compact: bool) {
        if compact {
            self.bytes.put_u8(0);
        }
    }
}

/// The outcome of a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum ProduceVerdict {
    /// It is in the log.
    Delivered,
    /// It has to be sent again as it is.
    Again(KafkaError),
    /// It is not in the log because of its size or one of its records, which is not named.
    Cut(KafkaError),
    /// It is not in the log because of these records, named by their index, for these reasons.
    Refused(Vec<(usize, String)>),
    /// It is uncertain whether it is in the log, or it never will be.
    Failed(KafkaError, Option<String>),
}

impl ProduceVerdict {
    /// Whether it is certain that the batch of this very request is not in the log.
    pub fn is_certain_loss(&self) -> bool {
        match self {
            ProduceVerdict::Delivered => false,
            ProduceVerdict::Cut(_) | ProduceVerdict::Refused(_) => true,
            ProduceVerdict::Again(error) | ProduceVerdict::Failed(error, _) => matches!(
                error.0,
                ResponseError::OutOfOrderSequenceNumber
                    | ResponseError::ConcurrentTransactions
                    | ResponseError::NotLeaderOrFollower
                    | ResponseError::NotEnoughReplicas
                    | ResponseError::UnknownTopicOrPartition
                    | ResponseError::TopicAuthorizationFailed
                    | ResponseError::InvalidTopicException
            ),
        }
    }
}

/// Reads the answer for a batch of `count` records.
pub fn verdict(answer: &PartitionProduceResponse, count: usize) -> ProduceVerdict {
    use ResponseError::*;
    let Err(error) = check(answer.error_code) else { return ProduceVerdict::Delivered };
    match error.0 {
        // An earlier attempt succeeded although its answer was lost (KIP-98).
        DuplicateSequenceNumber => ProduceVerdict::Delivered,
        MessageTooLarge | RecordListTooLarge => ProduceVerdict::Cut(error),
        // KIP-467; an index that is none of the batch names no record.
        InvalidRecord | InvalidTimestamp => {
            let mut refused: Vec<_> = answer
                .record_errors
                .iter()
                .filter_map(|record| {
                    let index = usize::try_from(record.batch_index).ok().filter(|index| *index < count)?;
                    let message = record.batch_index_error_message.as_ref().or(answer.error_message.as_ref());
                    Some((index, message.map_or_else(|| error.to_string(), ToString::to_string)))
                })
                .collect();
            refused.sort();
            refused.dedup_by_key(|(index, _)| *index);
            if refused.is_empty() { ProduceVerdict::Cut(error) } else { ProduceVerdict::Refused(refused) }
        }
        _ => match error.remedy() {
            Remedy::Retry | Remedy::RefreshMetadata => ProduceVerdict::Again(error),
            Remedy::RefreshCoordinator | Remedy::Restart | Remedy::GiveUp => {
                ProduceVerdict::Failed(error, answer.error_message.as_ref().map(ToString::to_string))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;
    use kafka_protocol::{messages::produce_response::BatchIndexAndErrorMessage, protocol::Decodable};

    use super::*;

    /// The frame as it goes over the wire.
    fn encode(version: i16, name: Option<&str>, parts: &[ProducePart<'_>]) -> (Bytes, usize) {
        let mut body = Body { bytes: BytesMut::new(), before: None, pieces: FramePieces::default() };
        body.put_request(version, name, parts, 1234);
        let (first, mut pieces) = body.finish();
        pieces.push_front(first.freeze());
        let mut slices = [std::io::IoSlice::new(&[]); 64];
        let count = pieces.chunks_vectored(&mut slices);
        (pieces.copy_to_bytes(pieces.remaining()), count)
    }

    #[test]
    fn the_codec_reads_what_is_written_by_hand() {
        let partitions: Vec<_> =
            [("a-topic", 7), ("a-topic", 3), ("b", 0)].map(|(t, p)| TopicPartition::new(t, p)).into();
        let sizes = [[5, 200, 70_000], [70_000, 5, 6], [5_000, 6_000, 7_000], [1, 2, 3]];
        for (sizes, pieces) in sizes.into_iter().zip([3, 3, 7, 1]) {
            for (count, version) in (1..=3).flat_map(|count| (3..=12).map(move |v| (count, v))) {
                let batches = sizes.map(|size| Bytes::from(vec![size as u8; size]));
                let parts: Vec<_> =
                    partitions.iter().zip(&batches).map(|(to, batch)| ProducePart { to, batch }).collect();
                let name = (count == 2).then_some("an-id");
                let (mut bytes, in_pieces) = encode(version, name, &parts[..count]);
                let request = ProduceRequest::decode(&mut bytes, version).unwrap();
                assert!(bytes.is_empty());
                assert_eq!((request.acks, request.timeout_ms), (-1, 1234));
                assert_eq!(request.transactional_id.as_ref().map(|id| id.0.as_str()), name);
                let read = request.topic_data.iter().flat_map(|topic| {
                    let name = topic.name.0.as_str();
                    topic.partition_data.iter().map(move |p| (name, p.index, p.records.clone().unwrap()))
                });
                let written = parts.iter().map(|p| (&*p.to.topic, p.to.partition, p.batch.clone()));
                assert!(read.eq(written.take(count)));
                assert_eq!(request.topic_data.len(), count.div_ceil(2));
                if count == 3 && version >= FLEXIBLE_VERSION {
                    assert_eq!(in_pieces, pieces, "{sizes:?}");
                }
            }
        }
    }

    fn answer(error: ResponseError, refused: &[i32]) -> ProduceVerdict {
        let record = |index: &i32| BatchIndexAndErrorMessage::default().with_batch_index(*index);
        let partition = PartitionProduceResponse::default()
            .with_error_code(error.code())
            .with_record_errors(refused.iter().map(record).collect());
        verdict(&partition, 5)
    }

    #[test]
    fn each_code_has_its_verdict() {
        use ResponseError::*;
        assert_eq!(answer(DuplicateSequenceNumber, &[]), ProduceVerdict::Delivered);
        for error in [
            NotLeaderOrFollower,
            NotEnoughReplicas,
            RequestTimedOut,
            UnknownTopicOrPartition,
            ConcurrentTransactions,
        ] {
            assert_eq!(answer(error, &[]), ProduceVerdict::Again(KafkaError(error)));
        }
        for error in [
            OutOfOrderSequenceNumber,
            UnknownProducerId,
            InvalidProducerEpoch,
            ProducerFenced,
            TopicAuthorizationFailed,
        ] {
            assert_eq!(answer(error, &[]), ProduceVerdict::Failed(KafkaError(error), None));
        }
        assert_eq!(answer(MessageTooLarge, &[]), ProduceVerdict::Cut(KafkaError(MessageTooLarge)));
        assert_eq!(answer(InvalidRecord, &[]), ProduceVerdict::Cut(KafkaError(InvalidRecord)));
        assert_eq!(answer(InvalidRecord, &[5, -1]), ProduceVerdict::Cut(KafkaError(InvalidRecord)));
        let ProduceVerdict::Refused(refused) = answer(InvalidRecord, &[4, 1, 4, 7]) else {
            panic!("not refused")
        };
        assert_eq!(refused.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 4]);
    }
}
