//! `cargo xtask miri`, `asan` and `tsan`: checkers that only a nightly toolchain
//! has. Where it or a component is missing, one line says so and the chore passes;
//! nothing is ever installed.

use crate::Outcome;
use crate::command::Command;
use crate::workspace::Workspace;

/// A checker that the compiler builds in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sanitizer {
    /// Reads and writes outside of what is allocated.
    Address,
    /// Data races.
    Thread,
}

/// Crates whose tests Miri can run in reasonable time: those with code that it could
/// find fault with, and what they stand on.
const MIRI_CRATES: &[&str] = &["lsm-types", "lsm-sync", "lsm-memtable"];

/// Runs the unit tests of [`MIRI_CRATES`] under Miri.
pub(crate) fn miri(workspace: &Workspace) -> Outcome {
    let Some(nightly) = nightly_with(workspace, &["miri", "rust-src"]) else {
        return skip("miri", "a nightly toolchain with the components miri and rust-src");
    };
    for name in MIRI_CRATES {
        let package = workspace.package(name)?;
        Command::rustup(&workspace.root, &format!("run {nightly} cargo miri test --lib -p"))
            .arg(&package.name)
            .arg("--target-dir")
            .arg(&workspace.target.join("miri").to_string_lossy())
            // Our tests read the clock for seeds, and proptest looks for its files.
            .env("MIRIFLAGS", "-Zmiri-disable-isolation")
            .run()?;
    }
    Ok(())
}

/// Runs the tests of the engine's crates under a sanitizer.
pub(crate) fn sanitize(workspace: &Workspace, sanitizer: Sanitizer) -> Outcome {
    let (chore, flag, components, build_std): (_, _, &[&str], _) = match sanitizer {
        Sanitizer::Address => ("asan", "-Zsanitizer=address", &[], ""),
        // The standard library must be instrumented as well, or its locks look like races.
        Sanitizer::Thread => ("tsan", "-Zsanitizer=thread", &["rust-src"], " -Zbuild-std"),
    };
    let Some(nightly) = nightly_with(workspace, components) else {
        let with =
            if components.is_empty() { String::new() } else { format!(" with {}", components.join(", ")) };
        return skip(chore, &format!("a nightly toolchain{with}"));
    };
    let Some(host) = host(&nightly) else {
        return skip(chore, "a toolchain whose name ends with its target");
    };
    // Naming the target keeps the flags away from build scripts and macros.
    let arguments = format!("run {nightly} cargo test --workspace --tests --target {host}{build_std}");
    Command::rustup(&workspace.root, &arguments)
        .arg("--target-dir")
        .arg(&workspace.target.join(chore).to_string_lossy())
        .env("RUSTFLAGS", flag)
        .run()
}

fn skip(chore: &str, missing: &str) -> Outcome {
    println!("{chore}: skipped, needs {missing}");
    Ok(())
}

/// The name of an installed nightly that has all `components`.
fn nightly_with(workspace: &Workspace, components: &[&str]) -> Option<String> {
    let rustup = |arguments: &str| Command::rustup(&workspace.root, arguments).output().ok();
    let nightly = nightly_in(&rustup("toolchain list")?)?;
    let installed = rustup(&format!("component list --installed --toolchain {nightly}"))?;
    let has = |component: &&str| installed.lines().any(|line| line.starts_with(*component));
    components.iter().all(has).then_some(nightly)
}

/// The first nightly in the output of `rustup toolchain list`.
fn nightly_in(list: &str) -> Option<String> {
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| name.starts_with("nightly")).map(str::to_owned).next()
}

/// The target in a toolchain's name: `nightly-2026-01-01-x86_64-unknown-linux-gnu`.
fn host(toolchain: &str) -> Option<String> {
    let rest = toolchain.strip_prefix("nightly-")?;
    let host = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
    (!host.is_empty()).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nightly_is_found_by_name() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default)\nnightly-x86_64-unknown-linux-gnu\n";
        assert_eq!(nightly_in(list).as_deref(), Some("nightly-x86_64-unknown-linux-gnu"));
        assert_eq!(nightly_in("no installed toolchains\n"), None);
    }

    #[test]
    fn the_target_is_the_end_of_the_name() {
        assert_eq!(host("nightly-x86_64-unknown-linux-gnu").as_deref(), Some("x86_64-unknown-linux-gnu"));
        assert_eq!(host("nightly-2026-01-31-aarch64-apple-darwin").as_deref(), Some("aarch64-apple-darwin"));
        assert_eq!(host("nightly"), None);
    }
}
