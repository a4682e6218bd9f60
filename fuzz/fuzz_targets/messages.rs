//! Any bytes as an answer of a coordinator or broker, or as a request to the embedded broker: no panic,
//! bounded memory, and what the guard lets through is what the codec reads without it.
#![no_main]

use bytes::Bytes;
use kafka_protocol::{
    messages::{
        AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ApiVersionsRequest, ApiVersionsResponse,
        ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
        CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsResponse, DescribeConfigsResponse,
        DescribeGroupsResponse, EndTxnResponse, FetchRequest, FetchResponse, FindCoordinatorRequest,
        FindCoordinatorResponse, HeartbeatResponse, InitProducerIdResponse, JoinGroupRequest,
        JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsResponse, ListOffsetsRequest,
        ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetCommitRequest, OffsetCommitResponse,
        OffsetFetchRequest, OffsetFetchResponse, OffsetForLeaderEpochResponse, ProduceRequest,
        ProduceResponse, RequestHeader, ResponseHeader, SaslAuthenticateResponse, SaslHandshakeResponse,
        SyncGroupRequest, SyncGroupResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
    },
    protocol::{Decodable, Message},
};
use libfuzzer_sys::{Corpus, fuzz_target};
use topicmill_decode::decode;

fn read_as<T: Decodable + Message + PartialEq + std::fmt::Debug>(version: u8, bytes: &[u8]) {
    let versions = T::VERSIONS;
    let version = versions.min + i16::from(version) % (versions.max - versions.min + 1);
    let mut rest = Bytes::copy_from_slice(bytes);
    if let Ok(message) = decode::<T>(&mut rest, version) {
        let mut unguarded = Bytes::copy_from_slice(bytes);
        let again = T::decode(&mut unguarded, version).expect("the guard let it through");
        assert_eq!((message, rest), (again, unguarded));
    }
}

macro_rules! read_as_one_of {
    ($($message:ty),* $(,)?) => {
        const ALL: &[fn(u8, &[u8])] = &[$(read_as::<$message>),*];
    };
}

// The place in this list is the input's first byte: new ones come last.
read_as_one_of!(
    JoinGroupResponse,
    SyncGroupResponse,
    HeartbeatResponse,
    LeaveGroupResponse,
    FindCoordinatorResponse,
    OffsetFetchResponse,
    OffsetCommitResponse,
    ConsumerGroupHeartbeatResponse,
    ConsumerGroupDescribeResponse,
    DescribeGroupsResponse,
    ListGroupsResponse,
    TxnOffsetCommitResponse,
    AddPartitionsToTxnResponse,
    EndTxnResponse,
    InitProducerIdResponse,
    ApiVersionsResponse,
    MetadataResponse,
    FetchResponse,
    ProduceResponse,
    ListOffsetsResponse,
    OffsetForLeaderEpochResponse,
    CreateTopicsResponse,
    DeleteTopicsResponse,
    DescribeConfigsResponse,
    SaslHandshakeResponse,
    SaslAuthenticateResponse,
    ResponseHeader,
    RequestHeader,
    JoinGroupRequest,
    SyncGroupRequest,
    LeaveGroupRequest,
    OffsetCommitRequest,
    OffsetFetchRequest,
    TxnOffsetCommitRequest,
    AddPartitionsToTxnRequest,
    ConsumerGroupHeartbeatRequest,
    FindCoordinatorRequest,
    ApiVersionsRequest,
    MetadataRequest,
    FetchRequest,
    ProduceRequest,
    ListOffsetsRequest,
    CreateTopicsRequest,
);

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&[message, version], bytes)) = input.split_first_chunk() else { return Corpus::Reject };
    ALL[usize::from(message) % ALL.len()](version, bytes);
    Corpus::Keep
});
