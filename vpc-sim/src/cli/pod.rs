//! `pod`: starts and stops pods.

use super::{examples, pair, print};
use crate::{
    runtime::HostPort,
    world::{
        Folder, PodRequest,
        control::{self, Request},
    },
};
use anyhow::Result;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum PodCommand {
    /// Start a pod and print its CNI result
    #[command(after_help = examples::POD_ADD)]
    Add {
        /// Name of the node
        node: String,
        /// Name of the pod
        pod: String,
        /// Kubernetes namespace
        #[arg(long)]
        namespace: Option<String>,
        /// Serve HTTP on port 80: who it is, and who called
        #[arg(long)]
        serve: bool,
        /// Annotations
        #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = pair, num_args = 1..)]
        annotations: Vec<(String, String)>,
        /// Ports of the node that lead to the pod, such as 8080:80 or 5353:53/udp
        #[arg(long = "host-port", value_name = "HOST:POD", num_args = 1..)]
        host_ports: Vec<HostPort>,
    },
    /// Stop a pod
    #[command(after_help = examples::POD_RM)]
    Rm {
        /// Name of the node
        node: String,
        /// Name of the pod
        pod: String,
        /// Kubernetes namespace
        #[arg(long)]
        namespace: Option<String>,
    },
}

/// Does what the arguments say.
pub(super) fn run(folder: &Folder, command: PodCommand) -> Result<()> {
    match command {
        PodCommand::Add { node, pod, namespace, serve, annotations, host_ports } => {
            let annotations = annotations.into_iter().collect();
            let request = PodRequest { node, name: pod, namespace, serve, annotations, host_ports };
            let added = control::ask(folder, &Request::PodAdd(request))?;
            print::json(&added["result"])
        }
        PodCommand::Rm { node, pod, namespace } => {
            let request = Request::PodRemove { node, namespace, name: pod };
            print::answer(&control::ask(folder, &request)?)
        }
    }
}
