//! MD5 (RFC 1321) of many values at once.

use md5::{Digest as _, Md5};

/// The length in bytes of an MD5 digest.
pub const MD5_LEN: usize = 16;

/// Replaces the contents of `out` by the digests of `values`, in their order.
pub fn md5_many<'a>(values: impl Iterator<Item = &'a [u8]>, out: &mut Vec<[u8; MD5_LEN]>) {
    out.clear();
    out.extend(values.map(|value| <[u8; MD5_LEN]>::from(Md5::digest(value))));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_rfc() {
        let mut out = vec![[0; MD5_LEN]];
        md5_many([&b""[..], b"abc"].into_iter(), &mut out);
        let digests: Vec<u128> = out.into_iter().map(u128::from_be_bytes).collect();
        assert_eq!(digests, [0xd41d8cd98f00b204e9800998ecf8427e, 0x900150983cd24fb0d6963f7d28e17f72]);
    }
}
