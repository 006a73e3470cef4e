//! The simulated world: what tests stand on, and judges that look with their own eyes.
pub mod postgres;
pub mod rich;
pub mod tree;
pub mod program;
pub mod terminal;
pub mod service;
pub mod s3;
pub mod proxy;
pub mod gcs;
pub mod azurite;
pub mod restic;
pub mod disk;
pub mod site;
pub mod procfs;
pub mod moments;
pub mod sshd;
pub mod world;
