//! `cargo xtask crates`: tests each crate alone. In a build of the whole workspace
//! the features that one crate asks of a dependency serve the others too; somebody
//! who depends on a single layer does not have them.

use crate::Outcome;
use crate::command::Command;
use crate::workspace::Workspace;

/// Tests one crate after the other; goes on after a failure.
pub(crate) fn run(workspace: &Workspace) -> Outcome {
    let mut failures = Vec::new();
    for package in workspace.packages.iter().filter(|package| package.is_crate()) {
        failures.extend(Command::cargo(&workspace.root, "test -p").arg(&package.name).run().err());
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}
