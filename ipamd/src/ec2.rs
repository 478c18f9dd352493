//! The calls that we make to EC2.

use crate::imds::Identity;
use aws_sdk_ec2::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::{
        AttachmentStatus, Filter, NetworkInterface, NetworkInterfaceAttachment,
        NetworkInterfaceAttachmentChanges, ResourceType, Tag, TagSpecification,
    },
};
use ipnetwork::Ipv4Network;
use net::Mac;
use pool::{Amount, Block, Cause};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::Ipv4Addr,
};

/// Network card 0. Left out, EC2 checks device indexes across cards (`facts/ec2-facts.md` §1.4).
const CARD: i32 = 0;

/// A call that EC2 did not carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The action, `CreateNetworkInterface`.
    pub action: &'static str,
    /// EC2's code, `InvalidSubnetID.NotFound`; empty when EC2 was not reached.
    pub code: String,
    /// EC2's sentence, or why it was not reached.
    pub message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, code, message } = self;
        if code.is_empty() {
            write!(f, "{action}: {message}")
        } else {
            write!(f, "{action}: {code}: {message}")
        }
    }
}

impl std::error::Error for Refused {}

impl Refused {
    /// The class of the refusal (`facts/ec2-facts.md` §1.7).
    pub(crate) fn cause(&self) -> Cause {
        match self.code.as_str() {
            "RequestLimitExceeded"
            | "Throttling"
            | "ThrottlingException"
            | "EC2ThrottledException" => Cause::Throttled,
            "InsufficientFreeAddressesInSubnet" => Cause::NoAddresses,
            "InsufficientCidrBlocks" => Cause::NoPrefixes,
            // The third code of exhaustion is an ordinary one with a text of its own.
            "InvalidParameterValue"
                if self.message.contains("sufficient free Ipv4 addresses or prefixes") =>
            {
                Cause::NoPrefixes
            }
            "AttachmentLimitExceeded"
            | "PrivateIpAddressLimitExceeded"
            | "NetworkInterfaceLimitExceeded"
            | "SecurityGroupsPerInterfaceLimitExceeded" => Cause::Limit,
            "UnauthorizedOperation" | "AuthFailure" => Cause::Denied,
            "" | "InternalError" | "InternalFailure" | "Unavailable" | "ServiceUnavailable" => {
                Cause::Unavailable
            }
            _ => Cause::Wrong,
        }
    }
}

/// What a new interface shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewEni {
    /// Id of the subnet.
    pub subnet: String,
    /// Ids of the security groups.
    pub groups: BTreeSet<String>,
    /// Secondary addresses.
    pub addresses: usize,
    /// Prefixes.
    pub prefixes: usize,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Makes EC2 answer a repeated call with the interface that the first one made.
    pub client_token: String,
}

/// An interface as EC2 describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    /// `eni-…`.
    pub id: String,
    /// Its hardware address.
    pub mac: Mac,
    /// Its primary address.
    pub primary: Ipv4Addr,
    /// Its secondary addresses and prefixes.
    pub blocks: BTreeSet<Block>,
    /// Ids of its security groups.
    pub groups: BTreeSet<String>,
    /// `subnet-…`.
    pub subnet: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The network card that it is attached to.
    pub card: u32,
    /// `eni-attach-…` and the device index, when it is attached.
    pub attachment: Option<(String, u32)>,
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
        let tags = new.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        let tags = TagSpecification::builder()
            .resource_type(ResourceType::NetworkInterface)
            .set_tags(Some(tags.collect()))
            .build();
        let count = |count: usize| i32::try_from(count).ok().filter(|count| *count > 0);
        let reply = self
            .client
            .create_network_interface()
            .subnet_id(&new.subnet)
            .set_groups(Some(new.groups.iter().cloned().collect()))
            .set_secondary_private_ip_address_count(count(new.addresses))
            .set_ipv4_prefix_count(count(new.prefixes))
            // The peer finds interfaces that were left behind by this description.
            .description(format!("aws-K8S-{}", self.instance))
            .tag_specifications(tags)
            .client_token(&new.client_token)
            .send()
            .await
            .map_err(|error| refused(ACTION, &error))?;
        let eni =
            reply.network_interface().ok_or_else(|| odd(ACTION, "no interface in the reply"))?;
        described(ACTION, eni)
    }

    /// Attaches an interface; returns the attachment's id.
    pub(crate) async fn attach(&self, eni: &str, device_index: u32) -> Result<String, Refused> {
        const ACTION: &str = "AttachNetworkInterface";
        let device_index = i32::try_from(device_index).map_err(|error| odd(ACTION, error))?;
        let reply = self
            .client
            .attach_network_interface()
            .network_interface_id(eni)
            .instance_id(&self.instance)
            .device_index(device_index)
            .network_card_index(CARD)
            .send()
            .await
            .map_err(|error| refused(ACTION, &error))?;
        reply
            .attachment_id()
            .map(Into::into)
            .ok_or_else(|| odd(ACTION, "no attachment in the reply"))
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
        self.client
            .modify_network_interface_attribute()
            .network_interface_id(eni)
            .attachment(changes)
            .send()
            .await
            .map(drop)
            .map_err(|error| refused("ModifyNetworkInterfaceAttribute", &error))
    }

    /// Asks for more addresses or prefixes; returns the new ones.
    pub(crate) async fn assign(
        &self,
        eni: &str,
        amount: Amount,
    ) -> Result<BTreeSet<Block>, Refused> {
        const ACTION: &str = "AssignPrivateIpAddresses";
        let count = i32::try_from(amount.blocks()).map_err(|error| odd(ACTION, error))?;
        let call = self.client.assign_private_ip_addresses().network_interface_id(eni);
        let call = match amount {
            Amount::Addresses(_) => call.secondary_private_ip_address_count(count),
            Amount::Prefixes(_) => call.ipv4_prefix_count(count),
        };
        let reply = call.send().await.map_err(|error| refused(ACTION, &error))?;
        let addresses = reply.assigned_private_ip_addresses().iter().map(|it| {
            parse(ACTION, "privateIpAddress", it.private_ip_address()).map(Block::Address)
        });
        let prefixes =
            reply.assigned_ipv4_prefixes().iter().map(|it| prefix(ACTION, it.ipv4_prefix()));
        addresses.chain(prefixes).collect()
    }

    /// Gives addresses and prefixes back.
    pub(crate) async fn unassign(
        &self,
        eni: &str,
        blocks: &BTreeSet<Block>,
    ) -> Result<(), Refused> {
        let mut call = self.client.unassign_private_ip_addresses().network_interface_id(eni);
        for block in blocks {
            call = match block {
                Block::Address(address) => call.private_ip_addresses(address.to_string()),
                Block::Prefix(first) => call.ipv4_prefixes(format!("{first}/28")),
            };
        }
        call.send().await.map(drop).map_err(|error| refused("UnassignPrivateIpAddresses", &error))
    }

    /// Puts an interface into these security groups, and no others.
    pub(crate) async fn set_groups(
        &self,
        eni: &str,
        groups: &BTreeSet<String>,
    ) -> Result<(), Refused> {
        self.client
            .modify_network_interface_attribute()
            .network_interface_id(eni)
            .set_groups(Some(groups.iter().cloned().collect()))
            .send()
            .await
            .map(drop)
            .map_err(|error| refused("ModifyNetworkInterfaceAttribute", &error))
    }

    /// Every interface that is attached to this instance.
    pub(crate) async fn attached(&self) -> Result<Vec<Described>, Refused> {
        let filter =
            Filter::builder().name("attachment.instance-id").values(&self.instance).build();
        self.describe(filter).await
    }

    /// One interface, if it exists.
    pub(crate) async fn one(&self, eni: &str) -> Result<Option<Described>, Refused> {
        let filter = Filter::builder().name("network-interface-id").values(eni).build();
        Ok(self.describe(filter).await?.pop())
    }

    /// Detaches an interface.
    pub(crate) async fn detach(&self, attachment: &str) -> Result<(), Refused> {
        let call = self.client.detach_network_interface().attachment_id(attachment);
        call.send().await.map(drop).map_err(|error| refused("DetachNetworkInterface", &error))
    }

    /// Deletes an interface.
    pub(crate) async fn delete(&self, eni: &str) -> Result<(), Refused> {
        let call = self.client.delete_network_interface().network_interface_id(eni);
        call.send().await.map(drop).map_err(|error| refused("DeleteNetworkInterface", &error))
    }

    /// Interfaces, and addresses on each, that an instance type allows.
    pub(crate) async fn limits(&self, instance_type: &str) -> Result<(usize, usize), Refused> {
        const ACTION: &str = "DescribeInstanceTypes";
        let call = self.client.describe_instance_types().instance_types(instance_type.into());
        let reply = call.send().await.map_err(|error| refused(ACTION, &error))?;
        let network = reply.instance_types().first().and_then(|found| found.network_info());
        let network = network.ok_or_else(|| odd(ACTION, "no network limits in the reply"))?;
        let card =
            network.network_cards().first().and_then(|card| card.maximum_network_interfaces());
        let enis = card.or(network.maximum_network_interfaces());
        let limit = |limit: Option<i32>| limit.and_then(|limit| usize::try_from(limit).ok());
        limit(enis)
            .zip(limit(network.ipv4_addresses_per_interface()))
            .ok_or_else(|| odd(ACTION, "no network limits in the reply"))
    }

    async fn describe(&self, filter: Filter) -> Result<Vec<Described>, Refused> {
        const ACTION: &str = "DescribeNetworkInterfaces";
        // An instance has at most a few dozen interfaces: one page holds them.
        let call = self.client.describe_network_interfaces().filters(filter);
        let reply = call.send().await.map_err(|error| refused(ACTION, &error))?;
        reply.network_interfaces().iter().map(|eni| described(ACTION, eni)).collect()
    }
}

fn described(action: &'static str, eni: &NetworkInterface) -> Result<Described, Refused> {
    let addresses = eni.private_ip_addresses().iter();
    let secondary = addresses.filter(|address| address.primary() != Some(true));
    let secondary = secondary.map(|address| {
        parse(action, "privateIpAddress", address.private_ip_address()).map(Block::Address)
    });
    let prefixes = eni.ipv4_prefixes().iter().map(|it| prefix(action, it.ipv4_prefix()));
    let blocks = secondary.chain(prefixes).collect::<Result<_, _>>()?;
    Ok(Described {
        id: parse(action, "networkInterfaceId", eni.network_interface_id())?,
        mac: parse(action, "macAddress", eni.mac_address())?,
        primary: parse(action, "privateIpAddress", eni.private_ip_address())?,
        blocks,
        groups: eni.groups().iter().filter_map(|group| group.group_id()).map(Into::into).collect(),
        subnet: parse(action, "subnetId", eni.subnet_id())?,
        tags: eni.tag_set().iter().filter_map(tag).collect(),
        card: eni
            .attachment()
            .and_then(|it| it.network_card_index())
            .and_then(|card| u32::try_from(card).ok())
            .unwrap_or(0),
        attachment: eni.attachment().filter(|it| !ends(it)).and_then(|it| {
            let index = it.device_index().and_then(|index| u32::try_from(index).ok());
            it.attachment_id().map(Into::into).zip(index)
        }),
    })
}

/// An attachment that is being undone is none any more.
fn ends(attachment: &NetworkInterfaceAttachment) -> bool {
    matches!(attachment.status(), Some(AttachmentStatus::Detaching | AttachmentStatus::Detached))
}

fn tag(tag: &Tag) -> Option<(String, String)> {
    Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()))
}

/// `10.0.0.16/28` as a block.
fn prefix(action: &'static str, text: Option<&str>) -> Result<Block, Refused> {
    let network: Ipv4Network = parse(action, "ipv4Prefix", text)?;
    Ok(Block::Prefix(network.network()))
}

fn parse<T: std::str::FromStr>(
    action: &'static str,
    field: &str,
    value: Option<&str>,
) -> Result<T, Refused> {
    let parsed = value.and_then(|value| value.parse().ok());
    parsed.ok_or_else(|| odd(action, format!("{field} in the reply is {value:?}")))
}

/// A reply that is not as EC2 documents it.
fn odd(action: &'static str, what: impl ToString) -> Refused {
    Refused { action, code: String::new(), message: what.to_string() }
}

fn refused<E, R>(action: &'static str, error: &SdkError<E, R>) -> Refused
where
    SdkError<E, R>: ProvideErrorMetadata + std::error::Error,
{
    let code = error.code().unwrap_or_default().to_owned();
    let message = match error.message() {
        Some(message) => message.to_owned(),
        None => chain(error),
    };
    Refused { action, code, message }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
