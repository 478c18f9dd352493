//! `policy`: what the role of nodes may do.

use super::{examples, print};
use crate::world::{
    Folder,
    control::{self, Request},
};
use anyhow::{Context, Result};
use clap::Subcommand;
use std::{fs, path::PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Give the role of nodes a policy
    #[command(after_help = examples::POLICY_SET)]
    Set {
        /// A file with IAM's JSON
        file: PathBuf,
    },
    /// Let the role of nodes do everything again
    #[command(after_help = examples::POLICY_CLEAR)]
    Clear,
}

/// Does what the arguments say.
pub(super) fn run(folder: &Folder, command: PolicyCommand) -> Result<()> {
    let policy = match command {
        PolicyCommand::Set { file } => {
            let text = fs::read_to_string(&file);
            Some(text.with_context(|| format!("read policy {}", file.display()))?)
        }
        PolicyCommand::Clear => None,
    };
    print::answer(&control::ask(folder, &Request::PolicySet { policy })?)
}
