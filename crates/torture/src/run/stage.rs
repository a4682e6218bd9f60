//! Where all trials take place: the nodes, and the proxies that instances come through.

use std::{net::Ipv4Addr, sync::Arc};

use rand::Rng;

use super::{Settings, acls, admin::Admin, error::RunError, faults::FaultKind};
use crate::{
    nodes::{Nodes, NodesSettings, free_ports},
    proxy::{Proxy, Rules},
};

/// Ports from the first free one: nodes, then proxies, then the metrics of instances, then where
/// the nodes listen for the proxies.
const PROXIES: u16 = 3;
const METRICS: u16 = 6;
/// How many instances there may be.
pub(super) const INSTANCES_MAX: usize = 7;
const BEHIND_PROXIES: u16 = PROXIES + 10;

/// What nodes are set to: members are missed soon, and so are transactional ids that nobody uses.
const PROPERTIES: [&str; 10] = [
    "group.consumer.session.timeout.ms=6000",
    "group.consumer.min.session.timeout.ms=6000",
    "group.consumer.heartbeat.interval.ms=1000",
    "group.consumer.min.heartbeat.interval.ms=1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms=1000",
    "transaction.remove.expired.transaction.cleanup.interval.ms=5000",
    "transactional.id.expiration.ms=60000",
    // How long the end of a transaction waits for a node that does not answer.
    "request.timeout.ms=5000",
    "producer.id.expiration.check.interval.ms=5000",
    // Of two that start again after both were killed, the first waits for the second.
    "initial.broker.registration.timeout.ms=180000",
];

/// The nodes and what stands before them.
pub(super) struct Stage {
    pub settings: Settings,
    pub nodes: Nodes,
    pub rules: Arc<Rules>,
    pub admin: Admin,
    /// The nodes' addresses through the proxies.
    pub proxied: String,
    /// The port of the first instance's metrics.
    pub metrics: u16,
    _proxies: Vec<Proxy>,
}

impl Stage {
    pub fn build(settings: Settings, random: &mut impl Rng) -> Result<Stage, RunError> {
        let port = free_ports(|| random.random())?;
        let mut more = vec!["--proxied".to_owned(), (port + PROXIES).to_string()];
        let mut set = |property: &str| more.extend(["--set".to_owned(), property.to_owned()]);
        PROPERTIES.into_iter().for_each(&mut set);
        // What else is tried meets nodes without.
        let has_acls = settings.faults.iter().any(|&fault| FaultKind::needs_acls(fault));
        if has_acls {
            acls::PROPERTIES.into_iter().for_each(&mut set);
        }
        let majority = settings.nodes / 2 + 1;
        set(&format!("min.insync.replicas={majority}"));
        set(&format!("transaction.state.log.min.isr={majority}"));
        let nodes = NodesSettings {
            script: settings.scripts.join("kafka"),
            data: settings.data.join("kafka"),
            libs: settings.libs.clone(),
            count: settings.nodes,
            more,
        };
        let nodes = Nodes::up(nodes, port)?;
        let rules = Arc::new(Rules::default());
        let count = u16::try_from(settings.nodes).unwrap_or(u16::MAX);
        let proxies = (0..count).map(|n| {
            let target = (Ipv4Addr::LOCALHOST, port + BEHIND_PROXIES + n).into();
            let (port, node, rules) = (port + PROXIES + n, usize::from(n) + 1, Arc::clone(&rules));
            let proxy = if has_acls {
                Proxy::start_from(acls::INSTANCES, port, node, target, rules)
            } else {
                Proxy::start(port, node, target, rules)
            };
            proxy.map_err(RunError::io("a proxy"))
        });
        let proxies = proxies.collect::<Result<Vec<_>, _>>()?;
        let proxied: Vec<_> = proxies.iter().map(|proxy| proxy.address().to_string()).collect();
        Ok(Stage {
            admin: Admin::connect(nodes.bootstrap())?,
            nodes,
            rules,
            proxied: proxied.join(","),
            metrics: port + METRICS,
            settings,
            _proxies: proxies,
        })
    }
}
