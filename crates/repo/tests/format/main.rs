//! The format's own tests: repositories that were written long ago stay readable, and no bytes at all break a decoder.

// Everything here is a test, also where clippy does not see it.
#![allow(clippy::unwrap_used)]

mod golden;
mod fuzz;
