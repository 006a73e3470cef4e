//! `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`: one encrypted value, bound to the names above it.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::Aes256;
use aes_gcm::aes::cipher::consts::U32;
use aes_gcm::{AesGcm, Key, Nonce, Tag};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize, Zeroizing};

/// SOPS draws 32 bytes for each value, where GCM usually has 12.
type Cipher = AesGcm<Aes256, U32>;

/// What opens the values of one file.
#[derive(zeroize::ZeroizeOnDrop)]
pub(super) struct DataKey([u8; DataKey::LEN]);

impl DataKey {
    /// Bytes of it.
    const LEN: usize = 32;

    /// `None` where it has another length.
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The value of `text`, whose names are `bound`; `None` where it is not what was encrypted there. An empty text is
    /// itself: SOPS does not encrypt it.
    pub(super) fn open(&self, text: &str, bound: &str) -> Option<Zeroizing<Vec<u8>>> {
        if text.is_empty() {
            return Some(Zeroizing::new(vec![]));
        }
        let inside = text.strip_prefix("ENC[AES256_GCM,data:")?.strip_suffix(']')?;
        let (data, rest) = inside.split_once(",iv:")?;
        let (iv, rest) = rest.split_once(",tag:")?;
        let (tag, _) = rest.split_once(",type:")?;
        let mut value = Zeroizing::new(STANDARD.decode(data).ok()?);
        let nonce = Nonce::<U32>::try_from(STANDARD.decode(iv).ok()?.as_slice()).ok()?;
        let tag = Tag::try_from(STANDARD.decode(tag).ok()?.as_slice()).ok()?;
        let cipher = Cipher::new(&Key::<Cipher>::from(self.0));
        let opened =
            cipher.decrypt_inout_detached(&nonce, bound.as_bytes(), value.as_mut_slice().into(), &tag);
        if opened.is_err() {
            value.zeroize();
            return None;
        }
        Some(value)
    }
}
