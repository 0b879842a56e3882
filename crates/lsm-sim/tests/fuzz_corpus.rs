//! Every file of the fuzz corpora through its body: what once failed does not fail again.
//! `cargo xtask fuzz` starts from the same files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where things are not as they should be"
)]

use lsm_sim::fuzz::TARGETS;
use std::path::Path;

/// Corpora are kept small: they are read by every run of the tests.
const LONGEST_BYTES: usize = 4096;

#[test]
fn every_file_of_the_corpora_passes() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for target in TARGETS {
        let mut files = 0;
        for entry in std::fs::read_dir(corpora.join(target.name)).expect("each target has a corpus") {
            let path = entry.unwrap().path();
            let input = std::fs::read(&path).unwrap();
            assert!(input.len() < LONGEST_BYTES, "{} is too long for a corpus", path.display());
            target.run(&input).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            files += 1;
        }
        assert!(files > 4, "the corpus of {} is nearly empty", target.name);
    }
}
