//! Remains of a pod that is not on record: one of the peer's, or one of ours whose record is lost.
//! The result that the runtime kept names its routes and rules.

use crate::node::Node;
use anyhow::{Context, Result};
use cni::{
    AddResult,
    peer::{self, Remains},
};
use ipnetwork::Ipv4Network;
use net::{
    Link, Netlink, Object, Op, Route, Rule, Veth, VethPeer,
    host::TO_POD,
    op::MAIN_TABLE,
    pod::{FROM_POD, Pod},
};
use tracing::info;

/// Priority of the rules of pods with security groups of their own
/// (`docs/references.md#peer-branch-rules`).
const VLAN_RULES: u32 = 10;

/// Removes routes and rules of a pod that has ended, as its result names them. Those of an address
/// that a pod of ours has by now stay.
pub(super) fn clear(node: &Node, request: &cni::Request, result: &AddResult) -> Result<()> {
    let namespace = request.args.namespace.as_deref().unwrap_or_default();
    let pod = request.args.name.as_deref().unwrap_or_default();
    for remains in peer::remains(result, namespace, pod) {
        // Locked first: whoever gets the address from here on has its routes made afterwards.
        let mut kernel = node.kernel();
        if node.store.holder(remains.address).is_some() {
            info!(address = %remains.address, pod, "leave the routes of an address that another pod has");
            continue;
        }
        let link = remains.host_name.as_deref();
        let held = node.store.state().held.get(&remains.address).cloned();
        if held.is_some_and(|held| held.is_anothers(link)) {
            info!(address = %remains.address, pod, "leave the routes of an address that a pod has which nobody knows");
            continue;
        }
        let removed = remove(&mut kernel, &remains)
            .with_context(|| format!("remove what routes to {}", remains.address))?;
        // It was held for this pod, of which nothing but its end was known.
        if node.store.state().held.remove(&remains.address).is_some() {
            node.store.recorded.notify_one();
        }
        info!(address = %remains.address, pod, removed, "removed what a pod left that is not on record");
    }
    Ok(())
}

/// How many things were there.
fn remove(kernel: &mut Netlink, remains: &Remains) -> Result<usize> {
    let mut removed = 0;
    for object in routing(remains) {
        removed += kernel.remove_whoever_made(&object)?;
    }
    if let Some(vlan) = remains.vlan {
        removed += unlink(kernel, &format!("vlan.eth.{vlan}"), |_| true)?;
    }
    // The peer leaves a pod's pair to the end of its namespace; ours has the address in its own.
    if let Some(name) = &remains.host_name {
        let ours = host_mac(remains, name);
        removed += unlink(kernel, name, |link| link.mac == Some(ours))?;
    }
    Ok(removed)
}

/// Removes the link of a name, of whatever kind, if it is the right one. How many there were.
fn unlink(kernel: &mut Netlink, name: &str, right: impl Fn(&Link) -> bool) -> Result<usize> {
    let Some(link) = kernel.link_by_name(name)?.filter(right) else { return Ok(0) };
    let none = net::Mac([0; 6]);
    let peer = VethPeer { name: String::new(), index: None, mac: none, netns: None };
    let index = Some(link.index);
    let link = Veth { name: name.into(), index, mac: none, mtu: 0, group: 0, up: false, peer };
    kernel.apply(&[Op::Remove(Object::Veth(link))])?;
    Ok(1)
}

/// Rules and routes of a pod, ours and the peer's (`docs/references.md#peer-pod-rules`).
fn routing(remains: &Remains) -> Vec<Object> {
    let address = Ipv4Network::from(remains.address);
    let route = Route { link: None, ..Route::on_link(address, 0) };
    let to = Rule { to: Some(address), ..Rule::lookup(TO_POD, MAIN_TABLE) };
    let mut objects = vec![Object::Rule(to)];
    if remains.table != MAIN_TABLE {
        let from = Rule { from: Some(address), ..Rule::lookup(FROM_POD, remains.table) };
        objects.push(Object::Rule(from));
    }
    if remains.vlan.is_some() {
        // Without their links they fit both rules of the pod.
        objects.push(Object::Rule(Rule::lookup(VLAN_RULES, remains.table)));
        objects.push(Object::Route(route.clone().in_table(remains.table)));
    }
    objects.push(Object::Route(route));
    objects
}

/// The hardware address of a host end that we made.
fn host_mac(remains: &Remains, host_name: &str) -> net::Mac {
    let (host_name, pod_name) = (host_name.into(), String::new());
    let (address, table) = (remains.address, remains.table);
    Pod {
        host_name,
        pod_name,
        address,
        table,
        egress: net::EgressSelector::Own,
        mtu: 0,
        host_mac: None,
        role: net::pod::Role::First,
    }
    .host_mac()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_of_the_primary_interface_left_no_rule_of_a_table() {
        let rules = |table| {
            let objects = routing(&remains(table, None));
            objects.iter().filter(|object| matches!(object, Object::Rule(_))).count()
        };

        assert_eq!((rules(MAIN_TABLE), rules(2)), (1, 2));
    }

    #[test]
    fn a_pod_behind_a_vlan_left_rules_and_a_route_in_a_table_of_its_own() {
        let objects = routing(&remains(105, Some(5)));

        assert!(objects.contains(&Object::Rule(Rule::lookup(10, 105))), "{objects:?}");
        let tables = objects.iter().filter_map(|object| match object {
            Object::Route(route) => Some(route.table),
            Object::Rule(_)
            | Object::Veth(_)
            | Object::Address { .. }
            | Object::BareAddress { .. }
            | Object::Neighbour { .. } => None,
        });
        assert_eq!(tables.collect::<Vec<_>>(), [105, MAIN_TABLE]);
    }

    fn remains(table: u32, vlan: Option<u32>) -> Remains {
        Remains { address: [10, 0, 70, 5].into(), table, host_name: None, vlan }
    }
}
