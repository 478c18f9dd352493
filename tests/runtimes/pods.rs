//! Pods of containerd: their addresses, their traffic, their end.

use crate::{
    containerd::Containerd,
    cri::Wanted,
    image,
    nodes::tight,
    shim::Call,
    stock::{STOCK, install_stock},
};
use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};
use tests::{
    Row, http,
    world::{Pod, World, ZONES},
};

/// What a runtime can lose of a pod before it stops it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// The sandbox's own process.
    Process,
    /// What the runtime kept of the ADD.
    Result,
    /// The network namespace.
    Namespace,
}

#[test]
fn a_pod_has_an_address_of_the_vpc_and_reaches_pods_and_nodes() {
    let world = World::up();
    for (node, zone) in ["n1", "n2"].into_iter().zip(ZONES) {
        world.node_add(node, zone, &[]);
        install_stock(&world.node_folder(node).cni_bin());
        world.daemon_start(node, &[]);
    }
    let (one, two) = (Containerd::on(&world, "n1"), Containerd::on(&world, "n2"));

    let pods = [one.run("a").1, one.run("b").1, two.run("c").1];

    for pod in &pods {
        let interfaces = world.node(&pod.node).interfaces;
        let assigned = interfaces.iter().any(|eni| eni.secondary.contains(&pod.address));
        assert!(assigned, "{pod:?} {interfaces:?}");
    }
    world.everybody_reaches_everybody(&pods);
    for (node, pod) in ["n1", "n2"].into_iter().zip(&pods) {
        let answer = world.ask(&world.namespace(node, None), pod);
        let from = IpAddr::V4(world.node(node).address);
        assert_eq!(answer, Ok((pod.name.clone(), from)), "{node} asked {}", pod.name);
    }
}

/// The folder of plugins of a node image of EKS is empty, and containerd runs `loopback` for every
/// sandbox.
#[test]
fn on_a_node_without_any_plugin_pods_start_with_those_that_the_daemon_brings() {
    const HOST_PORT: u16 = 8081;
    let world = World::up();
    for node in ["bare", "brought"] {
        world.node_add(node, ZONES[0], &[]);
    }
    world.daemon_start("bare", &[]);
    world.daemon_start("brought", &[&format!("ENI_CNI_REFERENCE_PLUGINS={STOCK}")]);
    let (bare, brought) = (Containerd::on(&world, "bare"), Containerd::on(&world, "brought"));

    let refused = bare.try_pod(&Wanted { name: "none", ..Wanted::default() }).unwrap_err();
    let wanted = Wanted { name: "web", ports: &[(HOST_PORT, 80)], ..Wanted::default() };
    let (_, web) = brought.try_pod(&wanted).unwrap();

    assert!(refused.to_string().contains(r#"failed to find plugin "loopback""#), "{refused}");
    let at = SocketAddr::from((world.node("brought").address, HOST_PORT));
    let said = http::get_within(&world.namespace("bare", None), at).unwrap();
    assert!(said.contains(&format!(r#""pod":"{}""#, web.name)), "{said}");
}

#[test]
fn a_container_has_the_network_of_its_pod() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &[]);
    install_stock(&world.node_folder("n1").cni_bin());
    world.daemon_start("n1", &[]);
    let containerd = Containerd::on(&world, "n1");
    let (client, server) = (containerd.run("client"), containerd.run("server"));
    let wanted = Wanted { name: "client", ..Wanted::default() };

    let container = containerd.cri.start(&client.0, &wanted, image::NAME, &["/bin/sleep", "600"]);
    let url = format!("http://{}/", server.1.address);
    let said = containerd.cri.exec(&container.unwrap(), &["/bin/wget", "-q", "-O", "-", &url]);

    let Pod { address, .. } = client.1;
    assert_eq!(said, Ok(format!(r#"{{"pod":"server","source":"{address}"}}"#)));
}

#[test]
fn the_dels_of_a_pod_free_its_address_and_leave_nothing() {
    let world = tight();
    let before = world.traces("n1");
    let (shim, containerd) = Containerd::behind_shim(&world, "n1");

    let (id, pod) = containerd.run("p");
    let sandbox = containerd.cri.sandbox(&id).unwrap();
    containerd.cri.stop(&id).unwrap();
    let stopped = containerd.cri.sandbox(&id).unwrap();
    containerd.cri.remove(&id).unwrap();
    let calls = shim.calls();
    world.as_before("n1", &before);

    assert!(sandbox.ready && !stopped.ready, "{sandbox:?} {stopped:?}");
    let verbs: Vec<_> = calls.iter().map(Call::verb).collect();
    assert_eq!(verbs, ["ADD", "DEL", "DEL"]);
    assert!(calls.iter().all(|call| call.variable("CNI_CONTAINERID") == id), "{calls:?}");
    // The first with all that the runtime knows, the second with next to nothing.
    let [_, first, second] = &calls[..] else { unreachable!("there are three") };
    let address = first.stdin["prevResult"]["ips"][0]["address"].as_str();
    assert_eq!(address, Some(&*format!("{}/32", pod.address)));
    assert!(!first.variable("CNI_NETNS").is_empty(), "{first:?}");
    assert!(second.stdin["prevResult"].is_null(), "{second:?}");
    assert_eq!(second.variable("CNI_NETNS"), "");
    assert_eq!(containerd.run("q").1.address, pod.address);
}

#[test]
fn a_pod_whose_namespace_process_or_kept_result_is_gone_is_freed_by_its_del() {
    let world = tight();
    let before = world.traces("n1");
    let (shim, containerd) = Containerd::behind_shim(&world, "n1");
    let within = |program: &str, arguments: &[&str]| {
        containerd.enclosure.run(program, arguments).unwrap_or_else(|error| panic!("{error}"))
    };

    for lost in [Lost::Process, Lost::Result, Lost::Namespace] {
        let _row = Row(lost);
        let (id, _) = containerd.run("p");
        let sandbox = containerd.cri.sandbox(&id).unwrap();
        match lost {
            Lost::Process => within("kill", &["-9", &sandbox.process.to_string()]),
            Lost::Result => within("sh", &["-c", "rm /var/lib/cni/results/aws-cni-*"]),
            Lost::Namespace => {
                let path = sandbox.namespace.as_deref().and_then(Path::to_str).unwrap();
                within("sh", &["-c", "umount --lazy $0 && rm $0", path])
            }
        };

        containerd.end(&id);

        world.as_before("n1", &before);
        let calls = shim.calls().into_iter();
        let del = calls.filter(|it| it.variable("CNI_CONTAINERID") == id).nth(1).unwrap();
        // Its namespace, and its result.
        let knew = (!del.variable("CNI_NETNS").is_empty(), !del.stdin["prevResult"].is_null());
        let want = (lost != Lost::Namespace, lost != Lost::Result);
        assert_eq!((del.verb(), knew), ("DEL", want), "without its {lost:?}: {del:?}");
    }
    // There is one address.
    containerd.run("q");
}
