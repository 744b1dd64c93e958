//! Stock Python as the other end: every interpreter that is installed.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command};

/// A CPython of version 3.
#[derive(Clone, Debug)]
pub(crate) struct Python {
    program: PathBuf,
    /// As `3.13`.
    pub(crate) version: String,
}

/// One of each version of Python 3: those on the PATH, and those that pyenv has.
pub(crate) fn interpreters() -> Vec<Python> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    if let Some(root) = pyenv.or(home.map(|home| home.join(".pyenv"))) {
        let versions = std::fs::read_dir(root.join("versions"));
        let versions = versions.into_iter().flatten().flatten();
        folders.extend(versions.map(|version| version.path().join("bin")));
    }
    let minor = (6..20).map(|minor| format!("python3.{minor}"));
    let names: Vec<String> = std::iter::once("python3".to_owned()).chain(minor).collect();
    let mut found: Vec<Python> = Vec::new();
    for program in folders
        .iter()
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
        .filter(|program| program.is_file())
    {
        let script = "import sys; print('%d.%d' % sys.version_info[:2])";
        let output = Command::new(&program).args(["-c", script]).output();
        let version = match output {
            Ok(output) if output.status.success() => String::from_utf8(output.stdout),
            // A launcher of a version that is not installed.
            _ => continue,
        };
        let version = version.expect("digits and a point").trim().to_owned();
        if found.iter().all(|python| python.version != version) {
            found.push(Python { program, version });
        }
    }
    if found.is_empty() {
        eprintln!("no python3 here: not tested");
    }
    found
}

impl Python {
    /// Runs `script` with `end` as its standard input.
    pub(crate) fn run(&self, script: &str, end: OwnedFd) -> Child {
        let mut command = Command::new(&self.program);
        command.args(["-c", script]).stdin(end);
        command.spawn().unwrap()
    }
}
