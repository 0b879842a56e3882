//! The range tombstones of a job: which point entries they delete for good, and
//! which of them survive. Used by `GcStream`; the clipping to tables is done by
//! `output`.

use crate::OlderData;
use crate::rules::Stripes;
use lsm_types::{KeySpan, RangeTombstone, RangeTombstoneSet, SeqNo};

/// The fragments of the inputs' range tombstones, walked along with the keys.
#[derive(Debug)]
pub(crate) struct Covering {
    fragments: RangeTombstoneSet,
    /// The first fragment that does not end before the last key.
    at: usize,
}

impl Covering {
    pub(crate) const fn new(fragments: RangeTombstoneSet) -> Self {
        Self { fragments, at: 0 }
    }

    /// Whether a tombstone numbered in `seqno + 1 .. end` covers `key`. Keys ascend
    /// from call to call.
    #[inline]
    pub(crate) fn covers(&mut self, key: &[u8], seqno: SeqNo, end: SeqNo) -> bool {
        let fragments = self.fragments.fragments();
        while fragments.get(self.at).is_some_and(|fragment| fragment.span.is_past_end(key)) {
            self.at += 1;
        }
        let Some(fragment) = fragments.get(self.at) else { return false };
        key >= fragment.span.start.as_bytes()
            && fragment.newest_below(end).is_some_and(|tombstone| tombstone > seqno)
    }
}

/// The tombstones that must go on to exist, in key order, disjoint or with equal
/// spans.
///
/// Of each fragment and stripe the newest survives: whoever sees an older one of the
/// stripe sees it too. In the oldest stripe even that one goes when nothing older
/// lies below, since the entries that it covers in the inputs are dropped.
pub(crate) fn survivors(
    set: &RangeTombstoneSet,
    stripes: &Stripes,
    older: &impl OlderData,
) -> Vec<RangeTombstone> {
    let mut kept: Vec<(KeySpan, Vec<SeqNo>)> = Vec::new();
    for fragment in set.fragments() {
        let mut last_stripe = None;
        let mut seqnos = Vec::new();
        for &seqno in &fragment.seqnos {
            let stripe = stripes.of(seqno);
            let is_hidden = stripe.is_some() && stripe == last_stripe;
            last_stripe = stripe;
            let is_needed = || stripe != Some(0) || older.overlaps(&fragment.span);
            if !is_hidden && is_needed() {
                seqnos.push(seqno);
            }
        }
        match kept.last_mut() {
            _ if seqnos.is_empty() => {}
            // Neighbours of the same numbers become one again.
            Some((span, same)) if *same == seqnos && span.end.as_ref() == Some(&fragment.span.start) => {
                span.end.clone_from(&fragment.span.end);
            }
            _ => kept.push((fragment.span.clone(), seqnos)),
        }
    }
    let pairs = |(span, seqnos): (KeySpan, Vec<SeqNo>)| {
        seqnos.into_iter().map(move |seqno| RangeTombstone { span: span.clone(), seqno })
    };
    kept.into_iter().flat_map(pairs).collect()
}
