//! What the broker knows of one connection, and its login by SASL/PLAIN (RFC 4616).

use std::{net::SocketAddr, time::Duration};

use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
        SaslHandshakeResponse,
    },
    protocol::StrBytes,
};

use super::core::Core;

/// The one mechanism.
const PLAIN: &str = "PLAIN";

/// One connection.
#[derive(Debug)]
pub struct Session {
    /// The broker's end.
    pub local: SocketAddr,
    /// The client's end.
    pub remote: SocketAddr,
    /// How long nothing is read after the answer being written (KIP-219).
    pub mute: Duration,
    /// Whether the connection is closed after the answer being written.
    pub ends: bool,
    login: Login,
}

/// The state of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Login {
    /// Nothing has been said yet.
    Outside,
    /// The mechanism is agreed on.
    Agreed,
    /// Done; it holds for as long as the connection.
    Inside,
}

impl Session {
    /// A connection that has just been accepted.
    pub fn new(local: SocketAddr, remote: SocketAddr) -> Session {
        Session { local, remote, mute: Duration::ZERO, ends: false, login: Login::Outside }
    }

    /// Whether a request of `api` may be answered: without a login only what leads to one is.
    pub fn may_ask(&self, core: &Core, api: ApiKey) -> bool {
        matches!(api, ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate)
            || self.login == Login::Inside
            || core.credentials().is_none()
    }

    /// Agrees on the mechanism; `forced` is a fault's error code, or 0.
    pub fn shake_hands(
        &mut self,
        core: &Core,
        request: &SaslHandshakeRequest,
        forced: i16,
    ) -> SaslHandshakeResponse {
        let error = match core.credentials() {
            _ if forced != 0 => forced,
            None => ResponseError::IllegalSaslState.code(),
            Some(_) if request.mechanism.as_str() != PLAIN => ResponseError::UnsupportedSaslMechanism.code(),
            Some(_) => 0,
        };
        self.ends = error != 0;
        self.login = if error == 0 { Login::Agreed } else { Login::Outside };
        SaslHandshakeResponse::default()
            .with_error_code(error)
            .with_mechanisms(vec![StrBytes::from_static_str(PLAIN)])
    }

    /// Lets in a client that knows the current password; any other is told so and disconnected.
    /// `forced` is a fault's error code, or 0.
    pub fn authenticate(
        &mut self,
        core: &Core,
        request: &SaslAuthenticateRequest,
        forced: i16,
    ) -> SaslAuthenticateResponse {
        let known = core.credentials().is_some_and(|known| known.are_in(&request.auth_bytes));
        let error = match self.login {
            _ if forced != 0 => forced,
            Login::Outside | Login::Inside => ResponseError::IllegalSaslState.code(),
            Login::Agreed if known => 0,
            Login::Agreed => ResponseError::SaslAuthenticationFailed.code(),
        };
        self.ends = error != 0;
        self.login = if error == 0 { Login::Inside } else { Login::Outside };
        let message = "Authentication failed: Invalid username or password";
        SaslAuthenticateResponse::default()
            .with_error_code(error)
            .with_error_message((error != 0).then(|| StrBytes::from_static_str(message)))
    }
}
