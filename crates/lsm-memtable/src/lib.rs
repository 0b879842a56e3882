//! Sorted multi-version writes in memory.
