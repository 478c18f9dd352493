//! Which link is an interface's device, and by which link the node uses its primary interface.
//!
//! A hardware address does not tell: bridges, VLANs, macvlans, ipvlans and bonds have that of the
//! link below them, and anybody can give it to a link.

use crate::plan::op::Mac;

/// A link, as far as it tells whether it is a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address now.
    pub mac: Option<Mac>,
    /// The one that it was made with, where it is a piece of hardware.
    pub permanent: Option<Mac>,
    /// What it is made of.
    pub made_of: MadeOf,
    /// The link that it is a part of: a bridge, a bond.
    pub master: Option<u32>,
    /// The link of this namespace that it is made upon: that below a VLAN or a macvlan.
    pub below: Option<u32>,
}

/// What a link is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadeOf {
    /// A driver has it: an interface of an instance.
    Hardware,
    /// One end of a veth pair, with the number of the other end's namespace where that is another:
    /// an interface of a simulated instance, or the host end of a pod.
    Veth(Option<i32>),
    /// The kernel makes it up: a bridge, a VLAN, …
    Software,
}

/// The primary interface in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryLink {
    /// Index of the link by which the node uses it: the one that has its address.
    pub index: u32,
    /// That link's name.
    pub name: String,
    /// Index of its device: another link where a bridge over it has the address.
    pub device: u32,
}

/// The links of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    links: Vec<Device>,
    primary: Option<PrimaryLink>,
    has_address: bool,
}

impl Devices {
    /// Looks among all links for the primary interface, by its hardware address; `holders` are the
    /// links that have its address.
    pub fn among(links: Vec<Device>, primary: Mac, holders: &[u32]) -> Self {
        let mut devices = Self { links, primary: None, has_address: !holders.is_empty() };
        devices.primary = devices.find_primary(primary, holders);
        devices
    }

    /// The primary interface.
    pub fn primary(&self) -> Option<&PrimaryLink> {
        self.primary.as_ref()
    }

    /// Whether any link has the node's address: a moment passes while it moves.
    pub fn has_address(&self) -> bool {
        self.has_address
    }

    /// The device of an interface. Where instances are simulated it is a veth like that of the
    /// primary interface, whose other end is in the same namespace.
    pub fn of(&self, mac: Mac) -> Option<&Device> {
        self.hardware(mac).or_else(|| {
            let primary = self.by_index(self.primary.as_ref()?.device)?;
            let alike = |it: &&Device| it.made_of == primary.made_of && it.mac == Some(mac);
            let simulated = matches!(primary.made_of, MadeOf::Veth(_));
            self.links.iter().filter(|_| simulated).find(alike)
        })
    }

    /// The hardware with an address. One that was made with another has it from somebody.
    fn hardware(&self, mac: Mac) -> Option<&Device> {
        let hardware = || self.links.iter().filter(|it| it.made_of == MadeOf::Hardware);
        let born_with = hardware().find(|it| it.permanent == Some(mac));
        born_with.or_else(|| hardware().find(|it| it.permanent.is_none() && it.mac == Some(mac)))
    }

    fn find_primary(&self, mac: Mac, holders: &[u32]) -> Option<PrimaryLink> {
        let holder = |device: &Device| {
            let over = holders.iter().find(|holder| self.is_over(**holder, device));
            self.by_index(*over?)
        };
        let (used_by, device) = match self.hardware(mac) {
            Some(device) => (holder(device).unwrap_or(device), device),
            None => {
                // A simulated instance: of several with its hardware address the one that has its
                // address too.
                let with = |it: &&Device| {
                    matches!(it.made_of, MadeOf::Veth(Some(_))) && it.mac == Some(mac)
                };
                let all = || self.links.iter().filter(with);
                let used = all().find_map(|it| Some((holder(it)?, it)));
                used.or_else(|| all().next().map(|it| (it, it)))?
            }
        };
        Some(PrimaryLink { index: used_by.index, name: used_by.name.clone(), device: device.index })
    }

    /// Whether a link is a device itself, or has it below it, at any depth.
    fn is_over(&self, link: u32, device: &Device) -> bool {
        let upon = |index: u32| {
            let link = self.by_index(index).and_then(|it| it.below);
            let parts = self.links.iter().filter(move |it| it.master == Some(index));
            parts.map(|it| it.index).chain(link)
        };
        let mut seen = vec![];
        let mut open = vec![link];
        while let Some(index) = open.pop() {
            if index == device.index {
                return true;
            }
            if !seen.contains(&index) {
                seen.push(index);
                open.extend(upon(index));
            }
        }
        false
    }

    fn by_index(&self, index: u32) -> Option<&Device> {
        self.links.iter().find(|it| it.index == index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MadeOf::{Hardware, Software, Veth};

    const PRIMARY: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const SECOND: Mac = Mac([2, 0, 0, 0, 0, 2]);

    #[test]
    fn the_device_is_the_hardware_whatever_else_has_its_address() {
        let vlan = Device { below: Some(7), ..link(4, Software, SECOND) };
        // An ipvlan tells the address of the link below as one that it was made with.
        let ipvlan = Device { permanent: Some(SECOND), ..link(5, Software, SECOND) };
        let pod = link(3, Veth(Some(9)), SECOND);
        let links = vec![hardware(2, PRIMARY), pod, vlan, ipvlan, hardware(7, SECOND)];

        let devices = Devices::among(links, PRIMARY, &[2]);

        assert_eq!(devices.of(SECOND).map(|it| it.index), Some(7));
    }

    #[test]
    fn hardware_in_a_bond_is_known_by_the_address_that_it_was_made_with() {
        let in_bond = |index, born: Mac| Device {
            permanent: Some(born),
            master: Some(9),
            ..link(index, Hardware, SECOND)
        };
        let third = Mac([2, 0, 0, 0, 0, 3]);
        let bond = link(9, Software, SECOND);
        let links = vec![hardware(2, PRIMARY), in_bond(5, third), in_bond(6, SECOND), bond];

        let devices = Devices::among(links, PRIMARY, &[2]);

        assert_eq!(devices.of(SECOND).map(|it| it.index), Some(6));
        assert_eq!(devices.of(third).map(|it| it.index), Some(5));
    }

    #[test]
    fn while_a_device_is_not_there_no_other_link_is_taken_for_it() {
        let links = vec![
            hardware(2, PRIMARY),
            link(3, Veth(Some(4)), SECOND),
            link(4, Veth(None), SECOND),
            link(5, Software, SECOND),
        ];

        assert_eq!(Devices::among(links, PRIMARY, &[2]).of(SECOND), None);
    }

    #[test]
    fn where_instances_are_simulated_devices_are_veths_out_of_the_same_namespace() {
        let links = vec![
            link(1, Software, SECOND),
            link(2, Veth(Some(0)), PRIMARY),
            link(3, Veth(Some(5)), SECOND),
            link(4, Veth(None), SECOND),
            link(5, Veth(Some(0)), SECOND),
        ];

        let devices = Devices::among(links, PRIMARY, &[2]);

        assert_eq!(devices.of(SECOND).map(|it| it.index), Some(5));
        assert_eq!(devices.primary(), Some(&primary(2, 2)));
    }

    #[test]
    fn a_bridge_over_the_primary_interface_that_has_its_address_is_the_nodes_link() {
        for device in [Hardware, Veth(Some(0))] {
            let port = Device { master: Some(9), ..link(2, device, PRIMARY) };
            let bridge = link(9, Software, PRIMARY);
            let another = link(1, Software, PRIMARY);
            let among = |holders: &[u32]| {
                let links = vec![another.clone(), port.clone(), bridge.clone()];
                Devices::among(links, PRIMARY, holders).primary().cloned()
            };

            assert_eq!(among(&[9]), Some(primary(9, 2)), "{device:?}");
            assert_eq!(among(&[2]), Some(primary(2, 2)), "{device:?}");
            assert_eq!(among(&[]), Some(primary(2, 2)), "before it has an address: {device:?}");
            // Somebody has the node's address on a dummy as well.
            assert_eq!(among(&[1, 9]), Some(primary(9, 2)), "{device:?}");
            assert_eq!(among(&[1]), Some(primary(2, 2)), "{device:?}");
        }
    }

    #[test]
    fn a_vlan_over_a_bond_is_over_each_of_its_parts() {
        let vlan = Device { below: Some(9), ..link(11, Software, PRIMARY) };
        let bond = link(9, Software, PRIMARY);
        let part = Device { master: Some(9), ..hardware(2, PRIMARY) };

        let devices = Devices::among(vec![part, bond, vlan], PRIMARY, &[11]);

        assert_eq!(devices.primary(), Some(&primary(11, 2)));
    }

    #[test]
    fn of_simulated_devices_with_one_hardware_address_the_one_with_the_nodes_address_counts() {
        let links = vec![link(2, Veth(Some(4)), PRIMARY), link(8, Veth(Some(0)), PRIMARY)];

        let devices = Devices::among(links, PRIMARY, &[8]);

        assert_eq!(devices.primary(), Some(&primary(8, 8)));
        assert!(devices.has_address());
    }

    fn hardware(index: u32, mac: Mac) -> Device {
        Device { permanent: Some(mac), ..link(index, Hardware, mac) }
    }

    fn link(index: u32, made_of: MadeOf, mac: Mac) -> Device {
        let name = format!("link{index}");
        let mac = Some(mac);
        Device { index, name, mac, permanent: None, made_of, master: None, below: None }
    }

    fn primary(index: u32, device: u32) -> PrimaryLink {
        PrimaryLink { index, name: format!("link{index}"), device }
    }
}
