//! Real threads on a memtable, and every answer held against the history: there must
//! have been a moment during the call at which the answer was the right one.
#![cfg(not(lsm_loom))]

use lsm_memtable::{IndexKind, Memtable, MemtableOptions};
use lsm_sync::atomic::{AtomicUsize, Ordering};
use lsm_sync::thread;
use lsm_types::{Cursor, InternalKey, SeqNo, ValueKind};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A pseudo-random sequence (splitmix64).
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn seed() -> u64 {
    let given = std::env::var("LSM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0));
    println!("replay with LSM_SEED={seed}, though threads run as they like");
    seed
}

/// The place of an entry in the order: numbers count backwards.
type Place = (Vec<u8>, SeqNo);

fn place(key: &[u8], seqno: SeqNo) -> Place {
    (key.to_vec(), SeqNo::MAX - seqno)
}

/// What one writer inserts, one after the other.
struct Script {
    entries: Vec<(Vec<u8>, SeqNo)>,
    /// How many inserts have begun, and how many are done.
    begun: AtomicUsize,
    done: AtomicUsize,
}

/// All scripts, and where each entry stands in which.
struct History {
    scripts: Vec<Script>,
    all: BTreeMap<Place, (usize, usize)>,
}

impl History {
    /// Keys close together: random ones, ascending ones, and many versions of a few.
    fn new(writers: usize, inserts: usize, random: &mut Random) -> Self {
        let mut all = BTreeMap::new();
        let scripts = (0..writers)
            .map(|writer| {
                let entries: Vec<_> = (0..inserts)
                    .map(|index| {
                        let key = match random.next() % 4 {
                            0 => format!("common prefix/{:05}", random.next() % 100_000),
                            1 => format!("{index:06}"),
                            2 => format!("common prefix/hot{}", random.next() % 5),
                            _ => format!("{:x}", random.next() % 65_536),
                        };
                        // Numbers rise from 1 within a script and differ between scripts.
                        (key.into_bytes(), (index * writers + writer + 1) as SeqNo)
                    })
                    .collect();
                for (index, (key, seqno)) in entries.iter().enumerate() {
                    all.insert(place(key, *seqno), (writer, index));
                }
                Script { entries, begun: AtomicUsize::new(0), done: AtomicUsize::new(0) }
            })
            .collect();
        Self { scripts, all }
    }

    fn write(&self, writer: usize, memtable: &Memtable) {
        let script = &self.scripts[writer];
        for (index, (key, seqno)) in script.entries.iter().enumerate() {
            script.begun.store(index + 1, Ordering::SeqCst);
            memtable.insert(InternalKey::new(key, *seqno, ValueKind::Value), &seqno.to_le_bytes());
            script.done.store(index + 1, Ordering::SeqCst);
        }
    }

    fn done(&self) -> Vec<usize> {
        self.scripts.iter().map(|script| script.done.load(Ordering::SeqCst)).collect()
    }

    fn begun(&self) -> Vec<usize> {
        self.scripts.iter().map(|script| script.begun.load(Ordering::SeqCst)).collect()
    }

    fn is_over(&self) -> bool {
        self.scripts.iter().all(|script| script.done.load(Ordering::SeqCst) == script.entries.len())
    }

    /// Checks an answer to "which is the nearest?": of what lies nearer than the
    /// answer, nothing may have been there at the moment, and the answer must have.
    fn check<'a>(
        &self,
        question: &str,
        nearer: impl Iterator<Item = &'a (usize, usize)>,
        answer: Option<&Place>,
        done: &[usize],
        begun: &[usize],
    ) {
        // For each writer, the moment lies after `earliest` and at most at `latest` inserts.
        let mut earliest = done.to_vec();
        let mut latest = begun.to_vec();
        if let Some(answer) = answer {
            let inserted = self.all.get(answer);
            assert!(inserted.is_some(), "{question}: {answer:?} was never inserted");
            if let Some(&(writer, index)) = inserted {
                earliest[writer] = earliest[writer].max(index + 1);
            }
        }
        for &(writer, index) in nearer {
            latest[writer] = latest[writer].min(index);
        }
        for (writer, (earliest, latest)) in earliest.iter().zip(&latest).enumerate() {
            assert!(
                earliest <= latest,
                "{question}: {answer:?} was right at no moment; by writer {writer} it needs at least \
                 {earliest} inserts and at most {latest}, of {done:?} to {begun:?}"
            );
        }
    }

    fn read(&self, memtable: &Arc<Memtable>, mut random: Random) {
        let mut cursor = memtable.cursor();
        while !self.is_over() {
            let key = self.interesting_key(&mut random);
            match random.next() % 8 {
                0..3 => self.get(memtable, key),
                3 => self.seek(&mut cursor, key),
                4 => self.seek_back(&mut cursor, key),
                5 | 6 => self.steps(&mut cursor, key, &mut random),
                _ if random.next().is_multiple_of(64) => self.scan(&mut cursor),
                _ => {}
            }
        }
        self.scan(&mut cursor);
    }

    /// Mostly a key that is inserted about now, where the races are.
    fn interesting_key(&self, random: &mut Random) -> &[u8] {
        let script = &self.scripts[random.next() as usize % self.scripts.len()];
        let index = match random.next() % 4 {
            0 => random.next() as usize,
            ahead => script.begun.load(Ordering::SeqCst) + ahead as usize - 1,
        };
        &script.entries[index % script.entries.len()].0
    }

    fn get(&self, memtable: &Memtable, key: &[u8]) {
        let done = self.done();
        let found = memtable.get(key, SeqNo::MAX, |seqno, _, value| {
            assert_eq!(value.as_bytes(), seqno.to_le_bytes(), "half an entry");
            place(key, seqno)
        });
        let begun = self.begun();
        let end = found.clone().unwrap_or_else(|| (key.to_vec(), SeqNo::MAX));
        let nearer = self.all.range(place(key, SeqNo::MAX)..end).map(|(_, script)| script);
        self.check("get", nearer, found.as_ref(), &done, &begun);
    }

    fn seek(&self, cursor: &mut impl Cursor<Error = std::convert::Infallible>, key: &[u8]) {
        let done = self.done();
        let Ok(()) = cursor.seek(InternalKey::before_all(key));
        let begun = self.begun();
        self.check_forward("seek", place(key, SeqNo::MAX), cursor, &done, &begun);
    }

    fn check_forward(
        &self,
        question: &str,
        from: Place,
        cursor: &impl Cursor,
        done: &[usize],
        begun: &[usize],
    ) {
        let found = cursor.valid().then(|| place(cursor.key().user_key, cursor.key().seqno()));
        let start = std::ops::Bound::Included(from);
        let end = found.clone().map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let nearer = self.all.range((start, end)).map(|(_, script)| script);
        self.check(question, nearer, found.as_ref(), done, begun);
    }

    fn seek_back(&self, cursor: &mut impl Cursor<Error = std::convert::Infallible>, key: &[u8]) {
        let done = self.done();
        let Ok(()) = cursor.seek_for_prev(InternalKey::after_all(key));
        let begun = self.begun();
        self.check_backward("seek back", place(key, 0), true, cursor, &done, &begun);
    }

    fn check_backward(
        &self,
        question: &str,
        from: Place,
        included: bool,
        cursor: &impl Cursor,
        done: &[usize],
        begun: &[usize],
    ) {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let found = cursor.valid().then(|| place(cursor.key().user_key, cursor.key().seqno()));
        let start = found.clone().map_or(Unbounded, Excluded);
        let end = if included { Included(from) } else { Excluded(from) };
        let nearer = self.all.range((start, end)).map(|(_, script)| script);
        self.check(question, nearer, found.as_ref(), done, begun);
    }

    fn steps(
        &self,
        cursor: &mut impl Cursor<Error = std::convert::Infallible>,
        key: &[u8],
        random: &mut Random,
    ) {
        let Ok(()) = cursor.seek(InternalKey::before_all(key));
        for _ in 0..random.next() % 30 {
            if !cursor.valid() {
                return;
            }
            let at = place(cursor.key().user_key, cursor.key().seqno());
            let done = self.done();
            if random.next().is_multiple_of(2) {
                let Ok(()) = cursor.next();
                let begun = self.begun();
                self.check_forward("next", (at.0, at.1 + 1), cursor, &done, &begun);
            } else {
                let Ok(()) = cursor.prev();
                let begun = self.begun();
                self.check_backward("prev", at, false, cursor, &done, &begun);
            }
        }
    }

    /// Both ways over everything: what was done before must be met, in order.
    fn scan(&self, cursor: &mut impl Cursor<Error = std::convert::Infallible>) {
        let done = self.done();
        let expected = || self.all.iter().filter(|(_, (writer, index))| *index < done[*writer]);
        let Ok(()) = cursor.seek_to_first();
        let mut last = None;
        let mut met = Vec::new();
        while cursor.valid() {
            let at = place(cursor.key().user_key, cursor.key().seqno());
            assert!(last.as_ref() < Some(&at), "a scan went from {last:?} to {at:?}");
            met.push(at.clone());
            last = Some(at);
            let Ok(()) = cursor.next();
        }
        let lost = expected().find(|(at, _)| met.binary_search(at).is_err());
        assert_eq!(lost, None, "a scan forward lost an entry");
        let Ok(()) = cursor.seek_to_last();
        met.clear();
        while cursor.valid() {
            met.push(place(cursor.key().user_key, cursor.key().seqno()));
            let Ok(()) = cursor.prev();
        }
        met.reverse();
        assert!(met.is_sorted(), "a scan backward is out of order");
        let lost = expected().find(|(at, _)| met.binary_search(at).is_err());
        assert_eq!(lost, None, "a scan backward lost an entry");
    }
}

/// Rounds of a few thousand inserts each: the races are at the ends of nodes that are
/// still few. `LSM_STRESS_ROUNDS` asks for more.
fn stress(index: IndexKind, writers: usize, readers: usize) {
    let mut random = Random(seed());
    let rounds = std::env::var("LSM_STRESS_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    for _ in 0..rounds.unwrap_or(20) {
        stress_round(index, writers, readers, &mut random);
    }
}

fn stress_round(index: IndexKind, writers: usize, readers: usize, random: &mut Random) {
    let mut options = MemtableOptions::default();
    options.index = index;
    let memtable = Arc::new(Memtable::new(options));
    let history = Arc::new(History::new(writers, 4_000 / writers, random));
    let write = |writer| {
        let (history, memtable) = (Arc::clone(&history), Arc::clone(&memtable));
        thread::spawn(move || history.write(writer, &memtable))
    };
    let read = |random| {
        let (history, memtable) = (Arc::clone(&history), Arc::clone(&memtable));
        thread::spawn(move || history.read(&memtable, random))
    };
    let threads: Vec<_> =
        (0..writers).map(write).chain((0..readers).map(|_| Random(random.next())).map(read)).collect();
    for thread in threads {
        assert!(thread.join().is_ok(), "a thread failed; its message is above");
    }
    assert_eq!(memtable.len(), history.all.len());
    assert_eq!(memtable.highest_seqno(), history.all.keys().map(|(_, seqno)| SeqNo::MAX - seqno).max());
}

#[test]
fn readers_beside_one_writer_get_answers_that_were_right_at_some_moment() {
    stress(IndexKind::Tree, 1, 3);
}

#[test]
fn readers_beside_three_writers_get_answers_that_were_right_at_some_moment() {
    stress(IndexKind::Tree, 3, 3);
}

#[test]
fn readers_beside_two_writers_of_the_skip_list_get_answers_that_were_right_at_some_moment() {
    // Loom cannot look into crossbeam's list, so this is what vouches for it. Nothing is ever
    // removed from it here: each answer is a pair of neighbours at one moment.
    stress(IndexKind::SkipMap, 2, 3);
}
