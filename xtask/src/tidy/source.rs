//! [`Source`]: a Rust file with its comments and literals blanked out, so that the
//! rules see only code. Every line keeps its number and every byte its column.

/// A file as the rules see it.
pub(super) struct Source {
    /// The path from the root, with slashes.
    pub(super) file: String,
    /// The file as it is.
    pub(super) text: String,
    /// The same with comments, strings and characters turned into blanks.
    pub(super) code: String,
}

impl Source {
    /// Blanks `text`.
    pub(super) fn new(file: &str, text: &str) -> Self {
        Self { file: file.to_owned(), text: text.to_owned(), code: Blanker::new(text).run() }
    }

    /// Whether `word` stands in the code as a whole identifier.
    pub(super) fn has_word(&self, word: &str) -> bool {
        self.line_of_word(word).is_some()
    }

    /// The number of the first line whose code holds `word` as a whole identifier.
    pub(super) fn line_of_word(&self, word: &str) -> Option<usize> {
        let line = self.code.lines().position(|line| words(line).any(|found| found == word))?;
        Some(line + 1)
    }

    /// The crate's directory within the repository: `crates/lsm-log`, `xtask`, `benches`.
    pub(super) fn home(&self) -> &str {
        let parts = if self.file.starts_with("crates/") { 2 } else { 1 };
        self.file.match_indices('/').nth(parts - 1).map_or("", |(at, _)| self.file.split_at(at).0)
    }

    /// Whether the whole file is test or example code.
    pub(super) fn is_test(&self) -> bool {
        ["/tests/", "/examples/", "/benches/"].iter().any(|part| self.file.contains(part))
            || self.file.ends_with("/tests.rs")
    }
}

/// The identifiers and keywords of a line of code.
pub(super) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// One pass over the text; `at` is a byte index.
struct Blanker<'a> {
    text: &'a [u8],
    at: usize,
    code: Vec<u8>,
}

impl<'a> Blanker<'a> {
    fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), at: 0, code: Vec::with_capacity(text.len()) }
    }

    fn run(mut self) -> String {
        while let Some(byte) = self.peek(0) {
            match byte {
                b'/' if self.peek(1) == Some(b'/') => self.blank_until(|rest| rest.first() == Some(&b'\n')),
                b'/' if self.peek(1) == Some(b'*') => self.blank_comment(),
                b'"' => self.blank_string(),
                b'\'' => self.blank_character(),
                b'r' | b'b' | b'c' if !self.follows_word() && self.raw_string_hashes().is_some() => {
                    self.blank_raw_string();
                }
                _ => self.keep(),
            }
        }
        String::from_utf8_lossy(&self.code).into_owned()
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn keep(&mut self) {
        self.code.extend(self.peek(0));
        self.at += 1;
    }

    fn blank(&mut self) {
        self.code.extend(self.peek(0).map(|byte| if byte == b'\n' { b'\n' } else { b' ' }));
        self.at += 1;
    }

    fn blank_until(&mut self, stop: impl Fn(&[u8]) -> bool) {
        while !self.rest().is_empty() && !stop(self.rest()) {
            self.blank();
        }
    }

    /// Block comments nest.
    fn blank_comment(&mut self) {
        let mut depth = 0;
        loop {
            let step = match (self.peek(0), self.peek(1)) {
                (Some(b'/'), Some(b'*')) => 1,
                (Some(b'*'), Some(b'/')) => -1,
                (None, _) => return,
                _ => {
                    self.blank();
                    continue;
                }
            };
            self.blank();
            self.blank();
            depth += step;
            if depth == 0 {
                return;
            }
        }
    }

    fn blank_string(&mut self) {
        self.blank();
        loop {
            match self.peek(0) {
                None => return,
                Some(b'"') => return self.blank(),
                Some(b'\\') => {
                    self.blank();
                    self.blank();
                }
                Some(_) => self.blank(),
            }
        }
    }

    /// A character, or the tick of a lifetime, which is kept.
    fn blank_character(&mut self) {
        if self.peek(1) == Some(b'\\') {
            // The tick, the backslash and the escaped byte, which may be a tick itself.
            (0..3).for_each(|_| self.blank());
            self.blank_until(|rest| matches!(rest.first(), Some(b'\'' | b'\n')));
            return self.blank();
        }
        // A tick within the next character's four bytes ends a literal; `'a` has none.
        let width = match self.peek(1) {
            Some(byte) if byte < 0x80 => 1,
            Some(byte) if byte < 0xe0 => 2,
            Some(byte) if byte < 0xf0 => 3,
            Some(_) => 4,
            None => return self.keep(),
        };
        if self.peek(1 + width) == Some(b'\'') {
            (0..width + 2).for_each(|_| self.blank());
        } else {
            self.keep();
        }
    }

    fn follows_word(&self) -> bool {
        self.code.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
    }

    /// The number of hashes when a raw string starts here (`r"`, `br#"`, …).
    fn raw_string_hashes(&self) -> Option<usize> {
        let rest = self.rest();
        let prefix = rest.iter().take_while(|byte| byte.is_ascii_lowercase()).count();
        if !matches!(rest.get(..prefix)?, b"r" | b"br" | b"cr") {
            return None;
        }
        let hashes = rest.iter().skip(prefix).take_while(|byte| **byte == b'#').count();
        (rest.get(prefix + hashes) == Some(&b'"')).then_some(hashes)
    }

    fn blank_raw_string(&mut self) {
        let hashes = self.raw_string_hashes().unwrap_or(0);
        let end = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
        self.blank_until(|rest| rest.first() == Some(&b'"'));
        self.blank();
        self.blank_until(|rest| rest.starts_with(&end));
        (0..end.len()).for_each(|_| self.blank());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        let code = Source::new("crates/x/src/lib.rs", text).code;
        assert_eq!(code.lines().count(), text.lines().count(), "lines keep their numbers");
        code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn only_code_is_left() {
        assert_eq!(code("a // unsafe\nb /* x /* unsafe */ y */ c"), "a b c");
        assert_eq!(code("f(\"un\\\"safe // x\", b\"y\") + 1"), "f( , b ) + 1");
        assert_eq!(code("r#\"a \" unsafe\"# ; r\"\\\" ; br##\"\"#\"##"), "; ;");
        assert_eq!(code("let r#type: &'a str = 'x'; '\\'' 'é' '\"' b"), "let r#type: &'a str = ; b");
        assert_eq!(code("impl<'a> F<'a> {}"), "impl<'a> F<'a> {}");
        assert_eq!(code("/// ```\n/// unsafe\nfn f() {}"), "fn f() {}");
        assert_eq!(code("var\"x\" '\\u{1F600}' d"), "var d");
    }

    #[test]
    fn a_word_is_whole() {
        let source = Source::new("crates/x/src/lib.rs", "#![deny(unsafe_code)]\nfn f() {}\nunsafe {}\n");
        assert_eq!(source.line_of_word("unsafe"), Some(3));
        assert!(!source.has_word("den"));
    }

    #[test]
    fn a_file_knows_its_home() {
        let home = |file: &str| Source::new(file, "").home().to_owned();
        assert_eq!(home("crates/lsm-log/src/writer.rs"), "crates/lsm-log");
        assert_eq!(home("xtask/src/main.rs"), "xtask");
        assert_eq!(home("benches/lib.rs"), "benches");
    }
}
