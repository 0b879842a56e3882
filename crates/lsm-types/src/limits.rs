//! The sizes that keys and values may have, checked once at the edge of the API.

/// The longest key, in bytes: 64 KiB - 1.
pub const MAX_KEY_BYTES: usize = u16::MAX as usize;

/// The longest value, in bytes: 1 GiB.
pub const MAX_VALUE_BYTES: usize = 1 << 30;

/// A key or value that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The key is longer than [`MAX_KEY_BYTES`].
    #[error("a key of {0} bytes is too long; the limit is {MAX_KEY_BYTES} bytes")]
    Key(usize),
    /// The value is longer than [`MAX_VALUE_BYTES`].
    #[error("a value of {0} bytes is too long; the limit is {MAX_VALUE_BYTES} bytes")]
    Value(usize),
}

/// Checks the length of a key; the empty key is allowed and sorts first.
///
/// # Errors
/// [`LimitError::Key`].
#[inline]
pub const fn check_key(key: &[u8]) -> Result<(), LimitError> {
    if key.len() > MAX_KEY_BYTES { Err(LimitError::Key(key.len())) } else { Ok(()) }
}

/// Checks the length of a value.
///
/// # Errors
/// [`LimitError::Value`].
#[inline]
pub const fn check_value(value: &[u8]) -> Result<(), LimitError> {
    if value.len() > MAX_VALUE_BYTES { Err(LimitError::Value(value.len())) } else { Ok(()) }
}
