//! Bytes that nothing compresses and that do not repeat, the same ones for the same seed.

use std::path::Path;

const MIB: usize = 1 << 20;

/// Make `folder/sub` with `mib` files of 1 MiB each.
///
/// # Panics
/// Where a file cannot be written.
pub fn fill_with_noise(folder: &Path, seed: u64, mib: u32) {
    std::fs::create_dir_all(folder.join("sub")).expect("a directory");
    let mut state = seed << 32 | u64::from(mib) << 1 | 1;
    for number in 0..mib {
        let mut content = Vec::with_capacity(MIB);
        while content.len() < MIB {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            content.extend(state.to_le_bytes());
        }
        std::fs::write(folder.join("sub").join(number.to_string()), content).expect("a file");
    }
}
