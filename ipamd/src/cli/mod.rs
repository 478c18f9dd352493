//! The command line: the daemon itself, and what tells people about it and about a node.

mod capabilities;
mod daemon;
mod environment;
mod first_list;
mod hand_back;
mod health;
mod install;
mod plugin;
mod reference_plugins;
mod settings;
mod shadow;
mod start;
mod starting;
mod stay_down;

use crate::tell::{log, metrics};
use anyhow::Result;
use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};
use tracing::error;

/// Does what the arguments say.
pub(crate) fn main() -> ExitCode {
    let ended = run().unwrap_or_else(|error| {
        tell(&error);
        ExitCode::FAILURE
    });
    log::flush();
    ended
}

fn tell(error: &anyhow::Error) {
    error!(error = format!("{error:#}"), "ipamd ends");
    report(error);
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
    /// Prints every setting, its default, and what becomes of it; with `--check` what becomes of each
    /// setting of a file (then the exit code is 0 if the daemon starts with it, and 1 if not)
    Settings {
        /// A DaemonSet in YAML or as `kubectl get daemonset --output json` prints it, or lines of
        /// NAME=value; `-` is standard input
        #[arg(long, value_name = "FILE")]
        check: Option<PathBuf>,
    },
    /// Prints every metric, its labels, and what it says
    Metrics,
    /// Tells, beside whoever serves this node and without changing anything, about which addresses
    /// of running pods EC2, the instance metadata, the records and the kernel disagree, which pods a
    /// take-over would adopt, and what the pool would change; every `ENI_CNI_SHADOW_INTERVAL`
    /// seconds, or once when that is 0 (then the exit code is 0 if all agree, 1 if not, 2 if it could
    /// not look)
    Shadow,
    /// Tells whether the daemon of this node answers, or with `--ready` whether pods get addresses;
    /// for the probes of a kubelet
    Health {
        /// Whether a pod that starts now, or soon, gets an address
        #[arg(long)]
        ready: bool,
    },
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

fn run() -> Result<ExitCode> {
    environment::tidy()?;
    match Arguments::parse().command {
        None => daemon::run()?,
        Some(Command::Shadow) => return Ok(shadow::run()),
        Some(Command::Settings { check }) => return settings::run(check),
        Some(Command::Metrics) => {
            print(&metrics::table());
        }
        Some(Command::Health { ready }) => print(&health::run(ready)?),
        Some(Command::HandBack) => hand_back::run()?,
        Some(Command::TakeOver) => print(stay_down::end(&rpc::run_dir())?),
    }
    Ok(ExitCode::SUCCESS)
}
