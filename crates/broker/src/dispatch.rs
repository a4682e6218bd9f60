//! From a request's bytes to its answer's: one match on the api.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, EndTxnResponse, HeartbeatResponse, LeaveGroupResponse, ListGroupsResponse, ProduceRequest,
        RequestHeader, ResponseHeader, SyncGroupResponse,
    },
    protocol::{Decodable, Encodable, HeaderVersion},
};
use topicmill_decode::decode;

use super::{
    admin, cluster,
    core::Core,
    faults::FaultAction,
    fetch::{Fetched, fetch},
    frame::{Frame, FrameBuilder},
    list_offsets,
    produce::produce,
    session::Session,
    throttle::{Throttled, millis},
    transactions,
    versions::SUPPORTED,
};

/// Why a connection is closed instead of answered.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The api's number is not known.
    #[error("unknown api {0}")]
    UnknownApi(i16),
    /// The api is known but not spoken in this version.
    #[error("{api:?} version {version} is not supported")]
    Version {
        /// Which one.
        api: ApiKey,
        /// The version asked for.
        version: i16,
    },
    /// The request is not what its header says.
    #[error("malformed {api:?} version {version}: {message}")]
    Malformed {
        /// Which one.
        api: ApiKey,
        /// Its version.
        version: i16,
        /// What is wrong.
        message: String,
    },
    /// The answer cannot be written.
    #[error("no answer to {api:?} version {version}: {message}")]
    Answer {
        /// Which one.
        api: ApiKey,
        /// Its version.
        version: i16,
        /// What is wrong.
        message: String,
    },
    /// Records that nobody waits for were refused: closing is the only way to say so.
    #[error("a produce request without acknowledgement failed with {0}")]
    Unacknowledged(ResponseError),
    /// The client has to log in first.
    #[error("{0:?} without a login")]
    LoginNeeded(ApiKey),
    /// A fault was injected.
    #[error("an injected fault")]
    Fault,
}

/// A request whose header was read.
struct Request {
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    client_id: String,
    body: Bytes,
    /// How long the client is told to be quiet.
    throttle: Duration,
}

/// Answers one request; `None` when no answer is wanted.
///
/// # Errors
/// When the connection is to be closed.
pub async fn answer(core: &Core, session: &mut Session, frame: Bytes) -> Result<Option<Frame>, RequestError> {
    let (mut request, known) = Request::read(frame)?;
    if !known {
        // A client that is newer than the broker tries again with what it learns here (KIP-511).
        request.version = 0;
        return request.encode(cluster::api_versions(core, 0, ResponseError::UnsupportedVersion.code()));
    }
    if !session.may_ask(core, request.api) {
        return Err(RequestError::LoginNeeded(request.api));
    }
    session.mute = Duration::ZERO;
    let mut forced = 0;
    let mut lost = false;
    core.seen.request(request.api);
    if let Some((fault, action)) = core.faults.meet(request.api) {
        match action {
            FaultAction::Error(code) => forced = code,
            FaultAction::Close => return Err(RequestError::Fault),
            FaultAction::LoseResponse => lost = true,
            FaultAction::Pretend => return request.encode(EndTxnResponse::default()),
            FaultAction::Delay(delay) => tokio::time::sleep(delay).await,
            FaultAction::Throttle(time) => request.throttle = time,
            FaultAction::Freeze => core.faults.lifted(fault).await,
        }
    }
    session.mute = request.throttle;
    let api = request.api;
    let answer = dispatch(core, session, request, forced).await?;
    core.seen.handled(api);
    if lost { Err(RequestError::Fault) } else { Ok(answer) }
}

async fn dispatch(
    core: &Core,
    session: &mut Session,
    request: Request,
    forced: i16,
) -> Result<Option<Frame>, RequestError> {
    let version = request.version;
    let q = &request;
    match request.api {
        ApiKey::Produce => {
            let asked: ProduceRequest = q.decode()?;
            let acks = asked.acks;
            let (response, throttle) = produce(core, asked, version, forced).await;
            session.mute = session.mute.max(throttle);
            if acks != 0 {
                return q.encode(response);
            }
            let parts = response.responses.iter().flat_map(|topic| &topic.partition_responses);
            match parts.filter_map(|part| ResponseError::try_from_code(part.error_code)).next() {
                Some(error) => Err(RequestError::Unacknowledged(error)),
                None => Ok(None),
            }
        }
        ApiKey::Fetch => {
            let fetched = match q.throttle {
                Duration::ZERO => fetch(core, &q.decode()?, forced).await,
                // As in Kafka, a throttled client gets no records.
                throttle => Fetched::throttled(throttle),
            };
            let mut builder = q.begin(if version >= 12 { 1 } else { 0 })?;
            fetched.encode(&mut builder, version);
            Ok(Some(builder.finish()))
        }
        ApiKey::ListOffsets => q.encode(list_offsets::list_offsets(core, &q.decode()?, version, forced)),
        ApiKey::OffsetForLeaderEpoch => q.encode(list_offsets::epoch_ends(core, &q.decode()?, forced)),
        ApiKey::Metadata => q.encode(cluster::metadata(core, &q.decode()?, version, session.local, forced)),
        ApiKey::ApiVersions => q.encode(cluster::api_versions(core, version, forced)),
        ApiKey::FindCoordinator => {
            q.encode(cluster::find_coordinator(core, &q.decode()?, version, session.local, forced))
        }
        ApiKey::InitProducerId => {
            q.encode(transactions::initialise(core, &q.decode()?, version, forced, Instant::now()))
        }
        ApiKey::AddPartitionsToTxn => {
            q.encode(transactions::add_partitions(core, &q.decode()?, version, forced, Instant::now()))
        }
        ApiKey::AddOffsetsToTxn => {
            q.encode(transactions::add_offsets(core, &q.decode()?, version, forced, Instant::now()))
        }
        ApiKey::TxnOffsetCommit => {
            q.encode(transactions::commit_offsets(core, &q.decode()?, version, forced, Instant::now()))
        }
        ApiKey::EndTxn => q.encode(transactions::end(core, &q.decode()?, version, forced, Instant::now())),
        ApiKey::DescribeTransactions => {
            q.encode(transactions::describe(core, &q.decode()?, forced, Instant::now()))
        }
        ApiKey::ListTransactions => q.encode(transactions::list(core, &q.decode()?, forced, Instant::now())),
        ApiKey::DescribeCluster => q.encode(cluster::describe_cluster(core, session.local)),
        ApiKey::JoinGroup => {
            let host = session.remote.ip().to_string();
            let asked = q.decode()?;
            q.encode(core.groups.join(asked, version, &q.client_id, host, forced).await)
        }
        ApiKey::SyncGroup if forced != 0 => q.encode(SyncGroupResponse::default().with_error_code(forced)),
        ApiKey::SyncGroup => q.encode(core.groups.sync(&q.decode()?).await),
        ApiKey::Heartbeat if forced != 0 => q.encode(HeartbeatResponse::default().with_error_code(forced)),
        ApiKey::Heartbeat => q.encode(core.groups.heartbeat(&q.decode()?)),
        ApiKey::LeaveGroup if forced != 0 => q.encode(LeaveGroupResponse::default().with_error_code(forced)),
        ApiKey::LeaveGroup => q.encode(core.groups.leave(&q.decode()?, version)),
        ApiKey::OffsetCommit => {
            q.encode(core.groups.commit(&q.decode()?, &core.topics, &core.faults, forced))
        }
        ApiKey::OffsetFetch => q.encode(core.groups.committed(&q.decode()?, version, forced)),
        ApiKey::OffsetDelete => q.encode(core.groups.delete_offsets(&q.decode()?)),
        ApiKey::ListGroups if forced != 0 => q.encode(ListGroupsResponse::default().with_error_code(forced)),
        ApiKey::ListGroups => q.encode(core.groups.list(&q.decode()?)),
        ApiKey::DescribeGroups => q.encode(core.groups.describe(&q.decode()?, version, forced)),
        ApiKey::DeleteGroups => q.encode(core.groups.delete(&q.decode()?)),
        ApiKey::CreateTopics => q.encode(admin::create_topics(core, &q.decode()?, forced)),
        ApiKey::DeleteTopics => q.encode(admin::delete_topics(core, &q.decode()?, forced)),
        ApiKey::CreatePartitions => q.encode(admin::create_partitions(core, &q.decode()?, forced)),
        ApiKey::DeleteRecords => q.encode(admin::delete_records(core, &q.decode()?, forced)),
        ApiKey::SaslHandshake => q.encode(session.shake_hands(core, &q.decode()?, forced)),
        ApiKey::SaslAuthenticate => q.encode(session.authenticate(core, &q.decode()?, forced)),
        ApiKey::DescribeConfigs => q.encode(admin::describe_configs(core, &q.decode()?, forced)),
        api => Err(RequestError::Version { api, version }),
    }
}

impl Request {
    /// Reads the header; the second value is false for a version of ApiVersions that is not known.
    fn read(mut frame: Bytes) -> Result<(Request, bool), RequestError> {
        let number = |at: usize| frame.get(at..at + 2).map_or(-1, |b| i16::from_be_bytes([b[0], b[1]]));
        let (key, version) = (number(0), number(2));
        let api = ApiKey::try_from(key).map_err(|()| RequestError::UnknownApi(key))?;
        let spoken = SUPPORTED.iter().find(|spoken| spoken.key == api);
        if !spoken.is_some_and(|spoken| (spoken.min..=spoken.max).contains(&version)) {
            if api != ApiKey::ApiVersions || frame.len() < 8 {
                return Err(RequestError::Version { api, version });
            }
            let correlation_id = i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
            let request = Request {
                api,
                version,
                correlation_id,
                client_id: String::new(),
                body: Bytes::new(),
                throttle: Duration::ZERO,
            };
            return Ok((request, false));
        }
        let header = decode::<RequestHeader>(&mut frame, api.request_header_version(version));
        let header =
            header.map_err(|error| RequestError::Malformed { api, version, message: error.to_string() })?;
        let client_id = header.client_id.map(|id| id.to_string()).unwrap_or_default();
        let correlation_id = header.correlation_id;
        Ok((Request { api, version, correlation_id, client_id, body: frame, throttle: Duration::ZERO }, true))
    }

    /// The body. What follows it is ignored.
    fn decode<T: Decodable>(&self) -> Result<T, RequestError> {
        decode(&mut self.body.clone(), self.version).map_err(|error| RequestError::Malformed {
            api: self.api,
            version: self.version,
            message: error.to_string(),
        })
    }

    fn encode<T: Encodable + HeaderVersion + Throttled>(
        &self,
        mut response: T,
    ) -> Result<Option<Frame>, RequestError> {
        response.throttle(millis(self.throttle));
        let mut builder = self.begin(T::header_version(self.version))?;
        response.encode(&mut builder.tail, self.version).map_err(|error| self.unanswerable(&error))?;
        Ok(Some(builder.finish()))
    }

    fn begin(&self, header_version: i16) -> Result<FrameBuilder, RequestError> {
        let mut builder = FrameBuilder::new();
        let header = ResponseHeader::default().with_correlation_id(self.correlation_id);
        header.encode(&mut builder.tail, header_version).map_err(|error| self.unanswerable(&error))?;
        Ok(builder)
    }

    fn unanswerable(&self, error: &impl ToString) -> RequestError {
        RequestError::Answer { api: self.api, version: self.version, message: error.to_string() }
    }
}
