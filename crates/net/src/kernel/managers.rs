//! Programs that configure links beside us, by what the kernel shows of them.

use crate::kernel::apply::Netlink;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage as Message,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage},
    route::{RouteAttribute, RouteMessage, RouteProtocol},
};
use std::{collections::BTreeMap, io};

impl Netlink {
    /// Links that a program configures by DHCP, by index, each with the sign of it. What the kernel and
    /// static configuration make has no such sign.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn configured_by_others(&mut self) -> io::Result<BTreeMap<u32, &'static str>> {
        let mut request = AddressMessage::default();
        request.header.family = AddressFamily::Inet;
        let leased = self.channel.dump(Message::GetAddress(request), leased)?.into_iter();
        let mut request = RouteMessage::default();
        request.header.address_family = AddressFamily::Inet;
        let routed = self.channel.dump(Message::GetRoute(request), by_dhcp)?.into_iter();
        let leased = leased.map(|link| (link, "an address with a lease"));
        Ok(leased.chain(routed.map(|link| (link, "a route of a DHCP client"))).collect())
    }
}

/// The link of an address that ends by itself, as a lease does.
fn leased(message: Message) -> Option<u32> {
    let Message::NewAddress(message) = message else { return None };
    let lasts = message.header.flags.contains(AddressHeaderFlags::Permanent)
        || message.attributes.iter().any(|attribute| {
            matches!(attribute, AddressAttribute::Flags(flags) if flags.contains(AddressFlags::Permanent))
        });
    (!lasts).then_some(message.header.index)
}

/// The link of a route that a DHCP client made, as systemd-networkd and NetworkManager mark it.
fn by_dhcp(message: Message) -> Option<u32> {
    let Message::NewRoute(message) = message else { return None };
    let link = message.attributes.iter().find_map(|attribute| {
        if let RouteAttribute::Oif(link) = attribute { Some(*link) } else { None }
    });
    link.filter(|_| message.header.protocol == RouteProtocol::Dhcp)
}
