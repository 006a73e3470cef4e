//! Ceph's gateway keeps every promise; so does moto, but for signatures.

use store::conformance;
use store::probe::{Behaviour, probe};
use testkit::s3::S3;

use crate::{errors, open};

#[test]
fn ceph_conforms() {
    let s3 = S3::ceph();
    s3.make_bucket("acme");
    conformance::run(&*open(&s3, "acme", "suite"));
    conformance::run(&*open(&s3, "acme", ""));
    assert_eq!(probe(&*open(&s3, "acme", "probe")).unwrap(), Behaviour::SOUND);
    conformance::odd_names_are_kept_as_they_are(&*open(&s3, "acme", "pre fix+ä"));
    conformance::a_long_list_is_whole(&*open(&s3, "acme", "long"));
    errors::each_no_is_named(&s3);
}

#[test]
fn moto_conforms() {
    let s3 = S3::moto();
    s3.make_bucket("acme");
    conformance::run(&*open(&s3, "acme", "suite"));
    conformance::odd_names_are_kept_as_they_are(&*open(&s3, "acme", "odd"));
    conformance::a_long_list_is_whole(&*open(&s3, "acme", "long"));
}
