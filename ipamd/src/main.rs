//! The daemon of each node: attaches interfaces, keeps warm addresses, wires pods.

mod aws;
mod cli;
mod clock;
mod evidence;
#[cfg(test)]
mod examples;
mod execute;
mod follow;
mod http;
mod kernel;
mod limited;
mod memory;
mod node;
mod panics;
mod pods;
#[cfg(test)]
mod random;
mod retry;
mod settings;
mod surroundings;
mod sweep;
mod tell;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
