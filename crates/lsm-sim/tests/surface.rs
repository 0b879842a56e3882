//! Every operation and every option of the public API comes up in generated scripts. The
//! list of what there is comes from the engine's source: what is added there and not here
//! fails.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where things are not as they should be")]

use lsm_sim::sim::{Mix, SETTERS, generate_sim};
use lsm_sim::{Profile, generate, generate_tree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How a method is exercised.
#[derive(Clone, Copy, Debug)]
enum By {
    /// By this verb of scripts against a database.
    Op(&'static str),
    /// By this verb of scripts against a tree.
    Tree(&'static str),
    /// By every run of such a script.
    Run,
    /// By every run of a script against a tree.
    TreeRun,
    /// By a setting of the simulator ([`SETTERS`]).
    Setting,
    /// Not at all, for this reason.
    Not(&'static str),
}
use By::{Not, Op, Run, Setting, TreeRun};

/// Each public method, by type.
const SURFACE: &[(&str, &[(&str, By)])] = &[
    (
        "Database",
        &[
            ("open", Not("the default options on the real file system: tests/kill.rs")),
            ("keyspace", Op("create")),
            ("keyspace_names", Op("verify")),
            ("drop_keyspace", Op("drop")),
            ("batch", Op("batch")),
            ("snapshot", Op("snap")),
            ("persist", Op("persist")),
            ("wait_idle", Op("idle")),
            ("checkpoint", Op("checkpoint")),
            ("stats", Op("stats")),
            ("verify", Op("check")),
            ("recovery_report", Run),
            ("close", Op("reopen")),
        ],
    ),
    (
        "Keyspace",
        &[
            ("name", Op("stats")),
            ("insert", Op("put")),
            ("insert_shared", Op("shared")),
            ("remove", Op("del")),
            ("remove_weak", Op("weak")),
            ("remove_range", Op("delrange")),
            ("clear", Op("clear")),
            ("ingestion", Op("ingest")),
            ("get", Op("get")),
            ("contains_key", Op("has")),
            ("multi_get", Op("mget")),
            ("range", Op("range")),
            ("prefix", Op("prefix")),
            ("iter", Op("iter")),
            ("cursor", Op("walk")),
            ("first_key_value", Op("first")),
            ("last_key_value", Op("last")),
            ("len", Op("len")),
            ("is_empty", Op("empty")),
            ("approximate_len", Op("stats")),
            ("flush", Op("flush")),
            ("compact_range", Op("compact")),
        ],
    ),
    (
        "Batch",
        &[
            ("durability", Op("batch")),
            ("len", Op("batch")),
            ("is_empty", Op("batch")),
            ("insert", Op("batch")),
            ("remove", Op("batch")),
            ("remove_weak", Op("batch")),
            ("remove_range", Op("batch")),
            ("commit", Op("batch")),
        ],
    ),
    ("Ingestion", &[("insert", Op("ingest")), ("finish", Op("ingest"))]),
    (
        "Snapshot",
        &[
            ("seqno", Op("stats")),
            ("get", Op("get")),
            ("contains_key", Op("has")),
            ("multi_get", Op("mget")),
            ("range", Op("range")),
            ("prefix", Op("prefix")),
            ("iter", Op("iter")),
            ("cursor", Op("walk")),
            ("first_key_value", Op("first")),
            ("last_key_value", Op("last")),
            ("len", Op("len")),
            ("is_empty", Op("empty")),
        ],
    ),
    (
        "Cursor",
        &[
            ("valid", Op("walk")),
            ("key", Op("walk")),
            ("value", Op("walk")),
            ("seek_to_first", Op("walk")),
            ("seek_to_last", Op("walk")),
            ("seek", Op("walk")),
            ("seek_for_prev", Op("walk")),
            ("next", Op("walk")),
            ("prev", Op("walk")),
        ],
    ),
    (
        "Tree",
        &[
            ("insert", By::Tree("put")),
            ("insert_shared", By::Tree("put")),
            ("remove", By::Tree("del")),
            ("remove_weak", By::Tree("weak")),
            ("remove_range", By::Tree("delrange")),
            ("get", By::Tree("get")),
            ("contains_key", By::Tree("get")),
            ("range", By::Tree("range")),
            ("prefix", By::Tree("prefix")),
            ("iter", By::Tree("len")),
            ("cursor", By::Tree("len")),
            ("first_key_value", By::Tree("first")),
            ("last_key_value", By::Tree("first")),
            ("len", By::Tree("len")),
            ("is_empty", By::Tree("first")),
            ("rotate", By::Tree("rotate")),
            ("flush", By::Tree("flush")),
            ("compact", By::Tree("compact")),
            ("major_compact", By::Tree("major")),
            ("version_for_snapshot", By::Tree("version")),
            ("highest_seqno", TreeRun),
            ("highest_persisted_seqno", TreeRun),
            ("table_count", TreeRun),
            ("level_table_counts", TreeRun),
            ("sealed_memtable_count", TreeRun),
            ("disk_space", TreeRun),
            ("memtable_bytes", TreeRun),
        ],
    ),
    (
        "Options",
        &[
            ("profile", Setting),
            ("cache_size", Setting),
            ("write_buffer_size", Setting),
            ("durability", Setting),
            ("max_open_files", Setting),
            ("max_log_size", Setting),
            ("recovery_mode", Setting),
            ("create_if_missing", Setting),
            ("advanced", Setting),
            ("open", Run),
        ],
    ),
    (
        "Advanced",
        &[
            ("log_segment_size", Setting),
            ("max_sealed_memtables", Setting),
            ("fs", Not("the simulator's own")),
            ("clock", Not("the simulator's own")),
            ("seed", Not("the simulator's own")),
            ("execution", Not("deterministic here; threads run in tests/oracle.rs and tests/concurrent.rs")),
        ],
    ),
    (
        "KeyspaceOptions",
        &[
            ("compaction", Setting),
            ("compression", Setting),
            ("level_compression", Setting),
            ("last_level_compression", Setting),
            ("block_size", Setting),
            ("filter_bits_per_key", Setting),
            ("table_size", Setting),
            ("level_base_size", Setting),
        ],
    ),
    (
        "TreeOptions",
        &[
            ("cache_size", TreeRun),
            ("max_open_files", TreeRun),
            ("tables", TreeRun),
            ("advanced", TreeRun),
            ("open", TreeRun),
        ],
    ),
    ("KeyspaceStats", &[("table_bytes", Op("stats")), ("write_amplification", Op("stats"))]),
    ("Error", &[("is_disk_full", Not("asks nothing of the engine"))]),
];

/// The names that `lib.rs` makes public.
fn public_types(lib: &str) -> BTreeSet<String> {
    let statements = lib.split("pub use").skip(1).filter_map(|rest| rest.split(';').next());
    let words = statements.flat_map(|names| names.split(|c: char| !c.is_alphanumeric() && c != '_'));
    words.filter(|word| word.starts_with(char::is_uppercase)).map(str::to_owned).collect()
}

/// The type that a line such as `impl Database {` is about; no traits.
fn implemented(line: &str) -> Option<String> {
    let rest = line.strip_prefix("impl")?.trim_end().strip_suffix('{')?.trim();
    let rest = if rest.starts_with('<') { rest.split_once("> ")?.1 } else { rest };
    let name = rest.split('<').next()?.trim();
    (!rest.contains(" for ")).then(|| name.to_owned())
}

/// The name of the public method that a line begins.
fn method(line: &str) -> Option<String> {
    let rest = line.strip_prefix("    pub ")?;
    let rest = rest.trim_start_matches("const ").trim_start_matches("async ").trim_start_matches("unsafe ");
    let name = rest.strip_prefix("fn ")?;
    name.split(|c: char| !c.is_alphanumeric() && c != '_').next().map(str::to_owned)
}

fn collect(directory: &Path, types: &BTreeSet<String>, found: &mut BTreeMap<String, BTreeSet<String>>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, types, found);
            continue;
        }
        let mut of: Option<String> = None;
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            if line.starts_with("impl") {
                of = implemented(line);
            } else if line.starts_with('}') {
                of = None;
            }
            if let (Some(of), Some(method)) = (&of, method(line))
                && types.contains(of)
            {
                found.entry(of.clone()).or_default().insert(method);
            }
        }
    }
}

#[test]
fn every_public_method_is_exercised_or_has_a_reason() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lsm-tree/src");
    let types = public_types(&std::fs::read_to_string(source.join("lib.rs")).unwrap());
    assert!(types.len() > 20 && types.contains("Database"), "lib.rs was misread: {types:?}");
    let mut there = BTreeMap::new();
    collect(&source, &types, &mut there);
    let listed = SURFACE.iter().map(|(of, methods)| {
        ((*of).to_owned(), methods.iter().map(|(method, _)| (*method).to_owned()).collect())
    });
    let listed: BTreeMap<String, BTreeSet<String>> = listed.collect();
    for (of, methods) in &there {
        for method in methods {
            let is_listed = listed.get(of).is_some_and(|methods| methods.contains(method));
            assert!(is_listed, "{of}::{method} is public and in no generator: add it to one, and to SURFACE");
        }
    }
    for (of, methods) in &listed {
        for method in methods {
            assert!(there.get(of).is_some_and(|there| there.contains(method)), "{of}::{method} is gone");
        }
    }
}

#[test]
fn what_the_list_says_is_true() {
    let profile = Profile { reopens: 500, ..Profile::default() };
    let ops = generate(5, 20_000, &profile).to_string();
    let tree_ops = generate_tree(5, 5_000).to_string();
    let has = |text: &str, verb: &str| text.lines().any(|line| line.split([' ', ';']).next() == Some(verb));
    let (engine, tree) = (include_str!("../src/engine.rs"), include_str!("../src/tree_runner.rs"));
    let settings = include_str!("../src/sim/setting.rs");
    let calls = |source: &str, method: &str| {
        source.contains(&format!(".{method}(")) || source.contains(&format!(".{method}::<"))
    };
    for (of, methods) in SURFACE {
        for (method, by) in *methods {
            let is_true = match by {
                Op(verb) => has(&ops, verb) && calls(engine, method),
                Run => calls(engine, method),
                By::Tree(verb) => has(&tree_ops, verb) && calls(tree, method),
                TreeRun => calls(tree, method),
                Setting => {
                    *method == "advanced" || (SETTERS.contains(&(of, method)) && calls(settings, method))
                }
                Not(reason) => !reason.is_empty(),
            };
            assert!(is_true, "{of}::{method} is not exercised by {by:?}");
        }
    }
}

#[test]
fn every_kind_of_step_comes_up_in_simulations() {
    let texts: Vec<String> = (0..300).map(|seed| generate_sim(seed, &Mix::default()).to_string()).collect();
    let verbs = ["set", "wait", "crash", "stop", "fault", "heal", "account", "put", "batch", "checkpoint"];
    for verb in verbs {
        let is_there = texts.iter().any(|text| text.lines().any(|line| line.split(' ').next() == Some(verb)));
        assert!(is_there, "{verb} never comes up");
    }
    for (_, setter) in SETTERS {
        let line = format!("\nset {setter} ");
        assert!(texts.iter().any(|text| text.contains(&line)), "{setter} never comes up");
    }
}
