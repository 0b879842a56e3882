//! Property tests whose random inputs replay from one printed number.

#![allow(dead_code, reason = "each test file uses a part of what they share")]

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

/// Runs `test` on `cases` random inputs; a failure is shrunk and printed with the
/// seed that replays it (`LSM_SEED`).
pub(crate) fn check<S: Strategy>(cases: u32, strategy: S, test: impl Fn(&S::Value)) {
    let seed: u64 = match std::env::var("LSM_SEED") {
        Ok(seed) => seed.parse().expect("LSM_SEED is a number"),
        Err(_) => {
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos()
                as u64
        }
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let outcome = runner.run(&strategy, |input| {
        test(&input);
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, input)) => {
            panic!("{reason}\nsmallest input: {input:#?}\nreplay with LSM_SEED={seed}")
        }
        Err(error) => panic!("{error}; replay with LSM_SEED={seed}"),
    }
}
