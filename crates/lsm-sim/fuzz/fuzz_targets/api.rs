//! The body `api` of `lsm_sim::fuzz` under libFuzzer. Started by `cargo fuzz run api`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let target = lsm_sim::fuzz::target("api").expect("the target exists");
    if let Err(why) = (target.body)(input) {
        panic!("{why}");
    }
});
