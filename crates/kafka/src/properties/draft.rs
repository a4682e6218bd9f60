//! Settings under construction, before the rules between properties are checked.

use super::super::settings::{
    Mechanism, NativeSettings, Password, Pem, SaslSettings, Secret, SecuritySettings, TlsSettings,
    TokenSource,
};
use super::relations::Broken;

/// Settings under construction, starting from the defaults.
#[derive(Default)]
pub struct Draft {
    pub(super) settings: NativeSettings,
    pub(super) security: SecurityDraft,
}

/// The values of the security properties.
#[derive(Default)]
pub(super) struct SecurityDraft {
    /// Whether there is TLS, and whether the client logs in.
    pub protocol: (bool, bool),
    pub ca: Option<Pem>,
    pub certificate: Option<Pem>,
    pub key: Option<Pem>,
    pub skip_verification: bool,
    pub skip_host: bool,
    pub mechanism: Option<Mechanism>,
    pub username: String,
    pub password: Option<Password>,
    pub token: Option<TokenSource>,
}

impl Draft {
    /// The settings; an incomplete part of the security is left out and reported.
    pub(super) fn finish(self, broken: &mut Vec<Broken>) -> NativeSettings {
        let mut settings = self.settings;
        settings.security = self.security.finish(broken);
        settings
    }
}

impl SecurityDraft {
    fn finish(self, broken: &mut Vec<Broken>) -> SecuritySettings {
        let (tls, sasl) = self.protocol;
        let tls = tls.then(|| TlsSettings {
            ca: self.ca,
            identity: identity(self.certificate, self.key, broken),
            verify: !self.skip_verification,
            verify_host: !self.skip_host,
        });
        let sasl = match self.mechanism {
            _ if !sasl => None,
            Some(mechanism) => Some(SaslSettings {
                mechanism,
                username: self.username,
                password: self.password.unwrap_or(Password::Text(Secret::default())),
                token: self.token.filter(|_| mechanism == Mechanism::OAuthBearer),
            }),
            None => {
                broken.push(Broken::missing("sasl.mechanism", NEEDED));
                None
            }
        };
        if let Some(sasl) = &sasl {
            check_login(sasl, broken);
        }
        SecuritySettings { tls, sasl }
    }
}

const NEEDED: &str = "is needed by security.protocol SASL_*";

fn check_login(sasl: &SaslSettings, broken: &mut Vec<Broken>) {
    let by_token = sasl.mechanism == Mechanism::OAuthBearer;
    if by_token && sasl.token.is_none() {
        let message = "sasl.mechanism OAUTHBEARER needs this, sasl.oauthbearer.token_file or \
                       sasl.oauthbearer.token";
        broken.push(Broken::missing("sasl.oauthbearer.token.command", message));
    }
    if !by_token && sasl.username.is_empty() {
        broken.push(Broken::missing("sasl.username", NEEDED));
    }
}

fn identity(certificate: Option<Pem>, key: Option<Pem>, broken: &mut Vec<Broken>) -> Option<(Pem, Pem)> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => return Some((certificate, key)),
        (None, None) => {}
        (Some(_), None) => {
            broken.push(Broken::missing("ssl.key.location", "the certificate needs its key"));
        }
        (None, Some(_)) => {
            broken.push(Broken::missing("ssl.certificate.location", "the key needs its certificate"));
        }
    }
    None
}
