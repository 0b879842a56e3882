//! Models of the facade's protocols: explored by loom, and run with real threads in
//! ordinary tests. Each runs the code of its protocol with stand-ins for the engine.

mod loom_backpressure;
mod loom_commit;
mod loom_dead;
mod loom_ingest;
mod loom_latch;
mod loom_schedule;
mod loom_shared;
