//! Pure decisions and pure merging: pick, plan, drop rules, output cutting.
