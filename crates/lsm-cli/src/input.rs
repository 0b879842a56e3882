//! Keys and values given as arguments. Files are read in `records`.

use crate::escape::{unescape, unhex};
use crate::failure::Failure;
use std::ffi::OsStr;

/// The bytes that an argument stands for: hexadecimal with `hex`, else text in
/// which the escapes of the output are understood.
pub(crate) fn argument(text: &OsStr, hex: bool) -> Result<Vec<u8>, Failure> {
    let text = text.as_encoded_bytes();
    if hex { Ok(unhex(text)?) } else { Ok(unescape(text)?) }
}
