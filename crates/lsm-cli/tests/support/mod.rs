//! A directory of its own for each test, the program run in it, and the reader of
//! scripts.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A temporary directory with copies of the fixtures.
pub(crate) struct Sandbox {
    dir: tempfile::TempDir,
}

/// What a run left.
pub(crate) struct Ran {
    pub(crate) command: String,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) code: Option<i32>,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")).unwrap()
        {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The files of a database, by name.
    pub(crate) fn files(&self, db: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(db)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != "LOCK").collect();
        names.sort();
        names
    }

    pub(crate) fn spawn<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_lsm"))
            .args(args)
            .current_dir(self.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    pub(crate) fn run(&self, args: &[&str], stdin: &[u8]) -> Ran {
        let mut child = self.spawn(args);
        let mut input = child.stdin.take().unwrap();
        let Output { status, stdout, stderr } = std::thread::scope(|scope| {
            // A command that reads no input may end before all of it is written.
            scope.spawn(move || drop(input.write_all(stdin)));
            child.wait_with_output().unwrap()
        });
        Ran { command: format!("lsm {}", args.join(" ")), stdout, stderr, code: status.code() }
    }
}

impl Ran {
    pub(crate) fn expect_code(self, code: i32) -> Self {
        let Self { command, stdout, stderr, .. } = &self;
        let (out, complaint) = (String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
        assert_eq!(
            self.code,
            Some(code),
            "{command} ended with another code; it said: {complaint}\nand printed: {out}"
        );
        self
    }
}

/// One command of a script and what is expected of it.
#[derive(Default)]
struct Step {
    line: usize,
    command: String,
    stdin: String,
    expected: String,
}

/// Runs `tests/scripts/<name>.script` in a sandbox and compares step by step.
pub(crate) fn run_script(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/scripts/{name}.script"));
    let text = std::fs::read_to_string(&path).unwrap();
    let sandbox = Sandbox::new();
    for step in steps(&text) {
        check(&sandbox, name, &step);
    }
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let (mark, rest) = line.split_at_checked(1).unwrap_or((line, ""));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        if mark == "$" {
            steps.push(Step { line: index + 1, command: rest.to_owned(), ..Step::default() });
            continue;
        }
        let step = steps.last_mut();
        match (mark, step) {
            ("" | "#", _) => {}
            ("<", Some(step)) => writeln!(step.stdin, "{rest}").unwrap(),
            ("|" | "!" | "?", Some(step)) => {
                writeln!(step.expected, "{}", format!("{mark} {rest}").trim_end()).unwrap()
            }
            _ => panic!("line {} of the script has no meaning: {line}", index + 1),
        }
    }
    steps
}

/// Runs one step; output, complaint and exit code must be as the script has them.
fn check(sandbox: &Sandbox, script: &str, step: &Step) {
    let args = words(&step.command);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ran = sandbox.run(&args, step.stdin.as_bytes());
    let mut got = String::new();
    for (mark, stream) in [("|", &ran.stdout), ("!", &ran.stderr)] {
        for line in String::from_utf8_lossy(stream).lines() {
            writeln!(got, "{}", format!("{mark} {line}").trim_end()).unwrap();
        }
    }
    if ran.code != Some(0) {
        writeln!(got, "? {}", ran.code.map_or("killed".to_owned(), |code| code.to_string())).unwrap();
    }
    let same = got.lines().count() == step.expected.lines().count()
        && got.lines().zip(step.expected.lines()).all(|(got, expected)| matches(got, expected));
    let Step { line, command, expected, .. } = step;
    assert!(same, "{script}.script, line {line}: lsm {command}\nexpected:\n{expected}got:\n{got}");
}

/// Whether `got` is `expected`, where `…` at its end or within stands for anything.
fn matches(got: &str, expected: &str) -> bool {
    if got == expected {
        return true;
    }
    match expected.split_once('…') {
        Some((start, end)) => {
            got.len() >= start.len() + end.len() && got.starts_with(start) && got.ends_with(end)
        }
        None => false,
    }
}

/// Splits a command as a shell does: at spaces, except within single quotes.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for character in command.chars() {
        match character {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}
