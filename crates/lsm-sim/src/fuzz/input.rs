//! [`Input`]: bytes as choices. What is missing at the end reads as zeros, so that every
//! input means something and cutting one short makes it simpler.

/// The rest of an input.
#[derive(Clone, Debug)]
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&byte, rest)) => {
                self.0 = rest;
                byte
            }
            None => 0,
        }
    }

    /// Two bytes, the low one first.
    pub(super) fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A number that is mostly small: one byte says how many more follow.
    pub(super) fn number(&mut self) -> u64 {
        let first = self.byte();
        match first {
            0..=247 => u64::from(first),
            _ => (248..=first).fold(0, |number, _| number << 8 | u64::from(self.byte())),
        }
    }

    /// As many bytes as there are, up to `len`.
    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A few bytes with their length in front; now and then a run of one byte instead,
    /// which may be long.
    pub(super) fn bytes(&mut self) -> Vec<u8> {
        match self.byte() {
            255 => {
                let len = usize::from(self.short()) % 3000;
                vec![self.byte(); len]
            }
            len => self.take(usize::from(len) % 24).to_vec(),
        }
    }

    pub(super) const fn rest(self) -> &'a [u8] {
        self.0
    }
}
