//! Archive classes, on the one server of other makers that has them.

use remote::Settings;
use remote::archive::archive;
use store::archive::{Archive, Warmth, conforms};
use store::{Key, Store};
use testkit::s3::{ACCESS_KEY, S3, SECRET_KEY};

#[test]
fn moto_gives_out_of_its_archive_what_was_asked_for() {
    let s3 = S3::moto();
    s3.thaw_at_look(3);
    s3.make_bucket("acme");
    let settings = Settings::new([
        ("AWS_ACCESS_KEY_ID".to_owned(), ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY".to_owned(), SECRET_KEY.to_owned()),
    ]);
    for class in ["GLACIER", "DEEP_ARCHIVE"] {
        let url = format!("{}&storage-class={class}", s3.url("acme", class));
        let store = remote::open(&url, &settings).unwrap();
        let archive = archive(&url, &settings).unwrap().unwrap();
        let (pack, config): (Key, Key) = ("data/ab/abcd".parse().unwrap(), "config".parse().unwrap());
        store.put_new(&pack, b"a pack").unwrap();
        store.put_new(&config, b"config").unwrap();
        // Only packs are in the class.
        assert_eq!(archive.warmth(&config).unwrap(), Warmth::Warm);
        archive.warm_up(&config, &store::archive::Terms::default()).unwrap();
        conforms(&*store, &archive, &pack, || {
            assert_eq!(archive.warmth(&pack).unwrap(), Warmth::Warming);
            while archive.warmth(&pack).unwrap() == Warmth::Warming {}
        });
    }
}
