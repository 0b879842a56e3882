//! `cargo xtask tidy`: rules of the source that no compiler knows.
//!
//! One noun a file: [`source`] tells code from comments, [`paths`] reads `a::b::{c, d}`,
//! [`banned`] holds what may not be named where, [`shape`] the opening and the length
//! of a file, [`unsafe_list`] the files that may hold `unsafe`. This file walks the
//! repository and prints; it never changes a file.

use crate::Outcome;
use crate::workspace::{Workspace, read};
use source::Source;
use std::fmt;
use unsafe_list::UnsafeList;

mod banned;
mod paths;
mod shape;
mod source;
mod unsafe_list;

/// One breach of a rule: where, what, and what to do instead.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    file: String,
    line: usize,
    /// What is wrong and what to do.
    message: String,
    /// Whether it fails the check or only asks for thought.
    fatal: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.fatal { "error" } else { "warning" };
        write!(out, "{}:{}: {mark}: {}", self.file, self.line, self.message)
    }
}

/// Checks every Rust file of the repository.
pub(crate) fn run(workspace: &Workspace) -> Outcome {
    let allowed = UnsafeList::parse(&read(&workspace.root.join(unsafe_list::DOCUMENT))?);
    let mut findings = Vec::new();
    let mut unsafe_files = Vec::new();
    let files = workspace.files("rs")?;
    for path in &files {
        let name = workspace.shown(path);
        let source = Source::new(&name, &read(path)?);
        findings.extend(examine(&source, &allowed));
        if source.has_word("unsafe") {
            unsafe_files.push(name);
        }
    }
    findings.extend(allowed.stale(&unsafe_files));
    report(&findings, files.len())
}

/// All rules on one file.
fn examine(source: &Source, allowed: &UnsafeList) -> Vec<Finding> {
    let mut findings = shape::examine(source);
    findings.extend(banned::examine(source));
    findings.extend(allowed.examine(source));
    findings.sort_by_key(|finding| finding.line);
    findings
}

fn report(findings: &[Finding], files: usize) -> Outcome {
    for finding in findings {
        eprintln!("{finding}");
    }
    let fatal = findings.iter().filter(|finding| finding.fatal).count();
    if fatal > 0 {
        return Err(format!("tidy: {fatal} faults in {files} files"));
    }
    println!("tidy: {files} files, no fault, {} warnings", findings.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_points_at_its_line() {
        let source = Source::new("crates/lsm-log/src/writer.rs", "//! Text.\n\nuse std::fs;\n");
        let findings = examine(&source, &UnsafeList::parse(""));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].to_string().starts_with("crates/lsm-log/src/writer.rs:3: error: std::fs"));
        assert!(report(&findings, 1).is_err());
    }

    #[test]
    fn clean_code_has_no_findings() {
        let text = "//! Text.\n\nuse lsm_sync::Mutex;\n// std::fs is only named here\nfn f() {}\n";
        let source = Source::new("crates/lsm-log/src/writer.rs", text);
        assert_eq!(examine(&source, &UnsafeList::parse("")), []);
    }
}
