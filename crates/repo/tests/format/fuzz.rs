//! No bytes at all make a decoder panic or spend without bound: random ones, and sound ones bent at random.
//!
//! What is decoded here was authenticated before, but by a key that other writers have too.

use std::sync::{Arc, LazyLock};

use model::secret::Secret;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use repo::config::Config;
use repo::crypto::Key;
use repo::key_file::KeyFile;
use repo::snapshot_file::SnapshotFile;
use repo::{Repository, compression, index, pack, tree};
use store::memory::MemoryStore;
use store::store::Store;

const SECRET: &str = "fuzz-password-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNO";

const INDEX: &str = r#"{"supersedes":[],"packs":[{"id":"1111111111111111111111111111111111111111111111111111111111111111","blobs":[
    {"id":"2222222222222222222222222222222222222222222222222222222222222222","type":"data","offset":0,"length":100,"uncompressed_length":500},
    {"id":"3333333333333333333333333333333333333333333333333333333333333333","type":"tree","offset":100,"length":50}]}]}"#;
const TREE: &str = r#"{"nodes":[{"name":"a","type":"file","mode":420,"mtime":"2026-01-02T03:04:05.000000006Z","uid":0,"gid":0,
    "user":"root","inode":1,"size":3,"links":1,"content":["4444444444444444444444444444444444444444444444444444444444444444"]},
    {"name":"b\n","type":"symlink","linktarget":"x","linktarget_raw":"eA==","content":null},
    {"name":"c","type":"dir","subtree":"5555555555555555555555555555555555555555555555555555555555555555",
    "extended_attributes":[{"name":"user.x","value":"AA=="}]}]}"#;
const SNAPSHOT: &str = r#"{"time":"2026-01-02T03:04:05.123456789+02:00","tree":"6666666666666666666666666666666666666666666666666666666666666666",
    "paths":["/x"],"hostname":"h","tags":["id=a","tenant=b"],"summary":{"backup_start":"2026-01-02T03:04:05Z","backup_end":"2026-01-02T03:04:06Z","files_new":1}}"#;
const CONFIG: &str = r#"{"version":2,"id":"7777777777777777777777777777777777777777777777777777777777777777","chunker_polynomial":"25b468838dcb75"}"#;
const KEY_FILE: &str = r#"{"created":"2026-01-02T03:04:05Z","username":"u","hostname":"h","kdf":"scrypt","N":2,"r":1,"p":1,
    "salt":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","data":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;

static REPOSITORY: LazyLock<(Arc<MemoryStore>, Repository)> = LazyLock::new(|| {
    let store = Arc::new(MemoryStore::new());
    let repository = Repository::init(store.clone(), &Secret::new(SECRET), "u", "h").unwrap();
    repository.put_note("record/x", &["value"]).unwrap();
    (store, repository)
});

/// Everything that decodes, on the same bytes.
fn decode_all(bytes: &[u8]) {
    drop(index::decode_file(bytes, "index").map(|packs| {
        let mut index = index::Index::default();
        index.add(&packs, |_| false);
        index::encode_file(&packs)
    }));
    drop(tree::decode(bytes, &"tree"));
    drop(serde_json::from_slice::<SnapshotFile>(bytes));
    drop(Config::parse(bytes, "place"));
    drop(Key::from_json(bytes));
    drop(compression::decompress_file(bytes, 1 << 20, "file"));
    drop(pack::decode_header(bytes, 150));
    let sealer = REPOSITORY.1.sealer();
    drop(pack::blobs_of(bytes, sealer, "pack"));
    drop(sealer.open(bytes, &mut vec![], &"envelope"));
    if let Ok(file) = serde_json::from_slice::<KeyFile>(bytes) {
        drop(serde_json::to_vec(&file));
    }
}

#[test]
fn the_sound_ones_decode() {
    assert_eq!(index::decode_file(INDEX.as_bytes(), "").unwrap()[0].blobs.len(), 2);
    assert_eq!(tree::decode(TREE.as_bytes(), &"").unwrap().len(), 3);
    assert_eq!(serde_json::from_str::<SnapshotFile>(SNAPSHOT).unwrap().tag("tenant"), Some("b"));
    assert_eq!(Config::parse(CONFIG.as_bytes(), "").unwrap().version, 2);
    let file: KeyFile = serde_json::from_str(KEY_FILE).unwrap();
    assert!(file.open(&Secret::new("x"), "key").unwrap().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        decode_all(&bytes);
    }

    #[test]
    fn bent_bytes_never_panic(which in 0usize..5, changes in vec((any::<u16>(), any::<u8>()), 0..4), end in any::<u16>()) {
        let mut bytes = [INDEX, TREE, SNAPSHOT, CONFIG, KEY_FILE][which].as_bytes().to_vec();
        for (place, byte) in changes {
            let place = usize::from(place) % bytes.len();
            bytes[place] = byte;
        }
        if end % 4 == 0 {
            bytes.truncate(usize::from(end) % bytes.len());
        }
        decode_all(&bytes);
    }

    #[test]
    fn numbers_of_any_size_never_panic(offset in any::<u32>(), length in any::<u32>(), raw in any::<u32>(), n in any::<u64>()) {
        let json = INDEX.replace(":0,", &format!(":{offset},")).replace(":100,", &format!(":{length},")).replace(":500", &format!(":{raw}"));
        if let Ok(packs) = index::decode_file(json.as_bytes(), "index") {
            let mut index = index::Index::default();
            index.add(&packs, |_| false);
            for blob in packs.iter().flat_map(|pack| &pack.blobs) {
                let place = index.require(blob.kind, &blob.id).unwrap();
                prop_assert!(place.plain_length() <= 1 << 30, "no reader reserves more than a blob may have");
            }
        }
        let n = if raw % 2 == 0 { n } else { 1 << (n % 64) };
        let key = KEY_FILE.replace("\"N\":2", &format!("\"N\":{n}")).replace("\"r\":1", &format!("\"r\":{raw}"));
        let file: KeyFile = serde_json::from_str(&key).unwrap();
        // Absurd costs are refused before they are spent; the others are too dear for a test.
        if n.saturating_mul(u64::from(raw)) > (1 << 30) / 128 || !n.is_power_of_two() {
            prop_assert!(file.open(&Secret::new("x"), "key").is_err());
        }
    }

    #[test]
    fn notes_and_envelopes_are_bound_to_their_bytes(place in any::<u16>(), bit in 0u8..8) {
        let (store, repository) = &*REPOSITORY;
        let object = repo::note::object("record/x").unwrap();
        let sealed = store::store::read(&**store, &object).unwrap();
        let other = repo::note::object(&format!("record/bent{place}-{bit}")).unwrap();
        let mut bent = sealed.clone();
        let place = usize::from(place) % bent.len();
        bent[place] ^= 1 << bit;
        store.delete(&other).unwrap();
        store.put_new(&other, &bent).unwrap();
        let name = other.as_str().trim_start_matches("x/").to_owned();
        prop_assert!(repository.load_note::<Vec<String>>(&name).unwrap_err().is_damage());
        // The same bytes under another name are somebody else's.
        store.delete(&other).unwrap();
        store.put_new(&other, &sealed).unwrap();
        prop_assert!(repository.load_note::<Vec<String>>(&name).unwrap_err().is_damage());
        prop_assert_eq!(repository.load_note::<Vec<String>>("record/x").unwrap(), ["value"]);
        store.delete(&other).unwrap();
    }
}
