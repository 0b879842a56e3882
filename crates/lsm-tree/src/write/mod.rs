//! Writing: [`commit`] orders, logs, applies and publishes; [`rotate`] seals full
//! memtables; [`order`] is the order of steps in both; [`hold`] keeps writers off the
//! keys of an ingestion for a moment; [`shared`] is what a tree has
//! instead; [`backpressure`] paces writers by what the background owes.

pub(crate) mod backpressure;
pub(crate) mod commit;
pub(crate) mod hold;
pub(crate) mod order;
pub(crate) mod rotate;
pub(crate) mod shared;
