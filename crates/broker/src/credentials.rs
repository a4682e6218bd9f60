//! Who may log in by SASL/PLAIN (RFC 4616).

use std::fmt;

/// Who may log in.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    /// Leaves out the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Whether a message of PLAIN (an identity to act as, a user, a password, with a zero byte
    /// between them) holds these.
    pub fn are_in(&self, message: &[u8]) -> bool {
        let mut parts = message.split(|byte| *byte == 0).skip(1);
        let (user, password) = (parts.next(), parts.next());
        user == Some(self.user.as_bytes()) && password == Some(self.password.as_bytes())
    }
}
