//! Traffic as Kubernetes promises it.

use crate::cluster::{Cluster, IMAGE};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tests::command::until;

/// Pods of a Deployment.
const PODS: usize = 20;

/// A port of the node that leads to a pod.
const HOST_PORT: u16 = 8085;

pub(crate) fn every_way_leads_to_its_pod(cluster: &Cluster) {
    cluster.deploy("web", PODS);
    let pods = cluster.pods("web");
    assert_eq!(pods.len(), PODS);
    for pod in &pods {
        assert!(pod.address.octets().starts_with(&[100, 64]), "{pod:?}");
    }
    cluster.world.everybody_reaches_everybody(&pods);

    services(cluster);
    hairpin(cluster);
    host_port(cluster);
    assert_eq!(cluster.warnings(), Vec::<String>::new());
}

/// The API server and a service of pods, from a pod and from a node; by address and by node port.
fn services(cluster: &Cluster) {
    cluster.kubectl("expose deployment web --port 80 --type NodePort");
    let service = cluster.get("service web");
    let address: Ipv4Addr = service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    let port = u16::try_from(port).unwrap();
    let names: Vec<_> = cluster.pods("web").into_iter().map(|pod| pod.name).collect();
    let pods = cluster.pods("web");
    let ask = |from: &std::path::Path, at: SocketAddr| {
        until("a pod of the service answers", || {
            let (name, _) = cluster.world.ask_at(from, at)?;
            if names.contains(&name) { Ok(()) } else { Err(name) }
        });
        // Once it is there, it is there for everyone: each request may go to another pod.
        for _ in 0..10 {
            let answer = cluster.world.ask_at(from, at);
            assert!(answer.is_ok(), "{} asked {at}: {answer:?}", from.display());
        }
    };
    let nodes = ["n1", "n2"].map(|node| (cluster.world.namespace(node, None), node));
    for from in [&pods[0].namespace, &nodes[0].0, &nodes[1].0] {
        ask(from, SocketAddr::from((address, 80)));
        for (_, node) in &nodes {
            ask(from, SocketAddr::from((cluster.world.node(node).address, port)));
        }
    }
    cluster.kubectl("delete service web");
}

/// A pod that asks its own service gets its own answer.
fn hairpin(cluster: &Cluster) {
    cluster.deploy("alone", 1);
    cluster.kubectl("expose deployment alone --port 80");
    let service = cluster.get("service alone");
    let address: IpAddr = service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
    let pod = cluster.pods("alone").remove(0);
    until("the pod reaches itself", || {
        let (name, _) = cluster.world.ask_at(&pod.namespace, SocketAddr::from((address, 80)))?;
        if name == pod.name { Ok(()) } else { Err(name) }
    });
    cluster.kubectl("delete deployment,service alone");
}

/// A port of the node, which the plugin `portmap` opens.
fn host_port(cluster: &Cluster) {
    cluster.apply(&format!(
        "apiVersion: v1
kind: Pod
metadata: {{ name: port, labels: {{ app: port }} }}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 1
  containers:
    - name: web
      image: {IMAGE}
      imagePullPolicy: Never
      ports: [{{ containerPort: 80, hostPort: {HOST_PORT} }}]
"
    ));
    cluster.kubectl("wait --for condition=Ready pod/port --timeout 60s");
    let at = SocketAddr::from((cluster.world.node("n1").address, HOST_PORT));
    let (name, _) = cluster.world.ask_at(&cluster.world.namespace("n2", None), at).unwrap();
    assert_eq!(name, "port");
    cluster.kubectl("delete pod port");
}

pub(crate) fn a_deployment_is_restarted_and_leaves_nothing(cluster: &Cluster) {
    let before = cluster.pods("web");
    cluster.kubectl("rollout restart deployment/web");
    cluster.rolled_out("deployment/web");
    let after = cluster.pods("web");
    assert!(before.iter().all(|old| after.iter().all(|new| new.name != old.name)));
    cluster.world.everybody_reaches_everybody(&after[..6]);
    assert_eq!(cluster.warnings(), Vec::<String>::new());

    cluster.kubectl("delete deployment web");
    for node in ["n1", "n2"] {
        nothing_is_left(cluster, node);
    }
}

/// Waits until a node has no trace of any pod.
#[track_caller]
pub(crate) fn nothing_is_left(cluster: &Cluster, node: &str) {
    until("nothing of a pod is left on the node", || {
        let found = cluster.shell(
            node,
            "ip -oneline link | grep ' eni'; ls /run/netns; ip route | grep '^100.64'; true",
        );
        if found.is_empty() { Ok(()) } else { Err(found) }
    });
}
