//! Whom we believe to be the server: the system's authorities and those of a file, or one certificate by its hash.
//!
//! A pin is for servers whose certificate nobody signed. It replaces the check of the chain and the name, never the
//! check that the server has the certificate's private key.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

/// SHA-256 of a certificate in DER.
type Fingerprint = [u8; 32];

/// How to speak TLS.
///
/// # Errors
/// In words: a file that cannot be read or has no certificate, a pin that is no hash.
pub(crate) fn client_config(ca_file: Option<&Path>, pin: Option<&str>) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let Some(pin) = pin else {
        return Ok(builder.with_root_certificates(authorities(ca_file)?).with_no_client_auth());
    };
    let verifier = Pinned { fingerprint: fingerprint(pin)?, algorithms: algorithms(&provider) };
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// `sha256:` and 64 hex digits, with or without colons between bytes, as `openssl x509 -fingerprint` prints them.
fn fingerprint(pin: &str) -> Result<Fingerprint, String> {
    let digits = pin.strip_prefix("sha256:").unwrap_or(pin).replace(':', "");
    let mut fingerprint = [0; 32];
    hex::decode_to_slice(digits, &mut fingerprint)
        .map_err(|_| format!("a pin is sha256: and 64 hex digits, not {pin:?}"))?;
    Ok(fingerprint)
}

fn authorities(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    // A broken certificate among the system's is no reason to stop; none at all shows when a server is checked.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let Some(file) = ca_file else { return Ok(roots) };
    let wrong = |what: String| format!("{}: {what}", file.display());
    let mut count = 0;
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        count += 1;
    }
    if count == 0 { Err(wrong("there is no certificate in it".into())) } else { Ok(roots) }
}

fn algorithms(provider: &CryptoProvider) -> WebPkiSupportedAlgorithms {
    provider.signature_verification_algorithms
}

/// Believes the one certificate with this hash.
#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown: Fingerprint = Sha256::digest(end_entity.as_ref()).into();
        if shown == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        let words =
            format!("the server shows sha256:{}, which is not the pinned certificate", hex::encode(shown));
        Err(Error::InvalidCertificate(CertificateError::Other(rustls::OtherError(Arc::new(
            std::io::Error::other(words),
        )))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_as_openssl_prints_it() {
        let digits = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        for pin in [&digits, &format!("sha256:{digits}"), &colons] {
            assert_eq!(fingerprint(pin).unwrap(), [0xab; 32], "{pin}");
        }
        for pin in ["", "sha256:", "sha1:ab", &digits[2..]] {
            assert!(fingerprint(pin).is_err(), "{pin}");
        }
    }

    #[test]
    fn a_file_of_authorities_has_to_have_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(client_config(Some(file.path()), None).is_err());
        assert!(client_config(Some(Path::new("/nonexistent")), None).is_err());
        assert!(client_config(None, None).is_ok());
    }
}
