//! ACLs that concern the instances and nobody else: the nodes know them by the address that they come from, that
//! of the proxies.

use std::net::Ipv4Addr;

use crate::nodes::{Nodes, NodesError};

/// Where instances come from, as far as the nodes can tell.
pub(super) const INSTANCES: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

const TOOL: &str = "org.apache.kafka.tools.AclCommand";

/// What nodes are set to. Whoever comes may do everything that no ACL forbids. Only the controllers have a name of
/// their own: until they have chosen one that leads they know no ACLs, and let only super users in.
pub(super) const PROPERTIES: [&str; 7] = [
    "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found=true",
    "super.users=User:node",
    "listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:SASL_PLAINTEXT,PROXIED:PLAINTEXT",
    "sasl.mechanism.controller.protocol=PLAIN",
    "listener.name.controller.sasl.enabled.mechanisms=PLAIN",
    "listener.name.controller.plain.sasl.jaas.config=\
     org.apache.kafka.common.security.plain.PlainLoginModule required \
     username=\"node\" password=\"node\" user_node=\"node\";",
];

/// Refuses instances to write to a topic.
pub(super) fn refuse(nodes: &Nodes, topic: &str) -> Result<(), NodesError> {
    // A topic with an ACL is nobody's but theirs whom one allows it.
    nodes.tool(TOOL, &["--add", "--topic", topic, "--allow-principal", "User:*"])?;
    denial(nodes, "--add", topic)
}

/// Lets them again.
pub(super) fn allow(nodes: &Nodes, topic: &str) -> Result<(), NodesError> {
    denial(nodes, "--remove", topic)
}

fn denial(nodes: &Nodes, action: &str, topic: &str) -> Result<(), NodesError> {
    let host = INSTANCES.to_string();
    let denied = ["--deny-principal", "User:*", "--deny-host", &host, "--operation", "Write"];
    nodes.tool(TOOL, &[&[action, "--force", "--topic", topic][..], &denied].concat()).map(drop)
}
