//! Reference plugins chained after ours.

use crate::{containerd::Containerd, cri::Wanted, nodes::tight, stock::install_stock};
use serde_json::{Value, json};
use std::{fs, net::SocketAddr, path::Path};
use tests::{
    Row,
    command::until,
    http,
    world::{CUSTOM, Pod, World, ZONES},
};

/// On the node, for the pod's port 80.
const HOST_PORT: u16 = 8080;

/// The file that the daemon installs.
const LIST: &str = "10-aws.conflist";

#[test]
fn a_host_port_reaches_the_pod_from_its_node_and_from_others() {
    for env in [&[], CUSTOM] {
        let _row = Row(env);
        let world = World::up();
        for (zone, subnet) in ZONES.into_iter().zip(["pods-a", "pods-b"]) {
            world.eniconfig_create(zone, subnet, &["pods"]);
        }
        for (node, zone) in ["n1", "n2"].into_iter().zip(ZONES) {
            world.node_add(node, zone, &[]);
            // With portmap among them the daemon writes the list that it ships.
            install_stock(&world.node_folder(node).cni_bin());
            world.daemon_start(node, env);
        }
        let containerd = Containerd::on(&world, "n1");
        let before = world.traces("n1").translations();
        let wanted = Wanted { name: "web", ports: &[(HOST_PORT, 80)], ..Wanted::default() };

        let (id, web) = containerd.try_pod(&wanted).unwrap();

        let at = SocketAddr::from((world.node("n1").address, HOST_PORT));
        let (near, far) = (world.pod_add("n1", "near"), world.pod_add("n2", "far"));
        let node = |node| (world.namespace(node, None), world.node(node).address);
        let clients =
            [node("n1"), node("n2"), (near.namespace, near.address), (far.namespace, far.address)];
        for (from, address) in clients {
            let said = http::get_within(&from, at);
            let said = said.unwrap_or_else(|error| panic!("{address} asks {at}, {env:?}: {error}"));
            let said: Value = serde_json::from_str(&said).unwrap();
            let want = json!({ "pod": "web", "source": address });
            assert_eq!(said, want, "{address} asked {at}, {env:?}");
        }
        // Translated on the way back to itself, or it would answer itself past the node.
        let said = http::get_within(&web.namespace, at);
        assert!(said.is_ok_and(|said| said.contains(r#""pod":"web""#)), "{env:?}");
        containerd.end(&id);
        assert_eq!(world.traces("n1").translations(), before);
    }
}

#[test]
fn every_chained_plugin_understands_our_result_in_every_version() {
    let world = tight();
    let folder = world.node_folder("n1");
    let lists = folder.log().join("lists");
    let ours = installed_list(&folder.cni_conf());
    let more = [
        json!({ "type": "bandwidth", "capabilities": { "bandwidth": true } }),
        json!({ "type": "tuning", "sysctl": { "net.ipv4.ip_default_ttl": "77" } }),
        json!({ "type": "firewall", "backend": "iptables" }),
    ];
    put(&lists, &ours);
    let containerd = Containerd::with(&world, "n1", &folder.cni_bin(), &lists);
    let before = world.traces("n1");
    let wanted = Wanted {
        name: "p",
        ports: &[(HOST_PORT, 80)],
        annotations: &[
            ("kubernetes.io/ingress-bandwidth", "8M"),
            ("kubernetes.io/egress-bandwidth", "16M"),
        ],
    };

    // The last one is too young for 0.3.1.
    for (version, more) in [("0.3.1", &more[..2]), ("1.0.0", &more), ("0.4.0", &more)] {
        let _row = Row(version);
        put(&lists, &chain(&ours, version, more));
        until("containerd has read the list", || match containerd.cri.version_of("aws-cni") {
            Some(now) if now == version => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let (id, pod) =
            containerd.try_pod(&wanted).unwrap_or_else(|error| panic!("{version}: {error}"));

        on_the_hosts_end(&world, &pod);
        let ttl = net::netns::within(&pod.namespace, || {
            fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl")
        });
        assert_eq!(ttl.unwrap().trim(), "77", "tuning, {version}");
        let filter = world.sim(&["exec", "n1", "--", "iptables-save", "-t", "filter"]);
        let accepted = filter.contains(&format!("{}/32", pod.address));
        assert_eq!(accepted, more.len() == 3, "firewall, {version}: {filter}");
        let at = SocketAddr::from((world.node("n1").address, HOST_PORT));
        assert!(http::get_within(&world.namespace("n1", None), at).is_ok(), "portmap, {version}");
        containerd.end(&id);
        world.as_before("n1", &before);
    }
}

/// With `ENI_CNI_STATUS` one list serves runtimes of both generations.
///
/// CNI requirement 21.
#[test]
fn a_runtime_that_does_not_know_cni_1_1_0_takes_a_list_that_offers_it_for_one_of_0_4_0() {
    let world = tight();
    let folder = world.node_folder("n1");
    let lists = folder.log().join("lists");
    let mut list = chain(&installed_list(&folder.cni_conf()), "0.4.0", &[]);
    list["cniVersions"] = json!(["0.4.0", "1.1.0"]);
    put(&lists, &list);
    let containerd = Containerd::with(&world, "n1", &folder.cni_bin(), &lists);

    let started = containerd.try_pod(&Wanted { name: "p", ..Wanted::default() });

    let (id, _) = started.unwrap();
    assert_eq!(containerd.cri.version_of("aws-cni").as_deref(), Some("0.4.0"));
    containerd.end(&id);
}

/// Asserts that bandwidth found the link that is ours to name.
#[track_caller]
fn on_the_hosts_end(world: &World, pod: &Pod) {
    let on_node = |program: &[&str]| world.sim(&[&["exec", "n1", "--"], program].concat());
    let route = on_node(&["ip", "route", "show", &pod.address.to_string()]);
    let veth = route.split(' ').skip_while(|word| *word != "dev").nth(1).unwrap_or_default();
    let queues = on_node(&["tc", "qdisc", "show", "dev", veth]);
    // What comes in to the pod is sent by the host's end, and what goes out is received there.
    assert!(queues.contains("qdisc tbf ") && queues.contains(" rate 8Mbit "), "{veth}: {queues}");
    assert!(queues.contains("qdisc ingress "), "{veth}: {queues}");
    let all = on_node(&["tc", "qdisc", "show"]);
    assert!(all.contains(" rate 16Mbit "), "{all}");
}

/// The network list that the daemon installs.
fn installed_list(folder: &Path) -> Value {
    let list = until("the daemon has installed its list", || {
        fs::read_to_string(folder.join(LIST)).map_err(|error| error.to_string())
    });
    serde_json::from_str(&list).unwrap()
}

/// A list with more plugins at its end, in a version of CNI.
fn chain(list: &Value, version: &str, more: &[Value]) -> Value {
    let mut list = list.clone();
    list["cniVersion"] = version.into();
    list["plugins"].as_array_mut().unwrap().extend_from_slice(more);
    list
}

/// Replaces a network list by a rename, which containerd notices.
fn put(folder: &Path, list: &Value) {
    fs::create_dir_all(folder).unwrap();
    let fresh = folder.join("fresh");
    fs::write(&fresh, list.to_string()).unwrap();
    fs::rename(fresh, folder.join(LIST)).unwrap();
}
