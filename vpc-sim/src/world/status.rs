//! What a world tells about itself.

use super::{World, process::Process};
use crate::fabric::{Dropped, Reason};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};
use vpc::{InterfaceKind, Vpc};

/// What is known before anything happens in a world: the line that `vpc-sim up` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Name of the world.
    pub name: String,
    /// The process that runs it.
    pub process: Process,
    /// Its folder.
    pub folder: PathBuf,
    /// Kubeconfig for clients outside of the VPC.
    pub kubeconfig: PathBuf,
    /// Where clients outside of the VPC find its services.
    pub outside: Endpoints,
    /// Where nodes find them.
    pub inside: Endpoints,
    /// The host on the internet that tells who called.
    pub internet: Ipv4Addr,
}

/// URLs of services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// The Kubernetes API.
    pub kubernetes: String,
    /// EC2.
    pub ec2: String,
}

/// A world at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What does not change.
    #[serde(flatten)]
    pub summary: Summary,
    /// Subnets, by name.
    pub subnets: BTreeMap<String, SubnetStatus>,
    /// Security groups: name and id.
    pub groups: BTreeMap<String, String>,
    /// Nodes, by name.
    pub nodes: Vec<NodeStatus>,
    /// What the wires dropped.
    pub dropped: Vec<DroppedStatus>,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetStatus {
    /// Id.
    pub id: String,
    /// Addresses.
    pub cidr: String,
    /// Availability zone.
    pub zone: String,
    /// Addresses that nobody has.
    pub free: u32,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Name.
    pub name: String,
    /// Id of the instance.
    pub instance_id: String,
    /// Instance type.
    pub instance_type: String,
    /// `running` or `stopped`.
    pub state: String,
    /// Availability zone.
    pub zone: String,
    /// Primary address.
    pub address: Ipv4Addr,
    /// Address on the internet.
    pub public_address: Option<Ipv4Addr>,
    /// Its interfaces.
    pub interfaces: Vec<InterfaceStatus>,
    /// What a real Kubernetes says of it: `Ready`, or why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Process id of its daemon, while that runs.
    pub daemon: Option<i32>,
    /// Its pods.
    pub pods: Vec<PodStatus>,
}

/// A network interface of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Id.
    pub id: String,
    /// `attaching`, `attached`, `detaching`.
    pub state: String,
    /// `interface`, `efa`, `efa-only` or `trunk`.
    #[serde(rename = "type")]
    pub kind: InterfaceKind,
    /// Device index on the network card.
    pub device_index: u32,
    /// Network card of the instance.
    pub card_index: u32,
    /// Id of the subnet.
    pub subnet: String,
    /// Ids of the security groups.
    pub groups: Vec<String>,
    /// Hardware address.
    pub mac: String,
    /// Primary address; none without IPv4.
    pub primary: Option<Ipv4Addr>,
    /// Secondary addresses.
    pub secondary: Vec<Ipv4Addr>,
    /// Prefixes.
    pub prefixes: Vec<String>,
    /// Address of an interface that has no IPv4.
    pub ipv6: Option<Ipv6Addr>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// A pod that has a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodStatus {
    /// Name.
    pub name: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Its address.
    pub address: Option<IpAddr>,
    /// Id of its sandbox.
    pub container_id: String,
}

/// Packets that the wires dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedStatus {
    /// Why.
    pub reason: String,
    /// The interface that sent them, or would have received them.
    pub eni: String,
    /// From this address.
    pub source: Ipv4Addr,
    /// How many.
    pub packets: u64,
}

impl World {
    /// Everything there is, at this moment.
    ///
    /// # Errors
    /// The kernel does not tell what was dropped.
    pub async fn status(&self) -> Result<Status> {
        let dropped = self.wires.with(|fabric| fabric.dropped()).await?;
        let dropped = dropped.into_iter().map(DroppedStatus::from).collect();
        let (subnets, groups) = self.cloud.with(|vpc, _| {
            let subnets = vpc.subnets().values().map(|it| {
                let status = SubnetStatus {
                    id: it.id.clone(),
                    cidr: it.cidr.to_string(),
                    zone: it.zone.clone(),
                    free: it.free(),
                };
                (it.name.clone(), status)
            });
            let groups = vpc.groups().values().map(|it| (it.name.clone(), it.id.clone()));
            (subnets.collect(), groups.collect())
        });
        let mut nodes = Vec::new();
        for name in self.node_names() {
            // One that is removed meanwhile is not missed.
            nodes.extend(self.node_status(&name).await.ok());
        }
        let mut conditions = conditions(self).await;
        for node in &mut nodes {
            node.condition = conditions.remove(&node.name);
        }
        Ok(Status { summary: self.summary.clone(), subnets, groups, nodes, dropped })
    }

    /// One node, at this moment.
    ///
    /// # Errors
    /// There is no node of this name.
    pub async fn node_status(&self, name: &str) -> Result<NodeStatus> {
        let node = self.node(name)?;
        let daemon = node.daemon_pid().await;
        self.cloud.with(|vpc, _| {
            let instance = vpc.instance(node.instance_id.as_str())?;
            let interfaces: Vec<_> =
                instance.interfaces.iter().filter_map(|id| vpc.interfaces().get(id)).collect();
            Ok(NodeStatus {
                name: name.into(),
                instance_id: instance.id.to_string(),
                instance_type: instance.instance_type.name.clone(),
                state: instance.state().1.into(),
                zone: instance.zone.clone(),
                address: instance.private_ip,
                public_address: interfaces.iter().find_map(|it| it.public),
                interfaces: interfaces
                    .into_iter()
                    .filter_map(|it| InterfaceStatus::of(vpc, it))
                    .collect(),
                condition: None,
                daemon,
                pods: node.pods(),
            })
        })
    }
}

/// What Kubernetes says of its nodes, by name; nothing where it is not a real one.
async fn conditions(world: &World) -> BTreeMap<String, String> {
    let Some(cluster) = &world.cluster else { return BTreeMap::new() };
    cluster.conditions().await.unwrap_or_else(|error| {
        let unknown = format!("unknown: {error:#}");
        world.node_names().into_iter().map(|node| (node, unknown.clone())).collect()
    })
}

impl InterfaceStatus {
    pub(super) fn of(vpc: &Vpc, interface: &vpc::Interface) -> Option<Self> {
        let attachment = interface.attachment.as_ref()?;
        Some(Self {
            id: interface.id.to_string(),
            state: attachment.state.as_str().into(),
            kind: interface.kind,
            device_index: attachment.device_index,
            card_index: attachment.card_index,
            subnet: interface.subnet_id.clone(),
            groups: interface.groups.clone(),
            mac: interface.mac.to_string(),
            primary: interface.primary,
            secondary: interface.secondary.clone(),
            prefixes: interface.prefixes.iter().map(ToString::to_string).collect(),
            ipv6: interface.ipv6,
            tags: vpc.tags(interface.id.as_str()).cloned().unwrap_or_default(),
        })
    }
}

impl From<Dropped> for DroppedStatus {
    fn from(dropped: Dropped) -> Self {
        let reason = match dropped.reason {
            Reason::SourceCheck => "the sender does not own the source address",
            Reason::Egress => "no security group of the sender allows it out",
            Reason::Ingress => "no security group of the receiver allows it in",
            Reason::Unassigned => "nobody has the destination address",
            Reason::NoPublicAddress => "the source has no public address",
            Reason::LinkLocalLimit => "more packets a second to link-local services than allowed",
        };
        let Dropped { eni, source, packets, .. } = dropped;
        Self { reason: reason.into(), eni, source, packets }
    }
}
