//! The fuzzing loop of `cargo xtask fuzz`: changes inputs, keeps those that reached
//! something new, and stops at the first that fails, saved and made short.
//!
//! ```text
//! fuzz <target> [--seconds N] [--inputs N] [--seed S] [--corpus DIR] [--save DIR]
//! fuzz <target> --replay FILE
//! fuzz <target> --make-corpus DIR
//! ```
//!
//! A seed decides all inputs as long as the corpus and the build are the same.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a program for developers may stop with a panic")]

mod coverage;
mod memory;

use coverage::Coverage;
use lsm_sim::fuzz::{Mutator, Note, TARGETS, Target, minimise, target};
use lsm_sim::{parse_seed, seed_from_env};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: memory::Limited = memory::Limited;

/// An input that takes longer is a failure. Far beyond what any takes.
const PATIENCE: Duration = Duration::from_secs(120);
/// Inputs kept in memory.
const MOST_KEPT: usize = 20_000;
/// How many samples every run begins with.
const SAMPLES: u64 = 64;
/// Files of a corpus in the repository are shorter.
const CORPUS_FILE_BYTES: usize = 4096;
const CORPUS_FILES: usize = 12;

struct Arguments {
    target: &'static Target,
    seconds: u64,
    inputs: u64,
    seed: u64,
    corpus: Option<PathBuf>,
    save: PathBuf,
    replay: Option<PathBuf>,
    make_corpus: Option<PathBuf>,
}

impl Arguments {
    fn read() -> Result<Self, String> {
        let mut words = std::env::args().skip(1);
        let name = words.next().unwrap_or_default();
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        let target = target(&name).ok_or_else(|| format!("name one of {}", names.join(", ")))?;
        let mut arguments = Self {
            target,
            seconds: 60,
            inputs: u64::MAX,
            seed: seed_from_env(),
            corpus: None,
            save: std::env::temp_dir(),
            replay: None,
            make_corpus: None,
        };
        while let Some(option) = words.next() {
            let value = words.next().ok_or_else(|| format!("{option} needs a value"))?;
            let number = || parse_seed(&value).ok_or_else(|| format!("{value} is not a number"));
            match option.as_str() {
                "--seconds" => arguments.seconds = number()?,
                "--inputs" => arguments.inputs = number()?,
                "--seed" => arguments.seed = number()?,
                "--corpus" => arguments.corpus = Some(value.into()),
                "--save" => arguments.save = value.into(),
                "--replay" => arguments.replay = Some(value.into()),
                "--make-corpus" => arguments.make_corpus = Some(value.into()),
                _ => return Err(format!("{option} is not an option")),
            }
        }
        Ok(arguments)
    }
}

fn main() -> ExitCode {
    let outcome = Arguments::read().and_then(|arguments| match (&arguments.replay, &arguments.make_corpus) {
        (Some(file), _) => replay(arguments.target, file),
        (None, Some(directory)) => make_corpus(&arguments, directory),
        (None, None) => Hunt::new(&arguments).run(),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn replay(target: &Target, file: &Path) -> Result<(), String> {
    let input = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let before = memory::mark();
    let start = Instant::now();
    let outcome = target.run(&input);
    println!("{}: {:?}, {} KiB", target.name, start.elapsed(), (memory::peak() - before) >> 10);
    outcome.map(|_| println!("passes"))
}

/// One run of a target.
struct Hunt<'a> {
    arguments: &'a Arguments,
    target: &'static Target,
    coverage: Coverage,
    notes: HashSet<Note>,
    kept: Vec<Vec<u8>>,
    watch: Arc<Watch>,
    inputs: u64,
    slowest: Duration,
    greediest_bytes: usize,
}

/// What the watching thread looks at.
struct Watch {
    target: &'static str,
    save: PathBuf,
    current: Mutex<(Vec<u8>, Instant)>,
}

impl Watch {
    /// Ends the process when an input neither ends nor fails.
    fn start(self: Arc<Self>) {
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_millis(20));
                let (input, since) = self.current.lock().unwrap().clone();
                let why = match (memory::too_much(), since.elapsed() > PATIENCE) {
                    (true, _) => "it takes memory without bound",
                    (false, true) => "it does not end",
                    (false, false) => continue,
                };
                eprintln!("error: {}", save(&self.save, self.target, &input, why));
                std::process::exit(1);
            }
        });
    }
}

/// Keeps a failing input; the sentence that says where, and how to see it again.
fn save(directory: &Path, target: &str, input: &[u8], why: &str) -> String {
    let hash = input.iter().fold(0, |hash, byte| lsm_vfs::mix64(hash ^ u64::from(*byte)));
    let file = directory.join(format!("{target}-{hash:016x}"));
    let kept = std::fs::create_dir_all(directory).and_then(|()| std::fs::write(&file, input));
    let place = match kept {
        Ok(()) => format!("replay with: cargo xtask fuzz {target} --replay {}", file.display()),
        Err(error) => format!("it could not be saved ({error}): {input:?}"),
    };
    format!("{target}: an input of {} bytes fails: {why}\n{place}", input.len())
}

impl<'a> Hunt<'a> {
    fn new(arguments: &'a Arguments) -> Self {
        let target = arguments.target;
        let current = Mutex::new((Vec::new(), Instant::now()));
        let watch = Arc::new(Watch { target: target.name, save: arguments.save.clone(), current });
        Arc::clone(&watch).start();
        // Failures are reported by us, with the input.
        std::panic::set_hook(Box::new(|_| {}));
        Self {
            arguments,
            target,
            coverage: Coverage::new(),
            notes: HashSet::new(),
            kept: Vec::new(),
            watch,
            inputs: 0,
            slowest: Duration::ZERO,
            greediest_bytes: 0,
        }
    }

    fn run(mut self) -> Result<(), String> {
        let (start, seed) = (Instant::now(), self.arguments.seed);
        println!("{}: seed 0x{seed:x}, {}", self.target.name, self.target.about);
        for sample in 0..SAMPLES {
            self.try_one((self.target.sample)(lsm_vfs::mix64(seed) ^ sample))?;
        }
        for input in self.arguments.corpus.iter().flat_map(|directory| files(directory)) {
            self.try_one(input)?;
        }
        let mut mutator = Mutator::new(seed, self.target.max_bytes);
        let mut told = start;
        while start.elapsed().as_secs() < self.arguments.seconds && self.inputs < self.arguments.inputs {
            let input = self.next(&mut mutator);
            self.try_one(input)?;
            if told.elapsed() > Duration::from_secs(60) {
                told = Instant::now();
                self.report(start);
            }
        }
        self.report(start);
        Ok(())
    }

    fn next(&self, mutator: &mut Mutator) -> Vec<u8> {
        let len = self.kept.len();
        let random = mutator.random();
        if len == 0 || random.chance(1) {
            return (self.target.sample)(random.next());
        }
        // The newest ones are the ones whose surroundings are least known.
        let at = if random.chance(40) { len - 1 - random.index(len.min(64)) } else { random.index(len) };
        let other = random.index(len);
        mutator.mutate(&self.kept[at], &self.kept[other])
    }

    fn try_one(&mut self, input: Vec<u8>) -> Result<(), String> {
        {
            let mut current = self.watch.current.lock().unwrap();
            current.0.clone_from(&input);
            current.1 = Instant::now();
        }
        self.coverage.reset();
        let before = memory::mark();
        let start = Instant::now();
        let outcome = self.target.run(&input);
        self.slowest = self.slowest.max(start.elapsed());
        let taken_bytes = memory::peak().saturating_sub(before);
        self.greediest_bytes = self.greediest_bytes.max(taken_bytes);
        self.inputs += 1;
        let outcome = match outcome {
            Ok(_) if taken_bytes > self.target.max_memory_bytes => {
                Err(format!("it takes {} MiB of memory", taken_bytes >> 20))
            }
            other => other,
        };
        match outcome {
            Ok(note) => {
                let news = self.coverage.has_news() | self.notes.insert(note);
                match self.kept.len() {
                    _ if !news => {}
                    0..MOST_KEPT => self.kept.push(input),
                    // The place of an old one, by a number that the seed decides.
                    len => self.kept[lsm_vfs::mix64(self.inputs) as usize % len] = input,
                }
                Ok(())
            }
            Err(why) => Err(self.failure(&input, &why)),
        }
    }

    fn failure(&self, input: &[u8], why: &str) -> String {
        let class =
            |why: &str| why.chars().filter(|letter| letter.is_alphabetic()).take(24).collect::<String>();
        let short = minimise(input, Duration::from_secs(20), |shorter| {
            self.watch.current.lock().unwrap().1 = Instant::now();
            self.target.run(shorter).is_err_and(|other| class(&other) == class(why))
        });
        let (input, why) = match self.target.run(&short) {
            Err(why) => (short, why),
            Ok(_) => (input.to_vec(), why.to_owned()),
        };
        save(&self.arguments.save, self.target.name, &input, &why)
    }

    fn report(&self, start: Instant) {
        let (reached, all) = self.coverage.edges();
        println!(
            "{}: {} inputs in {} s, {} kept, {reached} of {all} edges, slowest {:?}, most memory {} KiB",
            self.target.name,
            self.inputs,
            start.elapsed().as_secs(),
            self.kept.len(),
            self.slowest,
            self.greediest_bytes >> 10,
        );
    }
}

/// The contents of the files in a directory, in the order of their names.
fn files(directory: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.into_iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

/// Hunts, and writes a few of the inputs that reached the most ways.
fn make_corpus(arguments: &Arguments, directory: &Path) -> Result<(), String> {
    let mut hunt = Hunt::new(arguments);
    let start = Instant::now();
    let mut mutator = Mutator::new(arguments.seed, CORPUS_FILE_BYTES - 1);
    while start.elapsed().as_secs() < arguments.seconds {
        let input = hunt.next(&mut mutator);
        hunt.try_one(input)?;
    }
    hunt.report(start);
    // Few files, spread over the whole hunt: each was new when it was found.
    let short: Vec<&Vec<u8>> = hunt.kept.iter().filter(|input| input.len() < CORPUS_FILE_BYTES).collect();
    let step = short.len().div_ceil(CORPUS_FILES).max(1);
    let words = |error: std::io::Error| format!("{}: {error}", directory.display());
    std::fs::create_dir_all(directory).map_err(words)?;
    for (number, input) in short.iter().step_by(step).enumerate() {
        std::fs::write(directory.join(format!("{number:02}")), input).map_err(words)?;
    }
    Ok(())
}
