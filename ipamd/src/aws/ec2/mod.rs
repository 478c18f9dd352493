//! The calls that we make to EC2.

mod described;
mod loose;
#[cfg(test)]
mod odd;
mod refused;

pub(crate) use described::is_block;

use crate::tell::metrics;
use aws_sdk_ec2::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::{
        Filter, InstanceTypeHypervisor, NetworkInterfaceAttachmentChanges, ResourceType, Tag,
        TagSpecification,
    },
};
use described::{described, listed, parse, prefix};
use pool::{Amount, Block};
use record::Identity;
use refused::refused;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};
use steps::{Described, Listed, NewEni, Refused, Unreadable, sweep};

/// Network card 0. Left out, EC2 checks device indexes across cards
/// (`docs/references.md#ec2-network-card`).
const CARD: i32 = 0;

/// What an instance type allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TypeLimits {
    /// Interfaces on the first network card.
    pub enis: usize,
    /// Addresses on each, the primary one included.
    pub addresses: usize,
    /// Whether they can have prefixes.
    pub prefixes: bool,
}

/// EC2, as this node uses it.
#[derive(Clone, Debug)]
pub(crate) struct Ec2 {
    client: Client,
    instance: String,
}

impl Ec2 {
    /// Calls on behalf of an instance.
    pub(crate) fn new(client: Client, identity: &Identity) -> Self {
        Self { client, instance: identity.instance.clone() }
    }

    /// Creates an interface with its addresses, groups and tags in one call.
    pub(crate) async fn create(&self, new: &NewEni) -> Result<Described, Refused> {
        const ACTION: &str = "CreateNetworkInterface";
        let tags = TagSpecification::builder()
            .resource_type(ResourceType::NetworkInterface)
            .set_tags(Some(tags_of(&new.tags)))
            .build();
        let count = |count: usize| i32::try_from(count).ok().filter(|count| *count > 0);
        let request = self
            .client
            .create_network_interface()
            .subnet_id(&new.subnet)
            .set_groups(Some(new.groups.iter().cloned().collect()))
            .set_secondary_private_ip_address_count(count(new.addresses))
            .set_ipv4_prefix_count(count(new.prefixes))
            // By this an interface that was left behind is found, by the peer too.
            .description(format!("{}{}", sweep::DESCRIPTION, self.instance))
            .tag_specifications(tags)
            .client_token(&new.client_token);
        let reply = call(ACTION, request.send()).await?;
        let eni = reply
            .network_interface()
            .ok_or_else(|| Refused::odd(ACTION, "no interface in the reply"))?;
        described(ACTION, eni)
    }

    /// Attaches an interface; returns the attachment's id.
    pub(crate) async fn attach(&self, eni: &str, device_index: u32) -> Result<String, Refused> {
        const ACTION: &str = "AttachNetworkInterface";
        let device_index =
            i32::try_from(device_index).map_err(|error| Refused::odd(ACTION, error))?;
        let request = self
            .client
            .attach_network_interface()
            .network_interface_id(eni)
            .instance_id(&self.instance)
            .device_index(device_index)
            .network_card_index(CARD);
        let reply = call(ACTION, request.send()).await?;
        reply
            .attachment_id()
            .map(Into::into)
            .ok_or_else(|| Refused::odd(ACTION, "no attachment in the reply"))
    }

    /// Lets EC2 delete the interface when the instance is terminated.
    pub(crate) async fn delete_on_termination(
        &self,
        eni: &str,
        attachment: &str,
    ) -> Result<(), Refused> {
        let changes = NetworkInterfaceAttachmentChanges::builder()
            .attachment_id(attachment)
            .delete_on_termination(true)
            .build();
        let request = self
            .client
            .modify_network_interface_attribute()
            .network_interface_id(eni)
            .attachment(changes);
        call("ModifyNetworkInterfaceAttribute", request.send()).await.map(drop)
    }

    /// Asks for more addresses or prefixes; returns the new ones.
    pub(crate) async fn assign(
        &self,
        eni: &str,
        amount: Amount,
    ) -> Result<BTreeSet<Block>, Refused> {
        const ACTION: &str = "AssignPrivateIpAddresses";
        let count = i32::try_from(amount.blocks()).map_err(|error| Refused::odd(ACTION, error))?;
        let request = self.client.assign_private_ip_addresses().network_interface_id(eni);
        let request = match amount {
            Amount::Addresses(_) => request.secondary_private_ip_address_count(count),
            Amount::Prefixes(_) => request.ipv4_prefix_count(count),
        };
        let reply = call(ACTION, request.send()).await?;
        let addresses = reply.assigned_private_ip_addresses().iter().map(|it| {
            parse(ACTION, "privateIpAddress", it.private_ip_address()).map(Block::Address)
        });
        let prefixes = reply
            .assigned_ipv4_prefixes()
            .iter()
            .filter_map(|it| prefix(ACTION, it.ipv4_prefix()).transpose());
        addresses.chain(prefixes).collect()
    }

    /// Gives addresses and prefixes back.
    pub(crate) async fn unassign(
        &self,
        eni: &str,
        blocks: &BTreeSet<Block>,
    ) -> Result<(), Refused> {
        let mut request = self.client.unassign_private_ip_addresses().network_interface_id(eni);
        for block in blocks {
            request = match block {
                Block::Address(address) => request.private_ip_addresses(address.to_string()),
                Block::Prefix(first) => request.ipv4_prefixes(format!("{first}/28")),
            };
        }
        call("UnassignPrivateIpAddresses", request.send()).await.map(drop)
    }

    /// Puts an interface into these security groups, and no others.
    pub(crate) async fn set_groups(
        &self,
        eni: &str,
        groups: &BTreeSet<String>,
    ) -> Result<(), Refused> {
        let request = self
            .client
            .modify_network_interface_attribute()
            .network_interface_id(eni)
            .set_groups(Some(groups.iter().cloned().collect()));
        call("ModifyNetworkInterfaceAttribute", request.send()).await.map(drop)
    }

    /// Gives interfaces tags; those that they have besides stay.
    pub(crate) async fn tag(
        &self,
        enis: impl Iterator<Item = String>,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), Refused> {
        let request = self
            .client
            .create_tags()
            .set_resources(Some(enis.collect()))
            .set_tags(Some(tags_of(tags)));
        call("CreateTags", request.send()).await.map(drop)
    }

    /// Every interface that is attached to this instance.
    pub(crate) async fn attached(&self) -> Result<Listed, Refused> {
        let filter =
            Filter::builder().name("attachment.instance-id").values(&self.instance).build();
        self.describe(filter).await
    }

    /// One interface, if it exists.
    pub(crate) async fn one(&self, eni: &str) -> Result<Option<Described>, Refused> {
        let filter = Filter::builder().name("network-interface-id").values(eni).build();
        let Listed { mut interfaces, unreadable } = self.describe(filter).await?;
        match unreadable.into_iter().next() {
            Some(Unreadable { why, .. }) => Err(Refused::odd("DescribeNetworkInterfaces", why)),
            None => Ok(interfaces.pop()),
        }
    }

    /// How many addresses are free in subnets.
    pub(crate) async fn free(
        &self,
        subnets: &BTreeSet<String>,
    ) -> Result<Vec<(String, u32)>, Refused> {
        const ACTION: &str = "DescribeSubnets";
        let filter = Filter::builder()
            .name("subnet-id")
            .set_values(Some(subnets.iter().cloned().collect()))
            .build();
        // As many subnets as an ENIConfig names: one page holds them.
        let request = self.client.describe_subnets().filters(filter);
        let reply = call(ACTION, request.send()).await?;
        let room = reply.subnets().iter().filter_map(|subnet| {
            let free = u32::try_from(subnet.available_ip_address_count()?).ok()?;
            Some((subnet.subnet_id()?.to_owned(), free))
        });
        Ok(room.collect())
    }

    /// Detaches an interface.
    pub(crate) async fn detach(&self, attachment: &str) -> Result<(), Refused> {
        let request = self.client.detach_network_interface().attachment_id(attachment);
        call("DetachNetworkInterface", request.send()).await.map(drop)
    }

    /// Deletes an interface.
    pub(crate) async fn delete(&self, eni: &str) -> Result<(), Refused> {
        let request = self.client.delete_network_interface().network_interface_id(eni);
        call("DeleteNetworkInterface", request.send()).await.map(drop)
    }

    /// What an instance type allows.
    pub(crate) async fn limits(&self, instance_type: &str) -> Result<TypeLimits, Refused> {
        const ACTION: &str = "DescribeInstanceTypes";
        let request = self.client.describe_instance_types().instance_types(instance_type.into());
        let reply = call(ACTION, request.send()).await?;
        let found = reply.instance_types().first();
        let network = found.and_then(|found| found.network_info());
        let network =
            network.ok_or_else(|| Refused::odd(ACTION, "no network limits in the reply"))?;
        let card =
            network.network_cards().first().and_then(|card| card.maximum_network_interfaces());
        let enis = card.or(network.maximum_network_interfaces());
        let limit = |limit: Option<i32>| limit.and_then(|limit| usize::try_from(limit).ok());
        let limits = limit(enis).zip(limit(network.ipv4_addresses_per_interface()));
        let (enis, addresses) =
            limits.ok_or_else(|| Refused::odd(ACTION, "no network limits in the reply"))?;
        // Bare metal has no hypervisor.
        let xen = found.and_then(|found| found.hypervisor()) == Some(&InstanceTypeHypervisor::Xen);
        Ok(TypeLimits { enis, addresses, prefixes: !xen })
    }

    async fn describe(&self, filter: Filter) -> Result<Listed, Refused> {
        const ACTION: &str = "DescribeNetworkInterfaces";
        // An instance has at most a few dozen interfaces: one page holds them.
        let request = self.client.describe_network_interfaces().filters(filter);
        let reply = call(ACTION, request.send()).await?;
        Ok(listed(ACTION, reply.network_interfaces()))
    }
}

fn tags_of(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// Makes a call of EC2, and counts it.
async fn call<T, E, R>(
    action: &'static str,
    request: impl Future<Output = Result<T, SdkError<E, R>>>,
) -> Result<T, Refused>
where
    SdkError<E, R>: ProvideErrorMetadata + std::error::Error,
{
    let began = Instant::now();
    let answer = request.await.map_err(|error| refused(action, &error));
    let outcome = answer.as_ref().map(drop).map_err(|refused| refused.code.as_str());
    metrics::called(action, began.elapsed(), outcome);
    answer
}
