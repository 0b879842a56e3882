//! Numbers as people read them: thousands separated, bytes in binary units, rates.

use std::time::Duration;

/// `34924` as `34,924`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 entry`, `34,924 entries`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

/// A number of bytes with one decimal in the unit that fits.
pub(crate) fn bytes(number: u64) -> String {
    let mut value = number as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{number} B") } else { format!("{value:.1} {unit}") }
}

/// How many a second, with three digits that mean something.
pub(crate) fn rate(count: u64, elapsed: Duration) -> String {
    let per_second = count as f64 / elapsed.as_secs_f64().max(1e-6);
    let magnitude = 10_f64.powf((per_second.max(1.0).log10().floor() - 2.0).max(0.0));
    thousands(((per_second / magnitude).round() * magnitude) as u64)
}

/// A duration in the unit that fits.
pub(crate) fn duration(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(count(1, "entry", "entries"), "1 entry");
        assert_eq!(count(1000, "entry", "entries"), "1,000 entries");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1_913_704), "1.8 MiB");
        assert_eq!(rate(123_456, Duration::from_secs(1)), "123,000");
        assert_eq!(rate(1, Duration::from_secs(2)), "1");
        assert_eq!(duration(Duration::from_micros(1500)), "1.5 ms");
    }
}
