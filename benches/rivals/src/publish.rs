//! Puts the tables and plots of a run into the documents: between two markers of
//! `benchmarks.md`, and as files in `benchmarks/` beside it. Nothing else of the
//! document is touched.

use crate::engine::Result;
use crate::engines::CONFIGURATIONS;
use crate::lines::Figures;
use crate::{plot, report};
use std::fmt::Write;
use std::path::Path;

const BEGIN: &str = "<!-- figures: begin; written by `cargo xtask bench rivals` -->";
const END: &str = "<!-- figures: end -->";

/// Writes the section of figures and the plots below `documents`.
pub(crate) fn publish(figures: &Figures<'_>, documents: &Path) -> Result {
    let page = documents.join("benchmarks.md");
    let text = std::fs::read_to_string(&page)?;
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or_else(|| format!("{} lacks its markers", page.display()))?;
    let plots = plot::draw(figures, &documents.join("benchmarks"))?;
    let section = section(figures, &plots)?;
    std::fs::write(&page, format!("{before}{BEGIN}\n\n{section}\n{END}{after}"))?;
    println!("published: {}", page.display());
    Ok(())
}

fn section(figures: &Figures<'_>, plots: &[(String, String)]) -> Result<String> {
    let mut text = String::new();
    let latest = figures.lines().map(|line| line.time).max().unwrap_or(0);
    let rounds = figures.lines().map(|line| line.round).max().unwrap_or(0);
    let mut commits: Vec<&str> = figures.lines().map(|line| line.commit.as_str()).collect();
    commits.sort_unstable();
    commits.dedup();
    writeln!(
        text,
        "Measured on {} with n = {}, {rounds} rounds, medians, on {}; commit {}.\n",
        date(latest),
        figures.n,
        machine(),
        commits.join(", ")
    )?;
    writeln!(text, "Versions: {}.\n", versions())?;
    for (engine, configuration) in CONFIGURATIONS {
        writeln!(text, "- {engine}: {configuration}.")?;
    }
    writeln!(text, "\n{}", report::markdown(figures))?;
    for (name, title) in plots {
        writeln!(text, "![{title}](benchmarks/{name}.svg)\n")?;
    }
    Ok(text.trim_end().to_owned() + "\n")
}

/// The versions of the engines, as the lockfile has them.
fn versions() -> String {
    const LOCK: &str = include_str!("../Cargo.lock");
    let names = ["rocksdb", "librocksdb-sys", "fjall", "heed", "lmdb-master-sys", "redb"];
    let blocks = LOCK.split("[[package]]");
    let found = blocks.filter_map(|block| {
        let field = |name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_start_matches(" = ").trim_matches('"'))
        };
        let name = field("name").filter(|name| names.contains(name))?;
        Some(format!("{name} {}", field("version")?))
    });
    found.collect::<Vec<_>>().join(", ")
}

/// Cores and processor of this machine.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{cores} cores of {}", model.map_or("an unknown processor", |(_, name)| name))
}

/// The day of a moment given in seconds since 1970 (Hinnant's civil-from-days).
fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_400), "2000-02-29");
        assert_eq!(date(1_795_305_600), "2026-11-22");
    }
}
