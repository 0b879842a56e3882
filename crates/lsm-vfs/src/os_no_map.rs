//! [`Windows`] where files cannot be mapped as `os_map` does it: there are none. Used by
//! [`OsFs`](crate::OsFs), which then writes through the kernel.

use std::fs::File;

/// Nothing of this type exists.
#[derive(Debug)]
pub(crate) enum Windows {}

impl Windows {
    pub(crate) const fn over(_file: &File, _reserved_bytes: u64) -> Option<Self> {
        None
    }

    pub(crate) const fn write(&self, _file: &File, _bytes: &[u8], _offset: u64) -> usize {
        match *self {}
    }

    pub(crate) const fn make_ready(&self, _file: &File, _offset: u64) {
        match *self {}
    }

    pub(crate) const fn close(&self) {
        match *self {}
    }

    pub(crate) fn cut<R>(&self, _len_bytes: u64, _cut: impl FnOnce() -> R) -> R {
        match *self {}
    }
}
