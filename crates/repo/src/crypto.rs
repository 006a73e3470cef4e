//! The envelope around every stored byte: AES-256 in counter mode, authenticated by Poly1305-AES.
//!
//! Form: `IV (16 random bytes) ‖ ciphertext ‖ tag (16)`. The counter is 128 bits, big endian, and begins at the
//! IV. The tag is Poly1305 over the ciphertext with the one-time key `r ‖ AES-128_k(IV)`. Source: restic's design
//! document, "Keys, Encryption and MAC". Invariant: nothing is decrypted before its tag was compared.

use aes::cipher::{BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipher};
use aes::{Aes128, Aes256};
use ctr::cipher::StreamCipherCoreWrapper;
use ctr::{Ctr128BE, CtrCore};
use poly1305::Poly1305;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::{RepoError, Result};

/// Bytes that an envelope adds.
pub const OVERHEAD: usize = IV_LEN + TAG_LEN;
const IV_LEN: usize = 16;
const TAG_LEN: usize = 16;

/// The keys of a repository: one to encrypt, two to authenticate.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key {
    encrypt: [u8; 32],
    mac_k: [u8; 16],
    mac_r: [u8; 16],
}

/// A key made ready: its cipher tables are computed once.
#[derive(Clone)]
pub struct Sealer {
    cipher: Aes256,
    nonce_cipher: Aes128,
    mac_r: [u8; 16],
}

impl Key {
    /// A new random key.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn random() -> Result<Self> {
        let mut bytes = [0; 64];
        getrandom::fill(&mut bytes)?;
        let key = Self::from_bytes(&bytes);
        bytes.zeroize();
        Ok(key)
    }

    /// 0–32 encrypt, 32–48 k, 48–64 r: the order in which scrypt's output is used.
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let mut key = Self { encrypt: [0; 32], mac_k: [0; 16], mac_r: [0; 16] };
        key.encrypt.copy_from_slice(&bytes[..32]);
        key.mac_k.copy_from_slice(&bytes[32..48]);
        key.mac_r.copy_from_slice(&bytes[48..]);
        key
    }

    /// Prepare for use.
    pub fn sealer(&self) -> Sealer {
        Sealer {
            cipher: Aes256::new(&self.encrypt.into()),
            nonce_cipher: Aes128::new(&self.mac_k.into()),
            mac_r: self.mac_r,
        }
    }

    /// The JSON inside a key file: `{"mac":{"k","r"},"encrypt"}`, all base64.
    pub fn to_json(&self) -> Vec<u8> {
        let form = KeyForm {
            mac: MacForm { k: base64(&self.mac_k), r: base64(&self.mac_r) },
            encrypt: base64(&self.encrypt),
        };
        serde_json::to_vec(&form).expect("strings always serialise")
    }

    /// The opposite of [`Key::to_json`]; `None` for anything else.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        let form: KeyForm = serde_json::from_slice(json).ok()?;
        Some(Self {
            encrypt: unbase64(&form.encrypt)?,
            mac_k: unbase64(&form.mac.k)?,
            mac_r: unbase64(&form.mac.r)?,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct KeyForm {
    mac: MacForm,
    encrypt: String,
}

#[derive(Serialize, Deserialize)]
struct MacForm {
    k: String,
    r: String,
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn unbase64<const N: usize>(text: &str) -> Option<[u8; N]> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).ok()?.try_into().ok()
}

impl Sealer {
    /// Append the envelope of `plain` to `out`.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn seal(&self, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let mut iv = [0; IV_LEN];
        while iv == [0; IV_LEN] {
            getrandom::fill(&mut iv)?;
        }
        self.seal_with(iv, plain, out);
        Ok(())
    }

    fn seal_with(&self, iv: [u8; IV_LEN], plain: &[u8], out: &mut Vec<u8>) {
        out.reserve(plain.len() + OVERHEAD);
        out.extend_from_slice(&iv);
        let start = out.len();
        out.extend_from_slice(plain);
        self.apply(&iv, &mut out[start..]);
        let tag = self.tag(&iv, &out[start..]);
        out.extend_from_slice(&tag);
    }

    /// Replace `out` by what the envelope holds.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] naming `what`, for a wrong tag or too few bytes; `out` is then empty.
    pub fn open(&self, sealed: &[u8], out: &mut Vec<u8>, what: &dyn ToString) -> Result<()> {
        out.clear();
        let Some((iv, rest)) = sealed.split_first_chunk::<IV_LEN>() else {
            return Err(RepoError::damaged(what.to_string(), "too short"));
        };
        let Some((text, tag)) = rest.split_last_chunk::<TAG_LEN>() else {
            return Err(RepoError::damaged(what.to_string(), "too short"));
        };
        let expected = self.tag(iv, text);
        let difference = expected.iter().zip(tag).fold(0, |all, (one, other)| all | (one ^ other));
        if std::hint::black_box(difference) != 0 {
            return Err(RepoError::damaged(what.to_string(), "its bytes do not fit its authentication tag"));
        }
        out.extend_from_slice(text);
        self.apply(iv, out);
        Ok(())
    }

    fn apply(&self, iv: &[u8; IV_LEN], bytes: &mut [u8]) {
        let core = CtrCore::inner_iv_init(self.cipher.clone(), &(*iv).into());
        let mut stream: Ctr128BE<Aes256> = StreamCipherCoreWrapper::from_core(core);
        stream.apply_keystream(bytes);
    }

    fn tag(&self, iv: &[u8; IV_LEN], text: &[u8]) -> [u8; TAG_LEN] {
        let mut one_time = [0; 32];
        one_time[..16].copy_from_slice(&self.mac_r);
        let mut nonce = (*iv).into();
        self.nonce_cipher.encrypt_block(&mut nonce);
        one_time[16..].copy_from_slice(&nonce);
        Poly1305::new(&one_time.into()).compute_unpadded(text).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> Sealer {
        Key::random().unwrap().sealer()
    }

    #[test]
    fn what_was_sealed_opens_and_nothing_else_does() {
        let (sealer, mut sealed, mut plain) = (sealer(), vec![], vec![]);
        sealer.seal(b"the only copy", &mut sealed).unwrap();
        sealer.open(&sealed, &mut plain, &"test").unwrap();
        assert_eq!(plain, b"the only copy");
        for bit in 0..sealed.len() * 8 {
            sealed[bit / 8] ^= 1 << (bit % 8);
            assert!(sealer.open(&sealed, &mut plain, &"test").is_err(), "bit {bit}");
            assert!(plain.is_empty());
            sealed[bit / 8] ^= 1 << (bit % 8);
        }
        for len in 0..sealed.len() {
            assert!(sealer.open(&sealed[..len], &mut plain, &"test").is_err());
        }
    }

    #[test]
    fn the_counter_carries_beyond_64_bits() {
        // The second block must use IV + 1 as one 128-bit number; a 64-bit counter would wrap to a lower half of 0
        // without the carry, and give the key stream of another block.
        let key = Key::random().unwrap();
        let sealer = key.sealer();
        let mut iv = [0xff; 16];
        iv[0] = 7;
        let mut sealed = vec![];
        sealer.seal_with(iv, &[0; 32], &mut sealed);
        let cipher = Aes256::new(&key.encrypt.into());
        let mut second = [0; 16].into();
        cipher.encrypt_block_b2b(&(u128::from_be_bytes(iv) + 1).to_be_bytes().into(), &mut second);
        assert_eq!(sealed[32..48], second[..]);
    }

    #[test]
    fn a_key_survives_its_json() {
        let key = Key::random().unwrap();
        let again = Key::from_json(&key.to_json()).unwrap();
        assert!(key.encrypt == again.encrypt && key.mac_k == again.mac_k && key.mac_r == again.mac_r);
        assert!(Key::from_json(b"{}").is_none());
    }

    #[test]
    fn equal_plaintexts_have_different_envelopes() {
        let (sealer, mut one, mut other) = (sealer(), vec![], vec![]);
        sealer.seal(b"same", &mut one).unwrap();
        sealer.seal(b"same", &mut other).unwrap();
        assert_ne!(one, other);
    }
}
