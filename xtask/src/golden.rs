//! `cargo xtask golden`: the files of every on-disk format against the stored ones,
//! byte by byte. The comparison itself is each crate's `tests/golden.rs`.

use crate::Outcome;
use crate::command::Command;
use crate::workspace::Workspace;

/// Compares, or rewrites the stored files when `write` is set.
pub(crate) fn run(workspace: &Workspace, write: bool) -> Outcome {
    let mut command = Command::cargo(&workspace.root, "test --test golden");
    let mut count = 0;
    for package in &workspace.packages {
        if !package.tests(|test| test == "golden")?.is_empty() {
            command = command.arg("-p").arg(&package.name);
            count += 1;
        }
    }
    if count == 0 {
        println!("golden: no crate has tests/golden.rs");
        return Ok(());
    }
    if write {
        command = command.env("LSM_GOLDEN", "write");
    }
    command.run()
}
