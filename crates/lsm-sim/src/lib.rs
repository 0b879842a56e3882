//! Model oracle and op scripts: what the engine means, said in maps, and random
//! programs that hold the engine to it.
//!
//! A [`Script`] is made from a seed, printed one operation a line, run by
//! [`run_script`] against a database and a [`Model`] at once, and shrunk when the two
//! differ. The end-to-end suites live in `tests/`; scripts that once failed are
//! kept in `tests/scripts/`.
//!
//! ```
//! use lsm_sim::{Config, Op, Script, run_script};
//!
//! let script: Script<Op> = "
//!     put a alice 1x8
//!     snap 0
//!     del a alice
//!     flush a
//!     get s0 a alice
//!     reopen drop
//!     verify
//! ".parse()?;
//! let config = Config::in_memory("example", Default::default(), Default::default());
//! run_script(&config, &script.ops).map_err(|difference| difference.to_string())?;
//! # Ok::<(), String>(())
//! ```
//!
//! Architecture invariant: the engine is called in `engine.rs` and
//! `tree_runner.rs` only, and the model knows nothing of it.

mod random;
pub use random::{Random, parse_seed, seed_from_env};
mod op;
pub mod text;
pub use op::{Durability, Op, Write};
mod read;
pub use read::{Order, Read, Step, View};
mod tree_op;
pub use tree_op::{TreeOp, generate_tree};
mod script;
pub use script::Script;
mod generate;
pub use generate::{KEYSPACES, Profile, SLOTS, generate};
mod shrink;
pub use shrink::{Simpler, shrink};
mod history;
pub use history::History;
mod model;
pub use model::{Incarnation, Model, ModelSnapshot};
mod answer;
pub use answer::{Answer, Entry};
mod config;
pub use config::{Config, oracle_configs};
mod engine;
pub use engine::{Engine, Handle, Items, Reader, Stop};
mod promises;
mod runner;
pub use runner::{Difference, run_script};
mod tree_runner;
pub use tree_runner::run_tree_script;
mod campaign;
pub use campaign::{Campaign, replay};
pub mod fuzz;
mod hook_fs;
pub use hook_fs::{Call, Hook, HookFs};
pub mod isolation;
pub mod kill;
mod numbered;
pub mod sim;
pub use numbered::Numbered;
