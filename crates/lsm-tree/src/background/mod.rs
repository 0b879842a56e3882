//! Work that no caller waits for: flushing, compacting, removing files.

pub(crate) mod compact;
pub(crate) mod flush;
pub(crate) mod schedule;
pub(crate) mod sweep;
pub(crate) mod wait;
