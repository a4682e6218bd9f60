//! The compressions of a record batch's records, in the framing that other Kafka clients use.

use std::{
    fmt,
    io::{self, Read, Write},
    ops::RangeInclusive,
    str::FromStr,
};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{BatchHeader, RecordsError, error::too_large, snappy};

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Snappy in the framing of the Java client.
    Snappy,
    /// LZ4 in its frame format.
    Lz4,
    /// Zstandard (KIP-110, RFC 8878).
    Zstd,
}

impl Compression {
    /// All of them, in the order of their ids.
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// The number in a batch's attributes.
    pub const fn id(self) -> i16 {
        self as i16
    }

    /// The compression of that number.
    pub fn from_id(id: i16) -> Option<Compression> {
        Compression::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// The compression of a batch.
    ///
    /// # Errors
    /// [`RecordsError::Malformed`] when there is none of its number.
    pub fn of(header: &BatchHeader) -> Result<Compression, RecordsError> {
        let base_offset = header.base_offset;
        Compression::from_id(header.codec())
            .ok_or(RecordsError::Malformed { base_offset, what: "its compression is unknown" })
    }

    /// The name as in Kafka's `compression.type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// The levels that [`Codec::level`] may have; `None` where there is nothing to choose.
    pub fn levels(self) -> Option<RangeInclusive<i32>> {
        match self {
            Compression::None | Compression::Snappy | Compression::Lz4 => None,
            Compression::Gzip => Some(1..=9),
            Compression::Zstd => Some(zstd::compression_level_range()),
        }
    }

    /// Appends `input`, decompressed, to `out`.
    ///
    /// # Errors
    /// When `input` is not of this compression, or expands to more than `limit` bytes. `out` may
    /// then hold a part.
    pub fn decompress(self, input: &[u8], out: &mut Vec<u8>, limit: usize) -> io::Result<()> {
        let read = self.reader(input)?.take((limit as u64).saturating_add(1)).read_to_end(out)?;
        if read > limit { Err(too_large(limit)) } else { Ok(()) }
    }

    /// Decompresses `input` bit by bit: each step yields little, however large the whole is.
    pub(super) fn reader<'a>(
        self,
        input: impl AsRef<[u8]> + Send + 'a,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        let plain = io::Cursor::new;
        Ok(match self {
            Compression::None => Box::new(plain(input)),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(plain(input))),
            Compression::Snappy => Box::new(snappy::Reader::new(input)),
            Compression::Lz4 => Box::new(Lz4Reader(Some(FrameDecoder::new(plain(input))))),
            Compression::Zstd => Box::new(zstd::Decoder::with_buffer(plain(input))?),
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is not in Kafka's `compression.type`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown compression {0:?}: one of none, gzip, snappy, lz4, zstd")]
pub struct UnknownCompression(pub String);

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(name: &str) -> Result<Compression, UnknownCompression> {
        let found = Compression::ALL.into_iter().find(|codec| codec.as_str() == name);
        found.ok_or_else(|| UnknownCompression(name.to_owned()))
    }
}

/// A compression and its level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codec {
    /// The compression.
    pub compression: Compression,
    /// The level (KIP-390), clamped to [`Compression::levels`]; the codec's own default if unset.
    pub level: Option<i32>,
}

impl From<Compression> for Codec {
    fn from(compression: Compression) -> Codec {
        Codec { compression, level: None }
    }
}

impl Codec {
    /// Appends `input`, compressed, to `out`.
    ///
    /// # Errors
    /// When the codec fails, which happens only for lack of memory.
    pub fn compress(self, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let level = self.compression.levels().and_then(|levels| {
            let level = self.level?;
            Some(level.clamp(*levels.start(), *levels.end()))
        });
        match self.compression {
            Compression::None => out.extend_from_slice(input),
            Compression::Gzip => {
                let level =
                    level.map_or(flate2::Compression::default(), |l| flate2::Compression::new(l as u32));
                let mut encoder = flate2::write::GzEncoder::new(out, level);
                encoder.write_all(input)?;
                encoder.finish()?;
            }
            Compression::Snappy => snappy::compress(input, out)?,
            Compression::Lz4 => compress_lz4(input, out)?,
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(out, level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL))?;
                encoder.set_pledged_src_size(Some(input.len() as u64))?;
                encoder.write_all(input)?;
                encoder.finish()?;
            }
        }
        Ok(())
    }
}

/// The Java client reads only independent blocks, and writes blocks of this size.
fn compress_lz4(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(input)?;
    encoder.finish()?;
    Ok(())
}

/// Reads frames that follow one another and may have different block sizes: a decoder reads only
/// one.
struct Lz4Reader<B: AsRef<[u8]>>(Option<FrameDecoder<io::Cursor<B>>>);

impl<B: AsRef<[u8]>> Read for Lz4Reader<B> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.0 {
            let read = decoder.read(out)?;
            if read > 0 || out.is_empty() {
                return Ok(read);
            }
            let rest = self.0.take().map(FrameDecoder::into_inner);
            self.0 = rest
                .filter(|rest| rest.position() < rest.get_ref().as_ref().len() as u64)
                .map(FrameDecoder::new);
        }
        Ok(0)
    }
}

#[cfg(test)]
#[path = "compression_tests.rs"]
mod tests;
