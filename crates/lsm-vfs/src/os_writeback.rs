//! Has the kernel write pages to the disk while their file still grows, so that the sync at
//! the end finds most of them there. Used by [`OsFs`](crate::OsFs); nothing depends on it. An
//! error that the kernel meets meanwhile is told by that sync: a call that waits for nothing
//! neither sees it nor takes it away.

#![expect(unsafe_code, reason = "a system call without a safe wrapper; see docs/unsafe.md")]

use std::fs::File;
use std::os::fd::AsRawFd;

/// Begins to write `len_bytes` bytes of `file` from `offset` on. Waits for none of it, but for
/// its turn where the disk has a long line already.
pub(crate) fn start(file: &File, offset: u64, len_bytes: u64) {
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len_bytes)) else { return };
    // No length would mean all the rest.
    if len == 0 || cfg!(miri) {
        return;
    }
    // SAFETY: the call is about a descriptor, which is open for as long as `file` lives, and
    // about no memory of this process. It changes no byte of the file.
    let _only_a_hint =
        unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
}

#[cfg(all(test, not(miri)))]
mod tests {
    use crate::{Fs, OsFs};

    #[test]
    fn it_changes_neither_bytes_nor_length_whatever_the_range() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("table");
        let file = OsFs.create_new(&path).unwrap();
        let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at * 7 + at / 251) as u8).collect();
        let (mut begun, mut written) = (0, 0);
        for piece in bytes.chunks(70_000) {
            file.write_all_at(piece, written).unwrap();
            written += piece.len() as u64;
            file.start_writeback(begun, written - begun);
            begun = written;
        }
        let beyond = [(0, 0), (u64::MAX, 1), (1, u64::MAX), (1 << 40, 1 << 20), (i64::MAX as u64, 9)];
        for (offset, len_bytes) in beyond {
            file.start_writeback(offset, len_bytes);
        }
        file.sync_data().unwrap();
        assert_eq!(file.len().unwrap(), 300_000);
        assert!(OsFs.read_to_vec(&path, 1 << 20).unwrap() == bytes);
    }
}
