//! [`Workspace`]: where the repository lies and which packages it has, as
//! `cargo metadata` tells it. Read once, passed to every chore.

use crate::Outcome;
use crate::command::Command;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The packages of the repository.
pub(crate) struct Workspace {
    /// The directory of the top `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Where build output goes.
    pub(crate) target: PathBuf,
    /// The members, sorted by name.
    pub(crate) packages: Vec<Package>,
}

/// One member.
pub(crate) struct Package {
    /// The name in its manifest.
    pub(crate) name: String,
    /// Its directory.
    pub(crate) directory: PathBuf,
    /// What its manifest depends on, inside and outside the workspace.
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a manifest's dependencies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// The name of the other package.
    pub(crate) name: String,
    /// Which table it stands in.
    pub(crate) kind: DependencyKind,
}

/// Which table of the manifest a dependency stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DependencyKind {
    /// `[dependencies]`, optional and target-specific ones included.
    Normal,
    /// `[build-dependencies]`.
    Build,
    /// `[dev-dependencies]`.
    Dev,
}

impl Workspace {
    /// Asks cargo; needs no network.
    pub(crate) fn load() -> Outcome<Self> {
        let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = xtask.parent().ok_or("xtask has no parent directory")?;
        Self::parse(&Command::cargo(root, "metadata --no-deps --format-version 1").output()?)
    }

    /// Reads the JSON of `cargo metadata`.
    pub(crate) fn parse(json: &str) -> Outcome<Self> {
        let value: Value =
            serde_json::from_str(json).map_err(|error| format!("cargo metadata is not JSON: {error}"))?;
        let list = value.get("packages").and_then(Value::as_array).ok_or("no packages in cargo metadata")?;
        let mut packages = list.iter().map(Package::parse).collect::<Outcome<Vec<_>>>()?;
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        let root = text(&value, "workspace_root")?.into();
        let target = text(&value, "target_directory")?.into();
        Ok(Self { root, target, packages })
    }

    /// The package of this name.
    pub(crate) fn package(&self, name: &str) -> Outcome<&Package> {
        self.packages.iter().find(|package| package.name == name).ok_or_else(|| {
            let names: Vec<_> = self.packages.iter().map(|package| package.name.as_str()).collect();
            format!("no crate is called {name}; there are {}", names.join(", "))
        })
    }

    /// `path` as it is shown: relative to the root, with slashes.
    pub(crate) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().replace('\\', "/")
    }

    /// All files below the root whose name ends with `.extension`, sorted. Build
    /// output and hidden directories are left out.
    pub(crate) fn files(&self, extension: &str) -> Outcome<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut pending = vec![self.root.clone()];
        while let Some(directory) = pending.pop() {
            for path in entries(&directory)? {
                let name =
                    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                if path.is_dir() {
                    let skipped = name.starts_with('.') || name == "target" || path == self.target;
                    if !skipped {
                        pending.push(path);
                    }
                } else if path.extension().is_some_and(|found| found == extension) {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

impl Package {
    fn parse(value: &Value) -> Outcome<Self> {
        let manifest = PathBuf::from(text(value, "manifest_path")?);
        let directory = manifest.parent().ok_or("a manifest has no directory")?.to_path_buf();
        let list =
            value.get("dependencies").and_then(Value::as_array).ok_or("a package has no dependencies")?;
        let dependencies = list.iter().map(Dependency::parse).collect::<Outcome<Vec<_>>>()?;
        Ok(Self { name: text(value, "name")?.to_owned(), directory, dependencies })
    }

    /// The names of the integration tests that `matches` accepts, sorted, without `.rs`.
    pub(crate) fn tests(&self, matches: impl Fn(&str) -> bool) -> Outcome<Vec<String>> {
        let directory = self.directory.join("tests");
        if !directory.is_dir() {
            return Ok(Vec::new());
        }
        let names =
            entries(&directory)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs"));
        let names = names.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()));
        Ok(names.filter(|name| matches(name)).collect())
    }

    /// Whether it lies in `crates/`: a part of the engine, not a tool around it.
    pub(crate) fn is_crate(&self) -> bool {
        self.directory.parent().is_some_and(|parent| parent.ends_with("crates"))
    }
}

impl Dependency {
    fn parse(value: &Value) -> Outcome<Self> {
        let kind = match value.get("kind").and_then(Value::as_str) {
            None => DependencyKind::Normal,
            Some("build") => DependencyKind::Build,
            Some("dev") => DependencyKind::Dev,
            Some(other) => {
                return Err(format!("cargo metadata names an unknown kind of dependency: {other}"));
            }
        };
        Ok(Self { name: text(value, "name")?.to_owned(), kind })
    }
}

fn text<'a>(value: &'a Value, field: &str) -> Outcome<&'a str> {
    value.get(field).and_then(Value::as_str).ok_or_else(|| format!("cargo metadata lacks {field}"))
}

/// The paths in a directory, sorted.
pub(crate) fn entries(directory: &Path) -> Outcome<Vec<PathBuf>> {
    let list = std::fs::read_dir(directory).map_err(|error| cannot_read(directory, &error))?;
    let mut paths = Vec::new();
    for entry in list {
        paths.push(entry.map_err(|error| cannot_read(directory, &error))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> Outcome<String> {
    std::fs::read_to_string(path).map_err(|error| cannot_read(path, &error))
}

fn cannot_read(path: &Path, error: &std::io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_becomes_packages_with_their_edges() {
        let json = r#"{
            "workspace_root": "/repo", "target_directory": "/repo/target",
            "packages": [{
                "name": "lsm-log", "manifest_path": "/repo/crates/lsm-log/Cargo.toml",
                "dependencies": [
                    {"name": "lsm-vfs", "kind": null, "optional": true},
                    {"name": "proptest", "kind": "dev"},
                    {"name": "cc", "kind": "build"}
                ]
            }]
        }"#;
        let workspace = Workspace::parse(json).unwrap();
        let package = workspace.package("lsm-log").unwrap();
        assert!(package.is_crate());
        assert_eq!(workspace.shown(&package.directory), "crates/lsm-log");
        let kinds: Vec<_> = package.dependencies.iter().map(|d| (d.name.as_str(), d.kind)).collect();
        assert_eq!(
            kinds,
            [
                ("lsm-vfs", DependencyKind::Normal),
                ("proptest", DependencyKind::Dev),
                ("cc", DependencyKind::Build)
            ]
        );
        assert!(workspace.package("lsm-nothing").is_err_and(|said| said.contains("lsm-log")));
    }
}
