//! [`Kept`]: a copy of the entry that a walk backward shows, in buffers that are
//! reused. Used by `VisibleCursor` only.

use lsm_types::{Cursor, Slice, Trailer, ValueKind};

/// Values from this length on are kept as slices and not copied.
const SHARE_FROM_BYTES: usize = 1024;

/// Number, kind and value of an entry that the inner cursor has passed.
#[derive(Debug)]
pub(crate) struct Kept {
    trailer: Trailer,
    /// Holds the value if it is short, else `shared` does.
    copied: Vec<u8>,
    shared: Option<Slice>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { trailer: Trailer::new(0, ValueKind::Value), copied: Vec::new(), shared: None }
    }
}

impl Kept {
    /// Keeps the entry on which `cursor` stands.
    pub(crate) fn keep<C: Cursor>(&mut self, cursor: &C) {
        self.trailer = cursor.key().trailer;
        let value = cursor.value();
        self.copied.clear();
        self.shared = None;
        if value.len() < SHARE_FROM_BYTES {
            self.copied.extend_from_slice(value);
        } else {
            self.shared = Some(cursor.value_slice());
        }
    }

    pub(crate) const fn trailer(&self) -> Trailer {
        self.trailer
    }

    /// The value as it is stored.
    pub(crate) fn value(&self) -> &[u8] {
        self.shared.as_deref().unwrap_or(&self.copied)
    }

    /// The value as it is stored, owned.
    pub(crate) fn value_slice(&self) -> Slice {
        self.shared.clone().unwrap_or_else(|| Slice::copy_from(&self.copied))
    }
}
