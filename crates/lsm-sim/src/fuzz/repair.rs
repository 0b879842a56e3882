//! Puts the checksums of damaged files right, so that what lies behind them is reached.
//! Written from the description of the formats (docs/format), not from the engine's
//! code; what it does not understand it leaves alone.

use lsm_vfs::mix64;

const TABLE_HEADER: usize = 32;
const TABLE_FOOTER: usize = 52;
const SEGMENT_HEADER: usize = 64;
const RECORD_HEADER: usize = 24;
const MARKER: [u8; 2] = [0xe7, 0xb5];
/// A block's compression, length of image and checksum.
const BLOCK_TRAILER: usize = 9;
/// More blocks than an input has room for.
const MAX_BLOCKS: usize = 1 << 12;

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn place_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64_at(bytes, at)?).ok()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(room) = bytes.get_mut(at..at + value.len()) {
        room.copy_from_slice(value);
    }
}

/// Writes the checksum of a block that lies in `start..end` of the file `uid`.
pub(super) fn seal_block(file: &mut [u8], uid: u64, start: usize, end: usize) {
    let crc_at = end.saturating_sub(4);
    if end.saturating_sub(start) >= BLOCK_TRAILER
        && let Some(covered) = file.get(start..crc_at)
    {
        let crc = crc32fast::hash(covered) ^ table_place(uid, start);
        put(file, crc_at, &crc.to_le_bytes());
    }
}

fn table_place(uid: u64, offset: usize) -> u32 {
    (mix64(uid ^ (offset as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 16) as u32
}

/// Puts every checksum of a table right.
pub(super) fn table(file: &mut [u8]) {
    let (Some(uid), Some(footer)) = (u64_at(file, 16), file.len().checked_sub(TABLE_FOOTER)) else { return };
    if footer < TABLE_HEADER {
        return;
    }
    put(file, footer + 32, &uid.to_le_bytes());
    for (start, len, crc_at) in [(0, TABLE_HEADER, 12), (footer, TABLE_FOOTER, footer + 40)] {
        put(file, crc_at, &[0; 4]);
        let crc = crc32fast::hash(file.get(start..start + len).unwrap_or_default()) ^ table_place(uid, start);
        put(file, crc_at, &crc.to_le_bytes());
    }
    let starts = [0, 8, 16, 24].map(|section| place_at(file, footer + section));
    let [Some(filter), Some(index), Some(tombstones), Some(properties)] = starts else { return };
    for (start, end) in data_blocks(file, filter, index, tombstones) {
        seal_block(file, uid, start, end);
    }
    for (start, end) in [(filter, index), (index, tombstones), (tombstones, properties), (properties, footer)]
    {
        if start <= end && end <= footer {
            seal_block(file, uid, start, end);
        }
    }
}

/// Where the index says that the data blocks lie.
fn data_blocks(file: &[u8], filter: usize, index: usize, tombstones: usize) -> Vec<(usize, usize)> {
    let Some(image) = file.get(index..tombstones.saturating_sub(BLOCK_TRAILER).max(index)) else {
        return Vec::new();
    };
    let (Some(blocks), Some(prefix)) = (u32_at(image, 0), u32_at(image, 8)) else { return Vec::new() };
    let mut found = Vec::new();
    let mut start = TABLE_HEADER;
    for block in 0..(blocks as usize).min(MAX_BLOCKS) {
        let end = (prefix as usize).checked_add(16 + block * 8).and_then(|at| place_at(image, at));
        let Some(end) = end.filter(|&end| start < end && end <= filter) else { break };
        found.push((start, end));
        start = end;
    }
    found
}

fn record_place(crc: u32, uid: u64, offset: usize) -> u32 {
    crc ^ (mix64(uid ^ mix64(offset as u64)) >> 32) as u32
}

/// Puts the checksums of a log segment's or a manifest's header and records right.
pub(super) fn segment(file: &mut [u8]) {
    let (Some(uid), Some(header)) = (u64_at(file, 16), file.get(..SEGMENT_HEADER - 4)) else { return };
    let crc = record_place(crc32fast::hash(header), uid, 0);
    put(file, SEGMENT_HEADER - 4, &crc.to_le_bytes());
    let mut at = SEGMENT_HEADER;
    while let Some(header) = file.get(at..at + RECORD_HEADER) {
        let len = u32_at(header, 4).map_or(0, |len| len as usize);
        if !header.starts_with(&MARKER) {
            at += 8;
            continue;
        }
        let payload = file.get(at + RECORD_HEADER..at + RECORD_HEADER + len);
        let payload_crc = payload.map(crc32fast::hash);
        if let Some(crc) = payload_crc {
            put(file, at + 16, &record_place(crc, uid, at).to_le_bytes());
        }
        let covered = file.get(at..at + RECORD_HEADER - 4).unwrap_or_default();
        let crc = record_place(crc32fast::hash(covered), uid, at);
        put(file, at + 20, &crc.to_le_bytes());
        at += if payload_crc.is_some() { (RECORD_HEADER + len).next_multiple_of(8) } else { 8 };
    }
}
