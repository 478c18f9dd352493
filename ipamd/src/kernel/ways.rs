//! Whether packets of pods go the way that they should, by everything that the kernel has: rules that no
//! list of ours can say, routes of others in tables that are asked first, entries for neighbours. What is
//! wrong is told in words; to mend it is for whoever made it.

use crate::{
    node::{Desired, Node},
    settings::Settings,
};
use ipnetwork::Ipv4Network;
use net::{
    EgressSelector, Netlink,
    op::MAIN_TABLE,
    way::{self, FixedNeighbour, Packet, Way},
};
use record::{Attachment, Maker};
use std::{collections::BTreeMap, io, net::Ipv4Addr};

/// By which links packets of pods should go.
#[derive(Debug)]
pub(crate) struct Ways {
    /// Link and gateway of each interface, by its table.
    interfaces: BTreeMap<u32, (u32, Ipv4Addr)>,
    names: BTreeMap<u32, String>,
    neighbours: Vec<FixedNeighbour>,
}

impl Ways {
    /// What the interfaces say, and what all pods have in common.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub(crate) fn look(node: &Node, desired: &Desired, kernel: &mut Netlink) -> io::Result<Self> {
        let gateway = |subnet: Ipv4Network| subnet.nth(1).unwrap_or(subnet.network());
        let enis = desired.enis.values();
        let mut interfaces: BTreeMap<u32, (u32, Ipv4Addr)> =
            enis.map(|eni| (eni.table, (eni.link, gateway(eni.subnet)))).collect();
        let primary = {
            let state = node.store.state();
            let mut records = state.attached.values().map(|eni| &eni.record);
            records.find(|it| it.is_primary()).and_then(|it| it.subnet_cidr)
        };
        let of_primary = primary.map(|cidr| (desired.host.host.primary, gateway(cidr)));
        interfaces.extend(of_primary.map(|it| (MAIN_TABLE, it)));
        Ok(Self {
            interfaces,
            names: kernel.links()?.into_iter().map(|link| (link.index, link.name)).collect(),
            neighbours: way::fixed_neighbours(kernel)?,
        })
    }

    /// What sends packets of a pod elsewhere than to `link` and to its interface.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub(crate) fn astray(
        &self,
        settings: &Settings,
        kernel: &mut Netlink,
        pod: &Attachment,
        link: u32,
    ) -> io::Result<Vec<String>> {
        let (to, name) = (pod.address, self.name(link));
        let mut wrong = vec![];
        let own = Packet { to, from: None, mark: 0 };
        let primary = self.interfaces.get(&MAIN_TABLE);
        let comes_in =
            primary.map(|(primary, gateway)| Packet { from: Some((*primary, *gateway)), ..own });
        for packet in [Some(own), comes_in].into_iter().flatten() {
            // One that the node has itself is told of apart.
            if let Some(way) = self.other_than(link, way::ask(kernel, packet)?) {
                wrong.push(format!("what is sent to {to} goes {way}, not to {name}"));
                break;
            }
        }
        if let Some((eni, gateway)) = self.interfaces.get(&pod.table) {
            let marks = settings.table_marks().filter(|_| pod.egress == EgressSelector::Marked);
            let mark = marks.and_then(|marks| marks.of(pod.table)).unwrap_or(0);
            let packet = Packet { to: *gateway, from: Some((link, to)), mark };
            if let Some(way) = self.other_than(*eni, way::ask(kernel, packet)?) {
                let eni = self.name(*eni);
                wrong.push(format!("what {to} sends goes {way}, not to {eni}"));
            }
        }
        wrong.extend(self.neighbours.iter().filter_map(|it| self.misleads(it, pod, link)));
        Ok(wrong)
    }

    /// Where a packet goes instead of to a link.
    fn other_than(&self, link: u32, way: Way) -> Option<String> {
        match way {
            Way::Link(other) if other != link => Some(format!("to {}", self.name(other))),
            Way::Nowhere => Some("nowhere".into()),
            Way::Link(_) | Way::Local | Way::Refused => None,
        }
    }

    /// Whether an entry for a neighbour is about a pod and is not as the pod is.
    fn misleads(&self, entry: &FixedNeighbour, pod: &Attachment, link: u32) -> Option<String> {
        let FixedNeighbour { address, link: on, mac } = entry;
        // What the peer's pod has at its end nobody has noted.
        let is_right =
            *on == link && (pod.made_by == Maker::Peer || *mac == Some(pod.pod().pod_mac()));
        if *address != pod.address || is_right {
            return None;
        }
        let on = self.name(*on);
        let what = mac.map_or_else(|| "proxy".into(), |mac| format!("lladdr {mac}"));
        Some(format!("there is a neighbour entry {address} dev {on} {what}"))
    }

    fn name(&self, link: u32) -> &str {
        self.names.get(&link).map_or("a link that is gone", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::attachment;
    use net::Mac;

    #[test]
    fn a_packet_that_goes_elsewhere_is_named_and_what_routes_do_not_decide_is_not() {
        let ways = ways();

        assert_eq!(ways.other_than(7, Way::Link(7)), None);
        assert_eq!(ways.other_than(7, Way::Link(2)), Some("to ens5".into()));
        assert_eq!(ways.other_than(7, Way::Nowhere), Some("nowhere".into()));
        assert_eq!(ways.other_than(7, Way::Local), None, "told of as an address of the node");
        assert_eq!(ways.other_than(7, Way::Refused), None);
    }

    #[test]
    fn an_entry_for_a_pods_neighbour_elsewhere_or_with_another_address_misleads() {
        let (ways, pod) = (ways(), attachment());
        let own = pod.pod().pod_mac();
        let misleads = |address: [u8; 4], link, mac: Option<Mac>| {
            ways.misleads(&FixedNeighbour { address: address.into(), link, mac }, &pod, 7)
        };

        assert_eq!(misleads([10, 0, 0, 9], 7, Some(own)), None);
        assert_eq!(misleads([10, 0, 0, 8], 2, Some(own)), None);
        assert_eq!(
            misleads([10, 0, 0, 9], 2, None),
            Some("there is a neighbour entry 10.0.0.9 dev ens5 proxy".into())
        );
        assert_eq!(
            misleads([10, 0, 0, 9], 7, Some(Mac([2, 0, 0, 0, 0, 1]))),
            Some("there is a neighbour entry 10.0.0.9 dev eni1 lladdr 02:00:00:00:00:01".into())
        );
    }

    fn ways() -> Ways {
        let names = [(2, "ens5".to_owned()), (7, "eni1".to_owned())];
        Ways { interfaces: BTreeMap::new(), names: names.into(), neighbours: vec![] }
    }
}
