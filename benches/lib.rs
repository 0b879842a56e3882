//! Criterion benches of the engine's parts; the benches lie in `benches/`.
