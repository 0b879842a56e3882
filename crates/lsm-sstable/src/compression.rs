//! [`Compression`]: how the payload of a block is squeezed. Its numbers are part
//! of the disk format. Called by the writer and when a block is loaded.

use std::cell::RefCell;
use std::fmt;

/// How the blocks of a table are compressed. A block that does not shrink by an
/// eighth is stored as it is, whatever the table asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None = 0,
    /// LZ4: the faster one to read where matches are short and many, as in text.
    Lz4 = 1,
    /// Zstandard level 1: smaller, five to ten times slower. Needs the feature `zstd`.
    Zstd = 2,
    /// Snappy: the faster one to write, and to read where runs are long.
    #[default]
    Snappy = 3,
}

thread_local! {
    static SNAPPY: RefCell<Snappy> = RefCell::new(Snappy::new());
}

/// What Snappy needs memory for and a block is too little for to make it each time.
struct Snappy {
    /// 32 KiB that it finds matches with.
    encoder: snap::raw::Encoder,
    /// Where it writes to: the worst case, which must be zeroed first, is more than is kept.
    scratch: Vec<u8>,
}

/// Images longer than this are compressed into where they belong, zeroed for each.
const MAX_SCRATCH_IMAGE_BYTES: usize = 64 << 10;

impl Snappy {
    fn new() -> Self {
        Self { encoder: snap::raw::Encoder::new(), scratch: Vec::new() }
    }

    /// Appends the compressed `image` to `out`, and says how much that was.
    fn compress(&mut self, image: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let most = snap::raw::max_compress_len(image.len());
        let start = out.len();
        if image.len() > MAX_SCRATCH_IMAGE_BYTES {
            out.resize(start + most, 0);
            return self.encoder.compress(image, out.get_mut(start..)?).ok();
        }
        if self.scratch.len() < most {
            self.scratch.resize(most, 0);
        }
        let len = self.encoder.compress(image, self.scratch.get_mut(..most)?).ok()?;
        out.extend_from_slice(self.scratch.get(..len)?);
        Some(len)
    }
}

/// Why a payload could not be brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecompressError {
    /// This build lacks the algorithm.
    Unsupported,
    /// The payload is not what the algorithm wrote.
    Damaged,
}

/// A compressed block can be at most this much smaller than its image; a greater
/// claim is damage, found before anything is allocated. LZ4 reaches 255, Snappy 22;
/// Zstandard has no bound of its own, so the writer keeps to this one.
const MAX_RATIO: usize = 1 << 10;

impl Compression {
    /// All that there are, whether or not this build can use them.
    pub const ALL: [Self; 4] = [Self::None, Self::Lz4, Self::Zstd, Self::Snappy];

    /// The compression with this number on disk.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| *known as u8 == byte)
    }

    /// Whether this build can read and write it.
    #[must_use]
    pub const fn is_supported(self) -> bool {
        match self {
            Self::None | Self::Lz4 | Self::Snappy => true,
            Self::Zstd => cfg!(feature = "zstd"),
        }
    }

    /// Appends the compressed `image` to `out` and says so, or leaves `out` alone
    /// when that gains less than an eighth.
    pub(crate) fn compress(self, image: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let written = match self {
            Self::None => return false,
            Self::Lz4 => {
                out.resize(start + lz4_flex::block::get_maximum_output_size(image.len()), 0);
                let room = out.get_mut(start..).unwrap_or_default();
                lz4_flex::block::compress_into(image, room).ok()
            }
            Self::Zstd => zstd_compress(image, start, out),
            Self::Snappy => SNAPPY.with_borrow_mut(|snappy| snappy.compress(image, out)),
        };
        let worth_it =
            written.filter(|&len| len <= image.len() - image.len() / 8 && image.len() / MAX_RATIO < len);
        out.truncate(start + worth_it.unwrap_or(0));
        worth_it.is_some()
    }

    /// Whether a payload of so many bytes may be an image of `image_len`: asked before
    /// memory is taken for it.
    pub(crate) const fn may_yield(self, payload_len: usize, image_len: usize) -> Result<(), DecompressError> {
        if !self.is_supported() {
            return Err(DecompressError::Unsupported);
        }
        if image_len / MAX_RATIO > payload_len { Err(DecompressError::Damaged) } else { Ok(()) }
    }

    /// Brings back an image, which fills `image` exactly.
    pub(crate) fn decompress_into(self, payload: &[u8], image: &mut [u8]) -> Result<(), DecompressError> {
        let written = match self {
            Self::None if payload.len() == image.len() => {
                image.copy_from_slice(payload);
                Some(image.len())
            }
            Self::None => None,
            Self::Lz4 => lz4_flex::block::decompress_into(payload, image).ok(),
            Self::Zstd => zstd_decompress(payload, image)?,
            Self::Snappy => snap::raw::Decoder::new().decompress(payload, image).ok(),
        };
        if written == Some(image.len()) { Ok(()) } else { Err(DecompressError::Damaged) }
    }
}

#[cfg(feature = "zstd")]
fn zstd_compress(image: &[u8], start: usize, out: &mut Vec<u8>) -> Option<usize> {
    out.resize(start + zstd::zstd_safe::compress_bound(image.len()), 0);
    zstd::bulk::compress_to_buffer(image, out.get_mut(start..)?, 1).ok()
}

#[cfg(not(feature = "zstd"))]
const fn zstd_compress(_image: &[u8], _start: usize, _out: &mut Vec<u8>) -> Option<usize> {
    None
}

#[cfg(feature = "zstd")]
fn zstd_decompress(payload: &[u8], image: &mut [u8]) -> Result<Option<usize>, DecompressError> {
    Ok(zstd::bulk::decompress_to_buffer(payload, image).ok())
}

#[cfg(not(feature = "zstd"))]
const fn zstd_decompress(_payload: &[u8], _image: &mut [u8]) -> Result<Option<usize>, DecompressError> {
    Err(DecompressError::Unsupported)
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decompress(compression: Compression, payload: &[u8], len: usize) -> Result<Vec<u8>, DecompressError> {
        compression.may_yield(payload.len(), len)?;
        let mut image = vec![0; len];
        compression.decompress_into(payload, &mut image).map(|()| image)
    }

    #[test]
    fn what_is_compressed_comes_back_and_damage_does_not_allocate() {
        let image: Vec<u8> = (0..4096_u32).map(|i| (i / 7) as u8).collect();
        for compression in [Compression::Lz4, Compression::Zstd, Compression::Snappy] {
            let mut out = b"before".to_vec();
            let shrank = compression.compress(&image, &mut out);
            assert_eq!(shrank, compression.is_supported(), "{compression}");
            if !shrank {
                assert_eq!(out, b"before");
                assert_eq!(decompress(compression, b"x", 1), Err(DecompressError::Unsupported));
                continue;
            }
            assert_eq!(decompress(compression, &out[6..], image.len()).as_ref(), Ok(&image));
            for wrong_len in [0, 1, image.len() - 1, image.len() + 1, usize::MAX] {
                assert!(decompress(compression, &out[6..], wrong_len).is_err());
            }
        }
        let zeros = vec![0; 1 << 20];
        for compression in [Compression::Lz4, Compression::Snappy] {
            let mut out = Vec::new();
            if compression.compress(&zeros, &mut out) {
                assert_eq!(decompress(compression, &out, zeros.len()).as_ref(), Ok(&zeros));
            }
        }
    }

    #[test]
    fn images_of_all_lengths_come_back_from_one_thread() {
        let lens = [100_000, 10, 0, 64 << 10, (64 << 10) + 1, 4096, (64 << 10) - 1, 1];
        for (at, &len) in lens.iter().cycle().take(3 * lens.len()).enumerate() {
            let image: Vec<u8> = (0..len).map(|i| (i / 9 + at) as u8).collect();
            let mut out = vec![7; at];
            if Compression::Snappy.compress(&image, &mut out) {
                let back = decompress(Compression::Snappy, &out[at..], len);
                assert_eq!(back.as_ref(), Ok(&image), "{len} bytes");
            } else {
                assert!(len < 100, "{len} bytes");
            }
            out.truncate(at);
            assert_eq!(out, vec![7; at]);
        }
    }

    #[test]
    fn noise_is_left_alone() {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(4096)
        .collect();
        for compression in Compression::ALL {
            let mut out = Vec::new();
            assert!(!compression.compress(&noise, &mut out), "{compression}");
            assert!(out.is_empty());
        }
    }
}
