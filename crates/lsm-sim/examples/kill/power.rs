//! Real power cuts: an ext4 in a file, mounted through a loop device and shut down by
//! the file system's own ioctl right after the writing process was killed, as if the
//! machine had stopped: what was not synced is gone. Not while it writes: a sync that
//! meets the ioctl returns without having written, to any program.
//! Needs to be root, `mkfs.ext4` and loop devices; says so and passes where it cannot.
#![allow(unsafe_code, reason = "the ioctl has no safe wrapper; see docs/unsafe.md")]

use lsm_sim::Random;
use lsm_sim::kill::{Killable, Kind, Lasts, Running};
use rustix::ioctl::{Setter, ioctl, opcode};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Room of the file system.
const DISK_BYTES: u64 = 192 << 20;
/// Cuts of one kind of child, on one file system.
const CUTS_PER_KIND: u64 = 10;
/// Do not even flush the journal: what was not synced is gone.
const WITHOUT_FLUSHING: u32 = 2;

/// A file system in a file, mounted.
struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

impl Disk {
    fn make(directory: &Path) -> Result<Self, String> {
        let disk = Self { image: directory.join("disk.img"), mount: directory.join("mount") };
        let words = |error: std::io::Error| error.to_string();
        std::fs::create_dir(&disk.mount).map_err(words)?;
        File::create(&disk.image).and_then(|file| file.set_len(DISK_BYTES)).map_err(words)?;
        run("mkfs.ext4", &["-q", "-F", &disk.image.to_string_lossy()])?;
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), String> {
        run("mount", &["-o", "loop", &self.image.to_string_lossy(), &self.mount.to_string_lossy()])
    }

    fn unmount(&self) -> Result<(), String> {
        run("umount", &[&self.mount.to_string_lossy()])
    }

    /// Nothing reaches the disk from here on.
    fn cut(&self) -> Result<(), String> {
        let root = File::open(&self.mount).map_err(|error| error.to_string())?;
        const SHUTDOWN: u32 = opcode::read::<u32>(b'X', 125);
        // SAFETY: the file system's shutdown takes a pointer to 32 bits of flags and
        // reads nothing else.
        let outcome = unsafe { ioctl(&root, Setter::<SHUTDOWN, u32>::new(WITHOUT_FLUSHING)) };
        outcome.map_err(|error| format!("the file system cannot be shut down: {error}"))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Fails when a life ended unmounted: then there is nothing to do.
        let _ = self.unmount();
    }
}

/// Cuts the power `cuts` times; all that was acknowledged as Sync is there after each.
pub(crate) fn campaign(cuts: u64, seed: u64) -> Result<(), String> {
    let start = Instant::now();
    println!("seed 0x{seed:x}");
    let mut writes = 0;
    for number in 0..cuts.div_ceil(CUTS_PER_KIND) {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let disk = match Disk::make(directory.path()) {
            Ok(disk) => disk,
            Err(why) => {
                println!("power cuts: skipped, no file system can be made here: {why}");
                return Ok(());
            }
        };
        let kind = Kind::new(lsm_vfs::mix64(seed.wrapping_add(number)));
        let lives = CUTS_PER_KIND.min(cuts - number * CUTS_PER_KIND);
        writes += cut_again_and_again(&disk, &kind, lives)?;
    }
    println!("{cuts} power cuts, {writes} writes survived, {:.1?}", start.elapsed());
    Ok(())
}

fn cut_again_and_again(disk: &Disk, kind: &Kind, cuts: u64) -> Result<u64, String> {
    let random = &mut Random::new(!kind.seed);
    let dir = disk.mount.join("db");
    let mut known = Lasts::none(kind.writers);
    for life in 0..cuts {
        let millis = if random.chance(20) { random.below(15) } else { random.below(250) };
        let context =
            |why: String| format!("kind 0x{:x}, cut {life} after {millis} ms: {why}\n{kind:?}", kind.seed);
        let child = Running::start(super::child(&dir, kind, life).arg("--power"), kind.writers)?;
        let said = child.kill_after(Duration::from_millis(millis))?;
        disk.cut()?;
        disk.unmount()?;
        disk.mount()?;
        known.raise(&said.synced);
        let survived = Killable::open(kind, &dir, life).map_err(|error| context(format!("{error:?}")))?;
        let found = survived.check(kind.writers).map_err(context)?;
        if !found.holds(&known) {
            return Err(context(format!("promised {known:?}, found {found:?}")));
        }
        // What was recovered has been made durable before it was shown.
        known = found;
    }
    Ok(known.total())
}
