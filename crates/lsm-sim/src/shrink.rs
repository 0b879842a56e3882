//! [`shrink`]: from a long failing script to a short one that still fails, by
//! leaving parts out (delta debugging), then by making single steps simpler.

use std::time::{Duration, Instant};

/// A step that has simpler forms.
pub trait Simpler: Clone {
    /// Forms to try in place of this one, the simplest first.
    fn simpler(&self) -> Vec<Self>;
}

/// The smallest list found within `limit` for which `fails` still answers true.
/// `ops` itself must fail. Runs `fails` O(n log n) times in the usual case.
pub fn shrink<O: Simpler>(ops: Vec<O>, limit: Duration, mut fails: impl FnMut(&[O]) -> bool) -> Vec<O> {
    let deadline = Instant::now() + limit;
    let mut best = ops;
    let mut chunk = best.len().div_ceil(2);
    while chunk > 0 {
        let mut removed = false;
        // From the back, so that what a step needs stands before it while it is tried.
        let mut end = best.len();
        while end > 0 {
            if Instant::now() > deadline {
                return best;
            }
            let start = end.saturating_sub(chunk);
            let candidate: Vec<O> = best.iter().take(start).chain(best.iter().skip(end)).cloned().collect();
            if fails(&candidate) {
                best = candidate;
                removed = true;
            }
            end = start;
        }
        if !(removed && chunk == 1) {
            chunk /= 2;
        }
    }
    simplify(best, deadline, &mut fails)
}

fn simplify<O: Simpler>(mut best: Vec<O>, deadline: Instant, fails: &mut impl FnMut(&[O]) -> bool) -> Vec<O> {
    let mut at = 0;
    while at < best.len() {
        let forms = best.get(at).map(Simpler::simpler).unwrap_or_default();
        let mut improved = false;
        for form in forms {
            if Instant::now() > deadline {
                return best;
            }
            let mut candidate = best.clone();
            if let Some(place) = candidate.get_mut(at) {
                *place = form;
            }
            if fails(&candidate) {
                best = candidate;
                improved = true;
                break;
            }
        }
        if !improved {
            at += 1;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Simpler for u32 {
        fn simpler(&self) -> Vec<Self> {
            if *self > 10 { vec![self / 2, self - 1] } else { Vec::new() }
        }
    }

    #[test]
    fn only_what_is_needed_is_left() {
        let ops: Vec<u32> = (0..1000).collect();
        let needs = |ops: &[u32]| ops.contains(&3) && ops.contains(&777) && ops.contains(&901);
        assert_eq!(shrink(ops, Duration::from_secs(10), needs), [3, 777, 901]);
    }

    #[test]
    fn steps_become_simpler() {
        let fails = |ops: &[u32]| ops.iter().sum::<u32>() >= 40;
        let least = shrink(vec![500, 600, 700], Duration::from_secs(10), fails);
        assert_eq!(least, [40]);
    }

    #[test]
    fn a_deadline_is_kept() {
        let ops: Vec<u32> = (0..1000).collect();
        assert_eq!(shrink(ops.clone(), Duration::ZERO, |_| true).len(), ops.len());
    }
}
