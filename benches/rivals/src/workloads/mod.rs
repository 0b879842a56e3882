//! What is measured. Each function opens an engine on the directory of its cell, does
//! its work under a meter, checks the answers, and returns an outcome.
//!
//! A wrong answer, a missing entry or an empty database is an error, never a figure.

pub(crate) mod beside;
pub(crate) mod fill;
pub(crate) mod open;
pub(crate) mod queue;
pub(crate) mod read;
pub(crate) mod scan;
pub(crate) mod sync;
pub(crate) mod ycsb;
