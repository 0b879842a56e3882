//! The bytes of format version 1, as docs/format/log.md draws them. `LSM_GOLDEN=write`
//! writes the files anew: only together with a new version.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lsm_log::{
    Error, LOG_MAGIC, LogPosition, RecoverOptions, RecoveryMode, SegmentEnd, SegmentHeader, SegmentWriter,
    read_segment,
};
use lsm_vfs::{Fs, MemFs, OsFs};
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn segment() -> Vec<u8> {
    let disk = MemFs::new();
    let header = SegmentHeader {
        magic: LOG_MAGIC,
        uid: 0x0123_4567_89ab_cdef,
        number: 12,
        base: LogPosition(4096),
        predecessor: Some(SegmentEnd { number: 7, offset: 1064 }),
    };
    let path = Path::new("s");
    let mut writer = SegmentWriter::create(&disk, path, header, 0).unwrap();
    writer.stage(&[b"one ", b"batch"]).unwrap();
    writer.stage(&[]).unwrap();
    writer.write_staged().unwrap();
    writer.sync().unwrap();
    writer.stage(&[&[0xff; 16]]).unwrap();
    writer.write_staged().unwrap();
    writer.mark().unwrap();
    disk.read_to_vec(path, 1 << 20).unwrap()
}

#[test]
fn a_segment_is_written_as_ever() {
    let (path, bytes) = (golden("segment-v1.log"), segment());
    if std::env::var("LSM_GOLDEN").is_ok_and(|what| what == "write") {
        let _ = OsFs.remove_file(&path);
        OsFs.create_dir_all(path.parent().unwrap()).unwrap();
        OsFs.create_new(&path).unwrap().write_all_at(&bytes, 0).unwrap();
    }
    let expected = OsFs.read_to_vec(&path, 1 << 20).unwrap();
    assert!(bytes == expected, "the format has changed without a new version");
}

#[test]
fn an_old_segment_is_still_read() {
    let mut found = Vec::new();
    let options = RecoverOptions { mode: RecoveryMode::Strict, ..RecoverOptions::default() };
    let read =
        read_segment::<Error>(&OsFs, &golden("segment-v1.log"), LOG_MAGIC, options, &mut |end, payload| {
            found.push((end.0, payload.to_vec()));
            Ok(())
        });
    let read = read.unwrap();
    let expected = [(4096 + 40, b"one batch".to_vec()), (4096 + 64, vec![]), (4096 + 104, vec![0xff; 16])];
    assert_eq!(found, expected);
    assert!(read.closed_cleanly);
    assert_eq!((read.end_offset, read.header.number), (64 + 128, 12));
}
