//! Has the kernel write pages to the disk while their file still grows, so that the sync at
//! the end finds most of them there. Used by [`OsFs`](crate::OsFs).
//!
//! Of what fails, the kernel tells in two ways. That a page did not reach the disk, the sync at
//! the end tells: a call that waits for nothing does not take that away. That a page could not
//! even be sent there, this call tells, and perhaps nobody else.

#![expect(unsafe_code, reason = "a system call without a safe wrapper; see docs/unsafe.md")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// What is passed over: the call is not there, not allowed, not for such a file or range, or was
/// given up for now, of memory for instance, which leaves the pages to the sync.
const HARMLESS: [i32; 9] = [
    libc::ENOSYS,
    libc::EOPNOTSUPP,
    libc::EPERM,
    libc::EACCES,
    libc::EINVAL,
    libc::ESPIPE,
    libc::EINTR,
    libc::EAGAIN,
    libc::ENOMEM,
];

/// Begins to write `len_bytes` bytes of `file` from `offset` on. Does not wait for them; it may
/// wait for its turn where the disk has a long line, and for the file system to find room.
pub(crate) fn start(file: &File, offset: u64, len_bytes: u64) -> io::Result<()> {
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len_bytes)) else { return Ok(()) };
    // No length would mean all the rest.
    if len == 0 || cfg!(miri) {
        return Ok(());
    }
    // SAFETY: the call is about a descriptor, which is open for as long as `file` lives, and
    // about no memory of this process. It changes no byte of the file.
    let outcome =
        unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
    if outcome == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error().is_some_and(|code| HARMLESS.contains(&code)) { Ok(()) } else { Err(error) }
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
            file.start_writeback(begun, written - begun).unwrap();
            begun = written;
        }
        let beyond = [(0, 0), (u64::MAX, 1), (1, u64::MAX), (1 << 40, 1 << 20), (i64::MAX as u64, 9)];
        for (offset, len_bytes) in beyond {
            file.start_writeback(offset, len_bytes).unwrap();
        }
        file.sync_data().unwrap();
        assert_eq!(file.len().unwrap(), 300_000);
        assert!(OsFs.read_to_vec(&path, 1 << 20).unwrap() == bytes);
    }
}
