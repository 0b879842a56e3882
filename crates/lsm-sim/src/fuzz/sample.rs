//! Inputs to begin with: whole files and scripts, made from a seed.

use super::input::Input;
use super::walk::PATH;
use crate::Random;
use lsm_log::{LogOptions, LogWriter, Recovered, SegmentId};
use lsm_sstable::{Compression, TableWriter, WriterOptions};
use lsm_types::ValueKind;
use lsm_types::batch::{BatchEntry, encode_range_end, header, put_entry};
use lsm_version::{Edit, MANIFEST_NAME, Manifest, StoreKind};
use lsm_vfs::{Fs, MemFs};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn noise(random: &mut Random, bytes: u64) -> Vec<u8> {
    (0..bytes).map(|_| if random.chance(60) { random.below(6) as u8 } else { random.next() as u8 }).collect()
}

/// A whole table of a few entries, uncompressed so that its parts can be repaired.
fn table_file(random: &mut Random, compression: Compression) -> Vec<u8> {
    let choices = noise(random, 400);
    let (entries, tombstones) = super::table::entries(&mut Input::new(&choices));
    let disk = MemFs::new();
    let options = WriterOptions {
        block_bytes: 64 << random.below(4),
        compression,
        filter_bits_per_key: random.below(14) as f32,
    };
    let write = || -> Result<Vec<u8>, lsm_sstable::Error> {
        let mut writer = TableWriter::create(&disk, Path::new(PATH), 99, &options)?;
        for (key, value) in &entries {
            writer.add(key.as_borrowed(), value)?;
        }
        tombstones.iter().try_for_each(|tombstone| writer.add_range_tombstone(tombstone))?;
        writer.finish(7)?;
        Ok(disk.read_to_vec(Path::new(PATH), 1 << 20)?)
    };
    write().unwrap_or_default()
}

pub(super) fn block(seed: u64) -> Vec<u8> {
    let random = &mut Random::new(seed);
    if random.chance(20) {
        return [vec![1, random.next() as u8, random.below(12) as u8], noise(random, 200)].concat();
    }
    // The first block of a table: from the header to where the index says.
    let file = table_file(random, Compression::None);
    let image = file.get(32..).unwrap_or_default();
    let len = image.len().min(40 + random.index(300));
    [&[0, 0, 0], image.get(..len).unwrap_or_default()].concat()
}

pub(super) fn table(seed: u64) -> Vec<u8> {
    let random = &mut Random::new(seed);
    match random.below(4) {
        0 => [vec![2], noise(random, 500)].concat(),
        1 => [vec![1], table_file(random, Compression::None)].concat(),
        2 => [vec![1], table_file(random, Compression::Snappy)].concat(),
        _ => [vec![1], table_file(random, Compression::Lz4)].concat(),
    }
}

pub(super) fn log(seed: u64) -> Vec<u8> {
    let random = &mut Random::new(seed);
    let disk = MemFs::new();
    let numbers = AtomicU64::new(1);
    let ids = Arc::new(move || {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        SegmentId { number, uid: number * 3 }
    });
    let mut write = || -> Result<Vec<u64>, lsm_log::Error> {
        let options = LogOptions { segment_bytes: 200 + random.below(600) };
        let fs = Arc::new(disk.clone());
        let mut log = LogWriter::start(fs, "".into(), options, ids.clone(), &Recovered::default())?;
        for _ in 0..random.below(16) {
            let bytes = random.below(60);
            log.stage(&[&noise(random, bytes)])?;
            let end = log.write_staged()?;
            if random.chance(40) {
                log.group_sync().sync_through(end)?;
            }
        }
        let segments = log.segments().iter().map(|segment| segment.number).collect();
        if random.chance(50) {
            log.close()?;
        }
        Ok(segments)
    };
    let segments = write().unwrap_or_default();
    let mut input = vec![1 | (segments.len().clamp(1, 4) as u8 - 1) << 1];
    for number in segments.into_iter().take(4) {
        let segment = disk.read_to_vec(&lsm_log::segment_path(Path::new(""), number), 1 << 20);
        let mut segment = segment.unwrap_or_default();
        segment.truncate(1500);
        input.extend_from_slice(&(segment.len() as u16).to_le_bytes());
        input.extend_from_slice(&segment);
    }
    input
}

pub(super) fn manifest(seed: u64) -> Vec<u8> {
    let random = &mut Random::new(seed);
    let choices = noise(random, 600);
    if random.chance(50) {
        return [vec![2], choices].concat();
    }
    let disk = MemFs::new();
    let mut manifest = Manifest::new(Path::new(""));
    let input = &mut Input::new(&choices);
    let _ = manifest.commit(&disk, &[Edit::Created { kind: StoreKind::Database, uid: seed }], || 5);
    for id in 0..3 {
        let name = format!("keyspace {id}");
        let _ = manifest.commit(&disk, &[Edit::KeyspaceCreated { id, name, options: vec![1] }], || 5);
    }
    while !input.is_empty() {
        // What contradicts the state is refused, and that is fine.
        let _ = manifest.commit(&disk, &[super::manifest::edit(input)], || 6);
    }
    if random.chance(50) {
        let _ = manifest.close();
    }
    let mut file = disk.read_to_vec(Path::new(MANIFEST_NAME), 1 << 20).unwrap_or_default();
    file.truncate(4000);
    [vec![1], file].concat()
}

pub(super) fn batch(seed: u64) -> Vec<u8> {
    let random = &mut Random::new(seed);
    let count = random.below(8) as u32;
    let mut wire = header(random.below(200), count).to_vec();
    for _ in 0..count {
        let (len, room) = (random.below(5), random.below(30));
        let key = noise(random, len);
        let kind = random.pick(&ValueKind::ALL).copied().unwrap_or(ValueKind::Value);
        let kind = if random.chance(60) { ValueKind::Value } else { kind };
        let value = match kind {
            ValueKind::RangeTombstone => encode_range_end(random.chance(80).then_some(b"k2".as_slice())),
            _ => noise(random, room),
        };
        let keyspace = if random.chance(90) { random.below(2) as u32 } else { random.below(400) as u32 };
        put_entry(&mut wire, BatchEntry { keyspace, kind, key: &key, value: &value });
    }
    wire
}

pub(super) fn api(seed: u64) -> Vec<u8> {
    let random = &mut Random::new(seed);
    let len = 100 + random.below(900);
    (0..len).map(|_| random.next() as u8).collect()
}
