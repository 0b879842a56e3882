//! What may not be named where: raw locks, threads, files and clocks outside the
//! crates that wrap them, and words that hide unfinished or untested work anywhere.

use super::Finding;
use super::paths::{Path, paths};
use super::source::{Source, words};

/// The crates that wrap the raw things, and the programs that stand outside the
/// simulator: a path within one of them may name what the others may not.
const WRAPPERS: &[&str] =
    &["crates/lsm-sync", "crates/lsm-vfs", "crates/lsm-cli", "crates/lsm-sim", "xtask", "benches"];

/// The one file of the facade that reads the clock and hands it down.
const CLOCK_FILE: &str = "crates/lsm-tree/src/env.rs";

const LOCKS: &str = "take locks, atomics and condition variables from lsm_sync, so that loom sees them";
const THREADS: &str =
    "start and pause threads through lsm_sync::thread, so that loom and the simulator schedule them";
const FILES: &str = "reach files through lsm_vfs::Fs, so that the simulator can cut the power";
const CLOCKS: &str = "take the time from the caller; only crates/lsm-tree/src/env.rs reads the clock";

/// All rules of this file on `source`.
pub(super) fn examine(source: &Source) -> Vec<Finding> {
    let mut findings = names(source);
    for (index, line) in source.code.lines().enumerate() {
        findings.extend(macros(line).map(|message| fatal(source, index + 1, message)));
    }
    findings.extend(attributes(source));
    findings.extend(untested_examples(source));
    findings
}

fn fatal(source: &Source, line: usize, message: String) -> Finding {
    Finding { file: source.file.clone(), line, message, fatal: true }
}

fn names(source: &Source) -> Vec<Finding> {
    if WRAPPERS.contains(&source.home()) {
        return Vec::new();
    }
    let found = paths(&source.code).into_iter().filter_map(|path| {
        let instead = banned_name(source, &path)?;
        Some(fatal(source, path.line, format!("{}: {instead}", path.segments.join("::"))))
    });
    found.collect()
}

/// What to do instead of naming `path` in this file; `None` when it may be named.
fn banned_name(source: &Source, path: &Path) -> Option<&'static str> {
    let segments: Vec<&str> = path.segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["parking_lot", ..] => Some(LOCKS),
        ["std" | "core", "sync", "atomic" | "Mutex" | "RwLock" | "Condvar" | "Barrier" | "mpsc", ..] => {
            Some(LOCKS)
        }
        // The module itself or everything in it: what is taken from it is hidden.
        ["std", "sync"] | ["std", "sync", "self"] => Some(LOCKS),
        ["std", "thread", ..] => Some(THREADS),
        // A test compares golden files and waits with a deadline; the engine does neither.
        ["std", "fs", ..] if !source.is_test() => Some(FILES),
        [.., "Instant" | "SystemTime", "now"] if !source.is_test() && source.file != CLOCK_FILE => {
            Some(CLOCKS)
        }
        _ => None,
    }
}

/// Words that stand for work not done.
fn macros(line: &str) -> impl Iterator<Item = String> {
    ["todo", "unimplemented"].into_iter().filter_map(move |name| {
        let called = line.match_indices(&format!("{name}!")).any(|(at, _)| {
            let before = line.split_at(at).0.chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
        });
        called.then(|| format!("{name}!: write it, or leave the branch out of the type"))
    })
}

/// Attributes that hide a test or an item.
fn attributes(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, _) in source.code.match_indices("#[").chain(source.code.match_indices("#![")) {
        let (before, rest) = source.code.split_at(at);
        let line = before.matches('\n').count() + 1;
        let named: Vec<&str> = words(attribute(rest)).collect();
        if named.contains(&"ignore") {
            let message = "#[ignore]: a test that never runs proves nothing; make it fast or delete it";
            findings.push(fatal(source, line, message.to_owned()));
        }
        if named.contains(&"doc") && named.contains(&"hidden") {
            let message = "doc(hidden): make it private, or an honest public item one layer down";
            findings.push(fatal(source, line, message.to_owned()));
        }
    }
    findings
}

/// The text up to the bracket that closes the first one.
fn attribute(rest: &str) -> &str {
    let mut depth = 0;
    let end = rest.find(|c| {
        depth += match c {
            '[' => 1,
            ']' => -1,
            _ => 0,
        };
        c == ']' && depth == 0
    });
    rest.split_at(end.unwrap_or(rest.len())).0
}

/// Examples in the documentation that nobody compiles.
fn untested_examples(source: &Source) -> Vec<Finding> {
    let fence = |line: &str| {
        let comment = line.trim_start().strip_prefix("///").or(line.trim_start().strip_prefix("//!"))?;
        comment.trim_start().strip_prefix("```").map(|tags| tags.split(',').any(|tag| tag.trim() == "ignore"))
    };
    let lines = source.text.lines().enumerate().filter(|(_, line)| fence(line) == Some(true));
    let message = "an ignored example rots; let it compile (`no_run`) or mark it `text`";
    lines.map(|(index, _)| fatal(source, index + 1, message.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGINE: &str = "crates/lsm-log/src/writer.rs";
    const NONE: [usize; 0] = [];

    fn lines(file: &str, text: &str) -> Vec<usize> {
        examine(&Source::new(file, text)).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn raw_primitives_are_banned_in_the_engine() {
        for bad in [
            "use std::sync::Mutex;",
            "use std::sync::{Arc, RwLock};",
            "use std::{io, sync::atomic::AtomicU64};",
            "use core::sync::atomic;",
            "use std::sync;",
            "use std::sync::*;",
            "let lock = parking_lot::Mutex::new(());",
            "std::thread::sleep(pause);",
            "std::fs::read(path)?;",
            "let start = Instant::now();",
            "let now = std::time::SystemTime::now();",
        ] {
            assert_eq!(lines(ENGINE, bad).len(), 1, "{bad}");
            assert_eq!(lines("crates/lsm-vfs/src/os.rs", bad), NONE, "{bad} in lsm-vfs");
            assert_eq!(lines("xtask/src/ci.rs", bad), NONE, "{bad} in xtask");
        }
    }

    #[test]
    fn what_hides_nothing_from_loom_is_fine() {
        for good in [
            "use std::sync::{Arc, OnceLock};",
            "use std::time::{Duration, Instant};",
            "let x = lsm_sync::thread::spawn(f);",
            "let text = \"std::fs::read\"; // std::thread",
            "fn todo(ignore: bool) {}",
        ] {
            assert_eq!(lines(ENGINE, good), NONE, "{good}");
        }
    }

    #[test]
    fn tests_may_read_files_and_clocks_but_not_bring_their_own_locks() {
        let file = "crates/lsm-log/tests/golden.rs";
        assert_eq!(lines(file, "std::fs::read(path); Instant::now();"), NONE);
        assert_eq!(lines(file, "use std::sync::Mutex;"), [1]);
    }

    #[test]
    fn one_file_of_the_facade_reads_the_clock() {
        assert_eq!(lines(CLOCK_FILE, "Instant::now()"), NONE);
        assert_eq!(lines("crates/lsm-tree/src/open.rs", "\nInstant::now()"), [2]);
    }

    #[test]
    fn hidden_and_unfinished_work_is_banned_everywhere() {
        for bad in [
            "#[test]\n#[ignore]",
            "#[test]\n#[ignore = \"slow\"]",
            "#[test]\n#[cfg_attr(miri, ignore)]",
            "\n#[doc(hidden)]",
            "\nfn f() { todo!() }",
            "\nunimplemented!(\"later\")",
            "\n/// ```ignore",
            "\n//! ```rust, ignore",
        ] {
            assert_eq!(lines(ENGINE, bad), [2], "{bad}");
            assert_eq!(lines("xtask/src/ci.rs", bad), [2], "{bad}");
        }
        assert_eq!(lines(ENGINE, "/// ```text\n#[expect(dead_code, reason = \"todo\")]"), NONE);
    }
}
