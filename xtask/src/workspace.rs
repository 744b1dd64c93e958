//! Where things are, and the cargo that builds them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The workspace's root folder.
pub(crate) fn root() -> &'static Path {
    // The package's folder is baked in at build time: xtask is built where it runs.
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace's root folder")
}

/// Cargo's build folder, as the user's environment has it.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The cargo that started us, run in the root folder with these arguments.
pub(crate) fn cargo<I>(args: I) -> Command
where
    I: IntoIterator,
    I::Item: AsRef<std::ffi::OsStr>,
{
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(root()).args(args);
    if !usable_python() {
        // PyO3 looks for an interpreter even where the stable ABI makes it unnecessary, and objects to one that is too old.
        command.env("PYO3_NO_PYTHON", "1");
        command.env("PYO3_BUILD_EXTENSION_MODULE", "1");
    }
    command
}

/// Whether `python3` is one that the Python package can be built with.
fn usable_python() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    *USABLE.get_or_init(|| {
        let new_enough = "import sys; sys.exit(sys.version_info < (3, 11))";
        Command::new("python3")
            .args(["-I", "-c", new_enough])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

/// The names of the `.rs` files (and of the folders with a `main.rs`) right below `folder`, sorted.
pub(crate) fn targets_in(folder: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root().join(folder)) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension().is_some_and(|ext| ext == "rs") || path.join("main.rs").is_file()
        })
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}
