//! [`Command`]: one child process, shown before it runs, whose failure is a
//! sentence. Every chore that starts a program does it here.

use crate::Outcome;
use std::path::Path;
use std::process::{self, Stdio};

/// A program with its arguments and environment, and how to show it.
pub(crate) struct Command {
    inner: process::Command,
    shown: String,
}

impl Command {
    /// `cargo` of the toolchain that runs this program, with `arguments` split at blanks.
    pub(crate) fn cargo(root: &Path, arguments: &str) -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut inner = process::Command::new(cargo);
        inner.current_dir(root).args(arguments.split_whitespace());
        Self { inner, shown: format!("cargo {arguments}") }
    }

    /// A program that cargo made, started in `directory`.
    pub(crate) fn program(path: &Path, directory: &Path) -> Self {
        let mut inner = process::Command::new(path);
        inner.current_dir(directory);
        Self { inner, shown: path.display().to_string() }
    }

    /// `rustup` with `arguments` split at blanks; it may install nothing.
    pub(crate) fn rustup(root: &Path, arguments: &str) -> Self {
        let mut inner = process::Command::new("rustup");
        // The outer cargo's choices must not leak into another toolchain.
        inner.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env_remove("RUSTC");
        inner.env("RUSTUP_AUTO_INSTALL", "0").current_dir(root).args(arguments.split_whitespace());
        Self { inner, shown: format!("rustup {arguments}") }
    }

    /// Adds one argument, taken as it is.
    pub(crate) fn arg(mut self, argument: &str) -> Self {
        self.inner.arg(argument);
        self.shown = format!("{} {argument}", self.shown);
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.inner.env(name, value);
        self.shown = format!("{name}={value:?} {}", self.shown);
        self
    }

    /// Takes variables of the caller out of the environment.
    pub(crate) fn without_env(mut self, names: &[&str]) -> Self {
        for name in names {
            self.inner.env_remove(name);
        }
        self
    }

    /// Shows the command and runs it to its end, with our own output streams.
    pub(crate) fn run(mut self) -> Outcome {
        eprintln!("$ {}", self.shown);
        let status = self.inner.stdin(Stdio::null()).status().map_err(|error| self.cannot_start(&error))?;
        if status.success() { Ok(()) } else { Err(format!("`{}` failed ({status})", self.shown)) }
    }

    /// Runs quietly to the end and returns what it printed, `Err` when it failed.
    pub(crate) fn output(mut self) -> Outcome<String> {
        let output = self.inner.stdin(Stdio::null()).output().map_err(|error| self.cannot_start(&error))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("`{}` failed ({}): {}", self.shown, output.status, said.trim()))
        }
    }

    /// Shows the command, runs it with our own error stream, and returns what it printed.
    pub(crate) fn stdout(mut self) -> Outcome<String> {
        eprintln!("$ {}", self.shown);
        self.inner.stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = self.inner.output().map_err(|error| self.cannot_start(&error))?;
        if !output.status.success() {
            return Err(format!("`{}` failed ({})", self.shown, output.status));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs quietly and says whether it succeeded, with all that it printed.
    pub(crate) fn succeeds(mut self) -> Outcome<(bool, String)> {
        let output = self.inner.stdin(Stdio::null()).output().map_err(|error| self.cannot_start(&error))?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
    }

    fn cannot_start(&self, error: &std::io::Error) -> String {
        format!("cannot start `{}`: {error}", self.shown)
    }
}
