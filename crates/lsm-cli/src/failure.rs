//! How a command ends: [`Outcome`] when it could answer, [`Failure`] when it could
//! not. Each failure is one sentence that says what is wrong and what to do.

use crate::escape::{EscapeError, HexError};
use crate::records::LineError;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The answer of a command that could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Found, done, sound: exit code 0.
    Done,
    /// Not found, or a check failed: exit code 1.
    Negative,
}

/// Why a command could not do its work: exit code 2.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Whoever read our output has seen enough (`| head`): not a failure at all.
    #[error("the reader of the output went away")]
    OutputClosed,
    #[error("cannot write the output: {0}; check the disk or the pipe it goes to")]
    Output(io::Error),
    #[error("cannot read {}: {source}; check the path and its permissions", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}", engine_sentence(.0))]
    Engine(#[from] lsm_tree::Error),
    #[error("{0}; the {loaded} before it loaded, nothing from it on: correct the line and load again", loaded = crate::units::count(*.1, "entry", "entries"))]
    Line(LineError, u64),
    #[error("{0}, after {loaded} loaded: loading again from the start is safe", loaded = crate::units::count(*.1, "entry", "entries"))]
    Load(Box<Self>, u64),
    #[error("{0}; double a backslash that stands for itself, or give --hex")]
    Escape(#[from] EscapeError),
    #[error("{0}; leave --hex away to give text")]
    Hex(#[from] HexError),
    #[error("there is no database in {}; check the path, or make one with 'lsm load' or 'lsm put'", .0.display())]
    NoDatabase(PathBuf),
    #[error("there is no keyspace '{wanted}'; {}", choice(.present))]
    NoKeyspace { wanted: String, present: Vec<String> },
    #[error("{0}; check the disk, the path and its permissions")]
    File(#[from] lsm_vfs::IoError),
    /// Anything else, already a whole sentence.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// A failure to read `path`.
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Read { path: path.to_path_buf(), source }
    }
}

/// Only writing to the output uses `?` on an `io::Error`; reads name their file.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::OutputClosed } else { Self::Output(error) }
    }
}

/// The engine's error and, where it does not say so itself, what to do about it.
fn engine_sentence(error: &lsm_tree::Error) -> String {
    match error {
        lsm_tree::Error::Locked { path } => format!(
            "{} is open in another process; close it there, or wait for that process to end",
            path.display()
        ),
        lsm_tree::Error::Corruption { .. } => {
            format!("{error}; 'lsm verify' checks the other files, and a checkpoint brings the data back")
        }
        lsm_tree::Error::Io { .. } => format!("{error}; check the disk, the path and its permissions"),
        _ => error.to_string(),
    }
}

fn choice(names: &[String]) -> String {
    if names.is_empty() {
        "the database has none yet, so load or put something first".to_owned()
    } else {
        format!("choose one of '{}' with --keyspace", names.join("', '"))
    }
}

/// Reports `result` on stderr where needed and turns it into the exit code.
pub(crate) fn finish(result: Result<Outcome, Failure>) -> ExitCode {
    match result {
        Ok(Outcome::Done) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Ok(Outcome::Negative) => ExitCode::from(1),
        Err(failure) => {
            complain(&failure.to_string());
            ExitCode::from(2)
        }
    }
}

/// Prints one sentence on stderr; a closed stderr is nobody's loss.
pub(crate) fn complain(sentence: &str) {
    use io::Write;
    let sentence = sentence.split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = writeln!(io::stderr(), "lsm: {sentence}");
}
