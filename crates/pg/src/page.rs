//! A page of PostgreSQL: 8 KiB that begin with the position of their last change and a checksum.
//!
//! Form (PostgreSQL manual, 73.6): LSN as two 32-bit halves, high first · checksum 16 bit at 8 · end of free space at 14 ·
//! all in the machine's order, which is little-endian wherever this runs. A page of zeros was added to a file and never
//! written: it has neither. The checksum is that of `storage/checksum_impl.h`: 32 FNV-like sums side by side.

use model::lsn::Lsn;

/// Bytes of a page. Servers can be built with others; those are refused where a cluster is opened.
pub const PAGE_LEN: usize = 8192;
/// Pages of one file of a relation: it is continued in the next file after 1 GiB.
pub const SEGMENT_PAGES: u32 = 131_072;

/// Sums that run side by side.
const SUMS: usize = 32;
const PRIME: u32 = 16_777_619;
const OFFSETS: [u32; SUMS] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// The bytes of one page.
pub type Page = [u8; PAGE_LEN];

/// Whether it was added to its file and never written.
pub fn is_new(page: &Page) -> bool {
    page[14..16] == [0, 0]
}

/// Where its last change is in the log.
pub fn lsn(page: &Page) -> Lsn {
    let half =
        |at: usize| u64::from(u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]));
    Lsn(half(0) << 32 | half(4))
}

/// Whether its checksum is the one that page `number` of its relation must have. New pages have none, and are zeros from their
/// first byte to their last, as PostgreSQL demands when it reads one.
pub fn is_sound(page: &Page, number: u32) -> bool {
    match is_new(page) {
        true => *page == [0; PAGE_LEN],
        false => u16::from_le_bytes([page[8], page[9]]) == checksum(page, number),
    }
}

/// The checksum of a page that is not new; `number` counts from the beginning of the relation.
pub fn checksum(page: &Page, number: u32) -> u16 {
    let mut sums = OFFSETS;
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function was compiled for, as was asked just now.
        #[expect(
            unsafe_code,
            reason = "three times as fast with eight sums in one register; what it does is safe code"
        )]
        unsafe {
            mix_avx2(&mut sums, page);
        }
        return fold(&sums, number);
    }
    mix(&mut sums, page);
    fold(&sums, number)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn mix_avx2(sums: &mut [u32; SUMS], page: &Page) {
    mix(sums, page);
}

#[inline(always)]
fn mix(sums: &mut [u32; SUMS], page: &Page) {
    for (row, bytes) in page.chunks_exact(4 * SUMS).enumerate() {
        let mut values = [0; SUMS];
        for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(4)) {
            *value = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        if row == 0 {
            // The checksum itself counts as zero.
            values[2] &= 0xFFFF_0000;
        }
        step(sums, &values);
    }
    step(sums, &[0; SUMS]);
    step(sums, &[0; SUMS]);
}

#[inline(always)]
fn step(sums: &mut [u32; SUMS], values: &[u32; SUMS]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        let mixed = *sum ^ value;
        *sum = mixed.wrapping_mul(PRIME) ^ (mixed >> 17);
    }
}

fn fold(sums: &[u32; SUMS], number: u32) -> u16 {
    let all = sums.iter().fold(0, |all, sum| all ^ sum) ^ number;
    // Never zero, which says that there is no checksum.
    (all % 65_535 + 1) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let mut page = [0; PAGE_LEN];
        page.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * 31 + (at >> 8)) as u8);
        page
    }

    #[test]
    fn both_ways_of_summing_are_the_same() {
        let mut sums = OFFSETS;
        mix(&mut sums, &page());
        assert_eq!(fold(&sums, 7), checksum(&page(), 7));
    }

    #[test]
    fn every_byte_and_the_number_count_but_the_checksum_itself() {
        let (before, mut page) = (checksum(&page(), 1), page());
        assert_ne!(checksum(&page, 2), before);
        for at in 0..PAGE_LEN {
            page[at] ^= 0x40;
            assert_eq!(checksum(&page, 1) == before, at == 8 || at == 9, "byte {at}");
            page[at] ^= 0x40;
        }
    }

    #[test]
    fn a_page_of_zeros_is_new_and_sound() {
        assert!(is_new(&[0; PAGE_LEN]) && is_sound(&[0; PAGE_LEN], 3));
        assert!(!is_new(&page()));
        // Two bytes of zeros make no page new, whatever checksum it has.
        let mut hit = page();
        hit[14..16].fill(0);
        let sum = checksum(&hit, 3);
        hit[8..10].copy_from_slice(&sum.to_le_bytes());
        assert!(is_new(&hit) && !is_sound(&hit, 3));
    }

    #[test]
    fn the_position_is_high_half_first() {
        let mut page = page();
        page[..8].copy_from_slice(&[0x16, 0, 0, 0, 0x48, 0xD8, 0x74, 0xB3]);
        assert_eq!(lsn(&page), Lsn(0x16_B374_D848));
    }
}
