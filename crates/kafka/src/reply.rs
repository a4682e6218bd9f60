//! The response to a request that was queued: awaited, decoded, and its throttling noted.

use std::marker::PhantomData;

use bytes::Bytes;
use kafka_protocol::{
    messages::*,
    protocol::{Decodable, HeaderVersion},
};
use tokio::sync::oneshot;
use topicmill_decode::{DecodeError, decode};

use super::{connection_state::ConnectionShared, error::WireError};
use std::sync::Arc;

/// A response that this program reads.
pub trait Answer: Decodable + HeaderVersion {
    /// For how many milliseconds the broker wants this client to be quiet (KIP-219).
    fn throttle_ms(&self) -> i32;
}

macro_rules! throttled {
    ($($response:ty),* $(,)?) => {
        $(impl Answer for $response {
            fn throttle_ms(&self) -> i32 {
                self.throttle_time_ms
            }
        })*
    };
}

throttled!(
    AddOffsetsToTxnResponse,
    AddPartitionsToTxnResponse,
    EndTxnResponse,
    TxnOffsetCommitResponse,
    ApiVersionsResponse,
    ConsumerGroupDescribeResponse,
    ConsumerGroupHeartbeatResponse,
    CreatePartitionsResponse,
    CreateTopicsResponse,
    DeleteGroupsResponse,
    DeleteTopicsResponse,
    DescribeConfigsResponse,
    DescribeGroupsResponse,
    FetchResponse,
    FindCoordinatorResponse,
    HeartbeatResponse,
    InitProducerIdResponse,
    JoinGroupResponse,
    LeaveGroupResponse,
    ListOffsetsResponse,
    MetadataResponse,
    OffsetCommitResponse,
    OffsetFetchResponse,
    OffsetForLeaderEpochResponse,
    ProduceResponse,
    SyncGroupResponse,
);

impl Answer for SaslHandshakeResponse {
    fn throttle_ms(&self) -> i32 {
        0
    }
}

impl Answer for SaslAuthenticateResponse {
    fn throttle_ms(&self) -> i32 {
        0
    }
}

/// The pending response to a queued request. It arrives, or an error does, within the request's
/// limit, counted from when the request is written. Dropped before that, the request is not
/// written.
#[derive(Debug)]
pub struct Reply<P> {
    pub(super) shared: Arc<ConnectionShared>,
    pub(super) api: ApiKey,
    pub(super) version: i16,
    pub(super) receiver: oneshot::Receiver<Result<Bytes, WireError>>,
    pub(super) response: PhantomData<fn() -> P>,
}

impl<P: Answer> Reply<P> {
    /// Waits for the response. Its byte fields are slices of the frame, not copies.
    ///
    /// # Errors
    /// [`WireError::Timeout`], `Closed` or `Malformed`.
    pub async fn response(mut self) -> Result<P, WireError> {
        self.arrival().await
    }

    /// [`response`](Reply::response) for use in a `select!`: cancel-safe, once.
    pub(super) async fn arrival(&mut self) -> Result<P, WireError> {
        let mut frame = self.frame().await?;
        let (api, version) = (self.api, self.version);
        let response = (|| {
            decode::<ResponseHeader>(&mut frame, P::header_version(version))?;
            decode::<P>(&mut frame, version)
        })();
        let response = response.map_err(|error: DecodeError| WireError::Malformed {
            broker: self.shared.broker().to_owned(),
            api,
            version,
            message: error.to_string(),
        })?;
        self.shared.throttle().note(response.throttle_ms());
        Ok(response)
    }

    /// Waits for the whole response as bytes, its header included.
    pub(super) async fn frame(&mut self) -> Result<Bytes, WireError> {
        match (&mut self.receiver).await {
            Ok(answer) => answer,
            Err(_) => Err(self.shared.closed()),
        }
    }
}
