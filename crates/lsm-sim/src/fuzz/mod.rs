//! Fuzz bodies: functions that take any bytes and hold the engine to what it promises
//! of any bytes. Called by `cargo xtask fuzz` (its own loop, on a stable toolchain), by
//! the libFuzzer targets in `crates/lsm-sim/fuzz`, and by `tests/fuzz_corpus.rs`.
//!
//! A body answers with a [`Note`] of how the input was met, or with what was wrong. It
//! keeps nothing between calls and touches no file but in memory.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

mod api;
mod batch;
mod block;
mod input;
mod log;
mod manifest;
mod mutate;
mod repair;
mod sample;
mod table;
mod walk;
pub use mutate::{Mutator, minimise};

/// How an input was met: inputs with different notes took different ways.
pub type Note = u64;

/// Something that takes any bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What it is called on the command line, and the name of its corpus.
    pub name: &'static str,
    /// What it holds the engine to, in a few words.
    pub about: &'static str,
    /// Runs one input.
    pub body: fn(&[u8]) -> Result<Note, String>,
    /// Inputs to begin with, made from a seed.
    pub sample: fn(u64) -> Vec<u8>,
    /// Inputs are kept below this length.
    pub max_bytes: usize,
    /// What one input may take of memory beyond what it found.
    pub max_memory_bytes: usize,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "block",
        about: "any image or compressed payload as the block of a table",
        body: block::body,
        sample: sample::block,
        max_bytes: 4096,
        max_memory_bytes: 64 << 20,
    },
    Target {
        name: "table",
        about: "any file as a table; any entries through a table and back",
        body: table::body,
        sample: sample::table,
        max_bytes: 8192,
        max_memory_bytes: 64 << 20,
    },
    Target {
        name: "log",
        about: "any files as segments of a log, recovered in every mode and gone on with",
        body: log::body,
        sample: sample::log,
        max_bytes: 8192,
        max_memory_bytes: 64 << 20,
    },
    Target {
        name: "manifest",
        about: "any file as a manifest; any edits through a manifest and back",
        body: manifest::body,
        sample: sample::manifest,
        max_bytes: 8192,
        max_memory_bytes: 64 << 20,
    },
    Target {
        name: "batch",
        about: "any payload as a batch: decoded, and replayed from a log into a database",
        body: batch::body,
        sample: sample::batch,
        max_bytes: 2048,
        max_memory_bytes: 64 << 20,
    },
    Target {
        name: "api",
        about: "any bytes as the choices of an op script, against the model",
        body: api::body,
        sample: sample::api,
        max_bytes: 2048,
        max_memory_bytes: 512 << 20,
    },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

impl Target {
    /// Runs one input; a panic is a failure as any other.
    ///
    /// # Errors
    /// What was wrong.
    pub fn run(&self, input: &[u8]) -> Result<Note, String> {
        catch_unwind(AssertUnwindSafe(|| (self.body)(input))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("panicked: {}", text.unwrap_or("without a word")))
        })
    }
}

/// A note of what happened, from parts that tell ways apart: which error it was and
/// where it was found, not the numbers in it.
fn note(parts: &[&str]) -> Note {
    let is_word = |word: &&str| word.bytes().all(|byte| byte.is_ascii_alphabetic());
    let words: Vec<Vec<&str>> =
        parts.iter().map(|part| part.split_whitespace().filter(is_word).take(12).collect()).collect();
    BuildHasherDefault::<DefaultHasher>::default().hash_one(words)
}

/// A count as a word of a note: exact when small, else its magnitude.
fn magnitude(count: usize) -> String {
    let letters = match count {
        0..4 => count,
        _ => 2 + count.ilog2() as usize,
    };
    "n".repeat(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_pass_and_differ() {
        for target in TARGETS {
            for seed in 0..8 {
                let sample = (target.sample)(seed);
                assert!(sample.len() <= target.max_bytes, "{} {seed}: {} bytes", target.name, sample.len());
                target.run(&sample).unwrap_or_else(|why| panic!("{} {seed}: {why}", target.name));
            }
            assert_ne!((target.sample)(1), (target.sample)(2), "{}", target.name);
        }
    }

    #[test]
    fn notes_tell_errors_apart_and_not_their_numbers() {
        assert_eq!(note(&["block 17 is torn"]), note(&["block 4 is torn"]));
        assert_ne!(note(&["a", "b"]), note(&["ab"]));
        assert_ne!(note(&[&magnitude(2)]), note(&[&magnitude(3)]));
        assert_eq!(magnitude(1000), magnitude(1001));
    }
}
