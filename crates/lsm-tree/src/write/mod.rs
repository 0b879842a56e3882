//! Writing: [`commit`] orders, logs, applies and publishes; [`rotate`] seals full
//! memtables; [`backpressure`] paces writers by what the background owes.

pub(crate) mod backpressure;
pub(crate) mod commit;
pub(crate) mod rotate;
