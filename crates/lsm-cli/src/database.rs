//! Opening databases and keyspaces for the commands, and closing them: reading
//! commands never create what they were asked to read.

use crate::failure::Failure;
use lsm_tree::{Database, Keyspace, KeyspaceOptions};
use std::path::{Path, PathBuf};

/// The keyspace that commands use when none is named.
pub(crate) const DEFAULT_KEYSPACE: &str = "default";

/// Which keyspace of which database a command works on.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// Directory of the database
    #[arg(value_name = "DB")]
    pub(crate) db: PathBuf,
    /// Keyspace within it
    #[arg(long, short, value_name = "NAME", default_value = DEFAULT_KEYSPACE)]
    pub(crate) keyspace: String,
}

impl Target {
    /// Opens what must exist.
    pub(crate) fn open_existing(&self) -> Result<(Database, Keyspace), Failure> {
        let db = open_existing(&self.db)?;
        let keyspace = existing_keyspace(&db, &self.keyspace)?;
        Ok((db, keyspace))
    }

    /// Opens, creating what is missing.
    pub(crate) fn open_or_create(&self) -> Result<(Database, Keyspace), Failure> {
        let db = Database::open(&self.db)?;
        let keyspace = db.keyspace(&self.keyspace, KeyspaceOptions::default())?;
        Ok((db, keyspace))
    }
}

/// Opens a database that must exist.
pub(crate) fn open_existing(path: &Path) -> Result<Database, Failure> {
    require_database(path)?;
    Ok(Database::open(path)?)
}

/// Checks that a database lies in the directory `path`.
pub(crate) fn require_database(path: &Path) -> Result<(), Failure> {
    let there = path.join("MANIFEST").try_exists().map_err(Failure::read(path))?;
    if there { Ok(()) } else { Err(Failure::NoDatabase(path.to_path_buf())) }
}

/// Opens a keyspace that must exist.
pub(crate) fn existing_keyspace(db: &Database, name: &str) -> Result<Keyspace, Failure> {
    let present = db.keyspace_names();
    if !present.iter().any(|other| *other == *name) {
        let present = present.iter().map(ToString::to_string).collect();
        return Err(Failure::NoKeyspace { wanted: name.to_owned(), present });
    }
    Ok(db.keyspace(name, KeyspaceOptions::default())?)
}

/// Closes a database, so that its last errors are reported and not lost in a drop.
pub(crate) fn close(db: Database) -> Result<(), Failure> {
    Ok(db.close()?)
}
