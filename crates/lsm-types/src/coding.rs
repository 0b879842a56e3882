//! Little-endian integers and variable-length integers (LEB128, as in Protocol
//! Buffers and LevelDB), written to a vector and read from a shrinking slice.
//! Reading never panics: `None` means that the input ended or is not canonical.

/// Appends `value` in 1 to 5 bytes.
#[inline]
pub fn put_varint32(out: &mut Vec<u8>, value: u32) {
    put_varint64(out, u64::from(value));
}

/// Appends `value` in 1 to 10 bytes.
#[inline]
pub fn put_varint64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the length of `bytes` as a varint, then the bytes.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes one byte.
#[inline]
pub fn take_u8(input: &mut &[u8]) -> Option<u8> {
    let (&byte, rest) = input.split_first()?;
    *input = rest;
    Some(byte)
}

/// Takes a little-endian `u32`.
#[inline]
pub fn take_u32(input: &mut &[u8]) -> Option<u32> {
    let (bytes, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(u32::from_le_bytes(*bytes))
}

/// Takes a little-endian `u64`.
#[inline]
pub fn take_u64(input: &mut &[u8]) -> Option<u64> {
    let (bytes, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(u64::from_le_bytes(*bytes))
}

/// Takes a varint that fits 32 bits.
#[inline]
pub fn take_varint32(input: &mut &[u8]) -> Option<u32> {
    take_varint64(input).and_then(|value| u32::try_from(value).ok())
}

/// Takes a varint.
#[inline]
pub fn take_varint64(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take_u8(input)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Takes `len` bytes.
#[inline]
pub fn take<'a>(input: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = input.split_at_checked(len)?;
    *input = rest;
    Some(taken)
}

/// Takes what [`put_bytes`] wrote.
#[inline]
pub fn take_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = take_varint64(input)?;
    take(input, usize::try_from(len).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_taken() {
        let mut out = Vec::new();
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        for number in numbers {
            put_varint64(&mut out, number);
        }
        put_bytes(&mut out, b"abc");
        let mut input = out.as_slice();
        for number in numbers {
            assert_eq!(take_varint64(&mut input), Some(number));
        }
        assert_eq!(take_bytes(&mut input), Some(&b"abc"[..]));
        assert!(input.is_empty());
        assert_eq!(take_u64(&mut input), None);
    }

    #[test]
    fn damage_is_none() {
        assert_eq!(take_varint64(&mut &[0x80; 9][..]), None, "cut short");
        assert_eq!(take_varint64(&mut &[0xff; 11][..]), None, "too long");
        assert_eq!(take_varint32(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..]), None, "over 32 bits");
        assert_eq!(take_bytes(&mut &[5, 1, 2][..]), None, "length past the end");
    }
}
