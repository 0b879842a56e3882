//! The body for blocks: any image, or any compressed payload, in the place of the one
//! block of an otherwise sound table.

use super::input::Input;
use super::{Note, repair, walk};
use lsm_sstable::{Compression, TableMeta, TableWriter, WriterOptions};
use lsm_types::{InternalKey, ValueKind};
use lsm_vfs::{Fs, MemFs};
use std::path::Path;

const UID: u64 = 0x0b10_c0de;
const TABLE_HEADER: usize = 32;
/// What a block of one entry with a key of one byte has beside the value.
const LEAST_BYTES: usize = 25;
/// A block's compression, length of image and checksum.
const TRAILER_BYTES: usize = 9;

/// `input := how u8 | image_bytes u16 LE | payload`; the length counts only when `how`
/// says that the payload is compressed.
pub(super) fn body(bytes: &[u8]) -> Result<Note, String> {
    let mut input = Input::new(bytes);
    let (how, image_bytes) = (input.byte(), usize::from(input.short()));
    let mut payload = input.rest().to_vec();
    payload.resize(payload.len().max(LEAST_BYTES), 0);
    let (mut file, meta) = host(payload.len())?;
    let image_bytes = if how % 2 == 0 { payload.len() } else { image_bytes };
    let end = TABLE_HEADER + payload.len();
    let trailer = [&[how % 2][..], &(image_bytes as u32).to_le_bytes()].concat();
    let stored =
        file.get_mut(TABLE_HEADER..end + trailer.len()).ok_or("the block is not where it should be")?;
    stored.copy_from_slice(&[payload.as_slice(), &trailer].concat());
    repair::seal_block(&mut file, UID, TABLE_HEADER, end + TRAILER_BYTES);
    let disk = walk::disk_with(&file)?;
    let table = walk::open(&disk, &meta).map_err(|error| format!("the table around the block: {error}"))?;
    walk::everything(&table, file.len())
}

/// A table whose one block has a payload of this length.
fn host(payload_bytes: usize) -> Result<(Vec<u8>, TableMeta), String> {
    let disk = MemFs::new();
    let path = Path::new(walk::PATH);
    let options =
        WriterOptions { block_bytes: 1 << 20, compression: Compression::None, filter_bits_per_key: 0.0 };
    let words = |error: lsm_sstable::Error| error.to_string();
    let mut writer = TableWriter::create(&disk, path, UID, &options).map_err(words)?;
    let value = vec![0; payload_bytes - LEAST_BYTES];
    writer.add(InternalKey::new(b"k", 7, ValueKind::Value), &value).map_err(words)?;
    let meta = writer.finish(0).map_err(words)?;
    let file = disk.read_to_vec(path, 1 << 20).map_err(|error| error.to_string())?;
    Ok((file, meta))
}
