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

/// A small database with tables and a log, closed cleanly.
fn small_database(sandbox: &Sandbox) {
    sandbox.run(&["load", "db", "people.tsv"], b"").expect_code(0);
    sandbox.run(&["compact", "db"], b"").expect_code(0);
    sandbox.run(&["put", "db", "later", "in the log"], b"").expect_code(0);
}

#[test]
fn a_sound_database_is_verified_file_by_file() {
    let sandbox = Sandbox::new();
    small_database(&sandbox);
    std::fs::write(sandbox.path("db").join("notes.txt"), "mine").unwrap();
    let ran = sandbox.run(&["verify", "db"], b"").expect_code(0);
    let text = String::from_utf8(ran.stdout).unwrap();
    for name in sandbox.files("db") {
        assert!(text.lines().any(|line| line.starts_with(&name)), "{name} is not named in:\n{text}");
    }
    assert!(text.contains("default, level ") && text.contains("6 entries in 1 block"), "{text}");
    assert!(text.contains("notes.txt") && text.contains("not ours, not read"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("sound: "), "{text}");
    sandbox.run(&["get", "db", "later"], b"").expect_code(0);
}

/// The record that says that a file was closed.
const CLOSING_MARK_BYTES: usize = 24;

/// One flipped bit in any file is found, and named with file and offset.
/// Places at which a file is damaged, and bytes at each end that all are.
const PLACES: usize = 200;
const ENDS: usize = 64;

#[test]
fn damage_is_found_in_every_file() {
    let sandbox = Sandbox::new();
    small_database(&sandbox);
    for name in sandbox.files("db") {
        let path = sandbox.path("db").join(&name);
        let sound = std::fs::read(&path).unwrap();
        // Spread over the file, and all of its ends.
        let spread = (1..PLACES).map(|part| sound.len() * part / PLACES);
        let ends = (0..ENDS).chain(sound.len() - ENDS..sound.len());
        for at in spread.chain(ends).filter(|at| *at < sound.len()) {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x10;
            std::fs::write(&path, &damaged).unwrap();
            let ran = sandbox.run(&["verify", "db"], b"");
            let complaint = String::from_utf8(ran.stderr).unwrap();
            if ran.code == Some(0) {
                // The mark that closes log and manifest is a write like any other: when it
                // is bad it may have been cut short, and nothing is missing. Zeros between
                // their records mean nothing.
                let text = String::from_utf8(ran.stdout).unwrap();
                let in_mark = at + CLOSING_MARK_BYTES >= sound.len() && text.contains("cut short");
                let harmless = !name.ends_with(".sst") && (in_mark || sound[at] == 0);
                assert!(harmless, "byte {at} of {name} was not found bad: {text}");
                continue;
            }
            assert_eq!(ran.code, Some(1), "byte {at} of {name}: {complaint}");
            assert!(complaint.contains(&name) && complaint.contains("damaged at byte"), "{complaint}");
            assert_eq!(complaint.lines().count(), 1, "{complaint}");
        }
        std::fs::write(&path, &sound).unwrap();
    }
    sandbox.run(&["verify", "db"], b"").expect_code(0);
}

#[test]
fn a_table_that_is_gone_is_damage() {
    let sandbox = Sandbox::new();
    small_database(&sandbox);
    let table = sandbox.files("db").into_iter().find(|name| name.ends_with(".sst")).unwrap();
    std::fs::remove_file(sandbox.path("db").join(&table)).unwrap();
    let ran = sandbox.run(&["verify", "db"], b"").expect_code(1);
    assert!(String::from_utf8_lossy(&ran.stdout).contains("no such file"));
}

#[test]
fn each_kind_of_file_can_be_dumped() {
    let sandbox = Sandbox::new();
    small_database(&sandbox);
    for name in sandbox.files("db") {
        let path = format!("db/{name}");
        let ran = sandbox.run(&["dump", &path, "--entries"], b"").expect_code(0);
        let text = String::from_utf8(ran.stdout).unwrap();
        let expected = match name.rsplit('.').next() {
            Some("sst") => "emmy",
            Some("log") => "log segment ",
            _ => "created: \"default\"",
        };
        assert!(text.contains(expected), "dump {path}:\n{text}");
    }
    let ran = sandbox.run(&["dump", "people.tsv"], b"").expect_code(2);
    assert!(String::from_utf8_lossy(&ran.stderr).contains("people.tsv is no file of ours"));
}
