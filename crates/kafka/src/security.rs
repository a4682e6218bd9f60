//! How connections are protected: the TLS configuration made of `ssl.*`.

use std::{io, sync::Arc};

use parking_lot::Mutex;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use topicmill_mill::engine::PropertyError;

use super::settings::{Mechanism, NativeSettings, Pem, SaslSettings, SecuritySettings, TlsSettings};

/// What a connection needs to be admitted. Files are read again for each, so that one that was
/// renewed on disk needs no restart.
#[derive(Debug, Default)]
pub struct Security {
    tls: Option<Renewed>,
    /// Who this client is, for `SASL_PLAINTEXT` and `SASL_SSL`.
    pub sasl: Option<SaslSettings>,
}

/// TLS with the files' present contents.
#[derive(Debug)]
struct Renewed {
    settings: TlsSettings,
    last: Mutex<(Material, Tls)>,
}

/// TLS towards a broker.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Security {
    /// Reads the certificates and keys that the settings name.
    ///
    /// # Errors
    /// When one cannot be read or does not fit the others; names its property.
    pub fn load(settings: &SecuritySettings) -> Result<Security, PropertyError> {
        let renewed = |settings: &TlsSettings| {
            let material = Material::read(settings)?;
            let tls = Tls::load(settings, &material)?;
            Ok(Renewed { settings: settings.clone(), last: Mutex::new((material, tls)) })
        };
        let tls = settings.tls.as_ref().map(renewed).transpose()?;
        Ok(Security { tls, sasl: settings.sasl.clone() })
    }

    /// TLS with the files as they are now, for `SSL` and `SASL_SSL`.
    ///
    /// # Errors
    /// What is wrong with a file; it may be in the middle of being replaced.
    pub async fn tls(self: &Arc<Self>) -> Result<Option<Tls>, String> {
        let this = Arc::clone(self);
        let reading = move || this.tls.as_ref().map(Renewed::tls).transpose();
        if self.tls.as_ref().is_none_or(|tls| !tls.settings.has_files()) {
            return reading().map_err(|error| error.to_string());
        }
        let read = tokio::task::spawn_blocking(reading).await;
        read.map_err(|error| format!("reading certificates: {error}"))?.map_err(|error| error.to_string())
    }
}

impl Renewed {
    fn tls(&self) -> Result<Tls, PropertyError> {
        let material = Material::read(&self.settings)?;
        let mut last = self.last.lock();
        if last.0 != material {
            *last = (material.clone(), Tls::load(&self.settings, &material)?);
            tracing::info!("certificates or keys have changed on disk, and are taken from now on");
        }
        Ok(last.1.clone())
    }
}

/// The files' contents, as they are.
#[derive(Clone, PartialEq, Eq)]
struct Material {
    ca: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Material")
    }
}

impl Material {
    fn read(settings: &TlsSettings) -> Result<Material, PropertyError> {
        let ca = settings.ca.as_ref().map(|pem| read("ssl.ca.location", pem)).transpose()?;
        let both = |(certificate, key): &(Pem, Pem)| {
            Ok((read("ssl.certificate.location", certificate)?, read("ssl.key.location", key)?))
        };
        Ok(Material { ca, identity: settings.identity.as_ref().map(both).transpose()? })
    }
}

impl SecuritySettings {
    /// Warns of settings that protect less than they may seem to.
    pub(super) fn warn_of_what_is_open(&self) {
        let in_clear = |sasl: &&SaslSettings| match sasl.mechanism {
            Mechanism::Plain | Mechanism::OAuthBearer => self.tls.is_none(),
            Mechanism::ScramSha256 | Mechanism::ScramSha512 => false,
        };
        if let Some(sasl) = self.sasl.as_ref().filter(in_clear) {
            let mechanism = sasl.mechanism.as_str();
            tracing::warn!(
                mechanism,
                "whoever sees the traffic can log in: set security.protocol to sasl_ssl"
            );
        }
        if self.tls.as_ref().is_some_and(|tls| !tls.verify) {
            tracing::warn!(
                "any broker is trusted: enable.ssl.certificate.verification is false, and who stands \
                 between can read and write everything"
            );
        }
    }
}

impl TlsSettings {
    fn has_files(&self) -> bool {
        let is_file = |pem: &Pem| matches!(pem, Pem::File(_));
        self.ca.as_ref().is_some_and(is_file)
            || self.identity.as_ref().is_some_and(|(certificate, key)| is_file(certificate) || is_file(key))
    }
}

impl NativeSettings {
    /// Reads the files that the properties name, and forgets them: every one that cannot be read, or
    /// else the first that is not what it should be. Each names its property.
    pub fn check_files(&self) -> Vec<PropertyError> {
        let Some(tls) = &self.security.tls else { return Vec::new() };
        let identity = tls.identity.as_ref();
        let files = [
            ("ssl.ca.location", tls.ca.as_ref()),
            ("ssl.certificate.location", identity.map(|(certificate, _)| certificate)),
            ("ssl.key.location", identity.map(|(_, key)| key)),
        ];
        let mut problems: Vec<PropertyError> =
            files.into_iter().filter_map(|(key, pem)| read(key, pem?).err()).collect();
        if problems.is_empty() {
            problems.extend(Security::load(&self.security).err());
        }
        problems
    }
}

impl Tls {
    fn load(settings: &TlsSettings, material: &Material) -> Result<Tls, PropertyError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| PropertyError::new("security.protocol", e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::load(settings, material, provider)?));
        let config = match &material.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates("ssl.certificate.location", certificate)?;
                let key = private_key("ssl.key.location", key)?;
                let config = builder.with_client_auth_cert(chain, key);
                config.map_err(|e| PropertyError::new("ssl.key.location", e.to_string()))?
            }
        };
        Ok(Tls { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Shakes hands with the broker that is known as `host`.
    pub(super) async fn handshake(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        self.connector.connect(name, stream).await
    }
}

fn read(key: &str, pem: &Pem) -> Result<Vec<u8>, PropertyError> {
    match pem {
        Pem::Text(text) => Ok(text.clone().into_bytes()),
        Pem::File(path) => std::fs::read(path)
            .map_err(|e| PropertyError::new(key, format!("cannot read {}: {e}", path.display()))),
    }
}

fn certificates(key: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PropertyError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|e| PropertyError::new(key, format!("not PEM certificates: {}", fault(&e))))?;
    if found.is_empty() { Err(PropertyError::new(key, "has no PEM certificate")) } else { Ok(found) }
}

fn private_key(key: &str, pem: &[u8]) -> Result<PrivateKeyDer<'static>, PropertyError> {
    // An encrypted key is not among the kinds that are looked for.
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|e| PropertyError::new(key, format!("no private key in PEM, unencrypted: {}", fault(&e))))
}

/// What is wrong with PEM text; nothing of the text itself, which may be a key, in whatever property it is.
fn fault(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::IllegalSectionStart { .. } => {
            "a line begins a section and goes on; it must be on its own"
        }
        pem::Error::MissingSectionEnd { .. } => "a section has no end, or its line breaks are lost",
        pem::Error::Base64Decode(_) => "a section is not base64",
        pem::Error::NoItemsFound => "no such section",
        _ => "it cannot be read",
    }
}

fn roots(ca: Option<&[u8]>) -> Result<RootCertStore, PropertyError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in certificates("ssl.ca.location", pem)? {
                let added = roots.add(certificate);
                added.map_err(|e| PropertyError::new("ssl.ca.location", e.to_string()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

/// Verifies a broker's certificate as far as the settings require.
#[derive(Debug)]
struct Verifier {
    /// `None` trusts any certificate.
    chain: Option<Arc<WebPkiServerVerifier>>,
    verify_host: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn load(
        settings: &TlsSettings,
        material: &Material,
        provider: Arc<CryptoProvider>,
    ) -> Result<Verifier, PropertyError> {
        let chain = if settings.verify {
            let roots = Arc::new(roots(material.ca.as_deref())?);
            let builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
            let built = builder.build().map_err(|e| PropertyError::new("ssl.ca.location", e.to_string()))?;
            Some(built)
        } else {
            None
        };
        Ok(Verifier { chain, verify_host: settings.verify_host, provider })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        let verified = chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is checked last, so that everything else is in order then.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.verify_host => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_names_its_property() {
        let tls = |ca, identity| TlsSettings { ca, identity, verify: true, verify_host: true };
        let text = |text: &str| Pem::Text(text.to_owned());
        let load = |settings: &TlsSettings| Tls::load(settings, &Material::read(settings)?);
        let missing = tls(Some(Pem::File("/does/not/exist.pem".into())), None);
        assert_eq!(load(&missing).unwrap_err().key, "ssl.ca.location");
        assert_eq!(load(&tls(Some(text("nothing")), None)).unwrap_err().key, "ssl.ca.location");
        let lost = Pem::File("/does/not/exist.key".into());
        let both = tls(Some(Pem::File("/does/not/exist.pem".into())), Some((text("no"), lost)));
        let security = SecuritySettings { tls: Some(both), sasl: None };
        let problems = NativeSettings { security, ..NativeSettings::default() }.check_files();
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["ssl.ca.location", "ssl.key.location"], "all at once");
        let unverified = TlsSettings { verify: false, ..tls(None, Some((text("no"), text("no")))) };
        assert_eq!(load(&unverified).unwrap_err().key, "ssl.certificate.location");
    }

    #[test]
    fn what_is_wrong_with_a_key_is_said_without_the_key() {
        let secret = "MC4CAQAwBQYDK2VwBCIEIHNlY3JldA==";
        let numbers = format!("{:?}", secret.as_bytes());
        let numbers = numbers.trim_matches(['[', ']']);
        for text in [
            // As an environment makes of it that knows no lines.
            format!("-----BEGIN PRIVATE KEY----- {secret} -----END PRIVATE KEY-----"),
            format!("-----BEGIN PRIVATE KEY-----\n{secret}\n"),
            format!("-----BEGIN PRIVATE KEY-----\n?{secret}\n-----END PRIVATE KEY-----\n"),
            secret.to_owned(),
        ] {
            let of_key = private_key("ssl.key.pem", text.as_bytes()).unwrap_err().to_string();
            let of_certificate = certificates("ssl.ca.pem", text.as_bytes()).err();
            for said in [of_key].into_iter().chain(of_certificate.map(|error| error.to_string())) {
                assert!(!said.contains(secret) && !said.contains(numbers), "{said}");
            }
        }
    }
}
