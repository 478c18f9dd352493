//! CHECK: whether everything that ADD made is still there, in the pod, on the node and on record.

use super::{
    LOCK_WAIT,
    account::{Account, pod_name},
    busy, internal, owner,
};
use crate::{kernel::ways::Ways, node::Node};
use cni::{AddResult, Code, Error};
use ipnetwork::{IpNetwork, Ipv4Network};
use net::{
    Link, Neighbour, Netlink, Object, Op, Route, Rule,
    op::MAIN_TABLE,
    pod::{POD_GATEWAY, Pod, Role},
};
use record::Attachment;
use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd,
    time::Instant,
};

/// Says nothing, or everything that is missing.
pub(super) fn check(
    node: &Node,
    request: &cni::Request,
    carried: rpc::Request,
    account: &mut Account,
) -> Result<(), Error> {
    // CNI 1.1.0, "CHECK": The plugin must consult the prevResult to determine the expected
    // interfaces and addresses.
    let Some(result) = &request.config.prev_result else {
        let msg = "CHECK without prevResult: the runtime has to send what ADD answered";
        return Err(Error::new(Code::InvalidConfig, msg));
    };
    let (Some(netns), Some(socket)) = (carried.netns, carried.pod_netlink) else {
        let missing = "the plugin sent no descriptors of the pod's namespace";
        return Err(internal("look into the pod", missing));
    };
    let mut inside = Netlink::over(socket, netns.as_fd())
        .map_err(|error| internal("use the pod's netlink socket", error))?;
    let owner = owner(request);
    let _lock = node.store.lock_attachment(&owner, Instant::now() + LOCK_WAIT).ok_or_else(busy)?;
    account.attachment = node.store.attachment(&owner);
    let Some(attachment) = &account.attachment else {
        let msg = format!(
            "no ADD of {} is on record: its address may be another pod's; delete the pod",
            pod_name(request, None)
        );
        return Err(Error::new(Code::UnknownContainer, msg));
    };
    let pod = attachment.pod();
    let mut wrong = against_result(&attachment.interface, attachment.address, result);
    let look = |error| internal("look into the pod", error);
    wrong.extend(in_pod(&mut inside, &pod, result).map_err(look)?);
    let look = |error| internal("look at the node", error);
    wrong.extend(on_host(node, attachment).map_err(look)?);
    if wrong.is_empty() {
        return Ok(());
    }
    let (name, wrong) = (pod_name(request, None), wrong.join("; "));
    let msg = format!("{name} is not as ADD made it: {wrong}; delete the pod");
    Err(Error::new(Code::Internal, msg))
}

/// What the record has that the result has not. A later plugin of the chain may have added to it.
fn against_result(interface: &str, address: Ipv4Addr, result: &AddResult) -> Vec<String> {
    let mut wrong = vec![];
    let named = |it: &cni::Interface| it.name == interface && it.sandbox.is_some();
    if !result.interfaces.iter().any(named) {
        wrong.push(format!("prevResult has no interface {interface}"));
    }
    if !result.ips.iter().any(|ip| ip.address.ip() == IpAddr::V4(address)) {
        wrong.push(format!("on record is {address}, which prevResult does not have"));
    }
    wrong
}

/// What a namespace has of a pod.
struct View {
    link: Link,
    addresses: Vec<Ipv4Network>,
    neighbours: Vec<Neighbour>,
    routes: Vec<Route>,
    rules: Vec<Rule>,
}

fn in_pod(inside: &mut Netlink, pod: &Pod, result: &AddResult) -> io::Result<Vec<String>> {
    let Some(link) = inside.link_by_name(&pod.pod_name)? else {
        return Ok(vec![format!("in the pod: link {} is missing", pod.pod_name)]);
    };
    let view = View {
        addresses: inside.addresses(link.index)?,
        neighbours: inside.neighbours(link.index)?,
        routes: every_route(inside)?,
        rules: inside.rules()?,
        link,
    };
    let mut wrong = vec![];
    if !view.link.up {
        wrong.push(format!("{} is down", view.link.name));
    }
    let role = if has_default(&view) { Role::First } else { pod.role };
    let pod = &Pod { role, ..pod.clone() };
    let mut desired = pod.in_pod(view.link.index);
    // What the peer answers names no routes, though it makes them.
    if pod.host_mac.is_none() && pod.role == Role::First {
        desired.retain(|op| is_still_wanted(op, result));
    }
    wrong.extend(view.lacks(&desired));
    Ok(wrong.iter().map(|it| format!("in the pod: {it}")).collect())
}

/// Whether the pod's default route is by this link: then it is the first one, whatever its name. That is
/// not known of an attachment whose record was lost.
fn has_default(view: &View) -> bool {
    let by_link = |it: &&Route| it.link == Some(view.link.index) && it.table == MAIN_TABLE;
    view.routes.iter().filter(by_link).any(|it| it.to.prefix() == 0)
}

fn on_host(node: &Node, attachment: &Attachment) -> io::Result<Vec<String>> {
    let pod = &attachment.pod();
    let mut kernel = node.kernel();
    let Some(link) = kernel.link_by_name(&pod.host_name)? else {
        return Ok(vec![format!("on the node: link {} is missing", pod.host_name)]);
    };
    let view = View {
        addresses: vec![],
        neighbours: vec![],
        routes: kernel.routes(MAIN_TABLE)?,
        rules: kernel.rules()?,
        link,
    };
    let taken = taken_by_node(&mut kernel, pod.address)?;
    drop(kernel);
    let desired = node.desired();
    let astray = {
        let mut kernel = node.kernel();
        let ways = Ways::look(node, &desired, &mut kernel)?;
        ways.astray(&node.settings, &mut kernel, attachment, view.link.index)?
    };
    let enis = desired.enis.values().filter(|eni| eni.table == pod.table);
    let rules = desired.host.host.rules().into_iter().chain(enis.flat_map(net::eni::Eni::rules));
    let rules: Vec<Op> = rules.map(Object::Rule).map(Op::Add).collect();
    let mut wrong = of_link(&view.link, pod);
    wrong
        .extend(view.lacks(&[pod.on_host(view.link.index, desired.host.pods_see), rules].concat()));
    wrong.extend(taken);
    wrong.extend(foreign(&view.rules, pod));
    let in_front = in_front(&view.routes, pod.address, view.link.index);
    // That our own is missing sends packets elsewhere as well, and is told.
    if wrong.is_empty() && in_front.is_none() {
        wrong.extend(astray.iter().map(|it| {
            format!("{it}: remove the route, rule or entry of another program that does so")
        }));
    }
    wrong.extend(in_front);
    Ok(wrong.iter().map(|it| format!("on the node: {it}")).collect())
}

/// The pod's address where somebody gave it to the node: what comes for the pod ends there.
fn taken_by_node(kernel: &mut Netlink, address: Ipv4Addr) -> io::Result<Option<String>> {
    let found = kernel.all_addresses()?.into_iter().find(|(_, it)| it.ip() == address);
    let Some((index, _)) = found else { return Ok(None) };
    let link = kernel.links()?.into_iter().find(|link| link.index == index);
    let link = link.map_or_else(|| "a link".into(), |link| link.name);
    Ok(Some(format!("{link} has the pod's address {address} as well: remove it there")))
}

/// A route of others to the pod's address that the kernel takes before ours: it lists them in its order.
fn in_front(routes: &[Route], address: Ipv4Addr, link: u32) -> Option<String> {
    let first = routes.iter().find(|it| it.to == Ipv4Network::from(address))?;
    let ours = first.link == Some(link) && first.via.is_none();
    (!ours).then(|| format!("another route to {address} comes before the pod's: remove it"))
}

/// Rules of others that send the pod's packets elsewhere.
fn foreign(rules: &[Rule], pod: &Pod) -> Vec<String> {
    let before = rules.iter().filter(|rule| pod.is_overruled_by(rule));
    before.map(|rule| format!("{rule} comes before those of the pod: remove it")).collect()
}

impl View {
    /// Which of these there should be and are not.
    fn lacks(&self, desired: &[Op]) -> Vec<String> {
        let objects = desired.iter().filter_map(|op| match op {
            Op::Add(object) => Some(object),
            Op::Remove(_) | Op::Change(_) => None,
        });
        let lacking = objects.filter(|object| !self.has(object));
        lacking.map(|object| format!("{} is missing", name(object, &self.link))).collect()
    }

    fn has(&self, object: &Object) -> bool {
        match object {
            Object::Address { address, .. } | Object::BareAddress { address, .. } => {
                self.addresses.iter().any(|it| IpAddr::V4(it.ip()) == address.ip())
            }
            Object::Route(route) => self.routes.iter().any(|it| {
                (it.to, it.via, it.link) == (route.to, route.via, route.link)
                    && (route.source.is_none() || it.source == route.source)
            }),
            Object::Rule(rule) => self.rules.contains(rule),
            Object::Neighbour { address, mac, .. } => {
                self.neighbours.contains(&Neighbour { address: *address, mac: *mac })
            }
            // The pair itself was looked for by its names.
            Object::Veth(_) => true,
        }
    }
}

fn of_link(link: &Link, pod: &Pod) -> Vec<String> {
    let Link { name, up, group, mac, .. } = link;
    let mut wrong = vec![];
    if !up {
        wrong.push(format!("{name} is down"));
    }
    if *mac != Some(pod.host_mac()) {
        let found = mac.map_or_else(|| "none".into(), |mac| mac.to_string());
        wrong.push(format!("{name} has the hardware address {found}, not {}", pod.host_mac()));
    }
    if *group != pod.group() {
        wrong.push(format!("{name} is in device group {group}, not {}", pod.group()));
    }
    wrong
}

/// The routes of every table that a rule names: a later plugin of the chain (sbr) moves them.
fn every_route(inside: &mut Netlink) -> io::Result<Vec<Route>> {
    let mut tables: Vec<u32> = inside.rules()?.iter().map(|rule| rule.table).collect();
    tables.push(MAIN_TABLE);
    tables.sort_unstable();
    tables.dedup();
    let mut routes = vec![];
    for table in tables {
        routes.extend(inside.routes(table)?);
    }
    Ok(routes)
}

// CNI 1.1.0, "CHECK": The plugin must allow for a later chained plugin to have modified networking
// resources, e.g. routes, on ADD.
fn is_still_wanted(op: &Op, result: &AddResult) -> bool {
    let Op::Add(Object::Route(_)) = op else { return true };
    let ours = |it: &cni::Route| it.dst.prefix() == 0 && it.gw == Some(IpAddr::V4(POD_GATEWAY));
    result.routes.iter().any(ours)
}

/// A thing in the words of `ip`.
fn name(object: &Object, link: &Link) -> String {
    let on = &link.name;
    match object {
        Object::Veth(veth) => format!("link {}", veth.name),
        Object::Address { address, .. } | Object::BareAddress { address, .. } => {
            format!("address {} on {on}", IpNetwork::ip(address))
        }
        Object::Route(Route { to, via: Some(via), .. }) => format!("route {to} via {via} dev {on}"),
        Object::Route(Route { to, source: Some(source), .. }) => {
            format!("route {to} dev {on} src {source}")
        }
        Object::Route(Route { to, .. }) => format!("route {to} dev {on}"),
        Object::Rule(rule) => rule.to_string(),
        Object::Neighbour { address, mac, .. } => format!("neighbour {address} lladdr {mac}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CNI requirement 46.
    #[test]
    fn routes_that_a_later_plugin_took_out_of_the_result_are_not_missed() {
        let view = View { routes: vec![], ..view() };
        let lacks = |json| {
            let result = AddResult::parse(json, cni::Version::V1_0_0).unwrap();
            let mut desired = pod().in_pod(7);
            desired.retain(|op| is_still_wanted(op, &result));
            view.lacks(&desired).len()
        };

        assert_eq!(lacks(r#"{"routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}"#), 2);
        assert_eq!(lacks(r#"{"routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1"}]}"#), 0);
        assert_eq!(lacks("{}"), 0);
    }

    /// CNI requirement 46.
    #[test]
    fn everything_that_is_missing_is_told_at_once() {
        let desired = [pod().in_pod(7), pod().on_host(7, None)].concat();
        let nothing =
            View { addresses: vec![], neighbours: vec![], routes: vec![], rules: vec![], ..view() };

        assert_eq!(view().lacks(&desired), [""; 0]);
        assert_eq!(
            nothing.lacks(&desired),
            [
                "address 10.0.0.9 on eth0 is missing",
                "route 169.254.1.1/32 dev eth0 is missing",
                "route 0.0.0.0/0 via 169.254.1.1 dev eth0 is missing",
                "neighbour 169.254.1.1 lladdr 0e:10:0a:00:00:09 is missing",
                "route 10.0.0.9/32 dev eth0 is missing",
                "rule 1537: from 10.0.0.9/32 lookup 2 is missing",
            ]
        );
    }

    #[test]
    fn a_route_of_others_before_the_pods_is_named_and_one_after_it_is_none() {
        let to = |link| Route::on_link(pod().address.into(), link);

        assert_eq!(in_front(&[to(7), to(3)], pod().address, 7), None);
        assert!(in_front(&[to(3), to(7)], pod().address, 7).is_some());
        assert_eq!(in_front(&[], pod().address, 7), None, "that it is missing is told apart");
    }

    /// CNI requirement 46.
    #[test]
    fn the_host_end_must_be_up_and_ours() {
        let right =
            Link { mac: Some(pod().host_mac()), group: pod().group(), up: true, ..view().link };
        let wrong = Link { mac: None, group: 0, up: false, ..right.clone() };

        assert_eq!(of_link(&right, &pod()), [""; 0]);
        assert_eq!(
            of_link(&wrong, &pod()),
            [
                "eth0 is down",
                "eth0 has the hardware address none, not 0e:10:0a:00:00:09",
                "eth0 is in device group 0, not 1536",
            ]
        );
    }

    /// CNI requirement 46.
    #[test]
    fn the_result_must_be_that_of_the_record() {
        let wrong = |json| {
            let result = AddResult::parse(json, cni::Version::V1_0_0).unwrap();
            against_result(&pod().pod_name, pod().address, &result)
        };

        let right = r#"{"interfaces":[{"name":"eth0","sandbox":"/n"},{"name":"net1"}],
            "ips":[{"address":"192.0.2.1/24"},{"address":"10.0.0.9/24"}]}"#;
        assert_eq!(wrong(right), [""; 0]);
        assert_eq!(
            wrong(r#"{"interfaces":[{"name":"eth0"}],"ips":[{"address":"10.0.0.8/32"}]}"#),
            [
                "prevResult has no interface eth0",
                "on record is 10.0.0.9, which prevResult does not have",
            ]
        );
    }

    fn pod() -> Pod {
        Pod {
            host_name: "eni1".into(),
            pod_name: "eth0".into(),
            address: [10, 0, 0, 9].into(),
            table: 2,
            egress: net::EgressSelector::Own,
            mtu: 9001,
            host_mac: None,
            role: net::pod::Role::First,
        }
    }

    /// All that a pod has, in one place.
    fn view() -> View {
        let mut view = View {
            link: Link {
                index: 7,
                name: "eth0".into(),
                mac: None,
                mtu: 9001,
                group: 0,
                up: true,
                running: true,
                veth: true,
            },
            addresses: vec![pod().address.into()],
            neighbours: vec![Neighbour { address: POD_GATEWAY, mac: pod().host_mac() }],
            routes: vec![],
            rules: vec![],
        };
        for op in [pod().in_pod(7), pod().on_host(7, None)].concat() {
            match op {
                // A later plugin may have moved it to another table.
                Op::Add(Object::Route(route)) => view.routes.push(route.in_table(100)),
                Op::Add(Object::Rule(rule)) => view.rules.push(rule),
                Op::Add(_) | Op::Remove(_) | Op::Change(_) => {}
            }
        }
        view
    }
}
