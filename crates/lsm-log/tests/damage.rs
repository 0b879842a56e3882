//! Damage to a small log of several segments: every bit, every length. The answer is
//! a typed error or the right records, and never more memory than the file is long.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lsm_log::{
    Error, LOG_MAGIC, LogOptions, LogPosition, LogWriter, RecoverOptions, Recovered, RecoveryMode,
    SegmentEnd, SegmentHeader, SegmentId, SegmentWriter, recover, segment_path,
};
use lsm_vfs::{Fs, MemFs, SplitMix64};
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "";
const SEGMENTS: [u64; 3] = [1, 2, 3];

fn writer(disk: &MemFs, recovered: &Recovered) -> LogWriter {
    let next = lsm_sync::Mutex::new(recovered.highest_number);
    let ids = Arc::new(move || {
        let mut next = next.lock();
        *next += 1;
        SegmentId { number: *next, uid: *next * 1_000_003 }
    });
    let options = LogOptions { segment_bytes: 300 };
    LogWriter::start(Arc::new(disk.clone()), DIR.into(), options, ids, recovered).unwrap()
}

fn payloads() -> Vec<Vec<u8>> {
    (0..12_u8).map(|record| vec![record; 5 + usize::from(record) * 3]).collect()
}

/// A log in three segments, synced after every record, then closed or just left.
fn log(closed: bool) -> MemFs {
    let disk = MemFs::new();
    let mut log = writer(&disk, &Recovered::default());
    for payload in payloads() {
        log.stage(&[&payload]).unwrap();
        let end = log.write_staged().unwrap();
        log.group_sync().sync_through(end).unwrap();
    }
    assert_eq!(log.segments().len(), SEGMENTS.len());
    if closed {
        log.close().unwrap();
    }
    disk.process_kill()
}

fn read(disk: &MemFs, mode: RecoveryMode) -> Result<(Vec<Vec<u8>>, Recovered), Error> {
    let mut found = Vec::new();
    let options = RecoverOptions { mode, ..RecoverOptions::default() };
    let recovered = recover::<Error>(disk, Path::new(DIR), &SEGMENTS, options, &mut |_, payload| {
        found.push(payload.to_vec());
        Ok(())
    })?;
    Ok((found, recovered))
}

/// The disk with one file changed.
fn changed(disk: &MemFs, number: u64, change: impl FnOnce(&mut Vec<u8>)) -> MemFs {
    let disk = disk.process_kill();
    let path = segment_path(Path::new(DIR), number);
    let mut bytes = disk.read_to_vec(&path, 1 << 20).unwrap();
    change(&mut bytes);
    let file = disk.open_write(&path).unwrap();
    file.set_len(0).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    disk.process_kill()
}

fn file_len(disk: &MemFs, number: u64) -> usize {
    disk.open_read(&segment_path(Path::new(DIR), number)).unwrap().len().unwrap() as usize
}

#[test]
fn a_flipped_bit_is_an_error_or_does_no_harm() {
    for closed in [true, false] {
        let disk = log(closed);
        for number in SEGMENTS {
            for bit in 0..file_len(&disk, number) * 8 {
                let damaged = changed(&disk, number, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
                let place = format!("closed {closed}, segment {number}, byte {}, bit {}", bit / 8, bit % 8);
                match read(&damaged, RecoveryMode::TornTail) {
                    Ok((found, recovered)) if closed => {
                        assert_eq!(found, payloads(), "{place}: wrong answer, {recovered:?}");
                    }
                    // Without the last mark the last record may be taken for torn.
                    Ok((found, _)) => {
                        let missing = payloads().len() - found.len();
                        assert!(missing <= 1 && payloads().starts_with(&found), "{place}: wrong answer");
                    }
                    Err(Error::Corruption(corruption)) => {
                        assert_eq!(corruption.file, segment_path(Path::new(DIR), number), "{place}");
                        let blamed_before = corruption.offset <= (bit as u64 / 8).max(63);
                        assert!(blamed_before, "{place}: {corruption}");
                    }
                    Err(error) => panic!("{place}: {error}"),
                }
                let (salvaged, _) = read(&damaged, RecoveryMode::Salvage).unwrap();
                let all = payloads();
                assert!(salvaged.iter().all(|payload| all.contains(payload)), "{place}: invented");
                let behind_a_header = bit >= 64 * 8;
                assert!(
                    !behind_a_header || salvaged.len() >= all.len() - 1,
                    "{place}: salvage lost more than one"
                );
            }
        }
    }
}

#[test]
fn a_shorter_file_is_an_error_or_a_prefix() {
    for closed in [true, false] {
        let disk = log(closed);
        for number in SEGMENTS {
            for len in 0..file_len(&disk, number) {
                let damaged = changed(&disk, number, |bytes| bytes.truncate(len));
                match read(&damaged, RecoveryMode::TornTail) {
                    Ok((found, _)) => {
                        assert!(payloads().starts_with(&found), "segment {number} of {len} bytes");
                        assert!(number == 3 || found.len() == 12, "segment {number} of {len} bytes");
                    }
                    Err(Error::Corruption(_)) => {}
                    Err(error) => panic!("segment {number} of {len} bytes: {error}"),
                }
            }
        }
    }
}

#[test]
fn a_missing_file_is_an_error() {
    for number in SEGMENTS {
        let disk = log(true);
        disk.remove_file(&segment_path(Path::new(DIR), number)).unwrap();
        let numbers: Vec<u64> = SEGMENTS.into_iter().filter(|kept| *kept != number).collect();
        // The manifest knows how far the log was durable when the last file is gone.
        let (_, whole) = read(&log(true), RecoveryMode::Strict).unwrap();
        let durable_through = whole.durable_through;
        let options = RecoverOptions { durable_through, oldest_needed: 1, ..RecoverOptions::default() };
        let outcome = recover::<Error>(&disk, Path::new(DIR), &numbers, options, &mut |_, _| Ok(()));
        let noticed = matches!(outcome, Err(Error::Corruption(_)));
        assert!(noticed, "segment {number} is gone and nobody noticed");
    }
}

#[test]
fn random_bytes_are_never_a_panic() {
    let seed = std::env::var("LSM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    eprintln!("LSM_SEED={seed}");
    let mut random = SplitMix64::new(seed);
    let disk = log(true);
    for _ in 0..3000 {
        let number = 1 + random.below(3);
        let damaged = changed(&disk, number, |bytes| {
            for _ in 0..=random.below(6) {
                let at = random.below(bytes.len() as u64) as usize;
                let len = (random.below(40) as usize).min(bytes.len() - at);
                match random.below(3) {
                    0 => bytes[at..at + len].fill(0),
                    1 => bytes[at..at + len].iter_mut().for_each(|byte| *byte = random.next_u64() as u8),
                    _ => drop(bytes.drain(at..at + len)),
                }
            }
        });
        for mode in [RecoveryMode::Strict, RecoveryMode::TornTail, RecoveryMode::Salvage] {
            match read(&damaged, mode) {
                Ok((found, _)) if mode == RecoveryMode::Salvage => {
                    assert!(found.iter().all(|payload| payloads().contains(payload)));
                }
                Ok((found, _)) => assert!(payloads().starts_with(&found)),
                Err(Error::Corruption(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn modes_differ_on_a_torn_end() {
    let disk = log(false);
    let torn = changed(&disk, 3, |bytes| {
        let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[last] ^= 1;
    });
    let Err(Error::Corruption(corruption)) = read(&torn, RecoveryMode::Strict) else {
        panic!("strict took a torn log");
    };
    let (found, recovered) = read(&torn, RecoveryMode::TornTail).unwrap();
    assert_eq!(found, payloads()[..11]);
    let cut = recovered.cut.clone().unwrap();
    assert_eq!((&cut.file, cut.offset), (&corruption.file, corruption.offset), "the cut is reported");
    assert!(cut.discarded_bytes > 0 && !recovered.closed_cleanly);

    // The next log goes on behind the cut, and nobody sees it again.
    writer(&torn, &recovered).close().unwrap();
    let mut again = 0;
    let numbers = [1, 2, 3, 4];
    let options = RecoverOptions { mode: RecoveryMode::Strict, ..RecoverOptions::default() };
    let recovered = recover::<Error>(&torn, Path::new(DIR), &numbers, options, &mut |_, _| {
        again += 1;
        Ok(())
    });
    assert!(recovered.unwrap().closed_cleanly && again == 11);
}

#[test]
fn salvage_reads_on_behind_damage_and_positions_never_go_back() {
    let disk = log(true);
    let damaged = changed(&disk, 1, |bytes| bytes[64 + 24] ^= 1);
    assert!(matches!(read(&damaged, RecoveryMode::TornTail), Err(Error::Corruption(_))));
    let (found, recovered) = read(&damaged, RecoveryMode::Salvage).unwrap();
    assert_eq!(found, payloads()[1..]);
    assert_eq!(recovered.skipped.len(), 1);
    assert!(recovered.end >= recovered.durable_through);
    assert_eq!(writer(&damaged, &recovered).end(), recovered.end);
}

#[test]
fn salvage_of_segments_whose_bases_go_back_does_not_go_back() {
    let disk = MemFs::new();
    for (number, base, predecessor) in [(1, 1_000, None), (2, 0, Some(SegmentEnd { number: 1, offset: 96 }))]
    {
        let base = LogPosition(base);
        let header = SegmentHeader { magic: LOG_MAGIC, uid: number, number, base, predecessor };
        let path = segment_path(Path::new(DIR), number);
        let mut segment = SegmentWriter::create(&disk, &path, header, 0).unwrap();
        segment.stage(&[b"payload"]).unwrap();
        segment.write_staged().unwrap();
    }
    let recovered = |mode| {
        let options = RecoverOptions { mode, ..RecoverOptions::default() };
        recover::<Error>(&disk, Path::new(DIR), &[1, 2], options, &mut |_, _| Ok(()))
    };
    assert!(matches!(recovered(RecoveryMode::TornTail), Err(Error::Corruption(_))));
    let salvaged = recovered(RecoveryMode::Salvage).unwrap();
    assert_eq!((salvaged.records, salvaged.skipped.len()), (2, 1), "salvage says what it passed over");
    assert!(
        salvaged.end >= LogPosition(1_032),
        "the log would go on at {}, before its records",
        salvaged.end
    );
}

#[test]
fn a_segment_that_names_a_later_one_as_its_predecessor_is_damaged() {
    for predecessor in [1, 2] {
        let disk = MemFs::new();
        let predecessor = Some(SegmentEnd { number: predecessor, offset: 64 });
        let header =
            SegmentHeader { magic: LOG_MAGIC, uid: 7, number: 1, base: LogPosition::ZERO, predecessor };
        let mut segment = SegmentWriter::create(&disk, &segment_path(Path::new(DIR), 1), header, 0).unwrap();
        segment.stage(&[b"payload"]).unwrap();
        segment.write_staged().unwrap();
        let outcome =
            recover::<Error>(&disk, Path::new(DIR), &[1], RecoverOptions::default(), &mut |_, _| Ok(()));
        let Err(Error::Corruption(damage)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(damage.offset, 40, "{damage}");
    }
}
