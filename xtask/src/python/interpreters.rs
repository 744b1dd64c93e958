//! The CPythons of this machine.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest that the wheel is for (abi3-py311).
const OLDEST: u32 = 11;
/// Names looked for in PATH; higher ones do not exist yet.
const NEWEST: u32 = 20;

/// Prints what is to be known, in one line; nothing if this is not for us. `-I` keeps the user's variables out.
const PROBE: &str = "
import importlib.util as u, sys, sysconfig
v = sys.version_info
has = lambda *names: int(all(u.find_spec(name) for name in names))
gil = not sysconfig.get_config_var('Py_GIL_DISABLED')
if sys.implementation.name == 'cpython' and v >= (3, 11) and gil:
    suites = has('test') and has('test.lock_tests', 'test._test_multiprocessing')
    print(v[1], v[2], has('venv', 'ensurepip'), suites, getattr(sys, '_base_executable', sys.executable))
";

/// A CPython 3 with the GIL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interpreter {
    pub(super) minor: u32,
    pub(super) micro: u32,
    /// It can make virtual environments.
    pub(super) venv: bool,
    /// It has CPython's own tests.
    pub(super) suites: bool,
    pub(super) path: PathBuf,
}

impl fmt::Display for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "3.{}.{}", self.minor, self.micro)
    }
}

impl Interpreter {
    /// As `3.11`.
    pub(super) fn short(&self) -> String {
        format!("3.{}", self.minor)
    }

    fn asked(path: &Path) -> Option<Interpreter> {
        let output = Command::new(path)
            .args(["-I", "-c", PROBE])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        Self::from_answer(&String::from_utf8_lossy(&output.stdout))
    }

    fn from_answer(answer: &str) -> Option<Interpreter> {
        let mut words = answer.trim().splitn(5, ' ');
        let mut number = || words.next()?.parse::<u32>().ok();
        Some(Interpreter {
            minor: number()?,
            micro: number()?,
            venv: number()? == 1,
            suites: number()? == 1,
            path: PathBuf::from(words.next()?),
        })
    }
}

/// The best interpreter of each minor version, the oldest first: one that makes environments before one that does not, then
/// one that has CPython's tests, then the newest.
pub(super) fn found() -> Vec<Interpreter> {
    best(
        candidates()
            .iter()
            .filter_map(|path| Interpreter::asked(path)),
    )
}

fn best(all: impl Iterator<Item = Interpreter>) -> Vec<Interpreter> {
    let mut by_minor: BTreeMap<u32, Interpreter> = BTreeMap::new();
    let merit = |it: &Interpreter| (it.venv, it.suites, it.micro);
    for one in all {
        match by_minor.get(&one.minor) {
            Some(other) if merit(other) >= merit(&one) => {}
            _ => {
                by_minor.insert(one.minor, one);
            }
        }
    }
    by_minor.into_values().collect()
}

/// Files that may be interpreters: those in PATH, and pyenv's.
fn candidates() -> Vec<PathBuf> {
    let names: Vec<String> = (OLDEST..=NEWEST)
        .map(|minor| format!("python3.{minor}"))
        .chain(["python3".to_owned()])
        .collect();
    let mut files: Vec<PathBuf> = std::env::var_os("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
        .collect();
    for root in pyenv_roots() {
        let versions = std::fs::read_dir(root.join("versions"));
        for version in versions.into_iter().flatten().flatten() {
            files.push(version.path().join("bin/python3"));
        }
    }
    files.retain(|file| file.is_file());
    files.sort();
    files.dedup();
    files
}

fn pyenv_roots() -> Vec<PathBuf> {
    let told = Command::new("pyenv")
        .arg("root")
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let set = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv"));
    told.into_iter().chain(set).chain(home).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_anything_else_is_not() {
        let one = Interpreter::from_answer("11 7 1 0 /a b/python3\n").unwrap();
        assert_eq!(one.to_string(), "3.11.7");
        assert_eq!(one.path, Path::new("/a b/python3"));
        assert!(one.venv && !one.suites);
        assert_eq!(Interpreter::from_answer(""), None);
        assert_eq!(Interpreter::from_answer("pyenv: not found"), None);
    }

    #[test]
    fn one_of_each_minor_version_is_taken() {
        let made = |text: &str| Interpreter::from_answer(text).unwrap();
        let chosen = best(
            [
                "13 0 1 1 /c",
                "11 9 0 1 /no-venv",
                "11 2 1 0 /no-suites",
                "11 1 1 1 /a",
                "11 0 1 1 /older",
            ]
            .into_iter()
            .map(made),
        );
        let paths: Vec<_> = chosen
            .iter()
            .map(|one| one.path.to_str().unwrap())
            .collect();
        assert_eq!(paths, ["/a", "/c"]);
    }
}
