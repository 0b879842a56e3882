//! Runs the `lsm` program as a user does. The scripts in `tests/scripts/` say what is
//! typed and what must come back; below them stand the tests that need more than that.
//!
//! A script's lines: `$` a command for lsm, `<` a line of its standard input, `|` a
//! line of its output, `!` its complaint, `?` its exit code (0 where none is given),
//! `#` a comment. `…` in an expected line stands for anything.

#[expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
mod support;

use support::{Sandbox, run_script};

#[test]
fn entries_are_put_read_and_deleted() {
    run_script("basics");
}

#[test]
fn scans_go_both_ways_within_bounds() {
    run_script("scan");
}

#[test]
fn bytes_that_are_not_text_survive_printing_and_typing() {
    run_script("binary");
}

#[test]
fn columns_csv_and_json_lines_are_loaded() {
    run_script("load");
}

#[test]
fn a_malformed_line_is_named() {
    run_script("malformed");
}

#[test]
fn misuse_is_explained_in_one_sentence() {
    run_script("errors");
}

/// 30,000 lines of real data survive load, print and load again.
#[test]
fn real_data_goes_in_and_comes_out_the_same() {
    let sandbox = Sandbox::new();
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/data/UnicodeData.txt");
    sandbox.run(&["load", "one", data, "--separator", ";"], b"").expect_code(0);
    let tsv = sandbox.run(&["scan", "one"], b"").expect_code(0).stdout;
    assert_eq!(tsv.iter().filter(|&&byte| byte == b'\n').count(), 34_924);
    sandbox.run(&["load", "two", "-"], &tsv).expect_code(0);
    let again = sandbox.run(&["scan", "two"], b"").expect_code(0).stdout;
    assert!(tsv == again, "what scan printed was not loaded back as it was");
    let hex = sandbox.run(&["scan", "two", "--format", "hex"], b"").expect_code(0).stdout;
    sandbox.run(&["load", "three", "-", "--hex"], &hex).expect_code(0);
    let json = sandbox.run(&["scan", "three", "--format", "json"], b"").expect_code(0).stdout;
    sandbox.run(&["load", "four", "-", "--key", "key", "--value", "value"], &json).expect_code(0);
    let last = sandbox.run(&["scan", "four"], b"").expect_code(0).stdout;
    assert!(tsv == last, "what scan printed in hex and json was not loaded back as it was");
    let backward = sandbox.run(&["scan", "four", "--reverse"], b"").expect_code(0).stdout;
    let lines = |text: &[u8]| {
        String::from_utf8(text.to_vec()).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut expected = lines(&tsv);
    expected.reverse();
    assert!(expected == lines(&backward), "a reverse scan is not the forward scan reversed");
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let sandbox = Sandbox::new();
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/data/UnicodeData.txt");
    sandbox.run(&["load", "db", data, "-s", ";"], b"").expect_code(0);
    let mut child = sandbox.spawn(&["scan", "db"]);
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_database_that_is_open_elsewhere_is_refused_at_once() {
    let sandbox = Sandbox::new();
    sandbox.run(&["put", "db", "k", "v"], b"").expect_code(0);
    let held = lsm_tree::Database::open(sandbox.path("db")).unwrap();
    let refused = sandbox.run(&["get", "db", "k"], b"").expect_code(2);
    let sentence = String::from_utf8(refused.stderr).unwrap();
    assert!(sentence.ends_with("close it there, or wait for that process to end\n"), "{sentence}");
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
    held.close().unwrap();
    sandbox.run(&["get", "db", "k"], b"").expect_code(0);
}

#[test]
fn statistics_are_a_table_or_json() {
    let sandbox = Sandbox::new();
    sandbox.run(&["put", "db", "k", "v"], b"").expect_code(0);
    let table = sandbox.run(&["stats", "db"], b"").expect_code(0).stdout;
    assert!(!table.is_empty());
    let json = sandbox.run(&["stats", "db", "--json"], b"").expect_code(0).stdout;
    serde_json::from_slice::<serde_json::Value>(&json).unwrap();
}

/// Loads real data, kills a writer and compares: the program's own proof must pass.
#[test]
fn the_demo_loses_nothing() {
    let sandbox = Sandbox::new();
    let told = sandbox.run(&["demo", "--dir", "here", "--kills", "2"], b"").expect_code(0);
    let story = String::from_utf8(told.stdout).unwrap();
    assert!(story.contains("nothing was lost"), "{story}");
    assert_eq!(std::fs::read_dir(sandbox.path("here")).unwrap().count(), 0, "the demo leaves nothing behind");

    let kept =
        sandbox.run(&["demo", "--dir", "here", "--kills", "1", "--seed", "7", "--keep"], b"").expect_code(0);
    let story = String::from_utf8(kept.stdout).unwrap();
    let db = story.lines().find_map(|line| line.strip_prefix("the database is kept in ")).unwrap();
    let found = sandbox.run(&["get", db, "-k", "journal", "000000000001"], b"").expect_code(0);
    assert_eq!(String::from_utf8_lossy(&found.stdout), "20 changes\n");
}
