//! Irreducible polynomials of degree 53 over GF(2): restic's chunker needs one in every repository's configuration.
//!
//! Form: bit i of the number is the coefficient of x^i. We cut with FastCDC and never use it ourselves; restic
//! does when it backs up into the same repository, and refuses to open one without.

use crate::error::Result;

/// The degree that restic uses.
const DEGREE: u32 = 53;

/// A random irreducible polynomial.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn random() -> Result<u64> {
    loop {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes)?;
        // Without the constant term x would divide it.
        let candidate = u64::from_le_bytes(bytes) & ((1 << DEGREE) - 1) | (1 << DEGREE) | 1;
        if is_irreducible(candidate) {
            return Ok(candidate);
        }
    }
}

/// Rabin's test: for a prime degree n, p is irreducible if and only if x^(2^n) = x (mod p) and
/// gcd(x^2 - x, p) = 1.
pub fn is_irreducible(p: u64) -> bool {
    if p < 2 || degree(p) != DEGREE {
        return false;
    }
    let mut power = 2;
    for _ in 0..DEGREE {
        power = multiply(power, power, p);
    }
    power == 2 && gcd(p, 0b110) == 1
}

fn degree(p: u64) -> u32 {
    63 - p.leading_zeros()
}

fn multiply(mut a: u64, mut b: u64, p: u64) -> u64 {
    let mut product = 0;
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        b >>= 1;
        a <<= 1;
        if a >> degree(p) & 1 == 1 {
            a ^= p;
        }
    }
    product
}

fn gcd(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        while a != 0 && degree(a) >= degree(b) {
            a ^= b << (degree(a) - degree(b));
        }
        (a, b) = (b, a);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_polynomials() {
        // Irreducible ones from the published test tables of restic's chunker.
        for p in [0x3DA3358B4DC173, 0x2482734cacca49] {
            assert!(is_irreducible(p), "{p:x}");
        }
        for p in [0x38f1e565e288df, 0x30a8295b9d5c91, (1 << 53) | 1, 0, 1, 2, 3] {
            assert!(!is_irreducible(p), "{p:x}");
        }
    }

    #[test]
    fn random_ones_pass_their_own_test_and_differ() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert!(is_irreducible(one) && is_irreducible(other) && one != other);
    }
}
