//! The faults. Each is a function that strikes at a [`Trial`] under way.

mod brokers;
mod coordinators;
mod late;
mod letters;
mod members;
mod mixed;
mod network;
mod topics;
mod transactions;

use std::time::Duration;

use clap::ValueEnum;

use super::{Delivery, cheat::Cheat, error::RunError, trial::Trial};
use crate::{event::SIZE_MAX, judge::Counts};

/// The metric that counts offsets that were passed over.
pub(super) const SKIPPED: &str = "topicmill_skipped_offsets_total";

/// How rebalances are called in the table.
pub(super) const REBALANCES: &str = "rebalances";

/// How long a cheat may cheat.
const CHEATED: Duration = Duration::from_secs(10);

/// A fault, or several of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FaultKind {
    /// Instances are killed, one or all at once
    Kill,
    /// Instances are asked to end, while they work and right at their start
    Terminate,
    /// A member comes or goes every two seconds
    Churn,
    /// An instance is stopped past its session and wakes beside the new owner
    Asleep,
    /// An instance is stopped, and wakes beside another with the same ids
    Replaced,
    /// Another client takes over the transactional ids of an instance
    TakenOver,
    /// Each broker is killed and started in turn
    BrokersKilled,
    /// A broker is stopped for 45 seconds
    BrokerStopped,
    /// Two brokers of three are killed: no write has its replicas
    MajorityLost,
    /// Every partition gets another leader
    LeadersMoved,
    /// All connections are cut every half to one and a half seconds
    Cut,
    /// An instance cannot reach brokers, or they cannot reach it
    Partitioned,
    /// What goes to the brokers goes at 1 Mbit/s
    Throttled,
    /// Requests about transactions come later than those after them
    Delayed,
    /// Every third transaction is aborted
    Aborted,
    /// The cluster's version of transactions is changed to and fro
    VersionSwitched,
    /// Nothing happens until transactional ids are forgotten
    Idle,
    /// A tenth of the events cannot be transformed, and instances are killed
    Poison,
    /// The destination refuses events for their size and their time, and instances are killed
    Refused,
    /// Events are deleted before they are read
    Retention,
    /// Three links, the output of one the source of the next, while members come and go
    Chain,
    /// All of it, at random
    Mixed,
    /// No fault but a control: ends of transactions are answered and not made, which the judge must
    /// notice
    Forged,
    // Seeds are mixed with the number of a fault: those that are added come last.
    /// A tenth of the events cannot be transformed, and an ACL refuses their dead letters for a time
    LettersRefused,
    /// The disk of a broker is full, so that it ends; it is started again once there is room
    DiskFull,
    /// A coordinator is isolated in the midst of a commit, of the group or of a transaction
    CoordinatorsIsolated,
    /// Every partition loses a replica and gets it again
    Reassigned,
    /// An instance begins when the epochs of its producers are nearly used up
    EpochsUsedUp,
    /// A control: another program, which commits before it writes, and is killed
    CommitsFirst,
    /// A control: another program, which passes over what it cannot transform
    SkipsErrors,
    /// A control: another program, which changes the order
    Reorders,
    /// A control: another program, which writes some records twice
    Duplicates,
    /// A control: another program, which leaves some records out
    Drops,
    /// The first transaction of an instance is aborted while its first request is under way
    FirstAborted,
}

/// How many records may be there twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Twice {
    Never,
    /// So many of a thousand.
    Permille(u64),
    Any,
}

impl FaultKind {
    /// What it does.
    pub fn about(self) -> &'static str {
        match self {
            FaultKind::Kill => "kill -9 of instances",
            FaultKind::Terminate => "SIGTERM of instances",
            FaultKind::Churn => "a member comes or goes every 2 s",
            FaultKind::Asleep => "an instance stopped past its session, then woken",
            FaultKind::Replaced => "an instance woken beside another with its ids",
            FaultKind::TakenOver => "transactional ids taken over by another client",
            FaultKind::BrokersKilled => "each broker killed in turn",
            FaultKind::BrokerStopped => "a broker stopped for 45 s",
            FaultKind::MajorityLost => "two brokers of three killed",
            FaultKind::LeadersMoved => "leaders moved",
            FaultKind::Cut => "connections cut every 0.5–1.5 s",
            FaultKind::Partitioned => "network partitioned, one way and both",
            FaultKind::Throttled => "1 Mbit/s to the brokers",
            FaultKind::Delayed => "requests delayed into a later transaction",
            FaultKind::Aborted => "every third transaction aborted",
            FaultKind::VersionSwitched => "version of transactions switched",
            FaultKind::Idle => "idle until transactional ids expire",
            FaultKind::Poison => "10 % poison, and kill -9",
            FaultKind::Refused => "oversized and untimely events, and kill -9",
            FaultKind::Retention => "events deleted before they are read",
            FaultKind::Chain => "a chain of three, members come and go",
            FaultKind::Mixed => "all of it at random",
            FaultKind::Forged => "control: ends answered, not made",
            FaultKind::LettersRefused => "10 % poison, dead letters refused by an ACL",
            FaultKind::DiskFull => "a broker's disk full",
            FaultKind::CoordinatorsIsolated => "a coordinator isolated during a commit",
            FaultKind::Reassigned => "partitions reassigned",
            FaultKind::EpochsUsedUp => "epochs of a producer used up",
            FaultKind::FirstAborted => "the first transaction aborted, its first request late",
            FaultKind::CommitsFirst => "control: commits first, kill -9",
            FaultKind::SkipsErrors => "control: skips errors",
            FaultKind::Reorders => "control: changes the order",
            FaultKind::Duplicates => "control: writes twice",
            FaultKind::Drops => "control: drops one in a thousand",
        }
    }

    /// Whether it can be tried with this delivery, in the short form or the long one.
    pub(super) fn is_for(self, delivery: Delivery, short: bool) -> bool {
        let exact = delivery == Delivery::ExactlyOnce;
        match self {
            FaultKind::Kill | FaultKind::Churn => true,
            FaultKind::Terminate | FaultKind::LeadersMoved | FaultKind::Cut | FaultKind::Chain => {
                exact || !short
            }
            FaultKind::TakenOver | FaultKind::Delayed | FaultKind::Aborted | FaultKind::VersionSwitched => {
                exact
            }
            FaultKind::Forged => exact,
            FaultKind::CommitsFirst
            | FaultKind::SkipsErrors
            | FaultKind::Reorders
            | FaultKind::Duplicates
            | FaultKind::Drops => !exact,
            FaultKind::Replaced | FaultKind::Idle | FaultKind::EpochsUsedUp | FaultKind::FirstAborted => {
                exact && !short
            }
            FaultKind::Refused | FaultKind::LettersRefused => exact || !short,
            FaultKind::DiskFull | FaultKind::BrokersKilled | FaultKind::Poison | FaultKind::Retention => {
                !(exact && short)
            }
            FaultKind::Asleep
            | FaultKind::BrokerStopped
            | FaultKind::MajorityLost
            | FaultKind::Partitioned
            | FaultKind::Throttled
            | FaultKind::CoordinatorsIsolated
            | FaultKind::Reassigned
            | FaultKind::Mixed => !short,
        }
    }

    /// Whether the judge is judged: how many of what it must find there are. `None` when nothing may be found. What is
    /// lost is what the group has committed and nobody has written.
    pub(super) fn control(self, counts: &Counts) -> Option<u64> {
        match self {
            FaultKind::Forged | FaultKind::CommitsFirst | FaultKind::SkipsErrors | FaultKind::Drops => {
                Some(counts.lost)
            }
            FaultKind::Reorders => Some(counts.out_of_order),
            FaultKind::Duplicates => Some(counts.twice),
            _ => None,
        }
    }

    /// Whether the judge is judged.
    pub(super) fn is_control(self) -> bool {
        self.control(&Counts::default()).is_some()
    }

    /// How another program cheats that runs in the place of topicmill.
    pub(super) fn cheat(self) -> Option<Cheat> {
        match self {
            FaultKind::CommitsFirst => Some(Cheat::CommitFirst),
            FaultKind::SkipsErrors => Some(Cheat::SkipErrors),
            FaultKind::Reorders => Some(Cheat::Reorder),
            FaultKind::Duplicates => Some(Cheat::Duplicate),
            FaultKind::Drops => Some(Cheat::Drop),
            _ => None,
        }
    }

    /// Whether other nodes become coordinators.
    pub(super) fn moves_coordinators(self) -> bool {
        matches!(
            self,
            FaultKind::BrokersKilled
                | FaultKind::BrokerStopped
                | FaultKind::MajorityLost
                | FaultKind::LeadersMoved
                | FaultKind::DiskFull
                | FaultKind::CoordinatorsIsolated
                | FaultKind::Mixed
        )
    }

    /// Whether events are deleted that were not read.
    pub(super) fn deletes_events(self) -> bool {
        matches!(self, FaultKind::Retention | FaultKind::Mixed)
    }

    /// How many instances a record passes.
    pub(super) fn links(self) -> usize {
        if self == FaultKind::Chain { 3 } else { 1 }
    }

    /// How many of a thousand events cannot be transformed.
    pub(super) fn poison_permille(self) -> u64 {
        if matches!(self, FaultKind::Poison | FaultKind::LettersRefused) { 100 } else { 5 }
    }

    /// Whether nodes must know ACLs.
    pub(super) fn needs_acls(self) -> bool {
        self == FaultKind::LettersRefused
    }

    /// How a topic is set.
    pub(super) fn topic_config(self, is_destination: bool) -> &'static [(&'static str, &'static str)] {
        match (self, is_destination) {
            (FaultKind::Refused, true) => {
                const { assert!(SIZE_MAX == 32_768) };
                &[("max.message.bytes", "32768"), ("message.timestamp.after.max.ms", "3600000")]
            }
            (FaultKind::Refused, false) => &[("message.timestamp.after.max.ms", "9223372036854775807")],
            _ => &[],
        }
    }

    /// How many records may be there twice.
    pub(super) fn twice(self, delivery: Delivery) -> Twice {
        match (delivery, self) {
            (Delivery::ExactlyOnce, _) | (_, FaultKind::Terminate) => Twice::Never,
            (_, FaultKind::Churn | FaultKind::Chain) => Twice::Permille(1),
            _ => Twice::Any,
        }
    }

    /// How long a partition with work to do may not go on.
    pub(super) fn pause_max(self) -> Duration {
        Duration::from_secs(match self {
            // Nobody can write meanwhile: the fault lasts as long.
            FaultKind::MajorityLost | FaultKind::Partitioned | FaultKind::Throttled | FaultKind::Mixed => 90,
            // An instance is killed again before its session is over: its partitions wait for the last.
            FaultKind::Kill | FaultKind::Poison | FaultKind::Refused => 60,
            // An instance can write nothing meanwhile, or no dead letter.
            FaultKind::FirstAborted | FaultKind::LettersRefused => 60,
            _ => 20,
        })
    }

    /// The rare paths that are shown, and the metrics that count them.
    pub(super) fn sometimes(self, delivery: Delivery) -> Vec<(&'static str, &'static str)> {
        let mut shown = vec![
            ("rewinds", "topicmill_rewinds_total"),
            ("restarts", "topicmill_restarts_total"),
            (REBALANCES, "topicmill_rebalances_total"),
            ("failed commits", "topicmill_commit_failures_total"),
            ("stale batches", "topicmill_stale_batches_total"),
            ("dead letters", "topicmill_dead_letters_total"),
        ];
        if self.deletes_events() {
            shown.push(("skipped offsets", SKIPPED));
        }
        if delivery == Delivery::ExactlyOnce {
            shown.push(("commits", "topicmill_transactions_total.committed"));
            shown.push(("aborts", "topicmill_transactions_total.aborted"));
        }
        shown
    }

    /// The errors that instances must have told of.
    pub(super) fn errors(self) -> &'static [&'static str] {
        match self {
            FaultKind::Aborted => &["TRANSACTION_ABORTABLE", "INVALID_TXN_STATE"],
            FaultKind::LettersRefused => &["TOPIC_AUTHORIZATION_FAILED"],
            FaultKind::TakenOver => &["PRODUCER_FENCED"],
            FaultKind::Mixed => &["TRANSACTION_ABORTABLE", "CONCURRENT_TRANSACTIONS"],
            _ => &[],
        }
    }

    /// Whether this rare path must have been taken.
    pub(super) fn requires(self, path: &str, delivery: Delivery) -> bool {
        let exact = delivery == Delivery::ExactlyOnce;
        match path {
            "dead letters" => true,
            "aborted records" => {
                exact && matches!(self, FaultKind::Kill | FaultKind::Aborted | FaultKind::Mixed)
            }
            "aborts" => {
                exact
                    && matches!(
                        self,
                        FaultKind::Aborted | FaultKind::FirstAborted | FaultKind::Asleep | FaultKind::Mixed
                    )
            }
            "rewinds" => exact && matches!(self, FaultKind::Aborted | FaultKind::Mixed),
            REBALANCES => {
                matches!(self, FaultKind::Churn | FaultKind::Chain | FaultKind::Asleep | FaultKind::Mixed)
            }
            "loud stops" => {
                matches!(self, FaultKind::Replaced | FaultKind::TakenOver | FaultKind::LettersRefused)
                    || exact && self == FaultKind::Mixed
            }
            "skipped offsets" | "events not due" => self.deletes_events(),
            _ if self.errors().contains(&path) => exact || self != FaultKind::Mixed,
            "ends of version 1" | "ends of version 2" => {
                matches!(self, FaultKind::Delayed | FaultKind::VersionSwitched | FaultKind::FirstAborted)
            }
            // What a fault counts itself.
            "connections cut" | "ends meddled with" | "requests meddled with" => true,
            "replicas taken away" | "epochs rolled over" => true,
            "ids forgotten" | "producers forgotten" => true,
            "nodes that ended" | "failed writes to disk" => true,
            _ => {
                path.starts_with("delayed ") || path.starts_with("held ") || path.starts_with("isolated by ")
            }
        }
    }

    /// Strikes.
    pub(super) fn strike(self, trial: &mut Trial<'_>) -> Result<(), RunError> {
        match self {
            FaultKind::Kill => members::kill(trial),
            FaultKind::Terminate => members::terminate(trial),
            FaultKind::Churn | FaultKind::Chain => members::churn(trial),
            FaultKind::Asleep => members::asleep(trial),
            FaultKind::Replaced => transactions::replaced(trial),
            FaultKind::TakenOver => transactions::taken_over(trial),
            FaultKind::BrokersKilled => brokers::killed(trial),
            FaultKind::BrokerStopped => brokers::stopped(trial),
            FaultKind::MajorityLost => brokers::majority_lost(trial),
            FaultKind::LeadersMoved => brokers::leaders_moved(trial),
            FaultKind::Cut => network::cut(trial),
            FaultKind::Partitioned => network::partitioned(trial),
            FaultKind::Throttled => network::throttled(trial),
            FaultKind::Delayed => late::delayed(trial),
            FaultKind::Aborted => transactions::aborted(trial),
            FaultKind::VersionSwitched => transactions::version_switched(trial),
            FaultKind::FirstAborted => late::first_aborted(trial),
            FaultKind::Idle => transactions::idle(trial),
            FaultKind::Poison | FaultKind::Refused => members::kill_some(trial, 20),
            FaultKind::Retention => topics::retention(trial),
            FaultKind::Mixed => mixed::strike(trial),
            FaultKind::Forged => transactions::forged(trial),
            FaultKind::LettersRefused => letters::refused(trial),
            FaultKind::DiskFull => brokers::disk_full(trial),
            FaultKind::CoordinatorsIsolated => coordinators::isolated(trial),
            FaultKind::Reassigned => brokers::reassigned(trial),
            FaultKind::EpochsUsedUp => transactions::epochs_used_up(trial),
            FaultKind::CommitsFirst => members::kill_cheats(trial),
            FaultKind::SkipsErrors | FaultKind::Reorders | FaultKind::Duplicates | FaultKind::Drops => {
                trial.strike();
                trial.pause(CHEATED)
            }
        }
    }
}
