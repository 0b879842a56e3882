//! [`Shape`]: how large each level should be, counted upwards from the data that
//! there is. Used by `Leveled` only.

use lsm_version::{LEVELS, Version};

/// The deepest level.
pub(crate) const LAST: usize = LEVELS - 1;

/// The levels that are in use, and how large each may grow.
///
/// The last level holds as much as there is; each level above it a fixed fraction,
/// up to the first one that is small enough for level 0 to be merged into. So about
/// nine tenths of the data lie in the last level at any size, and a small database
/// has no levels in between at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The level that level 0 is merged into.
    pub(crate) level0_output: usize,
    /// The size that a level may have; 0 for one that is to be emptied.
    targets: [u64; LEVELS],
}

impl Shape {
    /// `ratio` is the factor between neighbouring levels, `base_bytes` the most that
    /// the level below level 0 should hold.
    pub(crate) fn new(version: &Version, base_bytes: u64, ratio: u64) -> Self {
        let sizes: Vec<u64> = version.levels().iter().map(lsm_version::Level::size_bytes).collect();
        let mut targets = [0; LEVELS];
        let mut target = sizes.iter().skip(1).copied().max().unwrap_or(0);
        let mut base = LAST;
        for (level, slot) in targets.iter_mut().enumerate().skip(1).rev() {
            *slot = if level == LAST { u64::MAX } else { target };
            base = level;
            if target <= base_bytes {
                break;
            }
            target /= ratio.max(2);
        }
        // Level 0 must not be merged past older data that is still on its way down.
        let first_used = sizes.iter().enumerate().skip(1).find(|(_, size)| **size > 0);
        let level0_output = first_used.map_or(base, |(level, _)| level.min(base));
        Self { level0_output, targets }
    }

    /// The size that `level` may have.
    pub(crate) fn target_bytes(&self, level: usize) -> u64 {
        self.targets.get(level).copied().unwrap_or(u64::MAX)
    }
}
