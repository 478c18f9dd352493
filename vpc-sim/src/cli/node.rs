//! `node`: nodes come and go.

use super::{examples, interface, pair};
use crate::world::{InterfaceRequest, NodeRequest, control::Request};
use clap::Subcommand;
use std::collections::BTreeMap;

#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// Boot an instance and register it as a node
    #[command(after_help = examples::NODE_ADD)]
    Add {
        /// Name of the node
        node: String,
        /// Availability zone
        #[arg(long, required_unless_present = "subnet")]
        zone: Option<String>,
        /// Instance type
        #[arg(long = "type")]
        instance_type: Option<String>,
        /// Name or id of the subnet; otherwise the zone's node subnet
        #[arg(long)]
        subnet: Option<String>,
        /// More labels
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair, num_args = 1..)]
        labels: Vec<(String, String)>,
        /// Tags of the instance
        #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair, num_args = 1..)]
        tags: Vec<(String, String)>,
        /// One more interface that it is launched with, as a launch template has it:
        /// KEY=VALUE,… with type, ipv6_only, subnet, group, tag, description, secondary, prefixes,
        /// card, device_index
        #[arg(long = "interface", value_name = "KEY=VALUE,…", value_parser = interface::in_one_word)]
        interfaces: Vec<InterfaceRequest>,
        /// How many pods a real kubelet runs; otherwise as EKS decides by the type
        #[arg(long, value_name = "N")]
        max_pods: Option<u32>,
    },
    /// Reboot a node: its network, its run folder and its pods' sandboxes are gone, its interfaces
    /// stay, and its daemon is started again
    #[command(after_help = examples::NODE_REBOOT)]
    Reboot {
        /// Name of the node
        node: String,
    },
    /// Stop a node; its interfaces stay attached
    #[command(after_help = examples::NODE_STOP)]
    Stop {
        /// Name of the node
        node: String,
    },
    /// Start a stopped node, and its daemon if that ran
    #[command(after_help = examples::NODE_START)]
    Start {
        /// Name of the node
        node: String,
        /// Another instance type
        #[arg(long = "type")]
        instance_type: Option<String>,
    },
    /// Terminate a node, as EC2 does
    #[command(after_help = examples::NODE_RM)]
    Rm {
        /// Name of the node
        node: String,
    },
}

/// What the arguments ask of the world.
pub(super) fn request(command: NodeCommand) -> Request {
    match command {
        NodeCommand::Add {
            node: name,
            zone,
            instance_type,
            subnet,
            labels,
            tags,
            interfaces,
            max_pods,
        } => {
            let labels: BTreeMap<_, _> = labels.into_iter().collect();
            let tags = tags.into_iter().collect();
            let request = NodeRequest {
                name,
                zone,
                instance_type,
                subnet,
                labels,
                tags,
                interfaces,
                max_pods,
            };
            Request::NodeAdd(request)
        }
        NodeCommand::Reboot { node } => Request::NodeReboot { node },
        NodeCommand::Stop { node } => Request::NodeStop { node },
        NodeCommand::Start { node, instance_type } => Request::NodeStart { node, instance_type },
        NodeCommand::Rm { node } => Request::NodeRemove { node },
    }
}
