//! [`Windows`]: small writes into the room that a file has reserved, through windows
//! of memory mapped onto it instead of a system call each. Used by [`OsFs`](crate::OsFs)
//! for files that asked for it; never reads, and never maps room that is not reserved.
//!
//! A byte stored here is in the page cache at once, where a read of the file, a sync and
//! the death of the process find it as they find bytes of write(2). What differs: where
//! the page cannot be brought in (somebody else cuts the file, or the disk fails to read
//! back a page that had left memory) the kernel ends the process with `SIGBUS`. So only
//! file systems are mapped whose reserved room is certain to be there.

#![expect(unsafe_code, reason = "stores into memory that the kernel shares; see docs/unsafe.md")]

use lsm_sync::Mutex;
use rustix::fs::StatFs;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::ffi::c_void;
use std::fs::File;
use std::ptr::NonNull;

/// Bytes of a window; they start at multiples of this.
const WINDOW_BYTES: u64 = 1 << 20;

/// Longer writes cost less through the kernel than through page faults.
const LONGEST_BYTES: usize = 8 << 10;

/// Writes through memory into one file.
#[derive(Debug)]
pub(crate) struct Windows {
    /// Guards the mappings and every store into them: two writers of one file take turns.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Room from the start of the file that is reserved, and not cut off since.
    reserved_bytes: u64,
    /// The window last written to.
    current: Option<Window>,
    /// A window made ready for later.
    ready: Option<Window>,
    /// Bytes written since a window was last asked for: here, and in writes too long for that.
    stored_bytes: u64,
    long_bytes: u64,
    /// A window that is written to no more. Unmapping takes a while, so it is left to who
    /// makes the next one ready.
    spent: Option<Window>,
}

impl Windows {
    /// For a file whose first `reserved_bytes` are reserved; `None` where the file system
    /// may still run out of room for them.
    pub(crate) fn over(file: &File, reserved_bytes: u64) -> Option<Self> {
        if !is_well_known(file) {
            return None;
        }
        let state =
            State { reserved_bytes, current: None, ready: None, stored_bytes: 0, long_bytes: 0, spent: None };
        Some(Self { state: Mutex::new(state) })
    }

    /// Writes as much of `bytes` at `offset` as it can, and says how much that was.
    pub(crate) fn write(&self, file: &File, bytes: &[u8], offset: u64) -> usize {
        let mut state = self.state.lock();
        if bytes.len() > LONGEST_BYTES {
            state.long_bytes += bytes.len() as u64;
            return 0;
        }
        state.stored_bytes += bytes.len() as u64;
        let mut done = 0;
        while let Some((_, rest)) = bytes.split_at_checked(done).filter(|(_, rest)| !rest.is_empty()) {
            let Some(window) = state.window_at(file, offset + done as u64) else { break };
            done += window.store(rest, offset + done as u64);
        }
        done
    }

    /// Maps the window of `offset` and brings its pages in, so that no write waits for
    /// that; not while nearly all that is written is too long for it. To be called from
    /// elsewhere than the writer's thread.
    pub(crate) fn make_ready(&self, file: &File, offset: u64) {
        let start = offset - offset % WINDOW_BYTES;
        let (spent, reserved_bytes) = {
            let mut state = self.state.lock();
            let spent = state.spent.take();
            let is_worth_it = state.stored_bytes.saturating_mul(8) >= state.long_bytes;
            (state.stored_bytes, state.long_bytes) = (0, 0);
            let is_there = [&state.current, &state.ready].into_iter().flatten().any(|w| w.start == start);
            if is_there || !is_worth_it {
                // Unmapping waits for the other processors, so not under the lock.
                drop(state);
                return;
            }
            (spent, state.reserved_bytes)
        };
        drop(spent);
        let Some(window) = Window::map(file, start, reserved_bytes) else { return };
        window.bring_in();
        let mut state = self.state.lock();
        let has_come_too_late = state.current.as_ref().is_some_and(|current| current.start >= start);
        // Cut off meanwhile: stores behind the end of a file would end the process.
        let surplus = if has_come_too_late || state.reserved_bytes < window.end() {
            Some(window)
        } else {
            state.ready.replace(window)
        };
        drop(state);
        // Unmapping waits for the other processors, so not under the lock.
        drop(surplus);
    }

    /// Unmaps all windows, and maps none from now on: their pages would count as this
    /// process's memory for as long as the file is open.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.reserved_bytes = 0;
        let closed = (state.current.take(), state.ready.take(), state.spent.take());
        drop(state);
        // Unmapping waits for the other processors, so not under the lock.
        drop(closed);
    }

    /// Calls `cut` while nothing is mapped behind `len_bytes` or will be.
    pub(crate) fn cut<R>(&self, len_bytes: u64, cut: impl FnOnce() -> R) -> R {
        let mut state = self.state.lock();
        state.reserved_bytes = state.reserved_bytes.min(len_bytes);
        state.current = None;
        state.ready = None;
        state.spent = None;
        cut()
    }
}

impl State {
    /// The window over `offset`.
    fn window_at(&mut self, file: &File, offset: u64) -> Option<&Window> {
        let is_over = |window: &Window| window.start <= offset && offset < window.end();
        if !self.current.as_ref().is_some_and(is_over) {
            let window = match self.ready.take_if(|ready| is_over(ready)) {
                Some(ready) => ready,
                None => Window::map(file, offset - offset % WINDOW_BYTES, self.reserved_bytes)?,
            };
            let spent = self.current.replace(window);
            if self.spent.is_none() {
                self.spent = spent;
            }
        }
        self.current.as_ref().filter(|window| is_over(window))
    }
}

/// Memory mapped onto a part of a file; unmapped on drop.
#[derive(Debug)]
struct Window {
    memory: NonNull<c_void>,
    /// Where in the file it starts.
    start: u64,
    len: usize,
}

// SAFETY: the memory belongs to this value alone until drop unmaps it, from whichever
// thread; nothing about a mapping is tied to the thread that made it.
unsafe impl Send for Window {}

impl Window {
    /// Maps the window from `start`, or what is reserved of it.
    fn map(file: &File, start: u64, reserved_bytes: u64) -> Option<Self> {
        let len = reserved_bytes.checked_sub(start)?.min(WINDOW_BYTES) as usize;
        if len == 0 {
            return None;
        }
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: without an address the kernel chooses one that is free, so no memory
        // that anybody uses is replaced. A failure is an error, and never null.
        let memory =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, protection, flags, file, start) }.ok()?;
        Some(Self { memory: NonNull::new(memory)?, start, len })
    }

    const fn end(&self) -> u64 {
        self.start + self.len as u64
    }

    /// Has the kernel prepare all pages for writing at once, which costs less than a
    /// fault for each. Where it cannot, the faults come by themselves.
    fn bring_in(&self) {
        // SAFETY: the range is the whole of this mapping, and the advice changes no byte.
        let _a_hint =
            unsafe { rustix::mm::madvise(self.memory.as_ptr(), self.len, Advice::LinuxPopulateWrite) };
    }

    /// Stores what fits of `bytes` at `offset`, which must lie within; how much that was.
    fn store(&self, bytes: &[u8], offset: u64) -> usize {
        let Some(within) = offset.checked_sub(self.start).map(|within| within as usize) else { return 0 };
        let len = bytes.len().min(self.len.saturating_sub(within));
        // SAFETY: `within + len` is at most the length of the mapping, which stays until
        // drop; no reference into it is ever made, `bytes` is no part of it, and whoever
        // stores holds the lock of `Windows`. That the kernel reads the pages meanwhile
        // is as with any buffer that is written back: checksums tell torn records.
        unsafe {
            let to = self.memory.as_ptr().cast::<u8>().add(within);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, len);
        }
        len
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the range is this mapping, and nothing refers to it any more.
        let _nothing_to_do_about_it = unsafe { rustix::mm::munmap(self.memory.as_ptr(), self.len) };
    }
}

/// Whether the file lies on a file system of whose reserved room we rely on what it says.
pub(crate) fn is_well_known(file: &File) -> bool {
    !cfg!(miri) && rustix::fs::fstatfs(file).is_ok_and(|file_system| keeps_reservations(&file_system))
}

/// Whether room that was reserved on this file system is there for certain when it is
/// written: not so where each write goes to a new place.
#[allow(clippy::unnecessary_cast, reason = "the type of the field differs between processors")]
fn keeps_reservations(file_system: &StatFs) -> bool {
    const EXT: i64 = 0xef53;
    const XFS: i64 = 0x5846_5342;
    const TMPFS: i64 = 0x0102_1994;
    #[allow(clippy::unnecessary_cast, reason = "its type differs between platforms")]
    let kind = file_system.f_type as i64;
    matches!(kind, EXT | XFS | TMPFS)
}

#[cfg(all(test, not(miri)))]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn reserved(bytes: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).unwrap();
        file
    }

    fn read(file: &File, offset: u64, len: usize) -> Vec<u8> {
        let mut found = vec![0; len];
        file.read_exact_at(&mut found, offset).unwrap();
        found
    }

    #[test]
    fn what_is_stored_is_read_across_windows_and_nothing_else_changes() {
        let len = 2 * WINDOW_BYTES + 5000;
        let file = reserved(len);
        let Some(windows) = Windows::over(&file, len) else { return };
        let bytes: Vec<u8> = (0..8000_u32).map(|i| (i % 251) as u8 + 1).collect();
        for offset in [0, 1, WINDOW_BYTES - 4000, 2 * WINDOW_BYTES - 5000, len - 8000] {
            assert_eq!(windows.write(&file, &bytes, offset), bytes.len(), "at {offset}");
            assert_eq!(read(&file, offset, bytes.len()), bytes, "at {offset}");
            windows.make_ready(&file, offset + WINDOW_BYTES);
        }
        assert_eq!(read(&file, 10_000, 1000), [0; 1000]);
        assert_eq!(file.metadata().unwrap().len(), len);
    }

    #[test]
    fn writes_behind_the_reserved_room_are_left_to_the_caller() {
        let file = reserved(WINDOW_BYTES);
        let Some(windows) = Windows::over(&file, WINDOW_BYTES) else { return };
        assert_eq!(windows.write(&file, &[7; 100], WINDOW_BYTES - 40), 40);
        assert_eq!(windows.write(&file, &[7; 100], WINDOW_BYTES), 0);
        windows.make_ready(&file, WINDOW_BYTES);
        assert_eq!(windows.write(&file, &[7; 100], 5 * WINDOW_BYTES), 0);
        assert_eq!(read(&file, WINDOW_BYTES - 40, 40), [7; 40]);
    }

    #[test]
    fn long_writes_are_left_to_the_caller_and_no_window_is_made_ready_for_more_of_them() {
        let len = 8 * WINDOW_BYTES;
        let file = reserved(len);
        let Some(windows) = Windows::over(&file, len) else { return };
        let is_ready = || windows.state.lock().ready.take().is_some();
        let long = vec![7; LONGEST_BYTES + 1];
        let write_long = |offset| {
            assert_eq!(windows.write(&file, &long, offset), 0);
            file.write_all_at(&long, offset).unwrap();
        };
        // A short write at the end of long ones does not make the next one short.
        (0..20).for_each(|at| write_long(at * 9000));
        assert_eq!(windows.write(&file, &[8; 100], 20 * 9000), 100);
        windows.make_ready(&file, WINDOW_BYTES);
        assert!(!is_ready());
        // Nor a long one at the end of short ones.
        (0..100).for_each(|at| assert_eq!(windows.write(&file, &[8; 100], WINDOW_BYTES + at * 100), 100));
        write_long(WINDOW_BYTES + 10_000);
        windows.make_ready(&file, 2 * WINDOW_BYTES);
        assert!(is_ready());
        assert_eq!(windows.write(&file, &long[1..], 3 * WINDOW_BYTES), LONGEST_BYTES);
        windows.make_ready(&file, 4 * WINDOW_BYTES);
        assert!(is_ready());
        assert_eq!(read(&file, 19 * 9000, long.len()), long);
        assert_eq!(read(&file, 20 * 9000, 100), [8; 100]);
        assert_eq!(read(&file, WINDOW_BYTES, 10_000), [8; 10_000]);
        assert_eq!(read(&file, WINDOW_BYTES + 10_000, long.len()), long);
        assert_eq!(read(&file, 3 * WINDOW_BYTES, LONGEST_BYTES), long[1..]);
    }

    #[test]
    fn after_a_cut_nothing_is_stored_behind_the_end() {
        let file = reserved(2 * WINDOW_BYTES);
        let Some(windows) = Windows::over(&file, 2 * WINDOW_BYTES) else { return };
        windows.make_ready(&file, WINDOW_BYTES);
        assert_eq!(windows.write(&file, &[7; 10], 0), 10);
        windows.cut(5000, || file.set_len(5000)).unwrap();
        // A store behind the end would be the end of this process.
        assert_eq!(windows.write(&file, &[8; 10], 4995), 5);
        assert_eq!(windows.write(&file, &[8; 10], WINDOW_BYTES), 0);
        windows.make_ready(&file, WINDOW_BYTES);
        assert_eq!(windows.write(&file, &[8; 10], WINDOW_BYTES), 0);
        assert_eq!(read(&file, 4995, 5), [8; 5]);
    }

    #[test]
    fn closed_windows_leave_writes_to_the_caller() {
        let file = reserved(2 * WINDOW_BYTES);
        let Some(windows) = Windows::over(&file, 2 * WINDOW_BYTES) else { return };
        assert_eq!(windows.write(&file, &[7; 10], 100), 10);
        windows.make_ready(&file, WINDOW_BYTES);
        windows.close();
        windows.make_ready(&file, WINDOW_BYTES);
        assert_eq!(windows.write(&file, &[8; 10], 100), 0);
        assert_eq!(windows.write(&file, &[8; 10], WINDOW_BYTES), 0);
        assert_eq!(read(&file, 100, 10), [7; 10]);
    }

    #[test]
    fn threads_take_turns() {
        let len = 4 * WINDOW_BYTES;
        let file = reserved(len);
        let Some(windows) = Windows::over(&file, len) else { return };
        std::thread::scope(|scope| {
            for writer in 1..=3_u8 {
                let (windows, file) = (&windows, &file);
                scope.spawn(move || {
                    for slot in 0..10_000 {
                        let offset = (slot * 3 + u64::from(writer)) * 100;
                        assert_eq!(windows.write(file, &[writer; 100], offset), 100);
                        if slot % 1000 == 0 {
                            windows.make_ready(file, offset + WINDOW_BYTES);
                        }
                    }
                });
            }
        });
        for slot in 0..10_000 {
            for writer in 1..=3_u8 {
                assert_eq!(read(&file, (slot * 3 + u64::from(writer)) * 100, 100), [writer; 100]);
            }
        }
    }
}
