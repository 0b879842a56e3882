//! One file a command: its arguments as a struct, and `run`.

pub(crate) mod checkpoint;
pub(crate) mod compact;
pub(crate) mod del;
pub(crate) mod dump;
pub(crate) mod get;
pub(crate) mod load;
pub(crate) mod put;
pub(crate) mod scan;
pub(crate) mod stats;
pub(crate) mod verify;
