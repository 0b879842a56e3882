//! [`LogPosition`]: a place in the log, counted over all its segments.

/// How many bytes of records lie before a place in the log, over all segments ever.
/// Positions only grow; a segment's header is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition(pub u64);

impl LogPosition {
    /// Before the first record.
    pub const ZERO: Self = Self(0);
}

impl std::fmt::Display for LogPosition {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(out)
    }
}
