//! A small file system of its own, to be filled and made read-only.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::means;

/// A mounted file system in memory, gone with the value.
pub struct SmallDisk {
    place: PathBuf,
}

impl SmallDisk {
    /// Mount one of `size` (like `4m`) at `place`, which is made. `None`, and said so, where the system does not let us.
    ///
    /// # Panics
    /// Where `place` cannot be made.
    pub fn mount(place: &Path, size: &str) -> Option<Self> {
        if !means::is_root("make a small disk") {
            return None;
        }
        std::fs::create_dir_all(place).expect("a directory can be made");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(place);
        // In a container not even root may.
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self { place: place.to_owned() }),
            refused => {
                means::lack(&format!("a small disk cannot be mounted: {refused:?}"));
                None
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.place
    }

    /// Change it: `ro`, or `rw,size=8m`.
    ///
    /// # Panics
    /// Where the system refuses.
    pub fn remount(&self, option: &str) {
        let mut mount = Command::new("mount");
        let status = mount.args(["-o", &format!("remount,{option}")]).arg(&self.place).status();
        assert!(status.is_ok_and(|status| status.success()), "it can be mounted again");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.place).status().ok();
    }
}
