//! [`Inode`]: one file of the in-memory disk: what reads see, what the disk holds for
//! certain, and the operations in between, of which a power cut keeps any subset.

use super::pages::Pages;
use crate::SplitMix64;
use std::sync::Arc;

/// What a disk writes whole or not at all, in bytes.
const SECTOR_BYTES: u64 = 512;

/// A change that no sync has made durable.
#[derive(Clone, Debug)]
enum Change {
    Write {
        offset: u64,
        bytes: Arc<[u8]>,
    },
    SetLen(u64),
    /// Extends only, as a reservation does.
    Grow(u64),
}

/// How much of a change reached the disk before the power went.
#[derive(Clone, Copy)]
enum Fate {
    Lost,
    /// The length is there, the bytes read as zeros.
    LengthOnly,
    /// Some sectors are there.
    Torn,
    Whole,
}

/// A file's contents now and on disk. Names and handles are counted by the directory tree.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// What reads see.
    pub(super) cached: Pages,
    /// The image at the last sync.
    durable: Pages,
    pending: Vec<Change>,
    /// After a failed sync `cached` is no longer `durable` and `pending` together.
    diverged: bool,
    /// How many names the directories have for it now.
    pub(super) names: u32,
    /// How many open handles there are.
    pub(super) handles: u32,
}

impl Inode {
    /// A file with one name whose contents are durable.
    fn survivor(image: Pages) -> Self {
        Self { cached: image.clone(), durable: image, ..Self::default() }
    }

    /// Whether somebody can reach it without a power cut.
    pub(super) const fn is_live(&self) -> bool {
        self.names > 0 || self.handles > 0
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        if !bytes.is_empty() {
            self.cached.write(bytes, offset);
            self.pending.push(Change::Write { offset, bytes: bytes.into() });
        }
    }

    pub(super) fn set_len(&mut self, len_bytes: u64) {
        self.cached.set_len(len_bytes);
        self.pending.push(Change::SetLen(len_bytes));
    }

    pub(super) fn grow(&mut self, len_bytes: u64) {
        if len_bytes > self.cached.len() {
            self.cached.grow(len_bytes);
            self.pending.push(Change::Grow(len_bytes));
        }
    }

    /// Makes every change durable that no failed sync has lost.
    pub(super) fn sync(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if self.diverged {
            for change in &pending {
                apply(&mut self.durable, change, Fate::Whole, &mut SplitMix64::new(0));
            }
            return;
        }
        for change in &pending {
            let (from, to) = match change {
                Change::Write { offset, bytes } => (*offset, offset + bytes.len() as u64),
                Change::SetLen(len) => (*len, u64::MAX),
                Change::Grow(len) => (*len, *len),
            };
            self.durable.follow(&self.cached, from, to);
        }
    }

    /// A failed sync: half of the changes will never reach the disk, although reads see
    /// them; the other half may, like before.
    pub(super) fn lose_unsynced(&mut self, random: &mut SplitMix64) {
        self.diverged = true;
        self.pending.retain(|_| random.one_in(2));
    }

    /// The file as it may be found after a power cut.
    pub(super) fn after_power_cut(&self, random: &mut SplitMix64) -> Self {
        let mut image = self.durable.clone();
        let count = self.pending.len() as u64;
        let mode = random.below(6);
        let prefix = random.below(count + 1);
        let beyond = if random.one_in(2) { Fate::Lost } else { Fate::LengthOnly };
        for (index, change) in (0..).zip(&self.pending) {
            let fate = match mode {
                0 => Fate::Lost,
                1 => Fate::Whole,
                2 | 3 if index < prefix => Fate::Whole,
                2 if index == prefix => Fate::Torn,
                2 | 3 => beyond,
                4 if random.one_in(2) => Fate::Whole,
                4 => Fate::Lost,
                _ => match random.below(4) {
                    0 => Fate::Lost,
                    1 => Fate::LengthOnly,
                    2 => Fate::Torn,
                    _ => Fate::Whole,
                },
            };
            apply(&mut image, change, fate, random);
        }
        Self::survivor(image)
    }
}

/// Applies to `image` what its fate leaves of a change.
fn apply(image: &mut Pages, change: &Change, fate: Fate, random: &mut SplitMix64) {
    match (change, fate) {
        (_, Fate::Lost) | (Change::SetLen(_), Fate::LengthOnly) => {}
        (Change::SetLen(len), _) => image.set_len(*len),
        (Change::Grow(len), _) => image.grow(*len),
        (Change::Write { offset, bytes }, Fate::Whole) => image.write(bytes, *offset),
        (Change::Write { offset, bytes }, Fate::LengthOnly) => image.grow(offset + bytes.len() as u64),
        (Change::Write { offset, bytes }, Fate::Torn) => {
            if random.one_in(2) {
                image.grow(offset + bytes.len() as u64);
            }
            let mut at = *offset;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let sector_end = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
                let (sector, later) = rest.split_at(rest.len().min((sector_end - at) as usize));
                if random.one_in(2) {
                    image.write(sector, at);
                }
                at = sector_end;
                rest = later;
            }
        }
    }
}
