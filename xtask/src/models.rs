//! The models of the concurrency protocols, as [`loom`](crate::loom) and
//! [`mutants`](crate::mutants) see them: which there are, and how one of them runs.
//! Each runs in a process of its own, so that one that aborts fails alone.
//!
//! A model is a test in `tests/loom_*.rs`, or a unit test below a module of that name.

use crate::Outcome;
use crate::command::Command;
use crate::workspace::{Package, Workspace};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The flags that turn `lsm_sync` into loom.
const RUSTFLAGS: &str = "--cfg lsm_loom";

/// One test that explores, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// The crate that owns the protocol.
    pub(crate) package: String,
    /// The file's name and the test's.
    pub(crate) name: String,
    test: String,
    program: PathBuf,
    directory: PathBuf,
}

/// What one run of a model came to.
#[derive(Clone, Debug)]
pub(crate) struct Explored {
    pub(crate) passed: bool,
    /// All that it printed.
    pub(crate) said: String,
    /// How many executions it explored; 0 when it did not say.
    pub(crate) executions: u64,
    pub(crate) time: Duration,
}

/// The crates that have models, or the one asked for.
pub(crate) fn owners<'a>(workspace: &'a Workspace, only: Option<&str>) -> Outcome<Vec<&'a Package>> {
    let candidates: Vec<&Package> = match only {
        Some(name) => vec![workspace.package(name)?],
        None => workspace.packages.iter().collect(),
    };
    let mut found = Vec::new();
    for package in candidates {
        if has_test_files(package)? || has_unit_models(workspace, package)? {
            found.push(package);
        } else if only.is_some() {
            return Err(format!("{} has no models: no file is called loom_*.rs", package.name));
        }
    }
    Ok(found)
}

fn has_test_files(package: &Package) -> Outcome<bool> {
    Ok(!package.tests(|test| test.starts_with("loom_"))?.is_empty())
}

fn has_unit_models(workspace: &Workspace, package: &Package) -> Outcome<bool> {
    let sources = package.directory.join("src");
    let is_model = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        path.starts_with(&sources) && name.is_some_and(|name| name.starts_with("loom_"))
    };
    Ok(workspace.files("rs")?.iter().any(is_model))
}

/// Builds the models of `package` and lists them.
pub(crate) fn build(workspace: &Workspace, package: &Package) -> Outcome<Vec<Model>> {
    // Apart from the ordinary build, which other flags would throw away each time.
    let target = workspace.target.join("loom");
    let mut command = Command::cargo(&workspace.root, "test --release --no-run");
    command = command.arg("--message-format=json-render-diagnostics").arg("-p").arg(&package.name);
    if has_test_files(package)? {
        command = command.arg("--test").arg("loom_*");
    }
    if has_unit_models(workspace, package)? {
        command = command.arg("--lib");
    }
    command = command.arg("--target-dir").arg(&target.to_string_lossy()).env("RUSTFLAGS", RUSTFLAGS);
    let mut models = Vec::new();
    for (stem, program) in programs(&command.stdout()?, &package.directory) {
        let listed = Command::program(&program, &package.directory).arg("--list").arg("--format=terse");
        for test in tests_in(&listed.output()?) {
            // A library has ordinary unit tests as well.
            if stem.starts_with("loom_") || test.contains("loom_") {
                models.push(Model {
                    package: package.name.clone(),
                    name: shown(&stem, &test),
                    test,
                    program: program.clone(),
                    directory: package.directory.clone(),
                });
            }
        }
    }
    Ok(models)
}

/// `file::test`, whether the file is a program of its own or a module of one.
fn shown(stem: &str, test: &str) -> String {
    let name = format!("{stem}::{test}");
    name.find("loom_").map_or(name.clone(), |at| name.split_at(at).1.to_owned())
}

/// Name and path of each test program that cargo says it has made of the package in `directory`.
fn programs(messages: &str, directory: &Path) -> Vec<(String, PathBuf)> {
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let programs = artifacts.filter_map(|message| {
        let manifest = PathBuf::from(message.get("manifest_path")?.as_str()?);
        let program = message.get("executable")?.as_str()?;
        let name = message.get("target")?.get("name")?.as_str()?;
        (manifest.parent() == Some(directory)).then(|| (name.to_owned(), PathBuf::from(program)))
    });
    programs.collect()
}

/// The tests in what a test program lists.
fn tests_in(list: &str) -> Vec<String> {
    list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

impl Model {
    /// Explores it once, with `mutant` planted if there is one.
    pub(crate) fn run(&self, preemptions: u32, mutant: Option<&str>) -> Outcome<Explored> {
        let mut command = Command::program(&self.program, &self.directory)
            .arg(&self.test)
            .arg("--exact")
            .arg("--nocapture")
            .without_env(&[
                "LSM_MUTANT",
                "LOOM_MAX_DURATION",
                "LOOM_MAX_PERMUTATIONS",
                "LOOM_CHECKPOINT_FILE",
            ])
            .env("LOOM_MAX_PREEMPTIONS", &preemptions.to_string())
            // Loom's own stacks are of no use, and slow to print for each mutation.
            .env("RUST_BACKTRACE", "0");
        if let Some(mutant) = mutant {
            command = command.env("LSM_MUTANT", mutant);
        }
        let start = Instant::now();
        let (passed, said) = command.succeeds()?;
        Ok(Explored { passed, executions: executions_in(&said), said, time: start.elapsed() })
    }
}

/// The sum of the counts that `lsm_sync::model` printed: a test may hold several models.
fn executions_in(said: &str) -> u64 {
    let counts = said.split("explored ").skip(1).filter_map(|rest| rest.split_once(" executions"));
    counts.filter_map(|(count, _)| count.parse::<u64>().ok()).sum()
}

/// Runs `work` on each of `items`, as many at once as there are processors, and returns
/// what came of it in the order of `items`.
pub(crate) fn in_parallel<I: Sync, T: Send>(items: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let queue = Mutex::new(items.iter().enumerate());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
                    let Some((index, item)) = next else { return };
                    let outcome = work(item);
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((index, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_and_their_models_are_found() {
        let messages = concat!(
            r#"{"manifest_path":"/repo/a/Cargo.toml","target":{"name":"loom_x"},"executable":"/t/x"}"#,
            "\n",
            r#"{"manifest_path":"/repo/b/Cargo.toml","target":{"name":"b"},"executable":"/t/b"}"#,
            "\n",
            r#"{"manifest_path":"/repo/a/Cargo.toml","target":{"name":"a"},"executable":null}"#,
            "\nwarning: not JSON",
        );
        assert_eq!(programs(messages, Path::new("/repo/a")), [("loom_x".to_owned(), PathBuf::from("/t/x"))]);
        assert_eq!(shown("loom_x", "it_holds"), "loom_x::it_holds");
        assert_eq!(shown("lsm_tree", "tests::loom_y::it_holds"), "loom_y::it_holds");
        assert_eq!(tests_in("one: test\nhelper: benchmark\ntwo: test\n"), ["one", "two"]);
    }

    #[test]
    fn the_executions_of_all_models_of_a_test_are_summed() {
        let said = "test x ... explored 12 executions at 2 preemptions\nexplored 30 executions at 1\nok";
        assert_eq!(executions_in(said), 42);
        assert_eq!(executions_in("test x ... FAILED"), 0);
    }

    #[test]
    fn parallel_work_comes_back_in_order() {
        assert_eq!(in_parallel(&[1, 2, 3, 4, 5], |item| item * 2), [2, 4, 6, 8, 10]);
    }
}
