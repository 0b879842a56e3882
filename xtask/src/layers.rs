//! The house as data, and the check that no dependency points up in it.
//!
//! `cargo xtask layers` compares [`HOUSE`] with the manifests. A crate may depend
//! only on crates of lower layers. Dev-dependencies may point anywhere; those that
//! point up are listed. A new edge that needs a change of the table needs a
//! decision record in `docs/adr/` first.

use crate::Outcome;
use crate::workspace::{DependencyKind, Package, Workspace};

/// Where a package stands.
struct Place {
    name: &'static str,
    layer: u8,
    /// Lower crates that this one must do without all the same.
    without: &'static [&'static str],
}

/// Programs and harnesses around the engine: nothing may depend on them but each other.
const TOOLS: u8 = 7;

/// The layers, from the ground up.
const HOUSE: &[Place] = &[
    place("lsm-sync", 0),
    place("lsm-types", 0),
    place("lsm-vfs", 1),
    place("lsm-memtable", 1),
    place("lsm-merge", 1),
    place("lsm-log", 2),
    place("lsm-sstable", 2),
    place("lsm-version", 3),
    // Decisions and merging are pure: no thread, no lock.
    Place { name: "lsm-compaction", layer: 4, without: &["lsm-sync"] },
    place("lsm-tree", 5),
    place("lsm-cli", 6),
    place("lsm-sim", TOOLS),
    place("lsm-benches", TOOLS + 1),
    place("xtask", TOOLS),
];

const fn place(name: &'static str, layer: u8) -> Place {
    Place { name, layer, without: &[] }
}

/// Checks the workspace; lists the dev-dependencies that point up.
pub(crate) fn run(workspace: &Workspace) -> Outcome {
    let report = examine(&workspace.packages);
    for edge in &report.dev_edges_up {
        println!("note: {edge}");
    }
    if report.faults.is_empty() {
        println!("layers: {} packages, no dependency points up", workspace.packages.len());
        return Ok(());
    }
    for fault in &report.faults {
        eprintln!("{fault}");
    }
    Err(format!("layers: {} edges break the order of the layers", report.faults.len()))
}

#[derive(Default)]
struct Report {
    faults: Vec<String>,
    dev_edges_up: Vec<String>,
}

fn find(name: &str) -> Option<&'static Place> {
    HOUSE.iter().find(|place| place.name == name)
}

fn examine(packages: &[Package]) -> Report {
    let mut report = Report::default();
    for package in packages {
        let name = &package.name;
        let Some(from) = find(name) else {
            report.faults.push(format!(
                "{name}: not in the table of layers; give it a place in xtask/src/layers.rs and a record in docs/adr/"
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let Some(to) = find(&dependency.name) else { continue };
            examine_edge(from, to, dependency.kind, &mut report);
        }
    }
    report
}

fn examine_edge(from: &Place, to: &Place, kind: DependencyKind, report: &mut Report) {
    let edge = format!("{} (layer {}) -> {} (layer {})", from.name, from.layer, to.name, to.layer);
    let points_up = to.layer >= from.layer;
    if kind == DependencyKind::Dev {
        if points_up {
            report.dev_edges_up.push(format!("{edge}, for tests only"));
        }
    } else if points_up {
        report.faults.push(format!(
            "{edge}: a crate may depend only on lower layers; move the shared type down to the lowest crate that names it"
        ));
    } else if from.without.contains(&to.name) {
        report.faults.push(format!("{edge}: {} must do without {}; pass the result in", from.name, to.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, dependencies: &[(&str, DependencyKind)]) -> Package {
        let dependencies =
            dependencies.iter().map(|&(name, kind)| Dependency { name: name.to_owned(), kind }).collect();
        Package { name: name.to_owned(), directory: format!("/repo/crates/{name}").into(), dependencies }
    }

    fn check(name: &str, to: &str, kind: DependencyKind) -> (usize, usize) {
        let report = examine(&[package(name, &[(to, kind)])]);
        (report.faults.len(), report.dev_edges_up.len())
    }

    #[test]
    fn only_lower_layers_may_be_depended_on() {
        use DependencyKind::{Build, Dev, Normal};
        assert_eq!(check("lsm-log", "lsm-vfs", Normal), (0, 0));
        assert_eq!(check("lsm-log", "lsm-sstable", Normal), (1, 0), "the same layer");
        assert_eq!(check("lsm-types", "lsm-sync", Normal), (1, 0), "the ground has no neighbours");
        assert_eq!(check("lsm-sstable", "lsm-version", Build), (1, 0), "build scripts count");
        assert_eq!(check("lsm-sstable", "lsm-tree", Dev), (0, 1), "tests may look up");
        assert_eq!(check("lsm-tree", "lsm-sim", Normal), (1, 0), "the simulator is no part of the engine");
        assert_eq!(check("lsm-tree", "crc32fast", Normal), (0, 0), "other people's crates have no layer");
    }

    #[test]
    fn compaction_stays_pure() {
        assert_eq!(check("lsm-compaction", "lsm-sstable", DependencyKind::Normal), (0, 0));
        assert_eq!(check("lsm-compaction", "lsm-sync", DependencyKind::Normal), (1, 0));
    }

    #[test]
    fn a_fault_names_both_ends_of_the_edge() {
        let report = examine(&[package("lsm-vfs", &[("lsm-log", DependencyKind::Normal)])]);
        assert!(
            report.faults[0].starts_with("lsm-vfs (layer 1) -> lsm-log (layer 2)"),
            "{}",
            report.faults[0]
        );
    }

    #[test]
    fn a_crate_without_a_place_is_a_fault() {
        assert!(examine(&[package("lsm-new", &[])]).faults[0].contains("not in the table"));
    }
}
