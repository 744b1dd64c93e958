//! The Python package.

use crate::steps::{self, BUILD};
use crate::workspace::{cargo, root, target};
use std::process::ExitCode;

/// Builds the extension module and puts it beside the Python files, so that `PYTHONPATH=python` finds the package.
pub(crate) fn develop() -> ExitCode {
    let build = cargo(["build", "-p", "allcores-python", "--profile", "develop"]);
    let made = steps::run_task((build, BUILD)).and_then(|()| put_in_place());
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

fn put_in_place() -> Result<(), String> {
    let from = target().join("develop/lib_allcores.so");
    let folder = root().join("python/allcores");
    // Renamed into place: a process that has the old one mapped keeps it.
    let new = folder.join(".new.so");
    std::fs::copy(&from, &new)
        .and_then(|_| std::fs::rename(&new, folder.join("_allcores.abi3.so")))
        .map_err(|error| format!("{}: {error}", from.display()))
}
