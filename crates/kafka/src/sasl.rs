//! Authenticates a connection: SaslHandshake, then SaslAuthenticate as often as the mechanism needs
//! (KIP-43, KIP-152).

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::{
    messages::{SaslAuthenticateRequest, SaslHandshakeRequest},
    protocol::StrBytes,
};
use tokio::task::spawn_blocking;

use super::{
    connection::Connection,
    error::{WireError, check},
    scram::Scram,
    settings::{Mechanism, SaslSettings, Secret},
    token,
};

/// How much is shown of what a broker says, in characters.
const MESSAGE_CHARS_MAX: usize = 500;

/// Authenticates a connection; returns for how long, if that is limited (KIP-368).
///
/// # Errors
/// [`WireError::Authentication`] when either side refuses the other.
pub async fn authenticate(
    connection: &Connection,
    settings: &SaslSettings,
    limit: Duration,
) -> Result<Option<Duration>, WireError> {
    let mut conversation = Conversation { connection, limit, secret: Secret::default() };
    conversation.choose(settings.mechanism).await?;
    if let Some(source) = &settings.token {
        // A source that fails now may provide a token later.
        let token = source.token(limit).await;
        let token = token.map_err(|message| WireError::Connect { broker: conversation.broker(), message })?;
        conversation.secret = token.clone();
        let (refusal, lifetime) = conversation.say(token::first_message(&token)).await?;
        if refusal.is_empty() {
            return Ok(lifetime);
        }
        // The broker has said why; it ends the conversation once it has our answer.
        let _ = conversation.say(token::REFUSED.to_owned()).await;
        return Err(conversation.failed(format!("the token is refused: {refusal}")));
    }
    let password = settings.password.read().await;
    let password =
        password.map_err(|message| WireError::Connect { broker: conversation.broker(), message })?;
    conversation.secret = password.clone();
    match Scram::start(settings.mechanism, &settings.username, &nonce()) {
        None => {
            let (username, password) = (&settings.username, &password.0);
            let (_, lifetime) = conversation.say(format!("\0{username}\0{password}")).await?;
            Ok(lifetime)
        }
        Some(scram) => {
            let (challenge, _) = conversation.say(scram.first()).await?;
            // The broker says how many hashes this takes: others don't wait for them.
            let answering = spawn_blocking(move || scram.answer(&challenge, &password.0));
            let answer = answering.await.unwrap_or_else(|error| Err(error.to_string()));
            let (last, expected) = answer.map_err(|message| conversation.failed(message))?;
            let (proof, lifetime) = conversation.say(last).await?;
            expected.check(&proof).map_err(|message| conversation.failed(message))?;
            Ok(lifetime)
        }
    }
}

struct Conversation<'a> {
    connection: &'a Connection,
    limit: Duration,
    /// What the broker may have been told, and must not make this program repeat.
    secret: Secret,
}

impl Conversation<'_> {
    async fn choose(&self, mechanism: Mechanism) -> Result<(), WireError> {
        let request =
            SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism.as_str()));
        let response = self.connection.call_within(&request, self.limit).await?;
        check(response.error_code).map_err(|error| {
            let offered: Vec<_> = response.mechanisms.iter().map(StrBytes::as_str).collect();
            let (name, offered) = (mechanism.as_str(), offered.join(", "));
            self.failed(format!("{error}: sasl.mechanism {name} is not among the broker's: {offered}"))
        })
    }

    /// Sends one message and returns the broker's, with how long the authentication holds.
    async fn say(&self, message: String) -> Result<(String, Option<Duration>), WireError> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(message));
        let response = self.connection.call_within(&request, self.limit).await?;
        check(response.error_code).map_err(|error| match response.error_message.as_deref() {
            Some(message) => self.failed(format!("{error}: {message}")),
            None => self.failed(error.to_string()),
        })?;
        let lifetime = u64::try_from(response.session_lifetime_ms).ok().filter(|millis| *millis > 0);
        let answer = String::from_utf8_lossy(&response.auth_bytes).into_owned();
        Ok((answer, lifetime.map(Duration::from_millis)))
    }

    fn failed(&self, message: String) -> WireError {
        let message = presentable(&message, &self.secret);
        WireError::Authentication { broker: self.broker(), message, again: false }
    }

    fn broker(&self) -> String {
        self.connection.broker().to_owned()
    }
}

/// A message with the words of a broker that is not trusted yet: on one line, of bounded length, and
/// without the secret.
fn presentable(message: &str, secret: &Secret) -> String {
    let message = match &*secret.0 {
        "" => message.to_owned(),
        secret => message.replace(secret, "***"),
    };
    let mut chars = message.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = chars.by_ref().take(MESSAGE_CHARS_MAX).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Random text of 128 bits.
fn nonce() -> String {
    format!("{:032x}", rand::random::<u128>())
}

#[cfg(test)]
#[path = "sasl_tests.rs"]
mod tests;
