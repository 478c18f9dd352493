//! From what EC2 describes to what we keep of it.

use super::refused::{Refused, odd};
use aws_sdk_ec2::types::{AttachmentStatus, NetworkInterface, NetworkInterfaceAttachment, Tag};
use ipnetwork::Ipv4Network;
use net::Mac;
use pool::Block;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

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
    /// EC2 deletes it when its instance ends.
    pub ends_with_instance: bool,
}

/// What we keep of an interface.
pub(super) fn described(
    action: &'static str,
    eni: &NetworkInterface,
) -> Result<Described, Refused> {
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
        ends_with_instance: eni
            .attachment()
            .is_some_and(|it| it.delete_on_termination == Some(true)),
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
pub(super) fn prefix(action: &'static str, text: Option<&str>) -> Result<Block, Refused> {
    let network: Ipv4Network = parse(action, "ipv4Prefix", text)?;
    Ok(Block::Prefix(network.network()))
}

/// A field that EC2 always sends.
pub(super) fn parse<T: std::str::FromStr>(
    action: &'static str,
    field: &str,
    value: Option<&str>,
) -> Result<T, Refused> {
    let parsed = value.and_then(|value| value.parse().ok());
    parsed.ok_or_else(|| odd(action, format!("{field} in the reply is {value:?}")))
}
