//! Many sorted cursors into one: merging, concatenating, snapshot-visible, tombstone-aware.
