//! Decodes the messages of Kafka's protocol without trusting the lengths in them.
//!
//! The codec makes room for as many elements as an array's length says, before it reads the first.
//! Twenty bytes from a broken or hostile peer, or from something that is not Kafka at all, would
//! ask for hundreds of gigabytes, and that ends the process. So the codec reads through a guard.

#![forbid(unsafe_code)]

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::protocol::{Decodable, buf::ByteBuf};

/// Lengths up to this pass whatever is left: they make little difference to memory, and ordinary
/// numbers that are not lengths pass with them (tags from 10,000 on are brokers' own).
const FREE: usize = 16 << 10;

/// A message that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(String);

/// Decodes a message from the front of `bytes`, which are left at its end. The memory used is
/// bounded by a multiple of their number.
///
/// # Errors
/// When the bytes end too early or are invalid; how far they were read is then not defined.
pub fn decode<T: Decodable>(bytes: &mut Bytes, version: i16) -> Result<T, DecodeError> {
    let mut guard = Guard { bytes: bytes.clone(), doubts: 0, varint_left: 0 };
    let message = T::decode(&mut guard, version).map_err(|error| DecodeError(error.to_string()))?;
    if guard.doubts == 0 {
        *bytes = guard.bytes;
        return Ok(message);
    }
    // What was in doubt were numbers of another kind, which are now read as they are.
    T::decode(bytes, version).map_err(|error| DecodeError(error.to_string()))
}

/// Guarded bytes: no length among them exceeds what is left.
///
/// A number of four bytes may be the length of an array or anything else, and the codec asks for
/// both in the same way. One that is too large for a length is replaced by one that no length can
/// be: the codec refuses it if it was a length, and reads on if it was not. How a message is read
/// never depends on a number of another kind, so a message that is not refused has no length that
/// is too large, and can be read a second time without a guard. A number of variable size is always
/// a length or a tag, and is refused here.
struct Guard {
    bytes: Bytes,
    /// The numbers that were replaced.
    doubts: usize,
    /// How many bytes remain of the number of variable size that was looked at.
    varint_left: usize,
}

impl Guard {
    fn is_too_long(&self, length: usize) -> bool {
        length > self.bytes.remaining().max(FREE)
    }

    /// Looks ahead at a number of variable size: its value, and the number of its bytes.
    fn peek_varint(&self) -> (u32, usize) {
        let mut value = 0;
        let mut size = 0;
        for byte in self.bytes.iter().take(5) {
            value |= u32::from(byte & 0x7f) << (7 * size);
            size += 1;
            if *byte < 0x80 {
                break;
            }
        }
        (value, size)
    }
}

impl Buf for Guard {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        if self.varint_left > 0 {
            self.varint_left -= 1;
        } else if self.bytes.first().is_some_and(|byte| *byte >= 0x80) {
            let (value, size) = self.peek_varint();
            // A compact length is one more than it says.
            let length = (value as usize).saturating_sub(1);
            if self.is_too_long(length) {
                return Err(TryGetError { requested: length, available: self.bytes.remaining() });
            }
            self.varint_left = size - 1;
        }
        self.bytes.try_get_u8()
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        let value = self.bytes.try_get_i32()?;
        match usize::try_from(value) {
            Ok(length) if self.is_too_long(length) => {
                self.doubts += 1;
                // -1 would be an array that is absent.
                Ok(-2)
            }
            _ => Ok(value),
        }
    }
}

impl ByteBuf for Guard {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.bytes.peek_bytes(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.bytes.get_bytes(size)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::{
        messages::{
            ApiVersionsResponse, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatResponse,
            CreatePartitionsResponse, CreateTopicsResponse, DeleteTopicsResponse, DescribeConfigsResponse,
            DescribeGroupsResponse, FetchRequest, FetchResponse, FindCoordinatorResponse, HeartbeatResponse,
            InitProducerIdResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupResponse,
            ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetCommitResponse,
            OffsetFetchResponse, OffsetForLeaderEpochResponse, ProduceRequest, ProduceResponse,
            SaslAuthenticateResponse, SaslHandshakeResponse, SyncGroupResponse,
            metadata_response::{MetadataResponsePartition, MetadataResponseTopic},
        },
        protocol::{Encodable, Message, StrBytes},
    };

    use super::*;

    fn bytes_of(message: &impl Encodable, version: i16) -> Bytes {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes, version).unwrap();
        bytes.freeze()
    }

    #[test]
    fn an_array_that_claims_more_than_there_is_is_refused() {
        for length in [0x7fff_ffffu32, 0x7fff_ffff - 1, 100_000_000, 17 << 10] {
            // Version 0: the error code, then the length in four bytes.
            let mut frame = BytesMut::from(&[0, 0][..]);
            frame.extend_from_slice(&length.to_be_bytes());
            frame.extend_from_slice(&[0; 14]);
            assert!(decode::<ApiVersionsResponse>(&mut frame.clone().freeze(), 0).is_err(), "{length}");
            assert!(decode::<SaslHandshakeResponse>(&mut frame.freeze(), 1).is_err(), "{length}");
        }
        // Version 3: a length of variable size.
        let frame = [0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0, 0, 0, 0];
        assert!(decode::<ApiVersionsResponse>(&mut Bytes::copy_from_slice(&frame), 3).is_err());
    }

    #[test]
    fn great_numbers_that_are_no_lengths_come_as_they_are() {
        let partition = MetadataResponsePartition::default()
            .with_partition_index(i32::MAX)
            .with_leader_id(1_000_000.into())
            .with_leader_epoch(123_456_789);
        let topic = MetadataResponseTopic::default()
            .with_name(Some(StrBytes::from_static_str("t").into()))
            .with_partitions(vec![partition]);
        let message =
            MetadataResponse::default().with_controller_id(i32::MAX.into()).with_topics(vec![topic]);
        for version in [7, 12] {
            let mut bytes = bytes_of(&message, version);
            assert_eq!(decode::<MetadataResponse>(&mut bytes, version).unwrap(), message, "{version}");
            assert!(bytes.is_empty());
        }
        // A broker's own tag, which is no length either.
        let message =
            ApiVersionsResponse::default().with_unknown_tagged_field(10_000, Bytes::from_static(b"x"));
        assert_eq!(decode::<ApiVersionsResponse>(&mut bytes_of(&message, 3), 3).unwrap(), message);
    }

    /// Random bytes, read as every version of a message; what is read must be no more than there is.
    fn read_as<T: Decodable + Message>(bytes: &[u8]) {
        for version in T::VERSIONS.min..=T::VERSIONS.max {
            let mut rest = Bytes::copy_from_slice(bytes);
            if decode::<T>(&mut rest, version).is_ok() {
                assert!(rest.len() <= bytes.len());
            }
        }
    }

    macro_rules! read_as_all {
        ($bytes:expr, $($message:ty),* $(,)?) => { $(read_as::<$message>($bytes);)* };
    }

    /// Without the guard this ends the process: few of these lengths can be allocated.
    #[test]
    fn no_bytes_take_more_memory_than_a_multiple_of_theirs() {
        bolero::check!().with_iterations(500).for_each(|input: &[u8]| {
            read_as_all!(
                input,
                ApiVersionsResponse,
                ConsumerGroupDescribeResponse,
                ConsumerGroupHeartbeatResponse,
                CreatePartitionsResponse,
                CreateTopicsResponse,
                DeleteTopicsResponse,
                DescribeConfigsResponse,
                DescribeGroupsResponse,
                FetchRequest,
                FetchResponse,
                FindCoordinatorResponse,
                HeartbeatResponse,
                InitProducerIdResponse,
                JoinGroupRequest,
                JoinGroupResponse,
                LeaveGroupResponse,
                ListOffsetsResponse,
                MetadataRequest,
                MetadataResponse,
                OffsetCommitResponse,
                OffsetFetchResponse,
                OffsetForLeaderEpochResponse,
                ProduceRequest,
                ProduceResponse,
                SaslAuthenticateResponse,
                SaslHandshakeResponse,
                SyncGroupResponse,
            );
        });
    }
}
