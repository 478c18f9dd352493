//! `kube`: what is odd about the cluster.

use super::{examples, print};
use crate::{
    api::kube::{READING, Verb},
    world::{
        Folder,
        control::{self, Request},
        kubernetes::{Change, Refused},
    },
};
use anyhow::{Context, Result};
use clap::Subcommand;
use std::{io::Read, path::PathBuf};

/// The longest object that is read: what etcd takes is 1.5 MB.
const LONGEST: u64 = 3 << 19;

#[derive(Debug, Subcommand)]
pub(super) enum KubeCommand {
    /// Refuse nodes a resource with 403, as when a rule of their ClusterRole is missing
    #[command(after_help = examples::KUBE_REFUSE)]
    Refuse {
        /// The resource, such as nodes or eniconfigs
        resource: String,
        /// Only this; otherwise get, list and watch
        #[arg(long = "verb", value_name = "VERB", num_args = 1..)]
        verbs: Vec<Verb>,
    },
    /// Let nodes have a resource again
    #[command(after_help = examples::KUBE_ALLOW)]
    Allow {
        /// The resource; everything without one
        resource: Option<String>,
    },
    /// Remove the CustomResourceDefinition of ENIConfigs, and all of them: 404; or bring it back
    #[command(after_help = examples::KUBE_CRD)]
    Crd {
        /// Which of the two
        #[arg(value_enum)]
        what: Crd,
    },
    /// Store an object without any check, as one that is older than today's schema
    #[command(after_help = examples::KUBE_STORE)]
    Store {
        /// A file with the object as JSON; standard input without one
        file: Option<PathBuf>,
    },
}

/// What to do with the definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Crd {
    /// Bring it back
    Add,
    /// Remove it
    Rm,
}

/// Does what the arguments say.
pub(super) fn run(folder: &Folder, command: KubeCommand) -> Result<()> {
    let change = match command {
        KubeCommand::Refuse { resource, verbs } => {
            let verbs = if verbs.is_empty() { READING.into() } else { verbs };
            Change::Refuse(Refused { resource, verbs })
        }
        KubeCommand::Allow { resource } => Change::Allow(resource),
        KubeCommand::Crd { what } => Change::Crd(what == Crd::Add),
        KubeCommand::Store { file } => Change::Store(object(file)?),
    };
    print::answer(&control::ask(folder, &Request::Kubernetes(change))?)
}

fn object(file: Option<PathBuf>) -> Result<serde_json::Value> {
    let mut text = String::new();
    let read = match &file {
        Some(path) => {
            std::fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text))
        }
        None => std::io::stdin().take(LONGEST).read_to_string(&mut text),
    };
    let name = file.map_or_else(|| "standard input".into(), |path| path.display().to_string());
    read.with_context(|| format!("read {name}"))?;
    serde_json::from_str(&text).with_context(|| format!("{name} is not an object as JSON"))
}
