//! The range tombstone section: how a table's range tombstones are stored. Called
//! by the writer and at opening.
//!
//! ```text
//! image     := count u32 | tombstone*
//! tombstone := seqno u64 | start_len varint | start | has_end u8 | [end_len varint | end]
//! ```

use lsm_types::coding::{put_bytes, take_bytes, take_u8, take_u32, take_u64};
use lsm_types::{KeySpan, MAX_SEQNO, RangeTombstone, Slice};

/// Appends the image.
pub(crate) fn encode(tombstones: &[RangeTombstone], out: &mut Vec<u8>) {
    out.extend_from_slice(&(tombstones.len() as u32).to_le_bytes());
    for RangeTombstone { span, seqno } in tombstones {
        out.extend_from_slice(&seqno.to_le_bytes());
        put_bytes(out, &span.start);
        out.push(u8::from(span.end.is_some()));
        if let Some(end) = &span.end {
            put_bytes(out, end);
        }
    }
}

/// Reads an image; the error says what is wrong with it.
pub(crate) fn decode(mut image: &[u8]) -> Result<Vec<RangeTombstone>, &'static str> {
    let count = take_u32(&mut image).ok_or("less than a count of range tombstones")?;
    let tombstones = (0..count).map_while(|_| take_tombstone(&mut image)).collect::<Vec<_>>();
    if tombstones.len() as u64 != u64::from(count) || !image.is_empty() {
        return Err("range tombstones that do not fill their section");
    }
    Ok(tombstones)
}

fn take_tombstone(image: &mut &[u8]) -> Option<RangeTombstone> {
    let seqno = take_u64(image).filter(|&seqno| seqno <= MAX_SEQNO)?;
    let start = Slice::copy_from(take_bytes(image)?);
    let end = match take_u8(image)? {
        0 => None,
        1 => Some(Slice::copy_from(take_bytes(image)?)),
        _ => return None,
    };
    let span = KeySpan { start, end };
    (!span.is_empty()).then_some(RangeTombstone { span, seqno })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsm_types::KeyRange;

    #[test]
    fn tombstones_come_back_and_cuts_do_not() {
        let tombstones = [
            RangeTombstone { span: ("a".."b").to_span(), seqno: 4 },
            RangeTombstone { span: ("a\0"..).to_span(), seqno: MAX_SEQNO },
        ];
        let mut image = Vec::new();
        encode(&tombstones, &mut image);
        assert_eq!(decode(&image).as_deref(), Ok(&tombstones[..]));
        for cut in 0..image.len() {
            assert!(decode(&image[..cut]).is_err());
        }
        image.push(0);
        assert!(decode(&image).is_err());
        assert!(decode(&u32::MAX.to_le_bytes()).is_err(), "a count alone allocates nothing");
    }
}
