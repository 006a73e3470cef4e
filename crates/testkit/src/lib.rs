//! The simulated world: what tests stand on, and judges that look with their own eyes.
pub mod postgres;
pub mod tree;
