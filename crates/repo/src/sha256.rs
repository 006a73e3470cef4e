//! SHA-256 of several messages at once, and of a stream beside its pieces.
//!
//! One message cannot use a core fully, whatever the instructions ([`lanes`] says why), so what has several gives
//! them together. Form of the result: the same as of `sha2`, which does all else that hashes here. Where the
//! processor has no SHA instructions, nothing is gained and nothing lost.

use model::digest::Digest;
use sha2::block_api::compress256;

/// What SHA-256 takes in one step.
type Block = [u8; BLOCK_LEN];
/// What it keeps between two steps.
type State = [u32; 8];

const BLOCK_LEN: usize = 64;
/// Messages at one time: two leave a fifth of the processor's SHA unit unused, four do not fit its registers.
const LANES: usize = 3;
/// The number of bits that ends the last block.
const BITS_LEN: usize = 8;
/// The square roots of the first eight primes (FIPS 180-4, 5.3.3).
const START: State =
    [0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19];

mod lanes;

/// SHA-256 of each of `messages`; `each` is told their numbers in any order.
pub fn digests<'a>(messages: impl IntoIterator<Item = &'a [u8]>, mut each: impl FnMut(usize, Digest)) {
    let mut messages: Vec<_> = messages.into_iter().enumerate().collect();
    // The longest first, so that all lanes end together.
    messages.sort_unstable_by_key(|(_, message)| std::cmp::Reverse(message.len()));
    let lanes = messages.into_iter().map(|(number, message)| Lane::of(number, message));
    run(lanes, |lane| each(lane.number, digest(&lane.state)));
}

/// SHA-256 of a stream that comes in pieces, each of which is hashed too.
#[derive(Clone)]
pub struct StreamHash {
    state: State,
    /// A block of which only the first bytes have come.
    block: Block,
    len: u64,
}

impl Default for StreamHash {
    fn default() -> Self {
        Self { state: START, block: [0; BLOCK_LEN], len: 0 }
    }
}

impl StreamHash {
    /// Take the next piece. -> the SHA-256 of the piece alone
    pub fn push(&mut self, piece: &[u8]) -> Digest {
        let begun = self.begun().len();
        let missing = if begun == 0 { 0 } else { piece.len().min(BLOCK_LEN - begun) };
        let (first, rest) = piece.split_at(missing);
        self.block[begun..begun + missing].copy_from_slice(first);
        if begun + missing == BLOCK_LEN {
            compress256(&mut self.state, &[self.block]);
        }
        let (blocks, last) = rest.as_chunks();
        self.block[..last.len()].copy_from_slice(last);
        self.len += piece.len() as u64;
        let whole =
            Lane { number: 0, state: self.state, body: blocks, end: [[0; BLOCK_LEN]; 2], end_from: 2 };
        let mut alone = Digest::default();
        run([whole, Lane::of(1, piece)].into_iter(), |lane| match lane.number {
            0 => self.state = lane.state,
            _ => alone = digest(&lane.state),
        });
        alone
    }

    /// SHA-256 of all pieces.
    pub fn finish(mut self) -> Digest {
        let (end, from) = end(self.begun(), self.len);
        compress256(&mut self.state, &end[from..]);
        digest(&self.state)
    }

    /// Bytes behind the last whole block.
    fn begun(&self) -> &[u8] {
        &self.block[..(self.len % BLOCK_LEN as u64) as usize]
    }
}

/// A message on its way.
struct Lane<'a> {
    number: usize,
    state: State,
    body: &'a [Block],
    /// What comes behind the body, from `end_from` on.
    end: [Block; 2],
    end_from: usize,
}

impl<'a> Lane<'a> {
    fn of(number: usize, message: &'a [u8]) -> Self {
        let (body, rest) = message.as_chunks();
        let (end, end_from) = end(rest, message.len() as u64);
        Self { number, state: START, body, end, end_from }
    }

    /// What can be taken in one go.
    fn next(&self) -> &[Block] {
        if self.body.is_empty() { &self.end[self.end_from..] } else { self.body }
    }

    fn advance(&mut self, count: usize) {
        match self.body.is_empty() {
            true => self.end_from += count,
            false => self.body = &self.body[count..],
        }
    }
}

/// The end of a message of `len` bytes: the `rest` behind its whole blocks, one bit, zeros, and the number of bits.
/// -> blocks, of which those from the number on count
fn end(rest: &[u8], len: u64) -> ([Block; 2], usize) {
    let mut end = [[0; BLOCK_LEN]; 2];
    let from = usize::from(rest.len() + 1 + BITS_LEN <= BLOCK_LEN);
    let bytes = end.as_flattened_mut();
    bytes[from * BLOCK_LEN..][..rest.len()].copy_from_slice(rest);
    bytes[from * BLOCK_LEN + rest.len()] = 0x80;
    bytes[2 * BLOCK_LEN - BITS_LEN..].copy_from_slice(&(len * 8).to_be_bytes());
    (end, from)
}

/// Keep all lanes busy until every message of `waiting` is at its end.
fn run<'a>(mut waiting: impl Iterator<Item = Lane<'a>>, mut done: impl FnMut(Lane<'a>)) {
    let mut lanes: Vec<_> = waiting.by_ref().take(LANES).collect();
    while !lanes.is_empty() {
        match &mut lanes[..] {
            [a, b, c] => step([a, b, c]),
            [a, b] => step([a, b]),
            alone => alone.iter_mut().for_each(|lane| step([lane])),
        }
        for at in (0..lanes.len()).rev() {
            if lanes[at].next().is_empty() {
                done(lanes.swap_remove(at));
                lanes.extend(waiting.next());
            }
        }
    }
}

fn step<const N: usize>(lanes: [&mut Lane<'_>; N]) {
    let count = lanes.iter().map(|lane| lane.next().len()).min().unwrap_or(0);
    let mut states = lanes.each_ref().map(|lane| lane.state);
    lanes::compress(&mut states, lanes.each_ref().map(|lane| &lane.next()[..count]));
    for (lane, state) in lanes.into_iter().zip(states) {
        lane.state = state;
        lane.advance(count);
    }
}

fn digest(state: &State) -> Digest {
    let mut bytes = [0; 32];
    bytes.as_chunks_mut().0.iter_mut().zip(state).for_each(|(four, word)| *four = word.to_be_bytes());
    Digest(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn together(messages: &[&[u8]]) -> Vec<Digest> {
        let mut all = vec![None; messages.len()];
        digests(messages.iter().copied(), |number, digest| assert!(all[number].replace(digest).is_none()));
        all.into_iter().map(Option::unwrap).collect()
    }

    fn one_by_one(messages: &[&[u8]]) -> Vec<Digest> {
        messages.iter().map(|message| Digest(Sha256::digest(message).into())).collect()
    }

    fn noise(len: usize) -> Vec<u8> {
        (0..len as u32).map(|n| (n.wrapping_mul(0x9E37_79B9) >> 13) as u8).collect()
    }

    #[test]
    fn the_examples_of_nist() {
        // FIPS 180-4 and the files beside it: SHA256.pdf, SHA2_Additional.pdf, SHAVS short messages.
        let million = vec![b'a'; 1_000_000];
        let cases: [(&[u8], &str); 9] = [
            (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
            (
                b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
                "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
            ),
            (&million, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
            (&[0xbd], "68325720aabd7c82f30f554b313d0570c95accbb7dc4b5aae11204c08ffe732b"),
            (&[0; 55], "02779466cdec163811d078815c633f21901413081449002f24aa3e80f0b88ef7"),
            (&[0; 56], "d4817aa5497628e7c77e6b606107042bbba3130888c5f47a375e6179be789fbb"),
            (&[0; 64], "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b"),
        ];
        // Alone, and each in every place between the others.
        for turn in 0..cases.len() {
            let mut cases = cases;
            cases.rotate_left(turn);
            let (messages, expected): (Vec<_>, Vec<_>) = cases.iter().copied().unzip();
            let hex: Vec<_> = together(&messages).into_iter().map(Digest::to_hex).collect();
            assert_eq!(hex, expected);
            assert_eq!(together(&messages[..1])[0].to_hex(), expected[0]);
        }
    }

    #[test]
    fn all_lengths_at_all_alignments() {
        let bytes = noise(64 + 320);
        for start in 0..64 {
            let messages: Vec<_> = (0..=320).map(|len| &bytes[start..start + len]).collect();
            assert_eq!(together(&messages), one_by_one(&messages), "from {start}");
        }
    }

    #[test]
    fn a_stream_and_its_pieces_at_all_lengths() {
        let bytes = noise(1000);
        for len in 0..=200 {
            let mut stream = StreamHash::default();
            for piece in bytes.chunks(len.max(1)) {
                assert_eq!(stream.push(piece), one_by_one(&[piece])[0]);
                assert_eq!(stream.push(&[]), one_by_one(&[&[]])[0]);
            }
            assert_eq!(stream.finish(), one_by_one(&[&bytes])[0], "{len}");
        }
    }

    proptest! {
        #[test]
        fn any_messages(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..12)) {
            let messages: Vec<_> = messages.iter().map(|message| &message[..]).collect();
            prop_assert_eq!(together(&messages), one_by_one(&messages));
        }

        #[test]
        fn any_pieces(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 0..12)) {
            let mut stream = StreamHash::default();
            for piece in &pieces {
                prop_assert_eq!(stream.push(piece), one_by_one(&[piece])[0]);
            }
            prop_assert_eq!(stream.finish(), one_by_one(&[&pieces.concat()])[0]);
        }
    }
}
