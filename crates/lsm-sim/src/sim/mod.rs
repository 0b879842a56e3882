//! The deterministic simulator: a whole database with its disk, clock, chance and
//! background work under one seed, killed and robbed of power and room on purpose.
//!
//! [`run_sim`] runs one script and is a function of it. [`generate_sim`] makes scripts
//! from seeds, `Campaign` runs many of them and shrinks what fails. Architecture
//! invariant: nothing here reads the machine's clock, or a thread's identity, or chance,
//! except to stop in time.

mod clock;
pub use clock::SimClock;
mod disk;
pub use disk::{Ending, Lie, SimFs, hash_bytes};
mod setting;
pub use setting::{SETTERS, Setting};
mod step;
pub use step::{Cut, FAULTS, SimOp};
mod generator;
pub use generator::{Mix, generate_sim};
mod world;
pub use world::{Outcome, run_sim};
mod campaign;
pub use campaign::{SimCampaign, SimFailure};
mod sweep;
pub use sweep::FaultSweep;
