//! Which interface gets what is sent to an address: the router's routes and neighbours.

use super::devices::VOID;
use ipnetwork::Ipv4Network;
use net::{Mac, Object, Op, Route};
use std::{collections::BTreeMap, net::Ipv4Addr};
use vpc::topology::Topology;

/// The router's knowledge of who has which address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Delivery {
    /// By destination.
    routes: BTreeMap<Ipv4Network, Route>,
    /// By link and address.
    neighbours: BTreeMap<(u32, Ipv4Addr), Mac>,
}

/// The address of a subnet's gateway: the first after its base.
pub(super) fn gateway(subnet: Ipv4Network) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()).wrapping_add(1))
}

/// What the router must know. `indexes` are those of the router's ends, by interface id.
pub(super) fn delivery(topology: &Topology, indexes: &BTreeMap<String, u32>) -> Delivery {
    let mut delivery = Delivery::default();
    for cidr in &topology.vpc_cidrs {
        // What nobody has is answered for by ARP and goes where a filter drops it.
        delivery.add(Route::on_link(normal(*cidr), VOID));
    }
    for (id, eni) in &topology.enis {
        let Some(&link) = indexes.get(id) else { continue };
        // One neighbour for all that the interface has: a node is never asked for an address.
        let Some(primary) = eni.primary else { continue };
        delivery.neighbours.insert((link, primary), eni.mac);
        delivery.add(Route::on_link(primary.into(), link));
        let secondary = eni.secondary.iter().copied().map(Ipv4Network::from);
        for to in secondary.chain(eni.prefixes.iter().copied().map(normal)) {
            delivery.add(Route::via(to, primary, link));
        }
    }
    delivery
}

impl Delivery {
    fn add(&mut self, route: Route) {
        self.routes.insert(route.to, route);
    }

    /// What turns `self` into `next`. Changed routes are replaced, so that no packet is lost.
    pub(super) fn changes(&self, next: &Self) -> Vec<Op> {
        let neighbour = |(&(link, address), &mac): (&(u32, Ipv4Addr), &Mac)| Object::Neighbour {
            link,
            address,
            mac,
        };
        let gone = self.routes.iter().filter(|(to, _)| !next.routes.contains_key(to));
        let forgotten = self.neighbours.iter().filter(|(at, _)| !next.neighbours.contains_key(at));
        let learnt =
            next.neighbours.iter().filter(|(at, mac)| self.neighbours.get(at) != Some(mac));
        let new = next.routes.iter().filter(|(to, route)| self.routes.get(to) != Some(route));
        gone.map(|(_, route)| Op::Remove(Object::Route(route.clone())))
            .chain(forgotten.map(neighbour).map(Op::Remove))
            .chain(learnt.map(neighbour).map(Op::Add))
            .chain(new.map(|(_, route)| Op::Add(Object::Route(route.clone()))))
            .collect()
    }
}

/// Without host bits.
pub(super) fn normal(network: Ipv4Network) -> Ipv4Network {
    Ipv4Network::new(network.network(), network.prefix()).unwrap_or(network)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vpc::topology::Eni;

    const LINK: u32 = 100;

    #[test]
    fn everything_of_an_interface_goes_to_its_primary_address() {
        let topology = topology(&["10.0.1.6"], &["10.0.1.32/28"]);

        let ops = Delivery::default().changes(&delivery(&topology, &indexes(LINK)));

        let primary = "10.0.1.5".parse().unwrap();
        assert_eq!(
            ops,
            [
                Op::Add(Object::Neighbour { link: LINK, address: primary, mac: Mac([2; 6]) }),
                Op::Add(Object::Route(Route::on_link("10.0.0.0/16".parse().unwrap(), VOID))),
                Op::Add(Object::Route(Route::on_link(primary.into(), LINK))),
                Op::Add(Object::Route(Route::via("10.0.1.6/32".parse().unwrap(), primary, LINK))),
                Op::Add(Object::Route(Route::via("10.0.1.32/28".parse().unwrap(), primary, LINK))),
            ]
        );
    }

    #[test]
    fn an_unchanged_layout_changes_nothing() {
        let now = delivery(&topology(&["10.0.1.6"], &["10.0.1.32/28"]), &indexes(LINK));

        assert_eq!(now.changes(&now.clone()), []);
    }

    #[test]
    fn an_unassigned_address_loses_its_route_only() {
        let now = delivery(&topology(&["10.0.1.6", "10.0.1.7"], &[]), &indexes(LINK));
        let next = delivery(&topology(&["10.0.1.7"], &[]), &indexes(LINK));

        let ops = now.changes(&next);

        let primary = "10.0.1.5".parse().unwrap();
        let lost = Route::via("10.0.1.6/32".parse().unwrap(), primary, LINK);
        assert_eq!(ops, [Op::Remove(Object::Route(lost))]);
    }

    #[test]
    fn an_interface_behind_another_device_has_its_routes_replaced_not_removed() {
        let topology = topology(&["10.0.1.6"], &[]);
        let now = delivery(&topology, &indexes(LINK));
        let next = delivery(&topology, &indexes(LINK + 1));

        let ops = now.changes(&next);

        assert!(!ops.iter().any(|op| matches!(op, Op::Remove(Object::Route(_)))), "{ops:?}");
        assert_eq!(ops.iter().filter(|op| matches!(op, Op::Add(Object::Route(_)))).count(), 2);
    }

    fn indexes(link: u32) -> BTreeMap<String, u32> {
        BTreeMap::from([("eni-1".into(), link)])
    }

    fn topology(secondary: &[&str], prefixes: &[&str]) -> Topology {
        let eni = Eni {
            node: "n".into(),
            device: "ens5".into(),
            boot: true,
            mac: Mac([2; 6]),
            subnet: "10.0.1.0/24".parse().unwrap(),
            primary: "10.0.1.5".parse().ok(),
            secondary: secondary.iter().map(|it| it.parse().unwrap()).collect(),
            prefixes: prefixes.iter().map(|it| it.parse().unwrap()).collect(),
            groups: vec![],
            source_dest_check: true,
        };
        Topology {
            vpc_cidrs: vec!["10.0.0.0/16".parse().unwrap()],
            enis: BTreeMap::from([("eni-1".into(), eni)]),
            ..Topology::default()
        }
    }
}
