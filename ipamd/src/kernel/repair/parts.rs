//! The desired state in parts that are repaired separately: the node, each interface, each pod.

use crate::node::Desired;
use net::{
    LinkState, Mac, Op,
    found::{Kind, Ours},
    pod::Pod,
    watch::Event,
};
use pool::{EniId, Owner};
use record::Attachment;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

/// A part that is restored as a whole, or not at all.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Whose it is.
    pub whose: Whose,
    /// The changes that make it.
    pub ops: Vec<Op>,
}

/// Whose a part is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The node's.
    Node,
    /// An interface's.
    Eni(EniId, net::eni::Eni),
    /// A pod's.
    Pod(Box<Attachment>),
}

impl std::fmt::Display for Whose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node => write!(f, "node"),
            Self::Eni(id, _) => write!(f, "{id}"),
            Self::Pod(pod) => write!(f, "pod {}/{}", pod.pod_namespace, pod.pod_name),
        }
    }
}

/// The parts of the desired state. `host_end` names the link of a pod's host end; a pod whose link
/// is not there has no part.
pub(super) fn parts(desired: &Desired, host_end: impl Fn(&Pod) -> Option<u32>) -> Vec<Part> {
    let node = Part { whose: Whose::Node, ops: desired.host.ops() };
    let enis = desired
        .enis
        .iter()
        .map(|(id, eni)| Part { whose: Whose::Eni(id.clone(), eni.clone()), ops: eni.ops() });
    let pods = desired.pods.iter().filter_map(|attachment| {
        let pod = attachment.pod();
        let link = host_end(&pod)?;
        let ops = [pod.host_end(link), pod.on_host(link, desired.host.pods_see)].concat();
        Some(Part { whose: Whose::Pod(Box::new(attachment.clone())), ops })
    });
    [node].into_iter().chain(enis).chain(pods).collect()
}

/// Which link is whose host end.
#[derive(Debug)]
pub(super) struct HostEnds<'a> {
    by_name: BTreeMap<&'a str, &'a LinkState>,
    by_mac: BTreeMap<Mac, &'a LinkState>,
}

impl<'a> HostEnds<'a> {
    /// Looks among the links of the node.
    pub(super) fn among(links: &'a BTreeMap<u32, LinkState>) -> Self {
        let veths = || links.values().filter(|it| it.link.veth);
        Self {
            by_name: veths().map(|it| (it.link.name.as_str(), it)).collect(),
            by_mac: veths().filter_map(|it| Some((it.link.mac?, it))).collect(),
        }
    }

    /// The host end of a pod, also where somebody has changed its name or its hardware address. One
    /// with its name alone may be that of a newer pod of this name: it counts only with the index
    /// that no other pod's link gets.
    pub(super) fn of(&self, pod: &Pod) -> Option<u32> {
        let named = || {
            let link = &self.by_name.get(pod.host_name.as_str())?.link;
            (link.index == pod.preferred_ends().host).then_some(link.index)
        };
        self.by_mac.get(&pod.host_mac()).map(|it| it.link.index).or_else(named)
    }
}

/// Finds, from memory alone, whether an event concerns us.
#[derive(Debug)]
pub(super) struct Concern {
    at_rest: Ours,
    /// Of pods that a verb is working on.
    at_work: Ours,
    /// Interfaces by hardware address, with their links.
    devices: BTreeMap<Mac, u32>,
    /// The primary interface's link, and its name in the filter rules.
    primary: (u32, String),
    /// The node's address on it.
    address: Ipv4Addr,
    /// Host ends by name, with their hardware addresses.
    pods: BTreeMap<String, Mac>,
}

/// What an event makes necessary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Call {
    /// Kinds to look at now.
    pub now: BTreeSet<Kind>,
    /// Ask again once the verb that works on it has ended.
    pub later: bool,
}

impl Concern {
    /// `devices` are the interfaces' hardware addresses, with their links.
    pub(super) fn of(
        desired: &Desired,
        busy: &BTreeSet<Owner>,
        devices: BTreeMap<Mac, u32>,
    ) -> Self {
        let parts = parts(desired, |pod| Some(pod.preferred_ends().host));
        let is_busy = |part: &Part| match &part.whose {
            Whose::Pod(pod) => busy.contains(&pod.owner()),
            Whose::Node | Whose::Eni(..) => false,
        };
        let (at_work, at_rest): (Vec<_>, Vec<_>) = parts.into_iter().partition(is_busy);
        let ours = |parts: Vec<Part>| {
            Ours::of(&parts.into_iter().flat_map(|part| part.ops).collect::<Vec<_>>())
        };
        let host_end = |it: &Attachment| (it.host_name.clone(), it.pod().host_mac());
        Self {
            at_rest: ours(at_rest),
            at_work: ours(at_work),
            devices,
            primary: (desired.host.host.primary, desired.host.firewall.primary_link.clone()),
            address: desired.host.firewall.primary,
            pods: desired.pods.iter().map(host_end).collect(),
        }
    }

    /// What an event makes necessary.
    pub(super) fn call(&self, event: &Event) -> Call {
        let mut now = self.at_rest.concerned(event);
        match event {
            Event::Link(state) => now.extend(self.link(state)),
            // It may be on its way to a bridge over the link.
            Event::AddressGone { link, address } => {
                let ours = (*link, address.ip()) == (self.primary.0, self.address);
                now.extend(ours.then_some(Kind::Link));
            }
            Event::RuleGone(_)
            | Event::RuleAdded(_)
            | Event::OtherRule
            | Event::RouteAdded { .. }
            | Event::AddressAdded { .. }
            | Event::RouteGone(_)
            | Event::RouteReplaced { .. }
            | Event::LinkGone(_)
            | Event::Settings(_)
            | Event::Firewall
            | Event::Overrun => {}
        }
        let later = now.is_empty() && !self.at_work.concerned(event).is_empty();
        Call { now, later }
    }

    /// What the index of a link does not tell: it came back with another one, or has a new name.
    fn link(&self, state: &LinkState) -> Vec<Kind> {
        let link = &state.link;
        let came_back = link.mac.and_then(|mac| self.devices.get(&mac));
        if came_back.is_some_and(|known| *known != link.index) {
            return vec![Kind::Link, Kind::Address, Kind::Route];
        }
        let (primary, name) = &self.primary;
        if link.index == *primary && link.name != *name {
            return vec![Kind::Link, Kind::Firewall];
        }
        // A host end whose index the kernel chose.
        let pod = self.pods.get(&link.name);
        if pod.is_some_and(|mac| link.mac == Some(*mac) && !link.up) {
            return vec![Kind::Link, Kind::Route];
        }
        vec![]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::attachment;
    use crate::node::HostNetwork;
    use net::{
        EgressSelector, Layout, Link,
        firewall::{Firewall, Metadata, NodePort, Snat},
        host::Host,
    };

    #[test]
    fn a_host_end_is_known_by_its_hardware_address_whatever_its_name_and_index() {
        let links = links(&[(9, "renamed", pod().host_mac())]);

        assert_eq!(HostEnds::among(&links).of(&pod()), Some(9));
    }

    #[test]
    fn a_host_end_with_another_hardware_address_is_known_by_name_and_index() {
        let links = links(&[(pod().preferred_ends().host, "eni0d7763386da", Mac([2; 6]))]);

        assert_eq!(HostEnds::among(&links).of(&pod()), Some(pod().preferred_ends().host));
    }

    #[test]
    fn the_link_of_a_newer_pod_of_the_same_name_is_not_the_older_ones() {
        let newer = Pod { address: [100, 64, 0, 10].into(), ..pod() };
        let links = links(&[(newer.preferred_ends().host, "eni0d7763386da", newer.host_mac())]);

        assert_eq!(HostEnds::among(&links).of(&pod()), None);
        assert_eq!(HostEnds::among(&links).of(&newer), Some(newer.preferred_ends().host));
    }

    #[test]
    fn what_a_verb_is_working_on_is_asked_for_again_later() {
        // A new link as the kernel tells of it, before strict reverse path is set.
        let index = pod().preferred_ends().host;
        let state = links(&[(index, "eni0d7763386da", pod().host_mac())]).remove(&index).unwrap();
        let event = Event::Link(LinkState { ipv4: vec![net::op::rp_filter(0)], ..state });
        let desired = desired();
        let owner = desired.pods[0].owner();
        let call =
            |busy: BTreeSet<Owner>| Concern::of(&desired, &busy, BTreeMap::new()).call(&event);

        assert_eq!(call([owner].into()), Call { now: BTreeSet::new(), later: true });
        let at_rest = call(BTreeSet::new());
        assert!(at_rest.now.contains(&Kind::Link) && !at_rest.later, "{at_rest:?}");
    }

    #[test]
    fn a_device_that_is_back_and_a_new_name_of_the_primary_one_concern_us() {
        let mac = Mac([2, 0, 0, 0, 0, 9]);
        let concern = Concern::of(&desired(), &BTreeSet::new(), [(mac, 3)].into());
        let call = |index, name, mac| {
            let state = links(&[(index, name, mac)]).remove(&index).unwrap();
            concern.call(&Event::Link(LinkState { ipv4: vec![net::op::rp_filter(2)], ..state })).now
        };

        assert!(call(7, "ens6", mac).contains(&Kind::Route));
        assert_eq!(call(3, "ens6", mac), BTreeSet::new());
        assert!(call(2, "wan0", Mac([4; 6])).contains(&Kind::Firewall));
        assert_eq!(call(2, "ens5", Mac([4; 6])), BTreeSet::new());
    }

    #[test]
    fn the_nodes_address_that_leaves_its_link_concerns_us_and_others_do_not() {
        let concern = Concern::of(&desired(), &BTreeSet::new(), BTreeMap::new());
        let gone = |link, address: &str| {
            concern.call(&Event::AddressGone { link, address: address.parse().unwrap() }).now
        };

        assert_eq!(gone(2, "10.0.0.4/24"), [Kind::Link].into());
        assert_eq!(gone(2, "10.0.0.5/24"), BTreeSet::new());
        assert_eq!(gone(3, "10.0.0.4/24"), BTreeSet::new());
    }

    #[test]
    fn no_link_no_host_end() {
        assert_eq!(HostEnds::among(&links(&[])).of(&pod()), None);
    }

    fn desired() -> Desired {
        let firewall = Firewall {
            primary_link: "ens5".into(),
            primary: [10, 0, 0, 4].into(),
            direct: vec![],
            mark: 0x80,
            tables: None,
            interfaces: BTreeMap::new(),
            snat: Snat::External,
            node_port: NodePort::Supported,
            metadata: Metadata::Open,
        };
        let host = Host {
            primary: 2,
            device: 2,
            mtu: 9001,
            mark: Some(0x80),
            layout: Layout::Flat,
            external: vec![],
        };
        let of = pod();
        let attachment = Attachment {
            host_name: of.host_name,
            address: of.address,
            table: of.table,
            egress: of.egress,
            mtu: of.mtu,
            ..attachment()
        };
        Desired {
            host: HostNetwork { host, firewall, pods_see: None },
            enis: BTreeMap::new(),
            pods: vec![attachment],
        }
    }

    fn pod() -> Pod {
        Pod {
            host_name: "eni0d7763386da".into(),
            pod_name: "eth0".into(),
            address: [100, 64, 0, 9].into(),
            table: 2,
            egress: EgressSelector::Marked,
            mtu: 9001,
            host_mac: None,
            role: net::pod::Role::First,
        }
    }

    fn links(links: &[(u32, &str, Mac)]) -> BTreeMap<u32, LinkState> {
        let link = |(index, name, mac): &(u32, &str, Mac)| Link {
            index: *index,
            name: (*name).into(),
            mac: Some(*mac),
            mtu: 9001,
            group: 1538,
            up: true,
            running: true,
            veth: true,
        };
        links.iter().map(|it| (it.0, LinkState { link: link(it), ipv4: vec![] })).collect()
    }
}
