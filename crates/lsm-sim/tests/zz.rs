#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "x")]
use lsm_sim::*;
use std::sync::Arc;
use std::sync::atomic::*;
#[test]
fn hang() {
    let seed = 23;
    for config in oracle_configs().into_iter().filter(|c| ["size-tiered", "small log", "tiny memtables", "many levels of tiny tables"].contains(&c.name)) {
        let profile = match config.name {
            "many levels of tiny tables" => Profile { keys: 2_000, value_bytes: 60, ..Profile::default() },
            "small log" => Profile { reopens: 120, ..Profile::default() },
            _ => Profile::default(),
        };
        let limit = AtomicU64::new(150_000);
        let run = |config: &Config, ops: &[Op]| {
            let n = Arc::new(AtomicU64::new(0));
            let l = limit.load(Ordering::Relaxed);
            let fs = HookFs::new(Arc::new(lsm_vfs::MemFs::new()), move |_, _| if n.fetch_add(1, Ordering::Relaxed) > l { Err(std::io::ErrorKind::PermissionDenied.into()) } else { Ok(()) });
            let c = Config::on(config.name, Arc::new(fs), std::path::Path::new("db"), config.options.clone(), config.keyspace.clone()).deterministic(seed);
            let r = run_script(&c, ops);
            if r.is_err() { limit.store(60_000, Ordering::Relaxed); }
            r
        };
        let campaign = Campaign { seed, scripts: 2, ops: 2000 };
        if let Err(report) = campaign.run(&config, |s, l| generate(s, l, &profile), run) { panic!("{report}"); }
    }
}
