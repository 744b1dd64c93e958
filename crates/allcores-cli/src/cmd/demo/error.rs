//! What can go wrong in the demonstration.

use std::io;
use std::path::PathBuf;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("there is no folder {}; name one that exists", .0.display())]
    Missing(PathBuf),
    #[error("{} is not a folder; name the folder it lies in", .0.display())]
    NotAFolder(PathBuf),
    #[error("the folder {} cannot be read: {source}", .folder.display())]
    Unreadable { folder: PathBuf, source: io::Error },
    #[error("there is no text below {} ({found}); name a folder that holds text files in UTF-8", .folder.display())]
    NoText { folder: PathBuf, found: String },
    #[error("no text was found on this machine in any of {0}; name a folder: allcores demo DIR")]
    NoDefault(String),
    #[error("{} changed while it was counted ({why}); run again when nobody writes there", .path.display())]
    Changed { path: PathBuf, why: String },
    #[error("a worker {0} could not be started: {1}; try fewer of them")]
    NotStarted(&'static str, String),
    #[error("a worker failed: {0}")]
    Worker(String),
    #[error(
        "{} cannot import the package allcores ({said}); install it with `pip install ./python` in the repository, \
         and name that interpreter: allcores demo --python=PROGRAM", .python.display()
    )]
    NoPython { python: PathBuf, said: String },
    #[error("the result cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// An error with all its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some say what their cause says.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

impl DemoError {
    /// 2 where other arguments would help, else 1.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            DemoError::Missing(_)
            | DemoError::NotAFolder(_)
            | DemoError::Unreadable { .. }
            | DemoError::NoText { .. }
            | DemoError::NoPython { .. }
            | DemoError::NoDefault(_) => 2,
            DemoError::Changed { .. }
            | DemoError::NotStarted(..)
            | DemoError::Worker(_)
            | DemoError::Output(_) => 1,
        }
    }
}
