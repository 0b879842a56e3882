//! Reads the paths of a piece of code, with the groups of `use` written out:
//! `use std::{fs, sync::{Arc, Mutex}}` names `std::fs`, `std::sync::Arc` and
//! `std::sync::Mutex`. Called by the rules on names; knows no scopes and no aliases.

/// A path and the line of its last segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// The segments: `["std", "sync", "Mutex"]`.
    pub(super) segments: Vec<String>,
    /// From 1.
    pub(super) line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Colons,
    Open,
    Close,
    Other,
}

/// Every path in `code`, one-segment ones included.
pub(super) fn paths(code: &str) -> Vec<Path> {
    let mut reader = Reader { tokens: tokens(code), at: 0, paths: Vec::new() };
    while let Some(token) = reader.peek(0) {
        if matches!(token, Token::Word(_)) {
            reader.path(&[]);
        } else {
            reader.at += 1;
        }
    }
    reader.paths
}

struct Reader<'a> {
    tokens: Vec<(Token<'a>, usize)>,
    at: usize,
    paths: Vec<Path>,
}

impl<'a> Reader<'a> {
    fn peek(&self, ahead: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + ahead).map(|(token, _)| *token)
    }

    /// Reads a path that starts at a word, after `prefix`.
    fn path(&mut self, prefix: &[String]) {
        let mut segments = prefix.to_vec();
        let mut line = 0;
        while let Some((Token::Word(word), at)) = self.tokens.get(self.at) {
            segments.push((*word).to_owned());
            line = *at;
            self.at += 1;
            if self.peek(0) != Some(Token::Colons) {
                break;
            }
            self.at += 1;
        }
        let group = self.peek(0) == Some(Token::Open)
            && self.at > 0
            && self.tokens.get(self.at - 1).is_some_and(|(token, _)| *token == Token::Colons);
        if group {
            self.group(&segments);
        } else {
            self.paths.push(Path { segments, line });
        }
    }

    fn group(&mut self, prefix: &[String]) {
        self.at += 1;
        while let Some(token) = self.peek(0) {
            match token {
                Token::Word(_) => self.path(prefix),
                Token::Close => {
                    self.at += 1;
                    return;
                }
                _ => self.at += 1,
            }
        }
    }
}

fn tokens(code: &str) -> Vec<(Token<'_>, usize)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let (token, len) = if is_word(first) {
                let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                (Token::Word(rest.split_at(len).0), len)
            } else if rest.starts_with("::") {
                (Token::Colons, 2)
            } else {
                let token = match first {
                    '{' => Token::Open,
                    '}' => Token::Close,
                    _ => Token::Other,
                };
                (token, first.len_utf8())
            };
            tokens.push((token, index + 1));
            rest = rest.split_at(len).1.trim_start();
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long_paths(code: &str) -> Vec<String> {
        let found = paths(code).into_iter().filter(|path| path.segments.len() > 1);
        found.map(|path| format!("{}:{}", path.line, path.segments.join("::"))).collect()
    }

    #[test]
    fn groups_are_written_out() {
        assert_eq!(
            long_paths("use std::{\n    fs,\n    sync::{Arc, atomic::AtomicU64},\n};\nfn f() { a::b(); }"),
            ["2:std::fs", "3:std::sync::Arc", "3:std::sync::atomic::AtomicU64", "5:a::b"]
        );
    }

    #[test]
    fn a_path_may_be_broken_rooted_and_followed_by_anything() {
        assert_eq!(long_paths("::std::thread\n  ::spawn(|| {})"), ["2:std::thread::spawn"]);
        assert_eq!(long_paths("use std::sync::*; Vec::<u8>::new()"), ["1:std::sync"]);
        assert_eq!(long_paths("use std::fs as files;"), ["1:std::fs"]);
        assert_eq!(long_paths("match x { A::B => {} A::C { y } => {} }"), ["1:A::B", "1:A::C"]);
    }
}
