//! The body for manifests: any bytes as the file; and any edits, committed and read
//! back.

use super::input::Input;
use super::{Note, magnitude, note, repair};
use lsm_log::RecoverOptions;
use lsm_sstable::{Compression, TableMeta};
use lsm_types::UpperBound;
use lsm_version::{Edit, Error, MANIFEST_NAME, Manifest, ManifestState, Placement, StoreKind, read_manifest};
use lsm_vfs::{Fs, MemFs};
use std::path::Path;

const REPAIRED: u8 = 1;
const STRUCTURED: u8 = 2;
const DIR: &str = "store";
/// Commits of one input.
const MAX_COMMITS: usize = 60;

/// `input := how u8 | file`, or `how u8 | choices` with [`STRUCTURED`].
pub(super) fn body(bytes: &[u8]) -> Result<Note, String> {
    let mut input = Input::new(bytes);
    let how = input.byte();
    let disk = MemFs::new();
    disk.create_dir_all(Path::new(DIR)).map_err(|error| error.to_string())?;
    if how & STRUCTURED != 0 {
        return round_trip(&disk, input);
    }
    let mut file = input.rest().to_vec();
    if how & REPAIRED != 0 {
        repair::segment(&mut file);
    }
    let path = Path::new(DIR).join(MANIFEST_NAME);
    let handle = disk.create_new(&path).map_err(|error| error.to_string())?;
    handle.write_all_at(&file, 0).map_err(|error| error.to_string())?;
    let mut records = 0;
    let shown = read_manifest(&disk, &path, RecoverOptions::default(), &mut |_, edits| {
        records += 1 + edits.len();
    });
    match Manifest::open(&disk, Path::new(DIR)) {
        Ok(Some(manifest)) => {
            shown.map_err(|error| format!("a manifest that opens cannot be shown: {error}"))?;
            survives(manifest)?;
            Ok(note(&["open", &magnitude(records)]))
        }
        Ok(None) => Err("a manifest that is there was not seen".into()),
        Err(error) => Ok(note(&["refused", &typed(&error)?, &magnitude(records)])),
    }
}

fn typed(error: &Error) -> Result<String, String> {
    match error {
        Error::Corruption(damage) | Error::Log(lsm_log::Error::Corruption(damage)) => {
            let at_home = damage.file.starts_with(DIR);
            at_home
                .then(|| format!("{} {}", damage.expected, damage.got))
                .ok_or_else(|| format!("damage is blamed on another file: {damage}"))
        }
        Error::Incompatible { found, .. } => Ok(format!("incompatible {found}")),
        Error::Log(lsm_log::Error::Incompatible { .. }) => Ok("incompatible framing".into()),
        other => Err(format!("damage was reported as {other:?}")),
    }
}

/// The state goes through a copy, and through one more commit, unchanged.
fn survives(mut manifest: Manifest) -> Result<(), String> {
    let words = |error: Error| format!("a manifest that was read cannot go on: {error}");
    let disk = MemFs::new();
    let directory = Path::new("copy");
    disk.create_dir_all(directory).map_err(|error| error.to_string())?;
    Manifest::write_copy(&disk, directory, manifest.state(), 5).map_err(words)?;
    let copy = Manifest::open(&disk, directory).map_err(words)?.ok_or("the copy is not there")?;
    if copy.state() != manifest.state() {
        return Err(format!("a copy differs: {:?} became {:?}", manifest.state(), copy.state()));
    }
    let state = manifest.state();
    let counters = Edit::Counters {
        next_file: state.next_file,
        next_seqno: state.next_seqno,
        next_keyspace: state.next_keyspace,
    };
    manifest = copy;
    manifest.commit(&disk, &[counters], || 6).map_err(words)?;
    let again = Manifest::open(&disk, directory).map_err(words)?.ok_or("the next file is not there")?;
    if again.state() != manifest.state() {
        return Err(format!("a commit is read otherwise: {:?} and {:?}", manifest.state(), again.state()));
    }
    Ok(())
}

fn round_trip(disk: &MemFs, mut input: Input<'_>) -> Result<Note, String> {
    let directory = Path::new(DIR);
    let mut manifest = Manifest::new(directory);
    let mut expected = ManifestState::default();
    let (mut done, mut refused, mut uid) = (0, 0, 1);
    let created = Edit::Created { kind: StoreKind::Database, uid: input.number() };
    let mut edits = vec![created];
    for _ in 0..MAX_COMMITS {
        uid += 1;
        let applied = expected.apply(&edits);
        match (manifest.commit(disk, &edits, || uid), &applied) {
            (Ok(()), Ok(())) => done += 1,
            (Err(Error::Contradiction(_)), Err(_)) => refused += 1,
            (outcome, _) => return Err(format!("{edits:?}: commit {outcome:?}, apply {applied:?}")),
        }
        if input.is_empty() {
            break;
        }
        edits = (0..=input.byte() % 4).map(|_| edit(&mut input)).collect();
    }
    if input.byte().is_multiple_of(2) {
        manifest.close().map_err(|error| error.to_string())?;
    }
    let found = Manifest::open(disk, directory).map_err(|error| format!("what was committed: {error}"))?;
    let found = found.ok_or("what was committed is not there")?;
    if found.state() != &expected || manifest.state() != &expected {
        return Err(format!("{expected:?} became {:?}", found.state()));
    }
    survives(found)?;
    Ok(note(&["committed", &magnitude(done), &magnitude(refused)]))
}

/// An edit that often fits: few keyspaces and few tables, so that they meet.
pub(super) fn edit(input: &mut Input<'_>) -> Edit {
    let kind = input.byte();
    let keyspace = u32::from(input.byte() % 6);
    let number = u64::from(input.byte() % 16);
    let placement = |input: &mut Input<'_>| Placement { level: input.byte() % 8, run: input.number() };
    match kind % 10 {
        0 => {
            let name = String::from_utf8_lossy(&input.bytes()).into_owned();
            Edit::KeyspaceCreated { id: keyspace, name, options: input.bytes() }
        }
        1 => Edit::KeyspaceDropped { id: keyspace },
        2..5 => Edit::TableAdded { keyspace, number, placement: placement(input), meta: meta(input) },
        5 => Edit::TableRemoved { keyspace, number },
        6 => Edit::TableMoved { keyspace, number, placement: placement(input) },
        7 => Edit::FlushedThrough { keyspace, seqno: input.number() },
        8 => Edit::ExactFrom { keyspace, seqno: input.number() },
        _ if kind >= 128 => Edit::Log {
            first_segment: input.number(),
            first_base: input.number(),
            durable_through: input.number(),
        },
        _ => Edit::Counters {
            next_file: input.number(),
            next_seqno: input.number(),
            next_keyspace: input.number() as u32,
        },
    }
}

fn meta(input: &mut Input<'_>) -> TableMeta {
    let mut meta = TableMeta::default();
    (meta.uid, meta.file_bytes, meta.entries) = (input.number(), input.number(), input.number());
    (meta.lowest_seqno, meta.highest_seqno) = (input.number(), input.number());
    meta.smallest = input.bytes().into();
    meta.upper = match input.byte() % 3 {
        0 => UpperBound::Included(input.bytes().into()),
        1 => UpperBound::Excluded(input.bytes().into()),
        _ => UpperBound::Unbounded,
    };
    meta.compression = Compression::from_byte(input.byte() % 4).unwrap_or_default();
    meta
}
