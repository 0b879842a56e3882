//! One engine under one workload, in a process of its own.
//!
//! The run starts this program again with `cell` and the description of the cell on
//! its standard input; the outcome is the last line that the process prints.

use crate::catalogue::{self, Kind, Shape, Workload};
use crate::data::{Key, Random, Values};
use crate::engine::{Durability, Engine, Result, Setup};
use crate::engines::with_engine;
use crate::measure::Outcome;
use crate::workloads;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// What the run tells the process of a cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) engine: String,
    /// A name from the catalogue, or "build".
    pub(crate) workload: String,
    /// For "build": the shape of which workload.
    pub(crate) shape_of: String,
    pub(crate) n: u64,
    pub(crate) round: u32,
    pub(crate) dir: PathBuf,
    pub(crate) budget_seconds: f64,
    /// Set in the child that a cell of `OpenKilled` starts and kills.
    #[serde(default)]
    pub(crate) victim: bool,
}

/// What a workload works with.
pub(crate) struct Cell {
    pub(crate) order: Order,
    pub(crate) workload: Workload,
    pub(crate) setup: Setup,
    pub(crate) budget: Duration,
}

impl Cell {
    pub(crate) fn new(order: Order) -> Result<Self> {
        let named = match order.workload.as_str() {
            "build" => &order.shape_of,
            name => name,
        };
        let found = catalogue::find(named).ok_or_else(|| format!("no workload is called {named:?}"))?;
        let workload = if order.workload == "build" { catalogue::build(found.shape) } else { *found };
        let setup = Setup {
            cache_bytes: workload.cache_bytes(order.n),
            write_buffer_bytes: match workload.name {
                "open-killed-64m" => 256 << 20,
                _ => 64 << 20,
            },
            durability: match workload.kind {
                Kind::SyncCommits(_) => Durability::Sync,
                _ => Durability::Buffered,
            },
            compression: workload.shape.compression,
        };
        let budget = Duration::from_secs_f64(order.budget_seconds);
        Ok(Self { order, workload, setup, budget })
    }

    pub(crate) fn shape(&self) -> Shape {
        self.workload.shape
    }

    /// How many entries the data has.
    pub(crate) fn entries(&self) -> u64 {
        self.shape().entries(self.order.n)
    }

    pub(crate) fn key(&self, index: u64) -> Key {
        self.shape().layout.key(index)
    }

    pub(crate) fn values(&self) -> Values {
        Values::new(self.shape().value_bytes)
    }

    /// The same for all engines, another for each round.
    pub(crate) fn random(&self) -> Random {
        Random::new(0x5eed + u64::from(self.order.round))
    }

    pub(crate) fn seed(&self) -> u64 {
        self.random().next()
    }

    pub(crate) fn open<E: Engine>(&self) -> Result<E> {
        E::open(&self.order.dir, &self.setup)
    }
}

/// Runs the cell that `order` describes.
pub(crate) fn run(order: Order) -> Result<Outcome> {
    let cell = Cell::new(order)?;
    if cell.order.engine == "raw" {
        return workloads::sync::raw_log(&cell);
    }
    with_engine!(cell.order.engine.as_str(), E => run_with::<E>(&cell))
}

fn run_with<E: Engine>(cell: &Cell) -> Result<Outcome> {
    match cell.workload.kind {
        Kind::Build => workloads::fill::build::<E>(cell),
        Kind::Fill => workloads::fill::fill::<E>(cell),
        Kind::Overwrite => workloads::fill::overwrite::<E>(cell),
        Kind::Batches => workloads::fill::batches::<E>(cell),
        Kind::BulkLoad => workloads::fill::bulk_load::<E>(cell),
        Kind::GetUniform => workloads::read::get_uniform::<E>(cell),
        Kind::GetZipfian => workloads::read::get_zipfian::<E>(cell),
        Kind::GetMissing => workloads::read::get_missing::<E>(cell),
        Kind::ScanForward => workloads::scan::forward::<E>(cell),
        Kind::ScanReverse => workloads::scan::reverse::<E>(cell),
        Kind::Seek(count) => workloads::scan::seek::<E>(cell, count),
        Kind::Prefix => workloads::scan::prefix::<E>(cell),
        Kind::Ycsb(letter) => workloads::ycsb::run::<E>(cell, letter),
        Kind::ReadBesideWrite => workloads::beside::latest::<E>(cell),
        Kind::SnapshotUnderChurn => workloads::beside::snapshot::<E>(cell),
        Kind::SyncCommits(threads) => workloads::sync::commits::<E>(cell, threads),
        Kind::Queue => workloads::queue::run::<E>(cell),
        Kind::OpenClean => workloads::open::clean::<E>(cell),
        Kind::OpenKilled(entries) => workloads::open::killed::<E>(cell, entries),
        Kind::Overload => workloads::fill::overload::<E>(cell),
    }
}
