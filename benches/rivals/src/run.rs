//! The run: which cells, in which order, each in a process of its own.
//!
//! Engines are interleaved within a workload, and workloads within a round, so that a
//! slow hour hits all alike. Data that several workloads read is built once a round.

use crate::catalogue::{Field, Kind, Shape, Start, WORKLOADS, Workload};
use crate::cell::Order;
use crate::engine::Result;
use crate::engines::CONFIGURATIONS;
use crate::lines::{Line, Lines};
use crate::measure::{self, Outcome};
use crate::{publish, report};
use clap::Args;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// The n of the published figures.
pub(crate) const STANDARD_N: u64 = 2_000_000;

#[derive(Args)]
pub(crate) struct Settings {
    /// Eight workloads, four engines, one round: under ten minutes
    #[arg(long)]
    quick: bool,
    /// Only these workloads (names or beginnings of names)
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these engines
    #[arg(long, value_delimiter = ',')]
    engines: Vec<String>,
    /// How many entries
    #[arg(long, default_value_t = STANDARD_N)]
    n: u64,
    /// How often each cell is measured
    #[arg(long)]
    rounds: Option<u32>,
    /// Where databases are made and removed; below the system's temporary directory
    /// unless said
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The file of lines: what is there already is not measured again
    #[arg(long)]
    state: Option<PathBuf>,
    /// Forget what the file of lines holds
    #[arg(long)]
    fresh: bool,
    /// Seconds after which a cell is cut
    #[arg(long)]
    budget: Option<f64>,
    /// Measure nothing: print, and publish, what the file of lines holds
    #[arg(long)]
    report_only: bool,
    /// Write plots and tables into the documents below this directory
    #[arg(long)]
    publish: Option<PathBuf>,
}

impl Settings {
    fn engines(&self) -> Result<Vec<&'static str>> {
        let known: Vec<&'static str> = CONFIGURATIONS.iter().map(|(name, _)| *name).collect();
        if let Some(unknown) = self.engines.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(format!("no engine is called {unknown:?}; there are {known:?}").into());
        }
        let wanted = |name: &str| match (self.engines.is_empty(), self.quick) {
            (false, _) => self.engines.iter().any(|engine| engine == name),
            (true, true) => name != "redb",
            (true, false) => true,
        };
        Ok(known.into_iter().filter(|name| wanted(name)).collect())
    }

    fn workloads(&self) -> Result<Vec<&'static Workload>> {
        let wanted = |workload: &&Workload| match (self.only.is_empty(), self.quick) {
            (false, _) => self.only.iter().any(|name| workload.name.starts_with(name.as_str())),
            (true, quick) => workload.quick || !quick,
        };
        let found: Vec<_> = WORKLOADS.iter().filter(wanted).collect();
        match found.is_empty() {
            true => Err(format!("no workload is called {:?}; see `rivals list`", self.only).into()),
            false => Ok(found),
        }
    }

    fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    fn budget(&self, workload: &Workload) -> f64 {
        match workload.kind {
            Kind::Overload => self.budget.unwrap_or(300.0),
            _ => self.budget.unwrap_or(if self.quick { 20.0 } else { 60.0 }),
        }
    }

    fn state(&self) -> PathBuf {
        let name = if self.quick { "quick.jsonl" } else { "full.jsonl" };
        self.state.clone().unwrap_or_else(|| std::env::temp_dir().join("rivals").join(name))
    }
}

/// Measures what is not measured yet, and reports.
pub(crate) fn run(settings: &Settings) -> Result {
    let mut lines = Lines::open(&settings.state(), settings.fresh && !settings.report_only)?;
    if !settings.report_only {
        announce(settings)?;
        measure(settings, &mut lines)?;
    }
    let figures = crate::lines::Figures::new(&lines.all, settings.n);
    print!("{}", report::terminal(&figures));
    println!("lines: {}", settings.state().display());
    match &settings.publish {
        Some(documents) => publish::publish(&figures, documents),
        None => Ok(()),
    }
}

fn announce(settings: &Settings) -> Result {
    println!(
        "n = {}, write buffer 64 MiB, {} cores, commit {}",
        settings.n,
        std::thread::available_parallelism().map_or(0, usize::from),
        commit()
    );
    for name in settings.engines()? {
        let configuration = CONFIGURATIONS.iter().find(|(engine, _)| *engine == name);
        println!("  {name}: {}", configuration.map_or("", |(_, text)| text));
    }
    Ok(())
}

/// Which commit is measured, and whether something in the tree differs from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".to_owned() };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty());
    if changed { commit + " with changes" } else { commit }
}

/// All cells of a run.
fn measure(settings: &Settings, lines: &mut Lines) -> Result {
    let (mut engines, workloads) = (settings.engines()?, settings.workloads()?);
    let base = settings.dir.clone().unwrap_or_else(std::env::temp_dir);
    let bench =
        Bench { settings, dir: base.join(format!("rivals-{}", std::process::id())), commit: commit() };
    std::fs::create_dir_all(&bench.dir)?;
    let result = (1..=settings.rounds()).try_for_each(|round| {
        for (index, workload) in workloads.iter().enumerate() {
            if round <= workload.rounds {
                bench.workload(workload, &engines, round, lines)?;
            }
            let still_read = workloads
                .iter()
                .skip(index + 1)
                .any(|later| later.start != Start::Empty && later.shape == workload.shape);
            if !still_read {
                bench.forget(workload.shape, &engines)?;
            }
        }
        engines.rotate_left(1);
        Ok(())
    });
    std::fs::remove_dir_all(&bench.dir)?;
    result
}

struct Bench<'a> {
    settings: &'a Settings,
    /// Everything below it is ours to remove.
    dir: PathBuf,
    commit: String,
}

impl Bench<'_> {
    fn workload(&self, workload: &Workload, engines: &[&str], round: u32, lines: &mut Lines) -> Result {
        let raw = matches!(workload.kind, Kind::SyncCommits(1)).then_some("raw");
        for engine in engines.iter().copied().chain(raw) {
            let takes_part = workload.field == Field::All || ["ours", "rocksdb", "fjall"].contains(&engine);
            if !takes_part || lines.has(engine, workload.name, self.settings.n, round) {
                continue;
            }
            let line = self.cell(workload, engine, round);
            println!("{}", report::progress(&line));
            lines.add(line)?;
        }
        Ok(())
    }

    fn dataset(&self, shape: Shape, engine: &str) -> PathBuf {
        self.dir.join(format!("{}-{engine}", shape.name))
    }

    fn forget(&self, shape: Shape, engines: &[&str]) -> Result {
        for engine in engines {
            remove(&self.dataset(shape, engine))?;
        }
        Ok(())
    }

    /// Measures one cell; what goes wrong is the cell's failure, not the run's.
    fn cell(&self, workload: &Workload, engine: &str, round: u32) -> Line {
        let start = Instant::now();
        let (failure, outcome) = match self.prepare_and_run(workload, engine, round) {
            Ok(outcome) => (None, outcome),
            Err(failure) => (Some(failure.to_string()), Outcome::default()),
        };
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Line {
            engine: engine.to_owned(),
            workload: workload.name.to_owned(),
            n: self.settings.n,
            round,
            commit: self.commit.clone(),
            time: since_epoch.map_or(0, |time| time.as_secs()),
            cell_seconds: start.elapsed().as_secs_f64(),
            failure,
            outcome,
        }
    }

    fn prepare_and_run(&self, workload: &Workload, engine: &str, round: u32) -> Result<Outcome> {
        let own = self.dir.join("cell");
        remove(&own)?;
        let mut order = Order {
            engine: engine.to_owned(),
            workload: workload.name.to_owned(),
            shape_of: workload.name.to_owned(),
            n: self.settings.n,
            round,
            dir: own.clone(),
            budget_seconds: self.settings.budget(workload),
            victim: false,
        };
        if workload.start != Start::Empty {
            let dataset = self.dataset(workload.shape, engine);
            if !dataset.exists() {
                let built = Order { workload: "build".to_owned(), dir: dataset.clone(), ..order.clone() };
                if let Err(failure) = process(&built, Duration::from_secs(900)) {
                    remove(&dataset)?;
                    return Err(format!("cannot build what it reads: {failure}").into());
                }
                measure::sync_tree(&dataset)?;
            }
            if workload.start == Start::Copy {
                copy(&dataset, &own)?;
            } else {
                order.dir = dataset;
            }
        }
        // What the cell before has left is gone for good: no sync of this one waits for that.
        std::fs::File::open(&self.dir)?.sync_all()?;
        let limit = Duration::from_secs_f64(2.0 * order.budget_seconds + 300.0);
        let outcome = process(&order, limit);
        remove(&own)?;
        outcome
    }
}

fn remove(dir: &Path) -> Result {
    for path in [dir.to_owned(), dir.with_extension("ingest")] {
        if path.is_dir() {
            std::fs::remove_dir_all(&path)?;
        } else if path.exists() {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Copies a database with its holes, and writes the copy to the disk, so that what the
/// workload writes over it is counted.
fn copy(from: &Path, to: &Path) -> Result {
    let status = Command::new("cp").args(["-r", "--sparse=always"]).arg(from).arg(to).status()?;
    if !status.success() {
        return Err(format!("cp of {} failed: {status}", from.display()).into());
    }
    measure::sync_tree(to)
}

/// Runs this program again for one cell.
fn process(order: &Order, limit: Duration) -> Result<Outcome> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("cell")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(serde_json::to_string(order)?.as_bytes())?;
    }
    let output = child.stdout.take().map(listen);
    let errors = child.stderr.take().map(listen);
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Err(format!("not at its end after {} seconds", limit.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let heard = |listener: Option<std::thread::JoinHandle<String>>| {
        listener.and_then(|listener| listener.join().ok()).unwrap_or_default()
    };
    let (output, errors) = (heard(output), heard(errors));
    if !status.success() {
        let reason = errors.trim().trim_start_matches("error: ");
        return Err(if reason.is_empty() { status.to_string() } else { reason.to_owned() }.into());
    }
    Ok(serde_json::from_str(output.lines().last().unwrap_or_default())?)
}

fn listen(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        // What could be read before the pipe broke is worth showing as well.
        let _ = pipe.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use crate::catalogue;
    use crate::targets::ROWS;

    #[test]
    fn every_row_of_the_report_names_a_workload() {
        for row in ROWS {
            assert!(catalogue::find(row.workload).is_some(), "{}", row.workload);
        }
    }
}
