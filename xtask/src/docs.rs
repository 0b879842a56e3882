//! `cargo xtask docs`: the documents point only at what exists, and the
//! documentation of the code builds without a warning.

use crate::Outcome;
use crate::command::Command;
use crate::links::{self, Document, Fault};
use crate::workspace::{Workspace, read};

/// Checks and builds. Paths in backticks that do not exist are warnings, or
/// failures when `strict` is set.
pub(crate) fn run(workspace: &Workspace, strict: bool) -> Outcome {
    check_documents(workspace, strict)?;
    Command::cargo(&workspace.root, "doc --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings").run()
}

fn check_documents(workspace: &Workspace, strict: bool) -> Outcome {
    let mut documents = Vec::new();
    for path in workspace.files("md")? {
        documents.push(Document::new(&workspace.shown(&path), &read(&path)?));
    }
    let faults = links::examine(&documents, |path| workspace.root.join(path).exists());
    let is_fatal = |fault: &Fault| strict || !fault.only_named;
    for fault in &faults {
        let mark = if is_fatal(fault) { "error" } else { "warning" };
        eprintln!("{}:{}: {mark}: {}", fault.file, fault.line, fault.message);
    }
    let fatal = faults.iter().filter(|fault| is_fatal(fault)).count();
    println!("docs: {} documents, {} warnings", documents.len(), faults.len() - fatal);
    if fatal > 0 { Err(format!("docs: {fatal} faults")) } else { Ok(()) }
}
