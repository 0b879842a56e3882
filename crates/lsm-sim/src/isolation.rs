//! Histories of what transactions read and wrote, and [`check`], which says whether they
//! can have been isolated. Called by `tests/isolation.rs`; knows nothing of the engine.
//!
//! Every key has versions 0 (its first), 1, 2, …, and each read tells which it saw. Then
//! who came before whom is known: whoever wrote a version came before who read it (wr)
//! and who wrote the next (ww), whoever read a version came before who wrote the next
//! (rw), and whoever had ended came before who began later. A history is serializable
//! when that has no cycle, and one of snapshots when it has none in which every rw
//! follows one of the others (Cerone and Gotsman, "Analysing snapshot isolation").

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A key by number.
pub type Key = u32;

/// Which write of a key, counted from 1; 0 is what was there at first.
pub type Version = u64;

/// What one transaction saw and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Who it was, for the report.
    pub name: String,
    /// When it began: before its snapshot was asked for.
    pub begin: u64,
    /// When it ended: after its commit, or its last read, had returned.
    pub end: u64,
    /// What it saw.
    pub reads: Vec<(Key, Version)>,
    /// What it wrote, all or nothing.
    pub writes: Vec<(Key, Version)>,
}

/// What is asked of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Each transaction reads a moment, and later moments see more.
    Snapshot,
    /// As if one after the other.
    Serializable,
}

/// Why one transaction came before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// It wrote what the other one read.
    WriteRead,
    /// It wrote the version before the other one's.
    WriteWrite,
    /// It read the version before the other one's.
    ReadWrite,
    /// It had ended before the other one began.
    Time,
}

/// A history that no execution of the level gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// A version was read that nobody wrote, or written twice.
    Impossible(String),
    /// The same transaction saw two versions of a key.
    NotRepeatable(String),
    /// These came before each other, in a ring.
    Cycle(Vec<String>),
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Impossible(what) | Self::NotRepeatable(what) => f.write_str(what),
            Self::Cycle(names) => write!(f, "each came before the next: {}", names.join(", ")),
        }
    }
}

/// Which transaction wrote which version.
type Writers = BTreeMap<(Key, Version), usize>;

/// Says whether `history` can have been isolated as `level` asks.
///
/// # Errors
/// The first anomaly found.
pub fn check(history: &[Transaction], level: Level) -> Result<(), Anomaly> {
    let writers = writers(history)?;
    repeatable(history)?;
    let mut graph = Graph::new(history);
    for (number, transaction) in history.iter().enumerate() {
        for &(key, version) in &transaction.reads {
            match writers.get(&(key, version)) {
                Some(&writer) => graph.add(writer, number, Edge::WriteRead),
                None if version == 0 => {}
                None => {
                    let what = format!(
                        "{} read version {version} of key {key}, which nobody wrote",
                        transaction.name
                    );
                    return Err(Anomaly::Impossible(what));
                }
            }
            if let Some(&next) = writers.get(&(key, version + 1)) {
                graph.add(number, next, Edge::ReadWrite);
            }
        }
        for &(key, version) in &transaction.writes {
            if let Some(&next) = writers.get(&(key, version + 1)) {
                graph.add(number, next, Edge::WriteWrite);
            }
        }
    }
    graph.acyclic(level)
}

fn writers(history: &[Transaction]) -> Result<Writers, Anomaly> {
    let mut writers = Writers::new();
    for (number, transaction) in history.iter().enumerate() {
        for &(key, version) in &transaction.writes {
            if writers.insert((key, version), number).is_some() || version == 0 {
                let what =
                    format!("version {version} of key {key} was written twice, also by {}", transaction.name);
                return Err(Anomaly::Impossible(what));
            }
        }
    }
    Ok(writers)
}

fn repeatable(history: &[Transaction]) -> Result<(), Anomaly> {
    for transaction in history {
        let mut seen = BTreeMap::new();
        for &(key, version) in &transaction.reads {
            let first = *seen.entry(key).or_insert(version);
            if first != version {
                let name = &transaction.name;
                let what = format!("{name} read version {first} of key {key}, then version {version}");
                return Err(Anomaly::NotRepeatable(what));
            }
        }
    }
    Ok(())
}

/// Who came before whom. Behind the transactions stand the moments at which one ended,
/// chained, so that "ended before" takes few edges.
struct Graph<'a> {
    history: &'a [Transaction],
    edges: Vec<Vec<(usize, Edge)>>,
}

impl<'a> Graph<'a> {
    fn new(history: &'a [Transaction]) -> Self {
        let ends: BTreeSet<u64> = history.iter().map(|transaction| transaction.end).collect();
        let ends: Vec<u64> = ends.into_iter().collect();
        let moment = |index: usize| history.len() + index;
        let mut graph = Self { history, edges: vec![Vec::new(); history.len() + ends.len()] };
        for index in 1..ends.len() {
            graph.add(moment(index - 1), moment(index), Edge::Time);
        }
        for (number, transaction) in history.iter().enumerate() {
            graph.add(number, moment(ends.partition_point(|end| *end < transaction.end)), Edge::Time);
            if let Some(before) = ends.partition_point(|end| *end < transaction.begin).checked_sub(1) {
                graph.add(moment(before), number, Edge::Time);
            }
        }
        graph
    }

    fn add(&mut self, from: usize, to: usize, edge: Edge) {
        if from != to
            && let Some(edges) = self.edges.get_mut(from)
        {
            edges.push((to, edge));
        }
    }

    fn edges(&self, from: usize) -> impl Iterator<Item = (usize, Edge)> + '_ {
        self.edges.get(from).into_iter().flatten().copied()
    }

    /// Where one step leads at `level`: for snapshots an rw counts only behind another
    /// edge.
    fn steps(&self, from: usize, level: Level) -> Vec<usize> {
        let mut steps = Vec::new();
        for (to, edge) in self.edges(from) {
            match level {
                Level::Serializable => steps.push(to),
                Level::Snapshot if edge == Edge::ReadWrite => {}
                Level::Snapshot => {
                    steps.push(to);
                    let behind = self.edges(to).filter(|(_, edge)| *edge == Edge::ReadWrite);
                    steps.extend(behind.map(|(to, _)| to));
                }
            }
        }
        steps
    }

    /// Walks in depth, without recursion, and reports the ring that it closes.
    fn acyclic(&self, level: Level) -> Result<(), Anomaly> {
        let mut done = vec![false; self.edges.len()];
        let mut on_path = vec![false; self.edges.len()];
        for start in 0..self.edges.len() {
            let mut path: Vec<(usize, Vec<usize>)> = Vec::new();
            let mut next = Some(start).filter(|start| !done.get(*start).copied().unwrap_or(true));
            loop {
                if let Some(node) = next.take() {
                    set(&mut on_path, node, true);
                    path.push((node, self.steps(node, level)));
                }
                let Some((node, steps)) = path.last_mut() else { break };
                match steps.pop() {
                    Some(to) if on_path.get(to).copied().unwrap_or(false) => {
                        let ring = path.iter().map(|(node, _)| *node).skip_while(|node| *node != to);
                        return Err(Anomaly::Cycle(ring.filter_map(|node| self.name(node)).collect()));
                    }
                    Some(to) => next = Some(to).filter(|to| !done.get(*to).copied().unwrap_or(true)),
                    None => {
                        set(&mut on_path, *node, false);
                        set(&mut done, *node, true);
                        path.pop();
                    }
                }
            }
        }
        Ok(())
    }

    fn name(&self, node: usize) -> Option<String> {
        self.history.get(node).map(|transaction| format!("{transaction:?}"))
    }
}

fn set(flags: &mut [bool], at: usize, to: bool) {
    if let Some(flag) = flags.get_mut(at) {
        *flag = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction(
        name: &str,
        time: (u64, u64),
        reads: &[(Key, Version)],
        writes: &[(Key, Version)],
    ) -> Transaction {
        let (begin, end) = time;
        Transaction { name: name.into(), begin, end, reads: reads.to_vec(), writes: writes.to_vec() }
    }

    /// All at the same time, unless a test says otherwise.
    const ANY: (u64, u64) = (0, 100);

    fn verdicts(history: &[Transaction]) -> (bool, bool) {
        (check(history, Level::Snapshot).is_ok(), check(history, Level::Serializable).is_ok())
    }

    #[test]
    fn what_happens_one_after_the_other_is_isolated() {
        let history = [
            transaction("w1", (0, 1), &[(1, 0)], &[(1, 1), (2, 1)]),
            transaction("r", (2, 3), &[(1, 1), (2, 1)], &[]),
            transaction("w2", (4, 5), &[(2, 1)], &[(2, 2)]),
        ];
        assert_eq!(verdicts(&history), (true, true));
    }

    #[test]
    fn half_a_batch_is_found() {
        let history =
            [transaction("w", ANY, &[], &[(1, 1), (2, 1)]), transaction("r", ANY, &[(1, 1), (2, 0)], &[])];
        assert_eq!(verdicts(&history), (false, false));
    }

    #[test]
    fn a_single_anti_dependency_is_found() {
        // The second writer had seen the first one's; who sees the second sees the first.
        let history = [
            transaction("w1", ANY, &[], &[(1, 1)]),
            transaction("w2", ANY, &[(1, 1)], &[(2, 1)]),
            transaction("r", ANY, &[(1, 0), (2, 1)], &[]),
        ];
        assert_eq!(verdicts(&history), (false, false));
    }

    #[test]
    fn a_long_fork_is_found() {
        let history = [
            transaction("w1", ANY, &[], &[(1, 1)]),
            transaction("w2", ANY, &[], &[(2, 1)]),
            transaction("r1", ANY, &[(1, 1), (2, 0)], &[]),
            transaction("r2", ANY, &[(1, 0), (2, 1)], &[]),
        ];
        let Err(Anomaly::Cycle(ring)) = check(&history, Level::Snapshot) else { panic!("not found") };
        assert!(ring.len() >= 2, "{ring:?}");
        assert_eq!(verdicts(&history), (false, false));
    }

    #[test]
    fn a_snapshot_of_the_past_is_found() {
        let stale = [transaction("w", (0, 10), &[], &[(1, 1)]), transaction("r", (20, 30), &[(1, 0)], &[])];
        assert_eq!(verdicts(&stale), (false, false));
        let early = [transaction("r", (0, 10), &[(1, 1)], &[]), transaction("w", (20, 30), &[], &[(1, 1)])];
        assert_eq!(verdicts(&early), (false, false));
    }

    #[test]
    fn a_lost_update_is_found() {
        let history =
            [transaction("w1", ANY, &[(1, 0)], &[(1, 1)]), transaction("w2", ANY, &[(1, 0)], &[(1, 2)])];
        assert_eq!(verdicts(&history), (false, false));
    }

    #[test]
    fn write_skew_is_no_fault_of_snapshots() {
        let history = [
            transaction("w1", ANY, &[(1, 0), (2, 0)], &[(1, 1)]),
            transaction("w2", ANY, &[(1, 0), (2, 0)], &[(2, 1)]),
        ];
        assert_eq!(verdicts(&history), (true, false));
    }

    #[test]
    fn reads_that_change_and_reads_of_nothing_are_found() {
        let changes = [transaction("w", ANY, &[], &[(1, 1)]), transaction("r", ANY, &[(1, 0), (1, 1)], &[])];
        assert!(matches!(check(&changes, Level::Snapshot), Err(Anomaly::NotRepeatable(_))));
        let nothing = [transaction("r", ANY, &[(1, 7)], &[])];
        assert!(matches!(check(&nothing, Level::Snapshot), Err(Anomaly::Impossible(_))));
    }
}
