//! How connections are protected: the TLS configuration made of `ssl.*`.

use std::{io, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::settings::{NativeSettings, Pem, SaslSettings, SecuritySettings, TlsSettings};
use crate::engine::PropertyError;

/// What a connection needs to be let in; the files are read.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// TLS, for `SSL` and `SASL_SSL`.
    pub tls: Option<Tls>,
    /// Who this client is, for `SASL_PLAINTEXT` and `SASL_SSL`.
    pub sasl: Option<SaslSettings>,
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
        let tls = settings.tls.as_ref().map(Tls::load).transpose()?;
        Ok(Security { tls, sasl: settings.sasl.clone() })
    }
}

impl NativeSettings {
    /// Reads the files that the properties name, and forgets them.
    ///
    /// # Errors
    /// When one cannot be read or does not fit the others; names its property.
    pub fn check_files(&self) -> Result<(), PropertyError> {
        Security::load(&self.security).map(drop)
    }
}

impl Tls {
    fn load(settings: &TlsSettings) -> Result<Tls, PropertyError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| PropertyError::new("security.protocol", e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::load(settings, provider)?));
        let config = match &settings.identity {
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

fn certificates(key: &str, pem: &Pem) -> Result<Vec<CertificateDer<'static>>, PropertyError> {
    let bytes = read(key, pem)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|e| PropertyError::new(key, format!("not PEM certificates: {e}")))?;
    if found.is_empty() { Err(PropertyError::new(key, "has no PEM certificate")) } else { Ok(found) }
}

fn private_key(key: &str, pem: &Pem) -> Result<PrivateKeyDer<'static>, PropertyError> {
    // An encrypted key is not among the kinds that are looked for.
    PrivateKeyDer::from_pem_slice(&read(key, pem)?)
        .map_err(|e| PropertyError::new(key, format!("no private key in PEM, unencrypted: {e}")))
}

fn roots(ca: Option<&Pem>) -> Result<RootCertStore, PropertyError> {
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

/// Verifies a broker's certificate as far as the settings ask for it.
#[derive(Debug)]
struct Verifier {
    /// `None` trusts any certificate.
    chain: Option<Arc<WebPkiServerVerifier>>,
    verify_host: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn load(settings: &TlsSettings, provider: Arc<CryptoProvider>) -> Result<Verifier, PropertyError> {
        let chain = if settings.verify {
            let roots = Arc::new(roots(settings.ca.as_ref())?);
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
            // The name is looked at last, so that everything else is in order then.
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
        let missing = tls(Some(Pem::File("/does/not/exist.pem".into())), None);
        assert_eq!(Tls::load(&missing).unwrap_err().key, "ssl.ca.location");
        assert_eq!(Tls::load(&tls(Some(text("nothing")), None)).unwrap_err().key, "ssl.ca.location");
        let unverified = TlsSettings { verify: false, ..tls(None, Some((text("no"), text("no")))) };
        assert_eq!(Tls::load(&unverified).unwrap_err().key, "ssl.certificate.location");
    }
}
