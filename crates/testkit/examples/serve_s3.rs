//! An S3 for benchmarks: Ceph's gateway with one OSD in memory, plain and with TLS, near and behind a wire of so many
//! milliseconds there and back: `serve_s3 [MILLISECONDS]`. Prints a line of JSON, and serves until its stdin ends.

#![allow(clippy::print_stdout, reason = "what it prints is its result")]

use std::io::Read;
use std::time::Duration;

use testkit::proxy::Proxy;
use testkit::s3::{ACCESS_KEY, REGION, S3, SECRET_KEY};

fn main() {
    let round_trip = std::env::args().nth(1).map_or(20, |ms| ms.parse().expect("milliseconds"));
    let s3 = S3::guarded();
    s3.make_bucket("bench");
    let (tls, certificates) = s3.tls();
    let far = Proxy::start(tls);
    far.delay(Duration::from_micros(round_trip * 500));
    println!(
        r#"{{"plain":"{}","near":"https://127.0.0.1:{tls}","far":"https://127.0.0.1:{}","ca":"{}","key":"{ACCESS_KEY}","secret":"{SECRET_KEY}","region":"{REGION}"}}"#,
        s3.endpoint(),
        far.port(),
        certificates.authority().display(),
    );
    std::io::stdin().read_to_end(&mut vec![]).ok();
}
