//! The text form of keys, values and ranges in scripts: one token each, without
//! spaces. Used by [`Op`](crate::Op) and [`TreeOp`](crate::TreeOp); knows no operation.

use lsm_types::{KeyRange, KeySpan, Slice};
use std::fmt::{self, Write as _};
use std::ops::Bound;

/// A run of one byte at least this long is printed as `{hh*n}`.
const SHORTEST_RUN: usize = 8;

/// Prints a key: letters, digits and `_./` as they are, other bytes as `%hh`, long
/// runs as `{hh*n}`, the empty key as `''`.
#[must_use]
pub fn print_key(key: &[u8]) -> String {
    if key.is_empty() {
        return "''".into();
    }
    let mut out = String::new();
    let mut rest = key;
    while let Some(&byte) = rest.first() {
        let run = rest.iter().take_while(|&&other| other == byte).count();
        let taken = if run >= SHORTEST_RUN {
            let _ = write!(out, "{{{byte:02x}*{run}}}");
            run
        } else {
            if byte.is_ascii_alphanumeric() || b"_./".contains(&byte) {
                out.push(byte as char);
            } else {
                let _ = write!(out, "%{byte:02x}");
            }
            1
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}

/// Reads [`print_key`] back.
///
/// # Errors
/// What cannot be understood.
pub fn parse_key(text: &str) -> Result<Slice, String> {
    let bad = || format!("{text:?} is not a key");
    if text == "''" {
        return Ok(Slice::empty());
    }
    let mut key = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match first {
            '%' => {
                let hex = rest.get(1..3).ok_or_else(bad)?;
                key.push(u8::from_str_radix(hex, 16).map_err(|_| bad())?);
                rest = rest.get(3..).unwrap_or_default();
            }
            '{' => {
                let (run, after) =
                    rest.strip_prefix('{').and_then(|run| run.split_once('}')).ok_or_else(bad)?;
                let (byte, count) = run.split_once('*').ok_or_else(bad)?;
                let byte = u8::from_str_radix(byte, 16).map_err(|_| bad())?;
                let count: usize = count.parse().map_err(|_| bad())?;
                key.resize(key.len() + count.min(1 << 20), byte);
                rest = after;
            }
            plain if plain.is_ascii() => {
                key.push(plain as u8);
                rest = rest.get(1..).unwrap_or_default();
            }
            _ => return Err(bad()),
        }
    }
    if key.is_empty() { Err(bad()) } else { Ok(Slice::from(key)) }
}

/// A value that a script names by number and length, so that scripts stay short;
/// [`bytes`](Self::bytes) spells it out. Half of it can be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// Tells values apart.
    pub tag: u64,
    /// Its length in bytes.
    pub len: u32,
}

impl Value {
    /// The bytes that are stored.
    #[must_use]
    pub fn bytes(self) -> Slice {
        let len = self.len as usize;
        let mut bytes = Vec::with_capacity(len + 16);
        let mut word = self.tag;
        while bytes.len() < len {
            bytes.extend_from_slice(&word.to_le_bytes());
            bytes.extend_from_slice(b"........");
            word = lsm_vfs::mix64(word.wrapping_add(1));
        }
        bytes.truncate(len);
        Slice::from(bytes)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.tag, self.len)
    }
}

impl std::str::FromStr for Value {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once('x')
            .and_then(|(tag, len)| Some(Self { tag: tag.parse().ok()?, len: len.parse().ok()? }));
        parsed.ok_or_else(|| format!("{text:?} is not a value such as 17x300"))
    }
}

/// Both ends of a range, of every kind, as a caller writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Where it starts.
    pub start: Bound<Slice>,
    /// Where it ends.
    pub end: Bound<Slice>,
}

impl Bounds {
    /// All keys.
    #[must_use]
    pub const fn all() -> Self {
        Self { start: Bound::Unbounded, end: Bound::Unbounded }
    }

    /// As the engine's words.
    #[must_use]
    pub fn span(&self) -> KeySpan {
        (self.start.clone(), self.end.clone()).to_span()
    }
}

/// Prints as two tokens: `[a b)`, `(a b]`, `- b)`, `[a -`, `- -`.
impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.start {
            Bound::Included(key) => write!(f, "[{} ", print_key(key))?,
            Bound::Excluded(key) => write!(f, "({} ", print_key(key))?,
            Bound::Unbounded => f.write_str("- ")?,
        }
        match &self.end {
            Bound::Included(key) => write!(f, "{}]", print_key(key)),
            Bound::Excluded(key) => write!(f, "{})", print_key(key)),
            Bound::Unbounded => f.write_str("-"),
        }
    }
}

/// The words of one line, taken from the left.
#[derive(Debug)]
pub struct Words<'a> {
    line: &'a str,
    words: std::str::SplitWhitespace<'a>,
}

impl<'a> Words<'a> {
    /// The words of `line`.
    #[must_use]
    pub fn new(line: &'a str) -> Self {
        Self { line, words: line.split_whitespace() }
    }

    /// The next word.
    ///
    /// # Errors
    /// There is none.
    pub fn word(&mut self) -> Result<&'a str, String> {
        self.words.next().ok_or_else(|| format!("{:?} ends early", self.line))
    }

    /// The next word as a key.
    ///
    /// # Errors
    /// There is none or it is no key.
    pub fn key(&mut self) -> Result<Slice, String> {
        parse_key(self.word()?)
    }

    /// The next word as whatever can be read from text.
    ///
    /// # Errors
    /// There is none or it is something else.
    pub fn parse<T: std::str::FromStr>(&mut self) -> Result<T, String> {
        let word = self.word()?;
        word.parse().map_err(|_| format!("{word:?} in {:?} is not understood", self.line))
    }

    /// The next two words as a range.
    ///
    /// # Errors
    /// There are none or they are something else.
    pub fn bounds(&mut self) -> Result<Bounds, String> {
        let (start, end) = (self.word()?, self.word()?);
        let start = match (start.strip_prefix('['), start.strip_prefix('(')) {
            (Some(key), _) => Bound::Included(parse_key(key)?),
            (_, Some(key)) => Bound::Excluded(parse_key(key)?),
            _ if start == "-" => Bound::Unbounded,
            _ => return Err(format!("{start:?} is not the start of a range")),
        };
        let end = match (end.strip_suffix(']'), end.strip_suffix(')')) {
            (Some(key), _) => Bound::Included(parse_key(key)?),
            (_, Some(key)) => Bound::Excluded(parse_key(key)?),
            _ if end == "-" => Bound::Unbounded,
            _ => return Err(format!("{end:?} is not the end of a range")),
        };
        Ok(Bounds { start, end })
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// Something is.
    pub fn end(&mut self) -> Result<(), String> {
        match self.words.next() {
            None => Ok(()),
            Some(word) => Err(format!("{word:?} is too much in {:?}", self.line)),
        }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;
    fn next(&mut self) -> Option<&'a str> {
        self.words.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_the_round_trip_through_text() {
        let keys: [&[u8]; 7] = [b"", b"k1", b"\xff\xff", &[b'a'; 300], b"a b(c)]", b"'", b"a\0{}%*"];
        for key in keys {
            let text = print_key(key);
            assert!(!text.contains(char::is_whitespace) && text.is_ascii(), "{text}");
            assert_eq!(parse_key(&text).unwrap(), key, "{text}");
        }
        assert_eq!(print_key(&[b'a'; 300]), "{61*300}");
        for bad in ["%", "%zz", "{61", "{61*}", "", "\u{e9}"] {
            assert!(parse_key(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_kind_of_bound_survives_too() {
        let key = || Slice::from("k)");
        let ends = [Bound::Unbounded, Bound::Included(key()), Bound::Excluded(key())];
        for start in &ends {
            for end in &ends {
                let bounds = Bounds { start: start.clone(), end: end.clone() };
                assert_eq!(Words::new(&bounds.to_string()).bounds().unwrap(), bounds);
            }
        }
    }

    #[test]
    fn values_differ_by_their_tags() {
        let value = Value { tag: 300, len: 20 };
        assert_eq!(value.to_string().parse(), Ok(value));
        assert_eq!(value.bytes().len(), 20);
        assert_ne!(value.bytes(), Value { tag: 301, len: 20 }.bytes());
        assert_eq!(Value { tag: 1, len: 0 }.bytes(), Slice::empty());
    }
}
