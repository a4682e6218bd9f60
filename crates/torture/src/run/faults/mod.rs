//! The faults. Each is a function that strikes at a [`Trial`] under way.

mod brokers;
mod members;
mod network;

use clap::ValueEnum;

use super::{Delivery, error::RunError, trial::Trial};

/// A fault, or several of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FaultKind {
    /// Instances are killed, one or all at once.
    Kill,
    /// Instances are asked to end, while they work and right at their start.
    Terminate,
    /// A member comes or goes every two seconds.
    Churn,
    /// An instance is stopped past its session and wakes beside the new owner.
    Asleep,
    /// Each broker is killed and started in turn.
    BrokersKilled,
    /// A broker is stopped for 45 seconds.
    BrokerStopped,
    /// Every partition gets another leader.
    LeadersMoved,
    /// All connections are cut every half to one and a half seconds.
    Cut,
    /// An instance cannot reach brokers, or they cannot reach it.
    Partitioned,
    /// What goes to the brokers goes at 1 Mbit/s.
    Throttled,
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
            FaultKind::BrokersKilled => "each broker killed in turn",
            FaultKind::BrokerStopped => "a broker stopped for 45 s",
            FaultKind::LeadersMoved => "leaders moved",
            FaultKind::Cut => "connections cut every 0.5–1.5 s",
            FaultKind::Partitioned => "network partitioned, one way and both",
            FaultKind::Throttled => "1 Mbit/s to the brokers",
        }
    }

    /// Whether it can be tried with this delivery.
    pub(super) fn is_for(self, _delivery: Delivery) -> bool {
        true
    }

    /// How many of a thousand events cannot be transformed.
    pub(super) fn poison_permille(self) -> u64 {
        5
    }

    /// How many records may be there twice.
    pub(super) fn twice(self, delivery: Delivery) -> Twice {
        match (delivery, self) {
            (Delivery::ExactlyOnce, _) | (_, FaultKind::Terminate) => Twice::Never,
            (_, FaultKind::Churn) => Twice::Permille(1),
            _ => Twice::Any,
        }
    }

    /// The rare paths that are shown, and the metrics that count them.
    pub(super) fn sometimes(self, delivery: Delivery) -> Vec<(&'static str, &'static str)> {
        let mut shown = vec![
            ("rewinds", "topicmill_rewinds_total"),
            ("restarts", "topicmill_restarts_total"),
            ("rebalances", "topicmill_rebalances_total"),
            ("failed commits", "topicmill_commit_failures_total"),
            ("stale batches", "topicmill_stale_batches_total"),
            ("dead letters", "topicmill_dead_letters_total"),
        ];
        if delivery == Delivery::ExactlyOnce {
            shown.push(("commits", "topicmill_transactions_total.committed"));
            shown.push(("aborts", "topicmill_transactions_total.aborted"));
        }
        shown
    }

    /// Whether this rare path must have been taken.
    pub(super) fn requires(self, path: &str, delivery: Delivery) -> bool {
        let exact = delivery == Delivery::ExactlyOnce;
        match self {
            _ if path == "dead letters" => true,
            FaultKind::Kill => exact && path == "aborted records",
            FaultKind::Churn => path == "rebalances",
            FaultKind::Cut => path == "connections cut",
            _ => false,
        }
    }

    /// Strikes.
    pub(super) fn strike(self, trial: &mut Trial<'_>) -> Result<(), RunError> {
        match self {
            FaultKind::Kill => members::kill(trial),
            FaultKind::Terminate => members::terminate(trial),
            FaultKind::Churn => members::churn(trial),
            FaultKind::Asleep => members::asleep(trial),
            FaultKind::BrokersKilled => brokers::killed(trial),
            FaultKind::BrokerStopped => brokers::stopped(trial),
            FaultKind::LeadersMoved => brokers::leaders_moved(trial),
            FaultKind::Cut => network::cut(trial),
            FaultKind::Partitioned => network::partitioned(trial),
            FaultKind::Throttled => network::throttled(trial),
        }
    }
}
