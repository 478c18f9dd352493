//! The calls that we make to EC2.

use crate::imds::Identity;
use aws_sdk_ec2::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::{
        Filter, NetworkInterface, NetworkInterfaceAttachmentChanges, ResourceType, Tag,
        TagSpecification,
    },
};
use net::Mac;
use std::{collections::BTreeMap, fmt, net::Ipv4Addr};

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

/// What a new interface shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewEni {
    /// Id of the subnet.
    pub subnet: String,
    /// Ids of the security groups.
    pub groups: Vec<String>,
    /// Secondary addresses.
    pub addresses: usize,
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
    /// Its secondary addresses.
    pub secondary: Vec<Ipv4Addr>,
    /// `subnet-…`.
    pub subnet: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
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
        let count = i32::try_from(new.addresses).ok().filter(|count| *count > 0);
        let reply = self
            .client
            .create_network_interface()
            .subnet_id(&new.subnet)
            .set_groups(Some(new.groups.clone()))
            .set_secondary_private_ip_address_count(count)
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

    /// Asks for more secondary addresses; returns the new ones.
    pub(crate) async fn assign(&self, eni: &str, count: usize) -> Result<Vec<Ipv4Addr>, Refused> {
        const ACTION: &str = "AssignPrivateIpAddresses";
        let count = i32::try_from(count).map_err(|error| odd(ACTION, error))?;
        let reply = self
            .client
            .assign_private_ip_addresses()
            .network_interface_id(eni)
            .secondary_private_ip_address_count(count)
            .send()
            .await
            .map_err(|error| refused(ACTION, &error))?;
        let assigned = reply.assigned_private_ip_addresses().iter();
        assigned.map(|it| parse(ACTION, "privateIpAddress", it.private_ip_address())).collect()
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
    Ok(Described {
        id: parse(action, "networkInterfaceId", eni.network_interface_id())?,
        mac: parse(action, "macAddress", eni.mac_address())?,
        primary: parse(action, "privateIpAddress", eni.private_ip_address())?,
        secondary: secondary
            .map(|address| parse(action, "privateIpAddress", address.private_ip_address()))
            .collect::<Result<_, _>>()?,
        subnet: parse(action, "subnetId", eni.subnet_id())?,
        tags: eni.tag_set().iter().filter_map(tag).collect(),
        attachment: eni.attachment().and_then(|it| {
            let index = it.device_index().and_then(|index| u32::try_from(index).ok());
            it.attachment_id().map(Into::into).zip(index)
        }),
    })
}

fn tag(tag: &Tag) -> Option<(String, String)> {
    Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()))
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
