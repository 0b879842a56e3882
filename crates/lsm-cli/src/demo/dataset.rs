//! The Unicode Character Database inside the program: one entry a character.

/// The file as published; see `data/README.md`.
const TEXT: &str = include_str!("../../data/UnicodeData.txt");

/// The version of the file.
pub(super) const VERSION: &str = "15.0.0";

/// Code point in hexadecimal, and the rest of its line, in the order of the file.
pub(super) fn entries() -> impl Iterator<Item = (&'static str, &'static str)> {
    TEXT.lines().filter_map(|line| line.split_once(';'))
}

/// The bytes of all keys and values.
pub(super) fn total_bytes() -> u64 {
    entries().map(|(key, value)| (key.len() + value.len()) as u64).sum()
}

/// The character itself and its name, for printing: `😀 GRINNING FACE`.
pub(super) fn pretty(key: &[u8], value: &[u8]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = u32::from_str_radix(&text(key), 16).ok();
    let character = code.and_then(char::from_u32).filter(|character| !character.is_control());
    let value = text(value);
    let name = value.split(';').next().unwrap_or_default();
    match character {
        Some(character) => format!("{character} {name}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_an_entry_of_its_own() {
        assert_eq!(entries().count(), TEXT.lines().count());
        assert!(entries().count() > 30_000);
        let keys: std::collections::BTreeSet<_> = entries().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), entries().count());
    }

    #[test]
    fn characters_are_shown_with_their_names() {
        let (key, value) = entries().find(|(key, _)| *key == "1F600").unwrap();
        assert_eq!(pretty(key.as_bytes(), value.as_bytes()), "\u{1f600} GRINNING FACE");
        assert_eq!(pretty(b"0000", b"<control>;Cc"), "<control>");
    }
}
