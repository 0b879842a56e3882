//! What a user of the log relies on, one story a test.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lsm_log::{
    Error, LOG_MAGIC, LogOptions, LogPosition, LogWriter, RecoverOptions, Recovered, RecoveryMode,
    SegmentHeader, SegmentId, SegmentWriter, read_segment, recover, remove_segments, segment_number,
};
use lsm_vfs::{Fault, FaultFs, Fs, MemFs};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "";

fn start(fs: &FaultFs<MemFs>, segment_bytes: u64, recovered: &Recovered) -> Result<LogWriter, Error> {
    let next = lsm_sync::Mutex::new(recovered.highest_number);
    let ids = Arc::new(move || {
        let mut next = next.lock();
        *next += 1;
        SegmentId { number: *next, uid: *next ^ 0xabcd }
    });
    LogWriter::start(Arc::new(fs.clone()), DIR.into(), LogOptions { segment_bytes }, ids, recovered)
}

fn new_log(segment_bytes: u64) -> (FaultFs<MemFs>, LogWriter) {
    let fs = FaultFs::new(MemFs::new());
    let log = start(&fs, segment_bytes, &Recovered::default()).unwrap();
    (fs, log)
}

fn append(log: &mut LogWriter, payload: &[u8]) -> Result<LogPosition, Error> {
    log.stage(&[payload])?;
    log.write_staged()
}

fn read_all(fs: &dyn Fs) -> (Vec<Vec<u8>>, Recovered) {
    let entries = fs.read_dir(Path::new(DIR)).unwrap();
    let numbers: Vec<u64> = entries.iter().filter_map(|entry| segment_number(&entry.name)).collect();
    let mut found = Vec::new();
    let recovered =
        recover::<Error>(fs, Path::new(DIR), &numbers, RecoverOptions::default(), &mut |_, payload| {
            found.push(payload.to_vec());
            Ok(())
        });
    (found, recovered.unwrap())
}

#[test]
fn a_full_disk_refuses_writes_and_takes_them_again_when_there_is_room() {
    let (fs, mut log) = new_log(1 << 20);
    append(&mut log, b"before").unwrap();
    for fault in [Fault::DiskFull, Fault::ShortWrite] {
        fs.fail_from(fs.operations(), fault);
        log.stage(&[b"refused, one"]).unwrap();
        log.stage(&[b"refused, two"]).unwrap();
        let error = log.write_staged().unwrap_err();
        assert!(error.is_disk_full(), "{error}");
        fs.heal();
        append(&mut log, b"refused, one").unwrap();
    }
    let (found, _) = read_all(&fs.inner().process_kill());
    let expected: [&[u8]; 3] = [b"before", b"refused, one", b"refused, one"];
    assert_eq!(found, expected, "nothing of a failed write comes back");
}

#[test]
fn what_a_short_write_left_never_follows_a_later_record() {
    let (fs, mut log) = new_log(1 << 20);
    // Both writes fail: that of the group, and that of the mark which would cover it.
    fs.fail_from(fs.operations(), Fault::ShortWrite);
    for payload in [b"aaaa", b"bbbb", b"cccc", b"dddd"] {
        log.stage(&[payload]).unwrap();
    }
    assert!(log.write_staged().unwrap_err().is_disk_full());
    fs.heal();
    append(&mut log, b"AAAA").unwrap();
    let (found, recovered) = read_all(&fs.inner().process_kill());
    assert_eq!(found, [b"AAAA"], "{recovered:?}");
}

#[test]
fn a_short_write_is_no_torn_end_to_strict_recovery() {
    let strict = |disk: &MemFs| {
        let options = RecoverOptions { mode: RecoveryMode::Strict, ..RecoverOptions::default() };
        recover::<Error>(disk, Path::new(DIR), &[1], options, &mut |_, _| Ok(())).map(|found| found.records)
    };
    let no_room = || {
        let fs = FaultFs::new(MemFs::new());
        // Too little to reserve a segment.
        fs.inner().set_capacity(500);
        let log = start(&fs, 1 << 20, &Recovered::default()).unwrap();
        (fs, log)
    };
    // Shorter than the mark that covers it, than a record, and one written without a copy.
    for (left, len) in (0..90).map(|left| (left, 70)).chain([(5_000, 9_000), (299_000, 300_000)]) {
        let (fs, mut log) = no_room();
        append(&mut log, b"before").unwrap();
        let disk = fs.inner();
        disk.set_capacity(disk.used_bytes() + left);
        let long = vec![7; len];
        let refused = log.stage(&[&long]).and_then(|()| log.write_staged());
        assert!(refused.unwrap_err().is_disk_full(), "{left} bytes left");
        assert_eq!(strict(&disk.process_kill()).unwrap(), 1, "{left} bytes left");
        disk.set_capacity(u64::MAX);
        log.discard_staged();
        append(&mut log, b"after").unwrap();
        assert_eq!(strict(&disk.process_kill()).unwrap(), 2, "{left} bytes left, then more");
    }
}

#[test]
fn many_failures_move_the_log_to_another_segment() {
    let (fs, mut log) = new_log(1 << 20);
    for round in 0..600 {
        fs.fail_at(fs.operations(), Fault::DiskFull);
        assert!(append(&mut log, b"refused").unwrap_err().is_disk_full(), "round {round}");
    }
    append(&mut log, b"taken").unwrap();
    assert!(log.segments().len() > 1);
    assert_eq!(read_all(&fs.inner().process_kill()).0, [b"taken"]);

    // Even when not a byte could be written, not even a mark.
    let (fs, mut log) = new_log(1 << 20);
    fs.fail_from(fs.operations(), Fault::DiskFull);
    for round in 0..600 {
        assert!(append(&mut log, b"refused").unwrap_err().is_disk_full(), "round {round}");
        log.discard_staged();
    }
    fs.heal();
    append(&mut log, b"taken").unwrap();
    assert_eq!(read_all(&fs.inner().process_kill()).0, [b"taken"]);
}

#[test]
fn a_failed_sync_closes_the_log_with_its_cause_and_reopening_recovers() {
    let (fs, mut log) = new_log(1 << 20);
    let end = append(&mut log, b"buffered").unwrap();
    fs.fail_at(fs.operations(), Fault::FailedSync);
    for _ in 0..2 {
        let error = log.group_sync().sync_through(end).unwrap_err();
        assert!(matches!(&error, Error::Failed(cause) if cause.to_string().contains("sync")), "{error}");
    }
    assert!(matches!(append(&mut log, b"too late"), Err(Error::Failed(_))));
    assert!(matches!(log.close(), Err(Error::Failed(_))));

    // The next process sees the record in the page cache. Once it has started, power loss
    // must not take it, though the disk never got it and a plain sync would say yes.
    for seed in 0..50 {
        let fs = FaultFs::new(fs.inner().process_kill());
        let (found, recovered) = read_all(&fs);
        assert_eq!(found, [b"buffered"]);
        let mut log = start(&fs, 1 << 20, &recovered).unwrap();
        let end = append(&mut log, b"next").unwrap();
        log.group_sync().sync_through(end).unwrap();
        let (found, _) = read_all(&fs.inner().power_cut(seed));
        let expected: [&[u8]; 2] = [b"buffered", b"next"];
        assert_eq!(found, expected);
    }
}

#[test]
fn a_log_at_rest_stays_as_it_was_closed_until_something_is_written() {
    let (fs, mut log) = new_log(1 << 20);
    let end = append(&mut log, b"before").unwrap();
    log.close().unwrap();
    let rest = |disk: &MemFs| {
        let (found, recovered) = read_all(disk);
        let next = recovered.highest_number + 1;
        let ids = Arc::new(move || SegmentId { number: next, uid: next });
        let fs = FaultFs::new(disk.clone());
        let log =
            LogWriter::resting(Arc::new(fs.clone()), DIR.into(), LogOptions::default(), ids, &recovered);
        (found, fs, log)
    };
    let names = |disk: &MemFs| disk.read_dir(Path::new(DIR)).unwrap();
    let disk = fs.inner().process_kill();
    let before = names(&disk);
    let (found, _, mut log) = rest(&disk);
    assert_eq!(found, [b"before"]);
    assert!(log.end() > end && !log.has_begun() && log.current_segment().is_none());
    log.group_sync().sync_through(log.end()).unwrap();
    log.write_staged().unwrap();
    log.roll().unwrap();
    log.close().unwrap();
    assert_eq!(names(&disk), before);

    // Killed before the mark of the close was synced: begun, the log does not rely on it.
    let (_, mut log) = (fs, rest(&disk).2);
    let written = append(&mut log, b"next").unwrap();
    log.group_sync().sync_through(written).unwrap();
    for seed in 0..50 {
        let (found, recovered) = read_all(&disk.power_cut(seed));
        let expected: [&[u8]; 2] = [b"before", b"next"];
        assert_eq!(found, expected, "{recovered:?}");
    }

    // A failure to begin other than a full disk closes the log.
    for (fault, may_pass) in
        [(Fault::DiskFull, true), (Fault::Error(ErrorKind::Other), false), (Fault::FailedSync, false)]
    {
        let (disk, mut at) = (MemFs::new(), 0);
        let fs = FaultFs::new(disk);
        let mut log = start(&fs, 1 << 20, &Recovered::default()).unwrap();
        append(&mut log, b"before").unwrap();
        log.close().unwrap();
        loop {
            let disk = fs.inner().process_kill();
            let (_, faulty, mut log) = rest(&disk);
            faulty.fail_at(faulty.operations() + at, fault);
            let outcome = append(&mut log, b"next");
            if faulty.injected() == 0 {
                break;
            }
            if let Err(error) = outcome {
                assert_eq!(error.is_disk_full(), may_pass, "operation {at}: {error}");
                log.discard_staged();
                assert_eq!(append(&mut log, b"next").is_ok(), may_pass, "operation {at}");
            }
            at += 1;
        }
        assert!(at > 5, "{at} operations");
    }
}

#[test]
fn any_other_failed_write_closes_the_log() {
    let (fs, mut log) = new_log(1 << 20);
    let end = append(&mut log, b"written").unwrap();
    fs.fail_at(fs.operations(), Fault::Error(ErrorKind::Other));
    assert!(matches!(append(&mut log, b"x"), Err(Error::Failed(_))));
    assert!(matches!(log.stage(&[b"x"]), Err(Error::Failed(_))));
    assert!(matches!(log.group_sync().sync_through(end), Err(Error::Failed(_))));
}

#[test]
fn large_records_are_whole_in_order_and_fail_with_their_group() {
    let (fs, mut log) = new_log(64 << 10);
    let large = vec![7; (300 << 10) + 3];
    log.stage(&[b"small"]).unwrap();
    log.stage(&[&large[..100], &large[100..]]).unwrap();
    log.stage(&[b"after"]).unwrap();
    log.write_staged().unwrap();

    log.stage(&[b"with the failing one"]).unwrap();
    fs.fail_at(fs.operations() + 1, Fault::ShortWrite);
    assert!(log.stage(&[&large]).unwrap_err().is_disk_full());
    assert!(matches!(log.stage(&[b"later"]), Err(Error::GroupDiscarded)));
    assert!(matches!(log.write_staged(), Err(Error::GroupDiscarded)));

    log.stage(&[&large]).unwrap();
    log.discard_staged();
    append(&mut log, b"end").unwrap();
    let (found, _) = read_all(&fs.inner().process_kill());
    let expected: [&[u8]; 4] = [b"small", &large, b"after", b"end"];
    assert!(found == expected, "{:?}", found.iter().map(Vec::len).collect::<Vec<_>>());
}

#[test]
fn segments_roll_are_prepared_ahead_and_released() {
    let (fs, mut log) = new_log(256);
    log.preparer().prepare().unwrap();
    assert!(log.preparer().is_ready());
    let mut payload = 0_u8;
    while log.segments().len() < 4 {
        append(&mut log, &[payload; 60]).unwrap();
        payload += 1;
    }
    assert!(!log.preparer().is_ready(), "the prepared one was taken");
    let current = log.current_segment().unwrap().number;
    assert!(log.releasable_below(current).is_empty(), "a power cut could leave no log");
    log.group_sync().sync_begun().unwrap();
    let old = log.releasable_below(current);
    assert_eq!(old.len(), 3);
    remove_segments(&fs, Path::new(DIR), &old).unwrap();
    log.forget_segments(&old);
    assert_eq!(log.segments(), [log.current_segment().unwrap()]);
    let end = log.end();
    log.close().unwrap();
    let (_, recovered) = read_all(&fs.inner().power_cut(3));
    assert!(recovered.closed_cleanly && recovered.end > end);
}

#[test]
fn a_lost_segment_header_is_tearing() {
    let (fs, mut log) = new_log(256);
    let end = append(&mut log, &[1; 150]).unwrap();
    log.group_sync().sync_through(end).unwrap();
    append(&mut log, &[2; 150]).unwrap();
    append(&mut log, &[3; 150]).unwrap();
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..500 {
        let disk = fs.inner().power_cut(seed);
        let (found, recovered) = read_all(&disk);
        assert!(found.iter().zip(1..).all(|(payload, first)| payload[0] == first), "not a prefix");
        lengths.insert(found.len());
        start(&FaultFs::new(disk), 256, &recovered).unwrap();
    }
    assert_eq!(lengths, [1, 2, 3].into());
}

#[test]
fn a_single_file_serves_the_manifest() {
    let disk = MemFs::new();
    let (path, magic) = (Path::new("MANIFEST"), *b"MANIFEST");
    let mut writer = SegmentWriter::create(&disk, path, SegmentHeader::single(magic, 9), 0).unwrap();
    for edit in 0..5_u8 {
        writer.stage(&[&[edit]]).unwrap();
        writer.write_staged().unwrap();
        writer.sync().unwrap();
    }
    let read = |disk: &MemFs| {
        let mut found = Vec::new();
        read_segment::<Error>(disk, path, magic, RecoverOptions::default(), &mut |_, payload| {
            found.push(payload[0]);
            Ok(())
        })
        .map(|read| (found, read.closed_cleanly))
    };
    assert_eq!(read(&disk).unwrap(), (vec![0, 1, 2, 3, 4], false));
    let flip = |offset| {
        let disk = disk.process_kill();
        disk.open_write(path).unwrap().write_all_at(&[0xee], offset).unwrap();
        disk
    };
    let record = 64 + 3 * 32 + 24;
    assert!(matches!(read(&flip(record)), Err(Error::Corruption(found)) if found.offset == record - 24));
    assert!(matches!(read(&flip(3)), Err(Error::Corruption(_))), "a damaged header");
    writer.mark().unwrap();
    assert_eq!(read(&disk).unwrap(), (vec![0, 1, 2, 3, 4], true));
    let wrong = read_segment::<Error>(&disk, path, LOG_MAGIC, RecoverOptions::default(), &mut |_, _| Ok(()));
    assert!(matches!(wrong, Err(Error::Corruption(_))), "another kind of file");
}

#[test]
fn numbers_must_ascend() {
    let (fs, mut log) = new_log(256);
    append(&mut log, b"x").unwrap();
    let (_, mut recovered) = read_all(&fs.inner().process_kill());
    recovered.highest_number = 9;
    let ids = Arc::new(|| SegmentId { number: 9, uid: 1 });
    let outcome = LogWriter::start(Arc::new(fs.clone()), DIR.into(), LogOptions::default(), ids, &recovered);
    assert!(matches!(outcome, Err(Error::NumberNotAscending { number: 9, highest: 9 })));
}
