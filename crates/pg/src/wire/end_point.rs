//! What a certificate is bound to a login by: its hash, with the hash function that it was signed with.
//!
//! RFC 5929, `tls-server-end-point`: MD5 and SHA-1 become SHA-256. Of DER no more is read than leads to the name of the
//! signature (RFC 5280, chapter 4.1). Invariant: a signature that names no hash function gives nothing, and then there
//! is no binding.

use sha2::{Digest, Sha256, Sha384, Sha512};

const SEQUENCE: u8 = 0x30;
const OBJECT: u8 = 0x06;

/// Signatures and the bits of the hash that binds, by the bytes of their names.
const SIGNATURES: [(&[u8], Hash); 9] = [
    // 1.2.840.113549.1.1: RSA with MD5, SHA-1, SHA-256, SHA-384, SHA-512.
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4], Hash::Sha256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5], Hash::Sha256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11], Hash::Sha256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12], Hash::Sha384),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13], Hash::Sha512),
    // 1.2.840.10045.4: ECDSA with SHA-1, SHA-256, SHA-384, SHA-512.
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1], Hash::Sha256),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], Hash::Sha256),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3], Hash::Sha384),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4], Hash::Sha512),
];

#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// The binding of a certificate in DER.
pub(crate) fn binding(certificate: &[u8]) -> Option<Vec<u8>> {
    let (whole, _) = element(certificate, SEQUENCE)?;
    let (_signed, rest) = element(whole, SEQUENCE)?;
    let (algorithm, _) = element(rest, SEQUENCE)?;
    let (name, _) = element(algorithm, OBJECT)?;
    let (_, hash) = SIGNATURES.iter().find(|(known, _)| *known == name)?;
    Some(match hash {
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

/// The content of the element that `bytes` begin with, if it is of this kind, and what follows it.
fn element(bytes: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    if found == kind { rest.split_at_checked(len) } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A certificate whose insides are as long as those of real ones.
    fn certificate(signature: &[u8]) -> Vec<u8> {
        let wrap = |kind, content: &[u8]| {
            let len = u16::try_from(content.len()).unwrap().to_be_bytes();
            [&[kind, 0x82][..], &len, content].concat()
        };
        let algorithm = wrap(SEQUENCE, &wrap(OBJECT, signature));
        wrap(SEQUENCE, &[wrap(SEQUENCE, &[7; 700]), algorithm, wrap(3, &[0; 70])].concat())
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        for (name, len) in [(SIGNATURES[1].0, 32), (SIGNATURES[3].0, 48), (SIGNATURES[8].0, 64)] {
            assert_eq!(binding(&certificate(name)).unwrap().len(), len);
        }
        // Ed25519 hashes in its own way.
        assert_eq!(binding(&certificate(&[0x2b, 0x65, 0x70])), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            binding(&[&[SEQUENCE], &bytes[..]].concat());
        }
    }
}
