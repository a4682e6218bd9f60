//! Any interleaving of producers, timeouts, ends and faults, against a model of what was decided: a
//! reader of committed records sees each of them once and in order, and nothing else ever.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use kafka_protocol::error::ResponseError;
use proptest::{collection::vec, prelude::*};
use topicmill_records::{
    AbortedTransaction, AssembleSettings, Assembler, Compression, NO_HEADERS, ProducerStamp, RecordWriter,
};

use super::{
    append::Asked,
    state::{Outcome, Participant, Producer, Version},
};
use crate::{BrokerSettings, core::Core, rules::Rules, topics::Topic};

/// The clients' transactional ids: the last is after the first one's.
const IDS: [&str; 3] = ["a", "b", "a"];

const PARTITIONS: i32 = 3;

/// How long a transaction may be open.
const TIMEOUT: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
enum Step {
    /// A client asks for its id, as one that is new or as one that goes on.
    Begin { client: usize, goes_on: bool },
    /// It writes a batch.
    Write { client: usize, partition: i32, records: usize },
    /// It sends its last batch again.
    Resend { client: usize },
    /// It commits its offsets.
    Offset { client: usize },
    /// It ends its transaction.
    End { client: usize, outcome: Outcome },
    /// Ends are written this much later from now on.
    DelayMarkers { ms: u64 },
    /// The coordinator aborts the next transaction that is to be committed.
    AbortNext,
    /// A partition loses its leader, or gets one.
    Lead { partition: i32, leaderless: bool },
    /// Time passes.
    Wait { ms: u64 },
    /// A reader reads on in a partition, up to so many bytes.
    Read { partition: i32, bytes: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..IDS.len();
    let partition = || 0..PARTITIONS;
    let outcome = prop_oneof![3 => Just(Outcome::Commit), 1 => Just(Outcome::Abort)];
    prop_oneof![
        2 => (client(), any::<bool>()).prop_map(|(client, goes_on)| Step::Begin { client, goes_on }),
        8 => (client(), partition(), 1..4usize)
            .prop_map(|(client, partition, records)| Step::Write { client, partition, records }),
        1 => client().prop_map(|client| Step::Resend { client }),
        1 => client().prop_map(|client| Step::Offset { client }),
        5 => (client(), outcome).prop_map(|(client, outcome)| Step::End { client, outcome }),
        1 => (0..3u64).prop_map(|delay| Step::DelayMarkers { ms: delay * 40 }),
        1 => Just(Step::AbortNext),
        1 => (partition(), any::<bool>())
            .prop_map(|(partition, leaderless)| Step::Lead { partition, leaderless }),
        3 => (0..300u64).prop_map(|ms| Step::Wait { ms }),
        4 => (partition(), 0..400usize).prop_map(|(partition, bytes)| Step::Read { partition, bytes }),
    ]
}

/// What is known of a transaction from outside.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Open { began: Instant, owner: Producer },
    Over(Outcome),
}

#[derive(Default)]
struct Client {
    producer: Option<Producer>,
    /// The next sequence number of each producer and partition.
    sequences: BTreeMap<(Producer, i32), i32>,
    /// The last batch that was taken, with its partition.
    last: Option<(i32, bytes::Bytes)>,
}

struct World {
    core: Core,
    topic: std::sync::Arc<Topic>,
    version: Version,
    now: Instant,
    clients: [Client; IDS.len()],
    /// All transactions that ever were.
    fates: Vec<Fate>,
    /// The producer of each.
    owners: Vec<Producer>,
    /// The last one of each transactional id.
    current: BTreeMap<&'static str, usize>,
    /// The records of each partition in the order in which they were taken, and whose they are.
    written: Vec<Vec<(u64, usize)>>,
    /// What each transaction would commit, in the order in which it was sent.
    offsets: Vec<(i64, usize)>,
    abort_next: bool,
    next_value: u64,
    positions: Vec<i64>,
    read: Vec<Vec<u64>>,
}

impl World {
    fn new(version: Version) -> World {
        let listen = ([127, 0, 0, 1], 0).into();
        let core = Core::new(&BrokerSettings { listen, memory: 16 << 20, partitions: 1 });
        core.transactions.set_version(version);
        let topic = core.topics.create("t", PARTITIONS, BTreeMap::new(), false).unwrap();
        World {
            core,
            topic,
            version,
            now: Instant::now(),
            clients: Default::default(),
            fates: Vec::new(),
            owners: Vec::new(),
            current: BTreeMap::new(),
            written: vec![Vec::new(); PARTITIONS as usize],
            offsets: Vec::new(),
            abort_next: false,
            next_value: 0,
            positions: vec![0; PARTITIONS as usize],
            read: vec![Vec::new(); PARTITIONS as usize],
        }
    }

    fn open(&self, client: usize) -> Option<(usize, Producer)> {
        let of = *self.current.get(IDS[client])?;
        match self.fates[of] {
            Fate::Open { owner, .. } => Some((of, owner)),
            Fate::Over(_) => None,
        }
    }

    /// A transaction of the client is open, begun now if there was none.
    fn opened(&mut self, client: usize, owner: Producer) -> usize {
        if let Some((of, known)) = self.open(client) {
            assert_eq!(known, owner, "only its owner writes to a transaction");
            return of;
        }
        self.fates.push(Fate::Open { began: self.now, owner });
        self.owners.push(owner);
        self.current.insert(IDS[client], self.fates.len() - 1);
        self.fates.len() - 1
    }

    /// The last transaction of a producer, which was aborted.
    fn aborted(&self, owner: Producer) -> usize {
        let of = self.owners.iter().rposition(|known| *known == owner).expect("it is in the log");
        assert_eq!(self.fates[of], Fate::Over(Outcome::Abort), "nothing joins what is committed");
        of
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Begin { client, goes_on } => self.begin(client, goes_on),
            Step::Write { client, partition, records } => self.write(client, partition, records),
            Step::Resend { client } => self.resend(client),
            Step::Offset { client } => self.offset(client),
            Step::End { client, outcome } => self.end(client, outcome),
            Step::DelayMarkers { ms } => self.core.transactions.delay_markers(Duration::from_millis(ms)),
            Step::AbortNext => {
                self.core.transactions.abort_next(1);
                self.abort_next = true;
            }
            Step::Lead { partition, leaderless } => {
                self.topic.partitions[partition as usize].change(|log| {
                    log.set_leaderless(leaderless);
                    0
                });
            }
            Step::Wait { ms } => self.wait(Duration::from_millis(ms)),
            Step::Read { partition, bytes } => self.read(partition, bytes),
        }
    }

    fn begin(&mut self, client: usize, goes_on: bool) {
        let expected = self.clients[client].producer.filter(|_| goes_on);
        let transactions = &self.core.transactions;
        match transactions.initialise(&self.core, IDS[client], expected, TIMEOUT, self.now) {
            Ok(producer) => {
                assert_eq!(self.open(client), None, "no transaction is left open");
                self.clients[client].producer = Some(producer);
            }
            Err(ResponseError::ConcurrentTransactions) => {
                if let Some((of, _)) = self.open(client) {
                    self.fates[of] = Fate::Over(Outcome::Abort);
                }
            }
            Err(ResponseError::ProducerFenced) => assert!(goes_on),
            Err(error) => panic!("{error}"),
        }
    }

    fn write(&mut self, client: usize, number: i32, records: usize) {
        let Some(producer) = self.clients[client].producer else { return };
        if self.version == Version::One && !self.add(client, producer, number) {
            return;
        }
        let sequence = *self.clients[client].sequences.get(&(producer, number)).unwrap_or(&0);
        let values: Vec<u64> = (0..records as u64).map(|i| self.next_value + i).collect();
        let mut writer = RecordWriter::new(1 << 20, 1 << 10);
        for value in &values {
            writer.push(1000, None, Some(&[&value.to_be_bytes()]), NO_HEADERS);
        }
        let [batch] = writer.finish().try_into().expect("one batch");
        let stamp = ProducerStamp {
            producer_id: producer.id,
            epoch: producer.epoch,
            base_sequence: sequence,
            transactional: true,
        };
        let bytes = batch.seal(stamp, Compression::None);
        let expected = self.open(client).is_some_and(|(_, owner)| owner == producer);
        // The client does not know yet that the coordinator has aborted it, and nor does the log.
        let late = !expected && self.topic.partitions[number as usize].log().has_open(producer);
        match self.append(client, number, bytes.clone()) {
            Ok(_) => {
                let of = if late { self.aborted(producer) } else { self.opened(client, producer) };
                self.next_value += records as u64;
                self.written[number as usize].extend(values.iter().map(|value| (*value, of)));
                self.clients[client].sequences.insert((producer, number), sequence + records as i32);
                self.clients[client].last = Some((number, bytes));
            }
            Err(ResponseError::NotLeaderOrFollower) => {}
            Err(error) => assert!(!expected, "an open transaction takes records: {error}"),
        }
    }

    fn add(&mut self, client: usize, producer: Producer, number: i32) -> bool {
        let transactions = &self.core.transactions;
        let participant = Participant::Partition("t".into(), number);
        let mut all = transactions.lock();
        let added = transactions.add(&mut all, IDS[client], producer, [participant], self.now);
        drop(all);
        if added.is_ok() {
            self.opened(client, producer);
        }
        added.is_ok()
    }

    fn append(&self, client: usize, number: i32, bytes: bytes::Bytes) -> Result<usize, ResponseError> {
        let partition = &self.topic.partitions[number as usize];
        let version = if self.version == Version::One { 11 } else { 12 };
        let asked = Asked { id: Some(IDS[client]), version };
        let admitted = partition.admit(bytes, &Rules::default()).map_err(|refused| refused.error)?;
        let appended = self.core.transactions.append(partition, admitted, asked, self.now)?;
        Ok(appended.cost)
    }

    fn resend(&mut self, client: usize) {
        let Some((number, bytes)) = self.clients[client].last.clone() else { return };
        let cost = self.append(client, number, bytes).unwrap_or(0);
        assert_eq!(cost, 0, "it was taken before");
    }

    fn offset(&mut self, client: usize) {
        use kafka_protocol::{
            messages::txn_offset_commit_request::*,
            messages::{GroupId, ProducerId, TopicName, TransactionalId, TxnOffsetCommitRequest},
            protocol::StrBytes,
        };
        let Some(producer) = self.clients[client].producer else { return };
        let offset = self.next_value as i64;
        self.next_value += 1;
        let text = StrBytes::from_static_str;
        let part = TxnOffsetCommitRequestPartition::default().with_committed_offset(offset);
        let topic = TxnOffsetCommitRequestTopic::default().with_name(TopicName(text("t")));
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(TransactionalId(text(IDS[client])))
            .with_group_id(GroupId(text("g")))
            .with_producer_id(ProducerId(producer.id))
            .with_producer_epoch(producer.epoch)
            .with_topics(vec![topic.with_partitions(vec![part])]);
        let answer = super::commit_offsets(&self.core, &request, 5, 0, self.now);
        if answer.topics[0].partitions[0].error_code == 0 {
            let of = self.opened(client, producer);
            self.offsets.push((offset, of));
        }
    }

    fn end(&mut self, client: usize, outcome: Outcome) {
        let Some(producer) = self.clients[client].producer else { return };
        let transactions = &self.core.transactions;
        let ended = transactions.end(&self.core, IDS[client], producer, outcome, self.version, self.now);
        let open = self.open(client).filter(|(_, owner)| *owner == producer);
        if let Some((of, _)) = open {
            let aborted = outcome == Outcome::Commit && std::mem::take(&mut self.abort_next);
            assert_eq!(ended.is_ok(), !aborted, "{ended:?}");
            self.fates[of] = Fate::Over(if aborted { Outcome::Abort } else { outcome });
        }
        if let Ok(producer) = ended {
            self.clients[client].producer = Some(producer);
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        for fate in &mut self.fates {
            if matches!(fate, Fate::Open { began, .. } if *began + TIMEOUT <= self.now) {
                *fate = Fate::Over(Outcome::Abort);
            }
        }
        self.core.transactions.pass_time(&self.core, self.now);
    }

    fn read(&mut self, number: i32, max_bytes: usize) {
        let at = number as usize;
        let position = self.positions[at];
        let log = self.topic.partitions[at].log();
        let batches = log.read(position, log.last_stable(), max_bytes, true).unwrap();
        let Some(last) = batches.last() else { return };
        let aborted = log.aborted(position, last.last_offset + 1).into_iter();
        let aborted =
            aborted.map(|(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset });
        let mut bytes = BytesMut::new();
        for batch in &batches {
            bytes.extend_from_slice(&batch.patch());
            bytes.extend_from_slice(&batch.rest());
        }
        let settings = AssembleSettings { read_committed: true, ..AssembleSettings::default() };
        for piece in Assembler::new(bytes.freeze(), position, aborted.collect(), settings) {
            let piece = piece.unwrap();
            self.positions[at] = piece.next_offset;
            for record in &piece.records {
                let value = record.value.get(&piece.buffer).unwrap();
                let value = u64::from_be_bytes(value.try_into().unwrap());
                let (_, of) = self.written[at].iter().find(|(known, _)| *known == value).unwrap();
                assert_eq!(self.fates[*of], Fate::Over(Outcome::Commit), "record {value}");
                self.read[at].push(value);
            }
        }
    }

    /// Everything ends, and the reader reads to the end.
    fn finish(&mut self) {
        for partition in &self.topic.partitions {
            partition.change(|log| {
                log.set_leaderless(false);
                0
            });
        }
        for _ in 0..20 {
            self.wait(TIMEOUT);
        }
        for number in 0..PARTITIONS {
            let at = number as usize;
            let end = self.topic.partitions[at].log().end();
            assert_eq!(self.topic.partitions[at].log().last_stable(), end, "nothing is open");
            while self.positions[at] < end {
                self.read(number, 100);
            }
            let committed = |of: usize| self.fates[of] == Fate::Over(Outcome::Commit);
            let expected = self.written[at].iter().filter(|(_, of)| committed(*of));
            let expected: Vec<u64> = expected.map(|(value, _)| *value).collect();
            assert_eq!(self.read[at], expected, "partition {number}");
        }
        let committed = self.offsets.iter().filter(|(_, of)| self.fates[*of] == Fate::Over(Outcome::Commit));
        let last = committed.map(|(offset, _)| *offset).max();
        assert_eq!(self.core.groups.committed_offset("g", "t", 0), last);
    }
}

proptest! {
    #[test]
    fn a_reader_of_committed_records_sees_each_once_and_nothing_else(
        steps in vec(step(), 1..150),
        first in any::<bool>(),
    ) {
        let mut world = World::new(if first { Version::One } else { Version::Two });
        for step in steps {
            world.take(step);
        }
        world.finish();
    }
}
