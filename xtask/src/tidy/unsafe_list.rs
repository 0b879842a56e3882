//! [`UnsafeList`]: the files that `docs/unsafe.md` names, the only ones that may hold
//! `unsafe`. The document says for each why it is needed and what tests it.

use super::Finding;
use super::source::Source;

/// The document that holds the list.
pub(super) const DOCUMENT: &str = "docs/unsafe.md";

/// The files that may hold `unsafe`, with the line that lists each.
pub(super) struct UnsafeList(Vec<(String, usize)>);

impl UnsafeList {
    /// Reads the table: rows that start with a file name in backticks.
    pub(super) fn parse(document: &str) -> Self {
        let rows = document.lines().enumerate().filter_map(|(index, line)| {
            let cell = line.trim_start().strip_prefix('|')?.trim_start().strip_prefix('`')?;
            let (file, _) = cell.split_once('`')?;
            file.ends_with(".rs").then(|| (file.to_owned(), index + 1))
        });
        Self(rows.collect())
    }

    /// A finding when `source` holds `unsafe` and is not listed.
    pub(super) fn examine(&self, source: &Source) -> Option<Finding> {
        let line = source.line_of_word("unsafe")?;
        if self.0.iter().any(|(file, _)| *file == source.file) {
            return None;
        }
        let message =
            format!("unsafe: do without it, or list the file in {DOCUMENT} with its reason and its tests");
        Some(Finding { file: source.file.clone(), line, message, fatal: true })
    }

    /// The rows that name a file without `unsafe`, which `unsafe_files` does not hold.
    pub(super) fn stale(&self, unsafe_files: &[String]) -> Vec<Finding> {
        let stale = self.0.iter().filter(|(file, _)| !unsafe_files.contains(file));
        stale
            .map(|(file, line)| Finding {
                file: DOCUMENT.to_owned(),
                line: *line,
                message: format!("{file} holds no unsafe code; take it off the list"),
                fatal: true,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# Unsafe\n\n| file | why |\n|---|---|\n| `crates/a/src/arena.rs` | speed |\n";

    #[test]
    fn unsafe_is_allowed_where_it_is_listed() {
        let list = UnsafeList::parse(LIST);
        let check = |file: &str, text: &str| list.examine(&Source::new(file, text)).map(|found| found.line);
        assert_eq!(check("crates/a/src/arena.rs", "unsafe { f() }"), None);
        assert_eq!(check("crates/a/src/other.rs", "\nunsafe { f() }"), Some(2));
        assert_eq!(check("crates/a/src/other.rs", "// unsafe\n#![forbid(unsafe_code)]"), None);
    }

    #[test]
    fn a_row_without_unsafe_code_is_stale() {
        let list = UnsafeList::parse(LIST);
        assert_eq!(list.stale(&["crates/a/src/arena.rs".to_owned()]), []);
        assert_eq!(list.stale(&[]).first().map(|found| found.line), Some(5));
    }
}
