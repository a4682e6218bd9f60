//! HMAC-SHA-256 (RFC 2104) of short texts, one after the other under the same key.
//!
//! What the key contributes is computed once: it is whole blocks, so that what follows them begins with a state
//! of eight numbers, and most texts fit into one more block. The crate `hmac` copies buffers instead.

use sha2::{Digest as _, Sha256, block_api::compress256};

const BLOCK: usize = 64;

/// The state that SHA-256 begins with (FIPS 180-4, section 5.3.3).
const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// A key, ready to be used.
pub(super) struct HmacSha256 {
    /// The state after the key's block that comes before the text.
    inner: [u32; 8],
    /// That after the one before the inner digest.
    outer: [u32; 8],
}

impl HmacSha256 {
    /// The key may have any length.
    pub(super) fn new(key: &[u8]) -> HmacSha256 {
        let digest;
        let key = if key.len() > BLOCK {
            digest = Sha256::digest(key);
            &digest[..]
        } else {
            key
        };
        let after = |pad: u8| {
            let mut block = [pad; BLOCK];
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            let mut state = START;
            compress256(&mut state, &[block]);
            state
        };
        HmacSha256 { inner: after(0x36), outer: after(0x5c) }
    }

    /// The code of `text`.
    pub(super) fn code(&self, text: &[u8]) -> [u8; 32] {
        let (blocks, rest) = text.as_chunks::<BLOCK>();
        let mut state = self.inner;
        if !blocks.is_empty() {
            compress256(&mut state, blocks);
        }
        finish(&mut state, rest, text.len());
        let digest = bytes_of(&state);
        state = self.outer;
        finish(&mut state, &digest, digest.len());
        bytes_of(&state)
    }
}

/// Adds what is left of a text of `len` bytes, which is less than a block, and pads it; a block of the key comes
/// before the text.
fn finish(state: &mut [u32; 8], rest: &[u8], len: usize) {
    let mut last = [[0; BLOCK]; 2];
    last.as_flattened_mut()[..rest.len()].copy_from_slice(rest);
    last.as_flattened_mut()[rest.len()] = 0x80;
    let bits = 8 * (BLOCK + len) as u64;
    // The length takes eight bytes at the end.
    let count = if rest.len() < BLOCK - 8 { 1 } else { 2 };
    last[count - 1][BLOCK - 8..].copy_from_slice(&bits.to_be_bytes());
    compress256(state, &last[..count]);
}

fn bytes_of(state: &[u32; 8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, number) in bytes.as_chunks_mut().0.iter_mut().zip(state) {
        *to = number.to_be_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};

    use super::*;

    #[test]
    fn it_is_what_the_crate_computes() {
        let bytes: Vec<u8> = (0..600_u32).map(|nth| ((nth * nth) >> 3) as u8).collect();
        for key in [0, 1, 32, 63, 64, 65, 131] {
            let own = HmacSha256::new(&bytes[..key]);
            for len in (0..260).chain([500]) {
                let text = &bytes[100..100 + len];
                let mut expected = Hmac::<Sha256>::new_from_slice(&bytes[..key]).unwrap();
                expected.update(text);
                assert_eq!(own.code(text)[..], expected.finalize().into_bytes()[..], "{key}, {len}");
            }
        }
    }
}
