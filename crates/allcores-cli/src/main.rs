//! The `allcores` command.

mod args;
mod cmd;
mod interrupt;
mod view;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let command = args::Cli::parse().command.unwrap_or_default();
    if let Err(error) = interrupt::watch() {
        eprintln!("allcores: Ctrl-C cannot be watched for: {error}");
        return ExitCode::FAILURE;
    }
    match command {
        args::Command::Demo(args) => cmd::demo::main(&args),
    }
}
