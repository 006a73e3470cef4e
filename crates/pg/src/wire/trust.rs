//! Whom we believe to be the server, as libpq's `sslmode` and `sslrootcert` say.
//!
//! `require` asks for TLS alone; with a file of authorities it checks the chain too, `verify-full` also the name. A
//! certificate that stands itself in the file is believed, as OpenSSL does. Names are those of the certificate's
//! `subjectAltName`; a common name alone is none. Invariant: whatever is believed, the server proves that it has the
//! certificate's key.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::error::WireError;
use super::settings::{Roots, Settings, SslMode};

/// How to speak TLS with the server that the settings mean.
pub(crate) fn client_config(settings: &Settings) -> Result<ClientConfig, WireError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let believed = believed(&settings.roots)?;
    let verifier = Verifier {
        check: match settings.sslmode {
            _ if settings.roots == Roots::Nobody => Check::Nothing,
            SslMode::VerifyFull => Check::ChainAndName,
            _ => Check::Chain,
        },
        roots: roots_of(&believed),
        believed,
        algorithms: provider.signature_verification_algorithms,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| WireError::Parameter { name: "sslmode", reason: error.to_string() })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let Some((certificate, key)) = &settings.certificate else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, error))?;
    builder.with_client_auth_cert(chain, secret).map_err(|error| unusable(certificate, error))
}

fn unusable(path: &Path, reason: impl std::fmt::Display) -> WireError {
    WireError::File { path: path.to_owned(), reason: reason.to_string() }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, WireError> {
    let all = CertificateDer::pem_file_iter(path).map_err(|error| unusable(path, error))?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|error| unusable(path, error))?;
    if all.is_empty() { Err(unusable(path, "there is no certificate in it")) } else { Ok(all) }
}

fn believed(roots: &Roots) -> Result<Vec<CertificateDer<'static>>, WireError> {
    match roots {
        Roots::Nobody => Ok(Vec::new()),
        // A broken certificate among the system's is no reason to stop; none at all shows when a server is checked.
        Roots::System => Ok(rustls_native_certs::load_native_certs().certs),
        Roots::File(file) => certificates(file),
    }
}

fn roots_of(believed: &[CertificateDer<'static>]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(believed.iter().cloned());
    roots
}

/// What is checked besides the signature of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Nothing,
    Chain,
    ChainAndName,
}

#[derive(Debug)]
struct Verifier {
    check: Check,
    roots: RootCertStore,
    believed: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.check == Check::Nothing {
            return Ok(ServerCertVerified::assertion());
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        if !self.believed.iter().any(|own| own.as_ref() == end_entity.as_ref()) {
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &self.roots,
                intermediates,
                now,
                algorithms,
            )?;
        }
        if self.check == Check::ChainAndName {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
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
