//! The form of a value that expires: the time in milliseconds since the Unix epoch
//! as a little-endian `u64`, then the value. Read by scans, point reads and
//! compaction; the clock is the caller's.

/// Splits a stored value of kind `ExpiringValue` into its expiry and what the
/// application wrote; `None` when it is too short to hold an expiry.
#[must_use]
#[inline]
pub fn split(stored: &[u8]) -> Option<(u64, &[u8])> {
    let (expiry, value) = stored.split_first_chunk()?;
    Some((u64::from_le_bytes(*expiry), value))
}

/// Whether a stored value of kind `ExpiringValue` is no longer to be seen at
/// `now_ms`; one too short to hold an expiry never is.
#[must_use]
#[inline]
pub fn is_expired(stored: &[u8], now_ms: u64) -> bool {
    split(stored).is_none_or(|(expiry_ms, _)| expiry_ms <= now_ms)
}

/// The stored form of `value` that expires at `expiry_ms`.
#[must_use]
pub fn join(expiry_ms: u64, value: &[u8]) -> Vec<u8> {
    [&expiry_ms.to_le_bytes(), value].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_gone_from_its_expiry_on() {
        let stored = join(1000, b"v");
        assert_eq!(split(&stored), Some((1000, &b"v"[..])));
        assert!(!is_expired(&stored, 999));
        assert!(is_expired(&stored, 1000));
        assert!(is_expired(b"short", 0), "what has no expiry cannot be shown");
    }
}
