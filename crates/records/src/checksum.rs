//! The checksums of a record batch and of the messages before it.

/// The CRC-32C (Castagnoli, RFC 3720) of `bytes`.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// The CRC-32 (as in gzip, RFC 1952) of `bytes`.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iso_hdlc(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_what_another_implementation_computes() {
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
        let bytes: Vec<u8> = (0..5000u32).map(|i| ((i * i) >> 3) as u8).collect();
        for start in 0..70 {
            for len in (0..300).chain([1000, 4096, 4900]) {
                let part = &bytes[start..start + len];
                assert_eq!(super::crc32c(part), crc32c::crc32c(part), "{len} bytes from {start}");
            }
        }
    }
}
