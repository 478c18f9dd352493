//! The command line: the daemon itself, and tables for people.

mod capabilities;
mod daemon;
mod hand_back;
mod install;
mod start;
mod stay_down;

use crate::{settings, tell::metrics};
use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tracing::error;

/// Does what the arguments say.
pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(error = format!("{error:#}"), "ipamd ends");
            report(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "whoever starts the daemon sees why it ends, also before there is a log"
)]
fn report(error: &anyhow::Error) {
    eprintln!("ipamd: {error:#}");
}

/// The daemon of each node: attaches interfaces, keeps warm addresses, wires pods. Everything is
/// set by environment variables; see `ipamd settings`.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints every setting, its default, and whether it works
    Settings,
    /// Prints every metric, its labels, and what it says
    Metrics,
    /// Prepares this node for amazon-vpc-cni-k8s while pods run; the daemon serves no more then. Run
    /// it in the daemon's container, or with its environment. Can be repeated
    HandBack,
    /// Lets the daemon serve again after `hand-back`
    TakeOver,
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn print(table: &str) {
    print!("{table}");
}

fn run() -> Result<()> {
    match Arguments::parse().command {
        None => daemon::run(),
        Some(Command::Settings) => {
            print(&settings::table());
            Ok(())
        }
        Some(Command::Metrics) => {
            print(&metrics::table());
            Ok(())
        }
        Some(Command::HandBack) => hand_back::run(),
        Some(Command::TakeOver) => {
            let said = stay_down::end(&rpc::run_dir())?;
            print(said);
            Ok(())
        }
    }
}
