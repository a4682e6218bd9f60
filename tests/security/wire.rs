//! What is asked of a broker to prepare a test: users and ACLs.

use std::{num::NonZeroU32, time::Instant};

use bytes::Bytes;
use kafka_protocol::{
    messages::{
        AlterUserScramCredentialsRequest, CreateAclsRequest, DescribeAclsRequest,
        DescribeUserScramCredentialsRequest, alter_user_scram_credentials_request::ScramCredentialUpsertion,
        create_acls_request::AclCreation, describe_user_scram_credentials_request::UserName,
    },
    protocol::StrBytes,
};
use ring::pbkdf2;

use crate::support::{ask::ask, pause, program::SOON};

/// Waits for what a broker does not know at once: the controller has answered before.
fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < SOON, "{what}: not within {SOON:?}");
        pause(std::time::Duration::from_millis(20));
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A user who logs in by SCRAM (KIP-554).
pub fn create_user(broker: &str, name: &str, password: &str) {
    let upsertion = |mechanism: i8, algorithm: pbkdf2::Algorithm, size: usize| {
        let (iterations, salt) = (NonZeroU32::new(8192).unwrap(), rand::random::<[u8; 16]>());
        let mut salted = vec![0; size];
        pbkdf2::derive(algorithm, iterations, &salt, password.as_bytes(), &mut salted);
        ScramCredentialUpsertion::default()
            .with_name(text(name))
            .with_mechanism(mechanism)
            .with_iterations(iterations.get().cast_signed())
            .with_salt(Bytes::copy_from_slice(&salt))
            .with_salted_password(salted.into())
    };
    // A user is changed once in a request.
    for one in [upsertion(1, pbkdf2::PBKDF2_HMAC_SHA256, 32), upsertion(2, pbkdf2::PBKDF2_HMAC_SHA512, 64)] {
        let answer = ask(broker, 0, &AlterUserScramCredentialsRequest::default().with_upsertions(vec![one]));
        assert!(answer.results.iter().all(|result| result.error_code == 0), "{answer:?}");
    }
    let describe = DescribeUserScramCredentialsRequest::default()
        .with_users(Some(vec![UserName::default().with_name(text(name))]));
    until("a user", || ask(broker, 0, &describe).results.iter().all(|user| user.credential_infos.len() == 2));
}

/// The kinds of resources, as the protocol numbers them (KIP-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Topic = 2,
    Group = 3,
    TransactionalId = 5,
}

/// The operations, likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Alter = 7,
    Describe = 8,
    DescribeConfigs = 10,
}

/// An ACL: the resource, its name, and what is allowed.
pub type Acl<'a> = (Resource, &'a str, Operation);

const ANY: i8 = 1;
const LITERAL: i8 = 3;
const PREFIXED: i8 = 4;
const ALLOW: i8 = 3;

/// Allows a user these.
pub fn allow(broker: &str, user: &str, acls: &[Acl<'_>]) {
    allow_of(LITERAL, broker, user, acls);
}

/// Allows a user these of everything whose name begins with theirs (KIP-290).
pub fn allow_prefixed(broker: &str, user: &str, acls: &[Acl<'_>]) {
    allow_of(PREFIXED, broker, user, acls);
}

fn allow_of(pattern: i8, broker: &str, user: &str, acls: &[Acl<'_>]) {
    let create = |&(resource, name, operation): &Acl<'_>| {
        AclCreation::default()
            .with_resource_type(resource as i8)
            .with_resource_name(text(name))
            .with_resource_pattern_type(pattern)
            .with_principal(text(&format!("User:{user}")))
            .with_host(text("*"))
            .with_operation(operation as i8)
            .with_permission_type(ALLOW)
    };
    let creations = acls.iter().map(create).collect();
    let answer = ask(broker, 3, &CreateAclsRequest::default().with_creations(creations));
    assert!(answer.results.iter().all(|result| result.error_code == 0), "{answer:?}");
    until("ACLs", || acls.iter().all(|acl| is_known(pattern, broker, acl)));
}

fn is_known(pattern: i8, broker: &str, &(resource, name, operation): &Acl<'_>) -> bool {
    let filter = DescribeAclsRequest::default()
        .with_resource_type_filter(resource as i8)
        .with_resource_name_filter(Some(text(name)))
        .with_pattern_type_filter(pattern)
        .with_principal_filter(None)
        .with_host_filter(None)
        .with_operation(operation as i8)
        .with_permission_type(ANY);
    !ask(broker, 3, &filter).resources.is_empty()
}
