//! [`Tree`]: the directories of the in-memory disk: the names as they are now, as they
//! were at the last sync of each directory, and the changes in between.

use super::inode::Inode;
use crate::{DirEntry, SplitMix64, mix64};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

/// What a name stands for: a file or a directory, by its number in the [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(u64),
    Dir(u64),
}

/// A change of a directory that no sync has made durable.
#[derive(Clone, Debug)]
enum Change {
    Add {
        name: String,
        node: Node,
    },
    Remove {
        name: String,
        node: Node,
    },
    /// Within one directory, atomic.
    Rename {
        from: String,
        to: String,
        node: Node,
    },
}

/// A directory's names.
#[derive(Clone, Debug, Default)]
struct Dir {
    entries: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    pending: Vec<Change>,
}

impl Dir {
    fn make(&mut self, change: Change) {
        apply(&mut self.entries, &change);
        self.pending.push(change);
    }

    /// Whether a power cut could bring back a name of `node`.
    fn may_return(&self, node: Node) -> bool {
        self.durable.values().any(|held| *held == node)
            || self.pending.iter().any(|change| match change {
                Change::Add { node: held, .. } | Change::Rename { node: held, .. } => *held == node,
                Change::Remove { .. } => false,
            })
    }

    fn after_power_cut(&self, random: &mut SplitMix64) -> BTreeMap<String, Node> {
        let mut entries = self.durable.clone();
        let mode = random.below(4);
        let prefix = random.below(self.pending.len() as u64 + 1);
        for (index, change) in (0..).zip(&self.pending) {
            let survives = match mode {
                0 => false,
                1 => true,
                2 => index < prefix,
                _ => random.one_in(2),
            };
            if survives {
                apply(&mut entries, change);
            }
        }
        entries
    }
}

fn apply(entries: &mut BTreeMap<String, Node>, change: &Change) {
    match change {
        Change::Add { name, node } => {
            entries.insert(name.clone(), *node);
        }
        Change::Remove { name, node } => remove_if(entries, name, *node),
        Change::Rename { from, to, node } => {
            remove_if(entries, from, *node);
            entries.insert(to.clone(), *node);
        }
    }
}

/// Removes the name while it stands for `node`: an earlier change may have been lost.
fn remove_if(entries: &mut BTreeMap<String, Node>, name: &str, node: Node) {
    if entries.get(name) == Some(&node) {
        entries.remove(name);
    }
}

/// All directories and files. Directory 0 is the root; relative paths start there.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) files: BTreeMap<u64, Inode>,
    dirs: BTreeMap<u64, Dir>,
    next_number: u64,
}

const ROOT: u64 = 0;

/// The names on the way to `path`, without `.` and `..`.
fn names(path: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => drop(names.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    names
}

/// One spelling for each path.
pub(super) fn normal(path: &Path) -> PathBuf {
    names(path).iter().collect()
}

impl Tree {
    pub(super) fn new() -> Self {
        Self { files: BTreeMap::new(), dirs: BTreeMap::from([(ROOT, Dir::default())]), next_number: 1 }
    }

    /// Bytes that reachable files take up.
    pub(super) fn used_bytes(&self) -> u64 {
        self.files.values().filter(|inode| inode.is_live()).map(|inode| inode.cached.len()).sum()
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn dir(&self, number: u64) -> Result<&Dir, ErrorKind> {
        self.dirs.get(&number).ok_or(ErrorKind::NotFound)
    }

    fn dir_mut(&mut self, number: u64) -> Result<&mut Dir, ErrorKind> {
        self.dirs.get_mut(&number).ok_or(ErrorKind::NotFound)
    }

    /// The directory in which `path` has its last name, and that name.
    fn place(&self, path: &Path) -> Result<(u64, String), ErrorKind> {
        let mut names = names(path);
        let name = names.pop().ok_or(ErrorKind::IsADirectory)?;
        let mut at = ROOT;
        for name in &names {
            at = match self.dir(at)?.entries.get(name) {
                Some(Node::Dir(number)) => *number,
                Some(Node::File(_)) => return Err(ErrorKind::NotADirectory),
                None => return Err(ErrorKind::NotFound),
            };
        }
        Ok((at, name))
    }

    /// What `path` stands for.
    pub(super) fn look_up(&self, path: &Path) -> Result<Node, ErrorKind> {
        if names(path).is_empty() {
            return Ok(Node::Dir(ROOT));
        }
        let (dir, name) = self.place(path)?;
        self.dir(dir)?.entries.get(&name).copied().ok_or(ErrorKind::NotFound)
    }

    /// The number of the file `path`.
    pub(super) fn file(&self, path: &Path) -> Result<u64, ErrorKind> {
        match self.look_up(path)? {
            Node::File(number) => Ok(number),
            Node::Dir(_) => Err(ErrorKind::IsADirectory),
        }
    }

    fn dir_at(&self, path: &Path) -> Result<u64, ErrorKind> {
        match self.look_up(path)? {
            Node::Dir(number) => Ok(number),
            Node::File(_) => Err(ErrorKind::NotADirectory),
        }
    }

    pub(super) fn create(&mut self, path: &Path) -> Result<u64, ErrorKind> {
        let (dir, name) = self.place(path)?;
        if self.dir(dir)?.entries.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists);
        }
        let number = self.number();
        let mut inode = Inode::default();
        inode.names = 1;
        self.files.insert(number, inode);
        self.dir_mut(dir)?.make(Change::Add { name, node: Node::File(number) });
        Ok(number)
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> Result<(), ErrorKind> {
        let mut at = ROOT;
        for name in names(path) {
            at = match self.dir(at)?.entries.get(&name) {
                Some(Node::Dir(number)) => *number,
                Some(Node::File(_)) => return Err(ErrorKind::NotADirectory),
                None => {
                    let number = self.number();
                    self.dirs.insert(number, Dir::default());
                    self.dir_mut(at)?.make(Change::Add { name, node: Node::Dir(number) });
                    number
                }
            };
        }
        Ok(())
    }

    pub(super) fn list(&self, path: &Path) -> Result<Vec<DirEntry>, ErrorKind> {
        let dir = self.dir(self.dir_at(path)?)?;
        let entry = |(name, node): (&String, &Node)| match node {
            Node::Dir(_) => DirEntry { name: name.clone(), is_dir: true, len_bytes: 0 },
            Node::File(number) => {
                let len_bytes = self.files.get(number).map_or(0, |inode| inode.cached.len());
                DirEntry { name: name.clone(), is_dir: false, len_bytes }
            }
        };
        Ok(dir.entries.iter().map(entry).collect())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), ErrorKind> {
        let (from_dir, from_name) = self.place(from)?;
        let (to_dir, to_name) = self.place(to)?;
        let file = self.file(from)?;
        let node = Node::File(file);
        let replaced = match self.dir(to_dir)?.entries.get(&to_name) {
            Some(Node::Dir(_)) => return Err(ErrorKind::IsADirectory),
            Some(Node::File(number)) => Some(*number),
            None => None,
        };
        if replaced == Some(file) {
            // Two names of one file: as POSIX has it, nothing happens.
            return Ok(());
        }
        if from_dir == to_dir {
            self.dir_mut(to_dir)?.make(Change::Rename { from: from_name, to: to_name, node });
        } else {
            self.dir_mut(to_dir)?.make(Change::Add { name: to_name, node });
            self.dir_mut(from_dir)?.make(Change::Remove { name: from_name, node });
        }
        if let Some(replaced) = replaced {
            self.drop_name(replaced);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> Result<(), ErrorKind> {
        let (dir, name) = self.place(path)?;
        let number = self.file(path)?;
        self.dir_mut(dir)?.make(Change::Remove { name, node: Node::File(number) });
        self.drop_name(number);
        Ok(())
    }

    pub(super) fn link(&mut self, original: &Path, link: &Path) -> Result<(), ErrorKind> {
        let number = self.file(original)?;
        let (dir, name) = self.place(link)?;
        if self.dir(dir)?.entries.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists);
        }
        self.dir_mut(dir)?.make(Change::Add { name, node: Node::File(number) });
        if let Some(inode) = self.files.get_mut(&number) {
            inode.names += 1;
        }
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> Result<(), ErrorKind> {
        let number = self.dir_at(path)?;
        let dir = self.dir_mut(number)?;
        dir.pending.clear();
        dir.durable.clone_from(&dir.entries);
        let gone: Vec<u64> =
            self.files.iter().filter(|(_, inode)| !inode.is_live()).map(|(number, _)| *number).collect();
        for number in gone {
            self.collect(number);
        }
        Ok(())
    }

    fn drop_name(&mut self, number: u64) {
        if let Some(inode) = self.files.get_mut(&number) {
            inode.names = inode.names.saturating_sub(1);
        }
        self.collect(number);
    }

    /// One handle fewer.
    pub(super) fn close(&mut self, number: u64) {
        if let Some(inode) = self.files.get_mut(&number) {
            inode.handles = inode.handles.saturating_sub(1);
            if inode.handles == 0 && inode.names == 0 {
                self.collect(number);
            }
        }
    }

    /// Frees a file that neither a name nor a handle nor a power cut can reach.
    fn collect(&mut self, number: u64) {
        let live = self.files.get(&number).is_some_and(Inode::is_live);
        if !live && !self.dirs.values().any(|dir| dir.may_return(Node::File(number))) {
            self.files.remove(&number);
        }
    }

    /// What a killed process leaves: everything but its handles.
    pub(super) fn after_kill(&self) -> Self {
        let mut tree = self.clone();
        for inode in tree.files.values_mut() {
            inode.handles = 0;
        }
        tree
    }

    /// What may be found after a power cut. Each file and directory draws from a
    /// generator of its own, so that its fate follows from the seed and its number.
    pub(super) fn after_power_cut(&self, seed: u64) -> Self {
        let mut survived = Self { next_number: self.next_number, ..Self::new() };
        let mut queue = vec![ROOT];
        let mut seen = BTreeSet::from([ROOT]);
        while let Some(number) = queue.pop() {
            let Some(dir) = self.dirs.get(&number) else { continue };
            let entries = dir.after_power_cut(&mut SplitMix64::new(mix64(seed) ^ mix64(number)));
            for node in entries.values() {
                match node {
                    Node::Dir(number) if seen.insert(*number) => queue.push(*number),
                    Node::Dir(_) => {}
                    Node::File(number) => survived.adopt(*number, self, seed),
                }
            }
            survived.dirs.insert(number, Dir { durable: entries.clone(), entries, pending: Vec::new() });
        }
        survived
    }

    /// Takes over what survives of a file, or counts one more name of it.
    fn adopt(&mut self, number: u64, before: &Self, seed: u64) {
        let survivor = self.files.entry(number).or_insert_with(|| {
            let mut random = SplitMix64::new(mix64(seed) ^ mix64(number));
            before.files.get(&number).map(|inode| inode.after_power_cut(&mut random)).unwrap_or_default()
        });
        survivor.names += 1;
    }
}
