//! The fixed parts of a table file: header, footer, and the trailer of each stored
//! block. Called by the writer and at opening. `docs/format/sstable.md` draws them.
//!
//! ```text
//! file := header | data block* | filter? | index | range tombstones? | properties | footer
//! ```
//!
//! Everything stands contiguous: a section ends where the next one starts, so each
//! byte of the file is under some checksum.

#![deny(clippy::indexing_slicing)]

use crate::compression::DecompressError;
use crate::{Compression, Error};
use lsm_vfs::{Corruption, mix64};
use std::path::Path;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The version that is written, and the newest that is read.
pub(crate) const VERSION: u32 = 1;
const HEADER_MAGIC: [u8; 8] = *b"LSMTABLE";
const FOOTER_MAGIC: [u8; 8] = *b"LSMTBEND";

/// Whether the file `path` was written as a table, or begun as one: it starts with a
/// table's magic, or with nothing yet.
///
/// # Errors
/// [`IoError`](lsm_vfs::IoError) when it cannot be read.
pub fn may_be_table(fs: &dyn lsm_vfs::Fs, path: &Path) -> Result<bool, lsm_vfs::IoError> {
    let file = fs.open_read(path)?;
    let mut start = [0; HEADER_MAGIC.len()];
    if file.len()? < start.len() as u64 {
        return Ok(file.len()? == 0);
    }
    file.read_exact_at(&mut start, 0)?;
    Ok(start == HEADER_MAGIC || start == [0; HEADER_MAGIC.len()])
}

/// The first bytes of the file. Their places are the same in all versions.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Header {
    magic: [u8; 8],
    version: U32,
    crc: U32,
    uid: U64,
    reserved: [u8; 8],
}

/// Bytes of the header; the first data block starts here.
pub(crate) const HEADER_BYTES: u64 = size_of::<Header>() as u64;

/// The last bytes of the file: where each section starts.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Footer {
    filter_at: U64,
    index_at: U64,
    tombstones_at: U64,
    properties_at: U64,
    uid: U64,
    crc: U32,
    magic: [u8; 8],
}

/// Bytes of the footer.
pub(crate) const FOOTER_BYTES: u64 = size_of::<Footer>() as u64;

/// What follows the payload of each stored block.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct BlockTrailer {
    compression: u8,
    image_bytes: U32,
    crc: U32,
}

/// Bytes after the payload of a stored block.
pub(crate) const BLOCK_TRAILER_BYTES: usize = size_of::<BlockTrailer>();
const CRC_BYTES: usize = 4;

/// Where the sections of a file lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sections {
    pub(crate) filter_at: u64,
    pub(crate) index_at: u64,
    pub(crate) tombstones_at: u64,
    pub(crate) properties_at: u64,
    pub(crate) footer_at: u64,
}

/// What tells a payload at home from the same payload elsewhere or from another
/// file: a well mixed function of both, cheap to take out again.
const fn place(uid: u64, offset: u64) -> u32 {
    (mix64(uid ^ offset.wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 16) as u32
}

fn checksum(uid: u64, offset: u64, bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes) ^ place(uid, offset)
}

fn hex(crc: u32) -> String {
    format!("{crc:#010x}")
}

impl Header {
    pub(crate) fn new(uid: u64) -> Self {
        let mut header = Self {
            magic: HEADER_MAGIC,
            version: U32::new(VERSION),
            crc: U32::ZERO,
            uid: U64::new(uid),
            reserved: [0; 8],
        };
        header.crc = U32::new(header.checksum());
        header
    }

    fn checksum(&self) -> u32 {
        let zeroed = Self { crc: U32::ZERO, ..*self };
        checksum(self.uid.get(), 0, zeroed.as_bytes())
    }

    /// The uid in a header that is whole and of a version that can be read.
    pub(crate) fn check(bytes: &[u8], file: &Path) -> Result<u64, Error> {
        let Ok((header, _)) = Self::read_from_prefix(bytes) else {
            return Err(Corruption::new(file, 0, "a table header", format!("{} bytes", bytes.len())).into());
        };
        if header.magic != HEADER_MAGIC {
            let got = header.magic.escape_ascii().to_string();
            return Err(Corruption::new(file, 0, HEADER_MAGIC.escape_ascii().to_string(), got).into());
        }
        let crc = header.checksum();
        if header.crc.get() != crc {
            return Err(Corruption::new(file, 12, hex(crc), hex(header.crc.get())).into());
        }
        if header.version.get() != VERSION {
            let found = header.version.get();
            return Err(Error::Incompatible { file: file.to_path_buf(), found, supported: VERSION });
        }
        Ok(header.uid.get())
    }
}

impl Footer {
    pub(crate) fn new(uid: u64, sections: &Sections) -> Self {
        let mut footer = Self {
            filter_at: U64::new(sections.filter_at),
            index_at: U64::new(sections.index_at),
            tombstones_at: U64::new(sections.tombstones_at),
            properties_at: U64::new(sections.properties_at),
            uid: U64::new(uid),
            crc: U32::ZERO,
            magic: FOOTER_MAGIC,
        };
        footer.crc = U32::new(footer.checksum(sections.footer_at));
        footer
    }

    fn checksum(&self, footer_at: u64) -> u32 {
        let zeroed = Self { crc: U32::ZERO, ..*self };
        checksum(self.uid.get(), footer_at, zeroed.as_bytes())
    }

    /// The sections that a whole footer at `footer_at` names, in order and within
    /// the file.
    pub(crate) fn check(bytes: &[u8], uid: u64, footer_at: u64, file: &Path) -> Result<Sections, Error> {
        let damage =
            |expected: String, got: String| Error::from(Corruption::new(file, footer_at, expected, got));
        let Ok(footer) = Self::read_from_bytes(bytes) else {
            return Err(damage("a table footer".into(), format!("{} bytes", bytes.len())));
        };
        if footer.magic != FOOTER_MAGIC {
            let expected = FOOTER_MAGIC.escape_ascii().to_string();
            return Err(damage(expected, footer.magic.escape_ascii().to_string()));
        }
        let crc = footer.checksum(footer_at);
        if footer.crc.get() != crc {
            return Err(damage(hex(crc), hex(footer.crc.get())));
        }
        if footer.uid.get() != uid {
            return Err(damage(format!("uid {uid:#x}"), format!("uid {:#x}", footer.uid.get())));
        }
        let sections = Sections {
            filter_at: footer.filter_at.get(),
            index_at: footer.index_at.get(),
            tombstones_at: footer.tombstones_at.get(),
            properties_at: footer.properties_at.get(),
            footer_at,
        };
        let starts = [
            HEADER_BYTES,
            sections.filter_at,
            sections.index_at,
            sections.tombstones_at,
            sections.properties_at,
            footer_at,
        ];
        if !starts.is_sorted() {
            return Err(damage("sections in order".into(), format!("{starts:?}")));
        }
        Ok(sections)
    }
}

/// Completes a block whose payload stands in `out` from `start` on, `offset` being
/// its place in the file.
pub(crate) fn seal_block(
    out: &mut Vec<u8>,
    start: usize,
    uid: u64,
    offset: u64,
    compression: Compression,
    image_bytes: usize,
) {
    out.push(compression as u8);
    out.extend_from_slice(&(image_bytes as u32).to_le_bytes());
    let crc = checksum(uid, offset, out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.to_le_bytes());
}

/// A stored block whose checksum is right.
#[derive(Debug)]
pub(crate) struct StoredBlock<'a> {
    payload: &'a [u8],
    compression: Compression,
    image_bytes: usize,
}

impl<'a> StoredBlock<'a> {
    /// Checks the block that was read from `offset`.
    pub(crate) fn check(stored: &'a [u8], uid: u64, offset: u64, file: &Path) -> Result<Self, Error> {
        let damage =
            |expected: String, got: String| Error::from(Corruption::new(file, offset, expected, got));
        let Ok((payload, trailer)) = BlockTrailer::ref_from_suffix(stored) else {
            return Err(damage("a block".into(), format!("{} bytes", stored.len())));
        };
        let covered = stored.get(..stored.len() - CRC_BYTES).unwrap_or_default();
        let crc = checksum(uid, offset, covered);
        if crc != trailer.crc.get() {
            return Err(damage(hex(crc), hex(trailer.crc.get())));
        }
        let Some(compression) = Compression::from_byte(trailer.compression) else {
            return Err(damage("a known compression".into(), trailer.compression.to_string()));
        };
        let image_bytes = trailer.image_bytes.get() as usize;
        if compression == Compression::None && image_bytes != payload.len() {
            return Err(damage(format!("{image_bytes} bytes"), format!("{} bytes", payload.len())));
        }
        Ok(Self { payload, compression, image_bytes })
    }

    /// Whether the payload is the image, so that the buffer read into can be kept.
    pub(crate) fn is_image(&self) -> bool {
        self.compression == Compression::None
    }

    /// The length of the image, once it is known that the payload may come to it.
    pub(crate) fn image_bytes(&self, file: &Path, offset: u64) -> Result<u32, Error> {
        let fits = self.compression.may_yield(self.payload.len(), self.image_bytes);
        let bytes = u32::try_from(self.image_bytes).map_err(|_| DecompressError::Damaged);
        fits.and(bytes).map_err(|error| self.failed(error, offset, file))
    }

    /// Writes the image into `image`, which has its length.
    pub(crate) fn decompress_into(&self, image: &mut [u8], offset: u64, file: &Path) -> Result<(), Error> {
        let outcome = self.compression.decompress_into(self.payload, image);
        outcome.map_err(|error| self.failed(error, offset, file))
    }

    /// The image in memory of its own.
    pub(crate) fn to_image(&self, offset: u64, file: &Path) -> Result<Vec<u8>, Error> {
        let mut image = vec![0; self.image_bytes(file, offset)? as usize];
        self.decompress_into(&mut image, offset, file)?;
        Ok(image)
    }

    #[cold]
    fn failed(&self, error: DecompressError, offset: u64, file: &Path) -> Error {
        match error {
            DecompressError::Unsupported => {
                Error::UnsupportedCompression { file: file.to_path_buf(), compression: self.compression }
            }
            DecompressError::Damaged => {
                let expected = format!("{} bytes under {} compression", self.image_bytes, self.compression);
                Corruption::new(file, offset, expected, "a payload that does not decompress to them").into()
            }
        }
    }
}

/// The image of a block that was read whole into a buffer of its own.
pub(crate) fn open_stored(mut stored: Vec<u8>, uid: u64, offset: u64, file: &Path) -> Result<Vec<u8>, Error> {
    let block = StoredBlock::check(&stored, uid, offset, file)?;
    if !block.is_image() {
        return block.to_image(offset, file);
    }
    stored.truncate(stored.len() - BLOCK_TRAILER_BYTES);
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_in_the_wrong_place_or_file_is_damage() {
        let file = Path::new("t");
        let mut stored = b"payload".to_vec();
        seal_block(&mut stored, 0, 7, 4096, Compression::None, 7);
        assert_eq!(open_stored(stored.clone(), 7, 4096, file).unwrap(), b"payload");
        assert!(matches!(open_stored(stored.clone(), 7, 0, file), Err(Error::Corruption(_))));
        assert!(matches!(open_stored(stored, 8, 4096, file), Err(Error::Corruption(_))));
    }

    #[test]
    fn a_newer_version_is_not_called_damage() {
        let file = Path::new("t");
        let mut header = Header::new(7);
        header.version = U32::new(VERSION + 1);
        assert!(matches!(Header::check(header.as_bytes(), file), Err(Error::Corruption(_))), "bad checksum");
        header.crc = U32::new(header.checksum());
        assert!(
            matches!(Header::check(header.as_bytes(), file), Err(Error::Incompatible { found, .. }) if found == VERSION + 1)
        );
    }
}
