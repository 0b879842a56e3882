//! The immutable sorted file: blocks, index, filter, range tombstones, writer, reader, block cache.
