//! From what EC2 describes to what we keep of it.

use aws_sdk_ec2::types::{
    AttachmentStatus, NetworkInterface, NetworkInterfaceAttachment, NetworkInterfaceType, Tag,
};
use ipnetwork::Ipv4Network;
use pool::Block;
use quoted::quoted;
use steps::{Described, Listed, Refused, Unreadable};
use tracing::warn;

/// Reads a list element by element: one that cannot be read hides no other.
pub(super) fn listed(action: &'static str, interfaces: &[NetworkInterface]) -> Listed {
    let mut listed = Listed::default();
    for eni in interfaces {
        match described(action, eni) {
            Ok(described) => listed.interfaces.push(described),
            Err(refused) => listed.unreadable.push(Unreadable {
                id: eni.network_interface_id().unwrap_or("an interface without an id").into(),
                place: attachment(eni).map(|(_, index)| (card(eni), index)),
                why: refused.message,
            }),
        }
    }
    listed
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
    let prefixes =
        eni.ipv4_prefixes().iter().filter_map(|it| prefix(action, it.ipv4_prefix()).transpose());
    let blocks = secondary.chain(prefixes).collect::<Result<_, _>>()?;
    Ok(Described {
        id: parse(action, "networkInterfaceId", eni.network_interface_id())?,
        mac: parse(action, "macAddress", eni.mac_address())?,
        primary: match eni.private_ip_address() {
            None => None,
            text => Some(parse(action, "privateIpAddress", text)?),
        },
        special_type: eni
            .interface_type()
            .filter(|kind| **kind != NetworkInterfaceType::Interface)
            .map(|kind| kind.as_str().to_owned()),
        blocks,
        groups: eni.groups().iter().filter_map(|group| group.group_id()).map(Into::into).collect(),
        subnet: parse(action, "subnetId", eni.subnet_id())?,
        tags: eni.tag_set().iter().filter_map(tag).collect(),
        card: card(eni),
        ends_with_instance: eni
            .attachment()
            .is_some_and(|it| it.delete_on_termination == Some(true)),
        attachment: attachment(eni),
    })
}

/// The network card that an interface is attached to.
fn card(eni: &NetworkInterface) -> u32 {
    let card = eni.attachment().and_then(|it| it.network_card_index());
    card.and_then(|card| u32::try_from(card).ok()).unwrap_or(0)
}

/// The attachment and its device index, unless it is being undone.
fn attachment(eni: &NetworkInterface) -> Option<(String, u32)> {
    eni.attachment().filter(|it| !ends(it)).and_then(|it| {
        let index = it.device_index().and_then(|index| u32::try_from(index).ok());
        it.attachment_id().map(Into::into).zip(index)
    })
}

/// An attachment that is being undone is none any more.
fn ends(attachment: &NetworkInterfaceAttachment) -> bool {
    matches!(attachment.status(), Some(AttachmentStatus::Detaching | AttachmentStatus::Detached))
}

pub(super) fn tag(tag: &Tag) -> Option<(String, String)> {
    Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()))
}

/// `10.0.0.16/28` as a block. Of another length it is left out, and named: sixteen addresses are all that
/// a prefix is known to have.
pub(super) fn prefix(action: &'static str, text: Option<&str>) -> Result<Option<Block>, Refused> {
    let prefix: Ipv4Network = parse(action, "ipv4Prefix", text)?;
    if !is_block(prefix) {
        warn!(action, %prefix, "failed to understand a prefix of EC2: it is left out, as only blocks of /28 are known");
        return Ok(None);
    }
    Ok(Some(Block::Prefix(prefix.network())))
}

/// Whether a prefix is one as EC2 gives them: sixteen addresses, from a multiple of sixteen.
pub(crate) fn is_block(prefix: Ipv4Network) -> bool {
    usize::try_from(prefix.size()).ok() == Some(Block::Prefix(prefix.ip()).size())
        && prefix.ip() == prefix.network()
}

/// A field that EC2 always sends.
pub(super) fn parse<T: std::str::FromStr>(
    action: &'static str,
    field: &str,
    value: Option<&str>,
) -> Result<T, Refused> {
    let parsed = value.and_then(|value| value.parse().ok());
    parsed.ok_or_else(|| {
        let value = value.map(|value| quoted(value, quoted::SHORT));
        Refused::odd(action, format!("{field} in the reply is {value:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ec2::types::{
        Ipv4PrefixSpecification, NetworkInterfacePrivateIpAddress,
        builders::NetworkInterfaceBuilder,
    };

    #[test]
    fn an_interface_without_ipv4_or_with_nonsense_hides_no_other() {
        let all = [
            eni("eni-1", 1).private_ip_address("10.0.0.5").build(),
            eni("eni-2", 2).interface_type(NetworkInterfaceType::EfaOnly).build(),
            eni("eni-3", 3).set_mac_address(None).private_ip_address("10.0.0.7").build(),
            NetworkInterface::builder().build(),
            eni("eni-4", 4).private_ip_address("10.0.0.8").build(),
        ];

        let Listed { interfaces, unreadable } = listed("DescribeNetworkInterfaces", &all);

        let read = interfaces.iter().map(|it| (it.id.as_str(), it.primary.is_some()));
        assert_eq!(read.collect::<Vec<_>>(), [("eni-1", true), ("eni-2", false), ("eni-4", true)]);
        assert_eq!(interfaces[1].special_type.as_deref(), Some("efa-only"));
        assert_eq!(interfaces[0].special_type, None);
        let places = unreadable.iter().map(|it| (it.id.as_str(), it.place));
        assert_eq!(
            places.collect::<Vec<_>>(),
            [("eni-3", Some((0, 3))), ("an interface without an id", None)]
        );
        assert_eq!(unreadable[0].why, "macAddress in the reply is None");
    }

    #[test]
    fn a_type_that_is_newer_than_the_sdk_is_not_the_plain_one() {
        let kind = NetworkInterfaceType::from("evs");

        let eni = described("D", &eni("eni-1", 1).interface_type(kind).build()).unwrap();

        assert_eq!(eni.special_type.as_deref(), Some("evs"));
    }

    #[test]
    fn an_address_that_cannot_be_read_is_no_reason_to_take_the_others_for_all() {
        let odd = NetworkInterfacePrivateIpAddress::builder().private_ip_address("10.0.0.").build();
        let eni = eni("eni-1", 1).private_ip_address("10.0.0.5").private_ip_addresses(odd).build();

        let Listed { interfaces, unreadable } = listed("D", &[eni]);

        assert_eq!((interfaces, unreadable[0].place), (vec![], Some((0, 1))));
    }

    // A longer or shorter one would be sixteen other addresses, of somebody else.
    #[test]
    fn a_prefix_of_another_length_than_sixteen_addresses_is_left_out_and_the_rest_goes_on() {
        let prefix = |text: &str| Ipv4PrefixSpecification::builder().ipv4_prefix(text).build();
        let mut eni = eni("eni-1", 1).private_ip_address("10.0.0.5");
        for text in ["10.0.1.0/24", "10.0.2.16/28", "10.0.3.8/29", "10.0.4.4/28", "0.0.0.0/0"] {
            eni = eni.ipv4_prefixes(prefix(text));
        }

        let read = described("D", &eni.build()).unwrap();

        assert_eq!(read.blocks, [Block::Prefix([10, 0, 2, 16].into())].into());
    }

    fn eni(id: &str, device_index: i32) -> NetworkInterfaceBuilder {
        let attachment = NetworkInterfaceAttachment::builder()
            .attachment_id("eni-attach-1")
            .device_index(device_index)
            .status(AttachmentStatus::Attached)
            .build();
        NetworkInterface::builder()
            .network_interface_id(id)
            .mac_address("02:00:00:00:00:01")
            .subnet_id("subnet-1")
            .attachment(attachment)
    }
}
