//! The shape of a file: it opens with `//!`, and it is short. Lengths ratchet: over
//! the first limit a warning asks for thought, over the second the check fails.

use super::Finding;
use super::source::Source;

/// Lines of code without tests above which a file is probably two nouns.
const WARN_LINES: usize = 400;
/// Lines of code without tests that no file may pass.
const MAX_LINES: usize = 600;
/// Files of tests hold cases, not nouns: they may be longer.
const MAX_TEST_LINES: usize = 1000;

/// Both rules on `source`.
pub(super) fn examine(source: &Source) -> Vec<Finding> {
    let finding = |line, message, fatal| Finding { file: source.file.clone(), line, message, fatal };
    let mut findings = Vec::new();
    if !source.text.starts_with("//!") {
        let message = "open the file with `//!`: what it is, who calls it, what it never does";
        findings.push(finding(1, message.to_owned(), true));
    }
    let (lines, warn, max) = if source.is_test() {
        (source.text.lines().count(), MAX_LINES, MAX_TEST_LINES)
    } else {
        (lines_without_tests(source), WARN_LINES, MAX_LINES)
    };
    if lines > warn {
        let limit = if lines > max { max } else { warn };
        let message = format!("{lines} lines without tests, over {limit}; split it by noun");
        findings.push(finding(limit + 1, message, lines > max));
    }
    findings
}

/// The lines before the module of unit tests that ends the file.
fn lines_without_tests(source: &Source) -> usize {
    let lines: Vec<&str> = source.code.lines().map(str::trim).collect();
    let tests = lines.windows(2).position(
        |pair| matches!(pair, [attribute, item] if *attribute == "#[cfg(test)]" && opens_module(item)),
    );
    tests.unwrap_or(lines.len())
}

fn opens_module(item: &str) -> bool {
    item.starts_with("mod ") && item.ends_with('{')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, text: &str) -> Vec<(usize, bool)> {
        examine(&Source::new(file, text)).into_iter().map(|finding| (finding.line, finding.fatal)).collect()
    }

    #[test]
    fn a_file_opens_with_its_purpose() {
        assert_eq!(check("crates/x/src/a.rs", "//! It is a.\n"), []);
        assert_eq!(check("crates/x/src/a.rs", "use x;\n//! Late.\n"), [(1, true)]);
        assert_eq!(check("crates/x/src/a.rs", ""), [(1, true)]);
    }

    #[test]
    fn long_files_warn_and_longer_ones_fail() {
        let text = |lines: usize| format!("//! Text.\n{}", "fn f() {}\n".repeat(lines - 1));
        assert_eq!(check("crates/x/src/a.rs", &text(400)), []);
        assert_eq!(check("crates/x/src/a.rs", &text(401)), [(401, false)]);
        assert_eq!(check("crates/x/src/a.rs", &text(601)), [(601, true)]);
        let with_tests = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", text(390), "x();\n".repeat(300));
        assert_eq!(check("crates/x/src/a.rs", &with_tests), [], "unit tests do not count");
        assert_eq!(check("crates/x/tests/a.rs", &text(700)), [(601, false)]);
    }
}
