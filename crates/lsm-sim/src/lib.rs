//! Model oracle, op scripts, deterministic simulator, crash runner, fuzz bodies.
