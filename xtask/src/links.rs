//! The links of Markdown documents: relative ones must lead to a file and, with a
//! `#`, to one of its headings; paths in backticks should exist. Pure: the caller
//! says what exists. Links to other sites are not followed.

use std::collections::BTreeSet;

/// A Markdown file, read into what the check needs.
pub(crate) struct Document {
    file: String,
    headings: BTreeSet<String>,
    /// Targets of links with their lines.
    links: Vec<(usize, String)>,
    /// Paths of this repository in backticks with their lines.
    named: Vec<(usize, String)>,
}

/// A link or path that leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The document.
    pub(crate) file: String,
    /// From 1.
    pub(crate) line: usize,
    /// What is wrong and what to do.
    pub(crate) message: String,
    /// Whether it is a path in backticks, not a link.
    pub(crate) only_named: bool,
}

/// Where a path in backticks must start to be taken for one.
const ROOTS: &[&str] = &["crates/", "xtask/", "docs/", "benches/", ".ci/"];

impl Document {
    /// Reads `text`; fenced code is skipped.
    pub(crate) fn new(file: &str, text: &str) -> Self {
        let mut document =
            Self { file: file.to_owned(), headings: BTreeSet::new(), links: Vec::new(), named: Vec::new() };
        let mut fenced = false;
        for (index, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            } else if !fenced {
                document.read_line(index + 1, line);
            }
        }
        document
    }

    fn read_line(&mut self, number: usize, line: &str) {
        if line.starts_with('#') {
            self.headings.insert(anchor(line.trim_start_matches('#')));
        }
        let mut prose = String::new();
        for (index, part) in line.split('`').enumerate() {
            if index % 2 == 0 {
                prose.push_str(part);
            } else if ROOTS.iter().any(|root| part.starts_with(root)) && is_plain(part) {
                self.named.push((number, part.to_owned()));
            }
        }
        for (at, open) in prose.match_indices("](") {
            let target = prose.get(at + open.len()..).and_then(|rest| rest.split_once(')'));
            self.links.extend(target.map(|(target, _)| (number, target.trim().to_owned())));
        }
        if let Some((_, target)) = prose.split_once("]: ").filter(|_| prose.starts_with('[')) {
            self.links.push((number, target.trim().to_owned()));
        }
    }
}

/// Whether a piece of code in backticks is one path without placeholders.
fn is_plain(part: &str) -> bool {
    part.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
}

/// The name under which a heading is reached: lower case, blanks as hyphens, no
/// other punctuation.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
}

/// All faults, in the order of the documents.
pub(crate) fn examine(documents: &[Document], exists: impl Fn(&str) -> bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    for document in documents {
        let fault = |line: &usize, message, only_named| Fault {
            file: document.file.clone(),
            line: *line,
            message,
            only_named,
        };
        for (line, target) in &document.links {
            faults.extend(
                dead(document, target, documents, &exists).map(|message| fault(line, message, false)),
            );
        }
        for (line, path) in &document.named {
            if !exists(path) {
                faults.push(fault(line, format!("`{path}` does not exist; correct the name"), true));
            }
        }
    }
    faults
}

/// Why the link leads nowhere, if it does.
fn dead(from: &Document, target: &str, all: &[Document], exists: impl Fn(&str) -> bool) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let file = if path.is_empty() { from.file.clone() } else { resolve(&from.file, path) };
    if !exists(&file) {
        return Some(format!("the link to {target} leads nowhere; there is no {file}"));
    }
    let document = all.iter().find(|document| document.file == file)?;
    let known = heading.is_empty() || document.headings.contains(heading);
    (!known).then(|| format!("the link to {target} leads nowhere; {file} has no heading #{heading}"))
}

/// `path`, which is relative to the document `from`, relative to the root.
fn resolve(from: &str, path: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(usize, bool)> {
        let other = Document::new("docs/adr/0001-x.md", "# The form\n");
        let files = ["docs/a.md", "docs/adr/0001-x.md", "README.md", "crates/lsm-log"];
        let documents = [Document::new("docs/a.md", text), other];
        let faults = examine(&documents, |path| files.contains(&path));
        faults.into_iter().map(|fault| (fault.line, fault.only_named)).collect()
    }

    #[test]
    fn links_lead_somewhere() {
        assert_eq!(lines("[a](adr/0001-x.md) [b](../README.md) [c](https://x.org/y)"), []);
        assert_eq!(lines("\n[a](adr/0002-y.md)"), [(2, false)]);
        assert_eq!(lines("[a]: ../nowhere.md"), [(1, false)]);
        assert_eq!(lines("```text\n[a](nowhere.md)\n```\n`[a](nowhere.md)`"), []);
    }

    #[test]
    fn headings_exist() {
        assert_eq!(lines("# What we, `a` and b-c do\n[x](#what-we-a-and-b-c-do)"), []);
        assert_eq!(lines("[x](adr/0001-x.md#the-form) [y](adr/0001-x.md#the-shape)"), [(1, false)]);
    }

    #[test]
    fn paths_in_backticks_exist() {
        assert_eq!(lines("`crates/lsm-log` and `crates/<name>` and `lsm/x.rs`"), []);
        assert_eq!(lines("see `crates/lsm-log/src/none.rs`"), [(1, true)]);
    }
}
