//! Bytes as text that a terminal, a TSV file and a reader's eyes survive, and back.
//!
//! Valid UTF-8 without control characters stands for itself; a backslash is `\\`,
//! tab, line feed and carriage return are `\t`, `\n` and `\r`, and every other byte
//! is `\xNN`. What [`write_escaped`] prints [`unescape`] reads, byte for byte.
//! Never used for `--hex`, whose two functions stand at the end.

use std::io::{self, Write};

/// An escape that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an escape (\\\\, \\t, \\n, \\r, \\0 and \\xNN are)")]
pub(crate) struct EscapeError(String);

/// Text that is not pairs of hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not hexadecimal: two digits a byte")]
pub(crate) struct HexError(String);

/// Prints `bytes` escaped.
pub(crate) fn write_escaped(out: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    for chunk in bytes.utf8_chunks() {
        let mut plain = chunk.valid();
        while let Some(at) = plain.find(|c: char| c == '\\' || c.is_control()) {
            let (before, rest) = plain.split_at(at);
            let mut after = rest.chars();
            let special = after.next().unwrap_or('\\');
            out.write_all(before.as_bytes())?;
            write_special(out, special)?;
            plain = after.as_str();
        }
        out.write_all(plain.as_bytes())?;
        write_numbers(out, chunk.invalid())?;
    }
    Ok(())
}

fn write_special(out: &mut dyn Write, special: char) -> io::Result<()> {
    match special {
        '\\' => out.write_all(br"\\"),
        '\t' => out.write_all(br"\t"),
        '\n' => out.write_all(br"\n"),
        '\r' => out.write_all(br"\r"),
        other => write_numbers(out, other.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

fn write_numbers(out: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    bytes.iter().try_for_each(|byte| write!(out, "\\x{byte:02x}"))
}

/// `bytes` escaped, as a string, for messages.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    // Writing to a vector does not fail, and what was written is text.
    let _ = write_escaped(&mut out, bytes);
    String::from_utf8_lossy(&out).into_owned()
}

/// Appends to `out` what `text` stands for.
pub(crate) fn unescape_into(text: &[u8], out: &mut Vec<u8>) -> Result<(), EscapeError> {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        let (plain, escape) = rest.split_at(at);
        out.extend_from_slice(plain);
        let (byte, len) = read_escape(escape).ok_or_else(|| {
            let shown = escape.get(..4).unwrap_or(escape);
            EscapeError(String::from_utf8_lossy(shown).into_owned())
        })?;
        out.push(byte);
        rest = escape.get(len..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// The byte that the escape at the start of `text` stands for, and the escape's length.
fn read_escape(text: &[u8]) -> Option<(u8, usize)> {
    Some(match text.get(1)? {
        b'\\' => (b'\\', 2),
        b't' => (b'\t', 2),
        b'n' => (b'\n', 2),
        b'r' => (b'\r', 2),
        b'0' => (0, 2),
        b'x' => (hex_digit(*text.get(2)?)? << 4 | hex_digit(*text.get(3)?)?, 4),
        _ => return None,
    })
}

/// What `text` stands for.
pub(crate) fn unescape(text: &[u8]) -> Result<Vec<u8>, EscapeError> {
    let mut out = Vec::with_capacity(text.len());
    unescape_into(text, &mut out)?;
    Ok(out)
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Prints `bytes` as pairs of hexadecimal digits.
pub(crate) fn write_hex(out: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
}

/// Reads what [`write_hex`] printed; capitals are fine too.
pub(crate) fn unhex(text: &[u8]) -> Result<Vec<u8>, HexError> {
    let pairs = text.chunks_exact(2);
    let whole = pairs.remainder().is_empty();
    let bytes: Option<Vec<u8>> = pairs
        .map(|pair| match pair {
            [high, low] => Some(hex_digit(*high)? << 4 | hex_digit(*low)?),
            _ => None,
        })
        .collect();
    bytes.filter(|_| whole).ok_or_else(|| HexError(escaped(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_string_survives_its_text() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let mixed = "tab\tline\nback\\slash caf\u{e9} \u{9b}31m".as_bytes();
        for bytes in [all.as_slice(), mixed, b"", b"\xf0\x9f\x98"] {
            let text = escaped(bytes);
            assert!(!text.chars().any(char::is_control), "{text:?} would disturb a terminal");
            assert_eq!(unescape(text.as_bytes()).unwrap(), bytes);
            let mut hex = Vec::new();
            write_hex(&mut hex, bytes).unwrap();
            assert_eq!(unhex(&hex).unwrap(), bytes);
        }
    }

    #[test]
    fn what_is_no_escape_is_refused() {
        for text in ["\\", "\\q", "\\x4", "\\xzz", "a\\"] {
            assert!(unescape(text.as_bytes()).is_err(), "{text}");
        }
        for text in ["0", "0g", "abc"] {
            assert!(unhex(text.as_bytes()).is_err(), "{text}");
        }
    }
}
