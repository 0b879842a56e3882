//! A log on a disk that fails and loses power, over and over: what was acknowledged is
//! found again, what is found is a prefix, and no crash is ever taken for damage.
//! `LSM_SEED=<n>` replays one run, `LSM_RUNS=<n>` makes more of them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use lsm_log::{
    Error, LogOptions, LogPosition, LogWriter, RecoverOptions, Recovered, RecoveryMode, SegmentId, recover,
    remove_segments, segment_number, segment_path,
};
use lsm_sync::Mutex;
use lsm_vfs::{Fault, FaultFs, Fs, MemFs, SplitMix64};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "db";

/// One record that was tried to be written.
#[derive(Clone)]
struct Entry {
    payload: Vec<u8>,
    /// Where its record ends; `None` while it is known to have failed only.
    end: Option<LogPosition>,
    /// Acknowledged as durable.
    durable: bool,
    /// Whether the last recovery found it.
    found: bool,
}

impl Entry {
    /// Nobody need find it: it failed, or its segment was given up. It may come back.
    fn may_miss(&self, released: LogPosition) -> bool {
        self.end.is_none_or(|end| end <= released)
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "record {} ending at {:?}, durable: {}", id(&self.payload), self.end, self.durable)
    }
}

/// What survives between incarnations: the disk, and what the test knows.
struct World {
    seed: u64,
    random: SplitMix64,
    disk: MemFs,
    history: Vec<Entry>,
    payloads: u64,
    /// What the manifest would hold, durably.
    known_durable: LogPosition,
    oldest_needed: u64,
    needed_from: LogPosition,
    /// Whether the manifest says which segments are needed.
    tells_needed: bool,
    released: LogPosition,
    /// Whether the power was lost since records were last compared.
    power_lost: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = MemFs::new();
        disk.create_dir_all(Path::new(DIR)).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        Self {
            seed,
            random: SplitMix64::new(seed),
            disk,
            history: Vec::new(),
            payloads: 0,
            known_durable: LogPosition::ZERO,
            oldest_needed: 0,
            needed_from: LogPosition::ZERO,
            tells_needed: seed.is_multiple_of(2),
            released: LogPosition::ZERO,
            power_lost: false,
        }
    }

    fn fresh_payload(&mut self) -> Vec<u8> {
        self.payloads += 1;
        let len = match self.random.below(60) {
            0 => 300 << 10,
            1..10 => self.random.below(3000),
            _ => self.random.below(90),
        };
        let mut random = SplitMix64::new(self.payloads);
        let filler = (0..len).map(|_| random.next_u64() as u8);
        self.payloads.to_le_bytes().into_iter().chain(filler).collect()
    }

    fn segment_numbers(&self) -> Vec<u64> {
        let entries = self.disk.read_dir(Path::new(DIR)).unwrap();
        entries.iter().filter_map(|entry| segment_number(&entry.name)).collect()
    }

    /// Plants a fault some operations ahead.
    fn plant(&mut self, fs: &FaultFs<MemFs>) {
        let at = fs.operations() + self.random.below(30);
        match self.random.below(12) {
            0 => fs.fail_at(at, Fault::DiskFull),
            1 => fs.fail_at(at, Fault::ShortWrite),
            2 => fs.fail_from(at, Fault::ShortWrite),
            3 => fs.fail_at(at, Fault::FailedSync),
            4 => fs.fail_at(at, Fault::Error(ErrorKind::Other)),
            // As if everything stopped there.
            5 => fs.fail_from(at, Fault::Error(ErrorKind::Other)),
            _ => {}
        }
    }

    /// Recovers, checks, and goes on writing until the next crash.
    fn incarnation(&mut self) {
        let fs = FaultFs::new(self.disk.clone());
        if self.random.one_in(4) {
            self.plant(&fs);
        }
        let numbers = self.segment_numbers();
        let options = RecoverOptions {
            mode: RecoveryMode::TornTail,
            durable_through: self.known_durable,
            oldest_needed: self.oldest_needed,
            needed_from: self.needed_from,
        };
        let mut found = Vec::new();
        let recovered = recover::<Error>(&fs, Path::new(DIR), &numbers, options, &mut |end, payload| {
            found.push((end, payload.to_vec()));
            Ok(())
        });
        let recovered = match recovered {
            Ok(recovered) => recovered,
            Err(Error::Io(_)) if fs.injected() > 0 => return,
            Err(error) => panic!("seed {}: a crash was taken for {error}", self.seed),
        };
        self.check(found, &recovered);
        if let Some(log) = self.start(&fs, &numbers, &recovered) {
            self.write(&fs, log);
        }
    }

    /// What was found must be what was acknowledged, in order, and nothing invented.
    fn check(&mut self, found: Vec<(LogPosition, Vec<u8>)>, recovered: &Recovered) {
        let seed = self.seed;
        let mut history = std::mem::take(&mut self.history).into_iter();
        for (end, payload) in found {
            let entry = loop {
                let entry = history
                    .next()
                    .unwrap_or_else(|| panic!("seed {seed}: record {} is not from here", id(&payload)));
                if entry.payload == payload {
                    break entry;
                }
                assert!(
                    entry.may_miss(self.released),
                    "seed {seed}: hole before {}: {entry:?}",
                    id(&payload)
                );
                self.history.push(Entry { found: false, ..entry });
            };
            assert!(entry.end.is_none_or(|was| was == end), "seed {seed}: {entry:?} moved to {end}");
            self.history.push(Entry { end: Some(end), found: true, ..entry });
        }
        for lost in history {
            if lost.may_miss(self.released) {
                self.history.push(Entry { found: false, ..lost });
            } else {
                let may_lose = !lost.durable && self.power_lost;
                assert!(may_lose, "seed {seed}: an acknowledged record is lost: {lost:?} {recovered:?}");
            }
        }
        assert!(recovered.end >= self.known_durable, "seed {seed}");
        self.power_lost = false;
    }

    fn start(&mut self, fs: &FaultFs<MemFs>, numbers: &[u64], recovered: &Recovered) -> Option<LogWriter> {
        let next = Mutex::new(numbers.iter().copied().max().unwrap_or(0));
        let mut uids = SplitMix64::new(self.random.next_u64());
        let uid_base = uids.next_u64();
        let ids = Arc::new(move || {
            let mut next = next.lock();
            *next += 1;
            SegmentId { number: *next, uid: uid_base ^ *next }
        });
        let options = LogOptions { segment_bytes: 256 + self.random.below(4000) };
        // What ends with a mark is durable, and may be left as it is until something is written.
        let may_rest = recovered.closed_cleanly && recovered.discarded_segments.is_empty();
        let log = if may_rest && !self.random.one_in(3) {
            LogWriter::resting(Arc::new(fs.clone()), DIR.into(), options, ids, recovered)
        } else {
            match LogWriter::start(Arc::new(fs.clone()), DIR.into(), options, ids, recovered) {
                Ok(log) => log,
                Err(Error::Io(_) | Error::Failed(_)) if fs.injected() > 0 => return None,
                Err(error) => panic!("seed {}: {error}", self.seed),
            }
        };
        self.history.retain(|entry| entry.found || entry.end.is_some());
        self.history.iter_mut().for_each(|entry| entry.durable |= entry.found);
        if self.random.one_in(2) {
            for number in &recovered.discarded_segments {
                let _ = fs.remove_file(&segment_path(Path::new(DIR), *number));
            }
        }
        Some(log)
    }

    fn write(&mut self, fs: &FaultFs<MemFs>, mut log: LogWriter) {
        for _ in 0..self.random.below(60) {
            if self.random.one_in(6) {
                self.plant(fs);
            }
            match self.random.below(20) {
                0 => drop(log.preparer().prepare_wished()),
                1 => drop(log.preparer().prepare()),
                2 => drop(log.roll()),
                3 => self.release(fs, &mut log),
                4..=7 => {
                    let _ = log.group_sync().sync_through(log.end());
                    self.note_durable(log.group_sync().synced_through());
                }
                8 => fs.heal(),
                _ => self.group(&mut log),
            }
        }
        if self.random.one_in(4) {
            let end = log.end();
            if log.close().is_ok() {
                self.note_durable(end);
            }
        }
    }

    fn note_durable(&mut self, through: LogPosition) {
        for entry in &mut self.history {
            entry.durable |= entry.end.is_some_and(|end| end <= through);
        }
        if self.random.one_in(3) {
            self.known_durable = self.known_durable.max(through);
        }
    }

    fn group(&mut self, log: &mut LogWriter) {
        let first = self.history.len();
        let mut staged = true;
        for _ in 0..=self.random.below(3) {
            let payload = self.fresh_payload();
            let (head, tail) = payload.split_at(self.random.below(payload.len() as u64) as usize);
            staged = log.stage(&[head, tail]).is_ok();
            self.history.push(Entry { payload, end: None, durable: false, found: false });
            if !staged {
                break;
            }
        }
        if !staged || self.random.one_in(20) {
            log.discard_staged();
            return;
        }
        let before = log.end();
        if let Ok(end) = log.write_staged() {
            let mut at = before.0;
            for entry in &mut self.history[first..] {
                at += (24 + entry.payload.len() as u64).next_multiple_of(8);
                entry.end = Some(LogPosition(at));
            }
            assert_eq!(at, end.0, "seed {}: the group ends elsewhere", self.seed);
        }
    }

    /// Removes old segments, as after a flush. The manifest may or may not say so.
    fn release(&mut self, fs: &FaultFs<MemFs>, log: &mut LogWriter) {
        let segments = log.segments();
        if !log.has_begun() {
            return;
        }
        let keep = segments[self.random.below(segments.len() as u64) as usize];
        // Who tells where the log begins need not have synced what is before.
        if !self.tells_needed
            && (log.group_sync().synced_through() < keep.base
                || (self.random.one_in(2) && log.group_sync().sync_begun().is_err()))
        {
            return;
        }
        let released = match self.tells_needed {
            true => log.removable_below(keep.number),
            false => log.releasable_below(keep.number),
        };
        let ends = segments.iter().filter(|segment| released.contains(&segment.number));
        self.released = ends.map(|segment| segment.end).fold(self.released, LogPosition::max);
        if !self.tells_needed {
            if remove_segments(fs, Path::new(DIR), &released).is_ok() {
                log.forget_segments(&released);
            }
        } else {
            log.forget_segments(&released);
            self.oldest_needed = log.segments()[0].number;
            self.needed_from = log.segments()[0].base;
            for number in released {
                let _ = fs.remove_file(&segment_path(Path::new(DIR), number));
            }
        }
    }

    fn crash(&mut self) {
        self.disk = match self.random.below(3) {
            0 => {
                // Only the process died: everything acknowledged is there, though no more
                // durable than before.
                self.disk.process_kill()
            }
            _ => {
                self.power_lost = true;
                self.disk.power_cut(self.random.next_u64())
            }
        };
    }
}

fn id(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().unwrap())
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_invented() {
    let of = |name| std::env::var(name).ok().and_then(|value: String| value.parse::<u64>().ok());
    let seeds = match of("LSM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..of("LSM_RUNS").unwrap_or(500),
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..8 {
                world.incarnation();
                world.crash();
            }
        });
        if let Err(cause) = outcome {
            eprintln!("replay with LSM_SEED={seed}");
            std::panic::resume_unwind(cause);
        }
    }
}
