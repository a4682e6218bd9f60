//! How connections are protected, and how this client authenticates.

use super::super::{
    table::{Counterpart, Property, Takes},
    value::names,
};
use crate::settings::{Mechanism, Password, Secret, TokenSource};

/// Each protocol: whether it has TLS, and whether a client logs in.
const PROTOCOLS: [(&str, (bool, bool)); 4] = [
    ("plaintext", (false, false)),
    ("ssl", (true, false)),
    ("sasl_plaintext", (false, true)),
    ("sasl_ssl", (true, true)),
];
const PROTOCOL_NAMES: [&str; 4] = names(&PROTOCOLS);

const MECHANISMS: [(&str, Mechanism); 4] = [
    (Mechanism::Plain.as_str(), Mechanism::Plain),
    (Mechanism::ScramSha256.as_str(), Mechanism::ScramSha256),
    (Mechanism::ScramSha512.as_str(), Mechanism::ScramSha512),
    (Mechanism::OAuthBearer.as_str(), Mechanism::OAuthBearer),
];
const MECHANISM_NAMES: [&str; 4] = names(&MECHANISMS);

/// Whether the name in a broker's certificate is left unchecked.
const HOST_CHECKS: [(&str, bool); 3] = [("https", false), ("none", true), ("", true)];
const HOST_CHECK_NAMES: [&str; 3] = names(&HOST_CHECKS);

const JAVA_STORE: &str =
    "is for Java only; set ssl.ca.location, ssl.certificate.location and ssl.key.location";
const JAVA_TRUST: Counterpart = Counterpart::Refuses("is for Java; use `ssl.ca.location` (PEM)");

pub(in super::super) const ROWS: &[Property] = &[
    Property::new(
        "security.protocol",
        Takes::OneOf(&PROTOCOL_NAMES),
        "Whether to use TLS, and whether to authenticate.",
    )
    .default("plaintext")
    .native(|to, value| value.one_of(&PROTOCOLS, &mut to.security.protocol)),
    Property::new("sasl.mechanism", Takes::OneOf(&MECHANISM_NAMES), "How to authenticate.")
        .or(&["sasl.mechanisms"])
        .native(|to, value| {
            let mut mechanism = Mechanism::Plain;
            value.one_of(&MECHANISMS, &mut mechanism)?;
            to.security.mechanism = Some(mechanism);
            Ok(())
        }),
    Property::new("sasl.username", Takes::Text, "The user name, for PLAIN and SCRAM.").native(|to, value| {
        to.security.username = value.text.to_owned();
        Ok(())
    }),
    Property::new("sasl.password", Takes::Secret, "The password, for PLAIN and SCRAM.")
        .native(|to, value| {
            to.security.password = Some(Password::Text(Secret(value.text.to_owned())));
            Ok(())
        })
        .native_file(|to, value| {
            to.security.password = Some(Password::File(value.path()?));
            Ok(())
        }),
    Property::new("sasl.oauthbearer.token", Takes::Secret, "The token, for OAUTHBEARER.").native(
        |to, value| {
            to.security.token = Some(TokenSource::Text(Secret(value.some()?)));
            Ok(())
        },
    ),
    Property::new(
        "sasl.oauthbearer.token_file",
        Takes::Text,
        "A file with the token, read at each authentication.",
    )
    .native(|to, value| {
        to.security.token = Some(TokenSource::File(value.path()?));
        Ok(())
    }),
    Property::new("sasl.oauthbearer.token.command", Takes::Text, "A shell command that prints the token.")
        .native(|to, value| {
            to.security.token = Some(TokenSource::Command(value.some()?));
            Ok(())
        }),
    Property::new("sasl.oauthbearer.method", Takes::OneOf(&["default", "oidc"]), "How a token is obtained."),
    Property::new(
        "sasl.oauthbearer.token.endpoint.url",
        Takes::Text,
        "The token endpoint of the OIDC provider.",
    ),
    Property::new("sasl.oauthbearer.client.id", Takes::Text, "The client id at the OIDC provider."),
    Property::new("sasl.oauthbearer.client.secret", Takes::Secret, "The client secret at the OIDC provider."),
    Property::new("sasl.oauthbearer.scope", Takes::Text, "The scope of the token."),
    Property::new("sasl.oauthbearer.extensions", Takes::Text, "SASL extensions, as key=value."),
    Property::new(
        "ssl.ca.location",
        Takes::Text,
        "The certificate authorities to trust (PEM) instead of the system's.",
    )
    .native(|to, value| value.pem_file(&mut to.security.ca)),
    Property::new("ssl.ca.pem", Takes::Text, "The same as text.")
        .native(|to, value| value.pem_text(&mut to.security.ca)),
    Property::new("ssl.certificate.location", Takes::Text, "The certificate of this client (PEM).")
        .native(|to, value| value.pem_file(&mut to.security.certificate)),
    Property::new("ssl.certificate.pem", Takes::Text, "The same as text.")
        .native(|to, value| value.pem_text(&mut to.security.certificate)),
    Property::new("ssl.key.location", Takes::Text, "The key of that certificate (PEM, unencrypted).")
        .native(|to, value| value.pem_file(&mut to.security.key)),
    Property::new("ssl.key.pem", Takes::Secret, "The same as text.")
        .native(|to, value| value.pem_text(&mut to.security.key)),
    Property::new("ssl.key.password", Takes::Secret, "The password of an encrypted key."),
    Property::new("ssl.keystore.location", Takes::Text, "A key and its certificate (PKCS#12).")
        .native_refuses(JAVA_STORE),
    Property::new("ssl.keystore.password", Takes::Secret, "The password of the key store.")
        .native_refuses(JAVA_STORE),
    Property::new("ssl.keystore.type", Takes::Text, "The type of Java's key store.")
        .native_refuses(JAVA_STORE),
    Property::new("ssl.truststore.location", Takes::Text, "Java's trust store.")
        .native_refuses(JAVA_STORE)
        .librdkafka(JAVA_TRUST),
    Property::new("ssl.truststore.password", Takes::Secret, "The password of the trust store.")
        .native_refuses(JAVA_STORE)
        .librdkafka(JAVA_TRUST),
    Property::new("ssl.truststore.type", Takes::Text, "The type of the trust store.")
        .native_refuses(JAVA_STORE)
        .librdkafka(JAVA_TRUST),
    Property::new(
        "ssl.endpoint.identification.algorithm",
        Takes::OneOf(&HOST_CHECK_NAMES),
        "Whether a broker's certificate must name the broker.",
    )
    .default("https")
    .native(|to, value| value.one_of(&HOST_CHECKS, &mut to.security.skip_host)),
    Property::new(
        "enable.ssl.certificate.verification",
        Takes::Boolean,
        "Whether a broker's certificate must come from a trusted authority.",
    )
    .default("true")
    .native(|to, value| {
        to.security.skip_verification = !value.parse::<bool>()?;
        Ok(())
    }),
    Property::new("sasl.jaas.config", Takes::Secret, "Java's login configuration.")
        .native_refuses("is for Java only; set sasl.username and sasl.password")
        .librdkafka(Counterpart::Refuses("is for Java; use `sasl.username` and `sasl.password`")),
];
