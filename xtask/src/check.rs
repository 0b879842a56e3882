//! `cargo xtask check`: what to run before every commit. Changes no file.

use crate::command::Command;
use crate::workspace::Workspace;
use crate::{Outcome, layers, tidy};

/// The four quick checks, the cheapest first.
pub(crate) fn run(workspace: &Workspace) -> Outcome {
    format(workspace)?;
    layers::run(workspace)?;
    tidy::run(workspace)?;
    clippy(workspace)
}

/// Every file is formatted.
pub(crate) fn format(workspace: &Workspace) -> Outcome {
    Command::cargo(&workspace.root, "fmt --all -- --check").run()
}

/// No lint speaks, in tests and benches neither.
pub(crate) fn clippy(workspace: &Workspace) -> Outcome {
    Command::cargo(&workspace.root, "clippy --workspace --all-targets -- -D warnings").run()
}
