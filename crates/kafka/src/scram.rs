//! SCRAM as a client (RFC 5802, RFC 7677): proves that it knows the password, and makes the broker
//! prove the same. Pure.

use std::{num::NonZeroU32, ops::RangeInclusive};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ring::{digest, hmac, pbkdf2};

use super::settings::Mechanism;

/// The iterations that a broker may ask for. With fewer, an impostor could guess the password from
/// the proof (RFC 7677, KIP-84); each costs both sides a hash.
const ITERATIONS: RangeInclusive<u32> = 4096..=1_000_000;

/// No channel binding: base64 of `n,,`.
const NO_BINDING: &str = "c=biws";

/// The functions that a mechanism is made of.
#[derive(Clone, Copy)]
struct Functions {
    digest: &'static digest::Algorithm,
    hmac: hmac::Algorithm,
    pbkdf2: pbkdf2::Algorithm,
}

/// A conversation after the first message.
pub struct Scram {
    functions: Functions,
    nonce: String,
    first_bare: String,
}

impl Scram {
    /// Starts a conversation; `None` for a mechanism of another family. `nonce` is fresh random
    /// printable text without a comma.
    pub fn start(mechanism: Mechanism, username: &str, nonce: &str) -> Option<Scram> {
        let functions = match mechanism {
            Mechanism::Plain | Mechanism::OAuthBearer => return None,
            Mechanism::ScramSha256 => Functions {
                digest: &digest::SHA256,
                hmac: hmac::HMAC_SHA256,
                pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256,
            },
            Mechanism::ScramSha512 => Functions {
                digest: &digest::SHA512,
                hmac: hmac::HMAC_SHA512,
                pbkdf2: pbkdf2::PBKDF2_HMAC_SHA512,
            },
        };
        let username = username.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={username},r={nonce}");
        Some(Scram { functions, nonce: nonce.to_owned(), first_bare })
    }

    /// The client's first message.
    pub fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// Answers the server's first message: the client's last one, and what the server's last one
    /// has to prove.
    ///
    /// # Errors
    /// What is wrong with the server's message.
    pub fn answer(&self, server_first: &str, password: &str) -> Result<(String, Expected), String> {
        // In this order, whatever follows: what stands before the nonce would be `m=`, an extension that
        // both sides must have (RFC 5802, 5.1).
        let mut parts = server_first.split(',');
        let mut field = |name: &str| {
            let found = parts.next().and_then(|part| part.strip_prefix(name));
            found.ok_or_else(|| format!("the broker's SCRAM challenge does not have {name} in its place"))
        };
        let nonce = field("r=")?;
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err("the broker's SCRAM nonce does not continue ours".to_owned());
        }
        let salt = BASE64.decode(field("s=")?).map_err(|_| "the SCRAM salt is not base64".to_owned())?;
        let iterations = field("i=")?.parse().ok().filter(|i: &NonZeroU32| ITERATIONS.contains(&i.get()));
        let iterations = iterations.ok_or("the SCRAM iterations are out of range")?;

        let Functions { digest, hmac: algorithm, pbkdf2 } = self.functions;
        let mut salted = vec![0; digest.output_len()];
        #[cfg(test)]
        held::wait(&salt);
        pbkdf2::derive(pbkdf2, iterations, &salt, password.as_bytes(), &mut salted);
        let salted = hmac::Key::new(algorithm, &salted);
        let unproven = format!("{NO_BINDING},r={nonce}");
        let message = format!("{},{server_first},{unproven}", self.first_bare);

        let client_key = hmac::sign(&salted, b"Client Key");
        let stored_key = digest::digest(digest, client_key.as_ref());
        let signature = hmac::sign(&hmac::Key::new(algorithm, stored_key.as_ref()), message.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server_key = hmac::sign(&salted, b"Server Key");
        let expected = Expected { key: hmac::Key::new(algorithm, server_key.as_ref()), message };
        Ok((format!("{unproven},p={}", BASE64.encode(proof)), expected))
    }
}

/// What the server has to prove in the end.
pub struct Expected {
    key: hmac::Key,
    message: String,
}

impl Expected {
    /// Checks the server's last message, in constant time.
    ///
    /// # Errors
    /// The server's own error, or that it does not know the password.
    pub fn check(&self, server_final: &str) -> Result<(), String> {
        let first = server_final.split(',').next().unwrap_or_default();
        if let Some(error) = first.strip_prefix("e=") {
            return Err(format!("the broker refuses: {error}"));
        }
        let signature = first.strip_prefix("v=").and_then(|text| BASE64.decode(text).ok());
        let proven = signature
            .is_some_and(|signature| hmac::verify(&self.key, self.message.as_bytes(), &signature).is_ok());
        if proven { Ok(()) } else { Err("the broker does not prove that it knows the password".to_owned()) }
    }
}

/// Stands for more hashes than anybody waits for.
#[cfg(test)]
pub mod held {
    use std::{
        sync::{
            Mutex,
            mpsc::{Receiver, SyncSender, sync_channel},
        },
        time::Duration,
    };

    use tokio::sync::oneshot;

    /// The salt whose hashes take until they are let go on.
    pub const SALT: &[u8] = b"held";

    type Hold = (oneshot::Sender<()>, Receiver<()>);

    static HOLD: Mutex<Option<Hold>> = Mutex::new(None);

    /// The next hashes of [`SALT`] begin, and then wait until they are let go on.
    pub fn next() -> (oneshot::Receiver<()>, SyncSender<()>) {
        let (begins, begun) = oneshot::channel();
        let (release, released) = sync_channel(1);
        *HOLD.lock().unwrap() = Some((begins, released));
        (begun, release)
    }

    pub(super) fn wait(salt: &[u8]) {
        let hold = if salt == SALT { HOLD.lock().unwrap().take() } else { None };
        if let Some((begins, released)) = hold {
            let _ = begins.send(());
            // Where it holds up who would release it, that is to fail and not to hang.
            let _ = released.recv_timeout(Duration::from_secs(20));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The conversation of RFC 7677, section 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn the_conversation_of_the_rfc_goes_as_written_there() {
        let scram = Scram::start(Mechanism::ScramSha256, "user", NONCE).unwrap();
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (last, expected) = scram.answer(SERVER_FIRST, "pencil").unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        expected.check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        assert!(expected.check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=").is_err());
        assert!(expected.check("e=invalid-proof").unwrap_err().contains("invalid-proof"));
        assert!(expected.check("").is_err());
    }

    #[test]
    fn a_bad_challenge_is_refused() {
        let scram = Scram::start(Mechanism::ScramSha512, "a,b=c", NONCE).unwrap();
        assert_eq!(scram.first(), "n,,n=a=2Cb=3Dc,r=rOprNGfwEbeRWgbNEkqO");
        for challenge in [
            "r=other-than-ours-and-longer,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=*,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1000001",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000",
            "m=x,r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "s=W22ZaJ0SNY7soEsUEjb6gQ==,r=rOprNGfwEbeRWgbNEkqOx,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,i=4096",
            "",
        ] {
            assert!(scram.answer(challenge, "pencil").is_err(), "{challenge}");
        }
        // What may follow is for those who know it.
        scram.answer("r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,x=y", "pencil").unwrap();
    }
}
