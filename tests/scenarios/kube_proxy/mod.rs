//! kube-proxy's rules for some services, as each of its modes writes them, put into a node.
//!
//! Restated from `pkg/proxy/iptables/proxier.go` and `pkg/proxy/nftables/proxier.go` of Kubernetes
//! 1.33: the chains, hooks, priorities and marks, in its order. As on EKS it is told no range of
//! the cluster's addresses, and with that masquerades only what comes in for a NodePort and what
//! comes back to its sender.

mod iptables;
mod nftables;

use crate::probes;
use std::{fs, io, net::Ipv4Addr, path::Path, process::Command};
use tests::{
    command::{outcome, run},
    world::{Pod, World},
};

/// Marks what has to be masqueraded (kube-proxy's `masqueradeBit`, 14).
const MASQUERADE: u32 = 0x4000;

/// What each service carries: protocol, the port of service and pods, and what is added to the
/// service's node port.
const PORTS: [(&str, u16, u16); 3] =
    [("tcp", 80, 0), ("udp", probes::UDP, 0), ("tcp", probes::TCP, 100)];

/// Which of its modes kube-proxy runs in, and with which iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `iptables`, with the program that writes nftables.
    IptablesNft,
    /// `iptables`, with the program that writes the kernel's old tables.
    IptablesLegacy,
    /// `nftables`.
    Nftables,
}

/// `externalTrafficPolicy` of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum External {
    /// Any pod may answer, and is asked by the node.
    Cluster,
    /// Only pods of the node answer, and see who asks.
    Local,
}

/// A service of type NodePort.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) cluster_ip: Ipv4Addr,
    /// Of HTTP and of datagrams.
    pub(crate) node_port: u16,
    pub(crate) external: External,
    /// The pods behind it.
    pub(crate) endpoints: Vec<Pod>,
}

/// One port of a service as kube-proxy on a node sees it.
struct Port<'a> {
    service: &'a Service,
    protocol: &'static str,
    port: u16,
    node_port: u16,
    /// Names of endpoints, and their addresses.
    all: Vec<(String, Ipv4Addr)>,
    /// Those on the node.
    local: Vec<(String, Ipv4Addr)>,
}

impl Port<'_> {
    /// What its chains are called after.
    fn id(&self) -> String {
        format!("{}-{}-{}", self.service.name, self.protocol, self.port)
    }
}

/// kube-proxy of one node.
pub(crate) struct KubeProxy<'a> {
    world: &'a World,
    node: &'a str,
    mode: Mode,
}

impl Service {
    /// The node port of connections that last.
    pub(crate) fn node_port_of_connections(&self) -> u16 {
        self.node_port + PORTS[2].2
    }
}

impl<'a> KubeProxy<'a> {
    /// Starts it: its hooks are there, and no service.
    pub(crate) fn start(world: &'a World, node: &'a str, mode: Mode) -> Self {
        let proxy = Self { world, node, mode };
        match mode {
            Mode::IptablesNft | Mode::IptablesLegacy => {
                proxy.write(&iptables::hooks());
                // NodePorts of 127.0.0.1 need it.
                set(&world.namespace(node, None), "conf/all/route_localnet", "1");
            }
            Mode::Nftables => proxy.write(&nftables::hooks(world.node(node).address)),
        }
        proxy
    }

    /// Replaces the rules of all services.
    pub(crate) fn sync(&self, services: &[Service]) {
        let ports: Vec<Port<'_>> =
            services.iter().flat_map(|service| ports(service, self.node)).collect();
        self.write(&match self.mode {
            Mode::IptablesNft | Mode::IptablesLegacy => iptables::services(&ports),
            Mode::Nftables => nftables::services(&ports),
        });
    }

    fn write(&self, script: &str) {
        let mut command = match self.mode {
            Mode::IptablesNft => restore("iptables-nft-restore"),
            Mode::IptablesLegacy => restore("iptables-legacy-restore"),
            Mode::Nftables => program("nft", &["-f", "-"]),
        };
        let namespace = self.world.namespace(self.node, None);
        let output = net::netns::within(&namespace, || Ok(run(&mut command, script))).unwrap();
        outcome(&output).unwrap_or_else(|error| panic!("{command:?}: {error}\n{script}"));
    }
}

/// Writes an IPv4 setting of a namespace, such as `conf/all/rp_filter`.
pub(crate) fn set(namespace: &Path, name: &str, value: &str) {
    let path = format!("/proc/sys/net/ipv4/{name}");
    let write = || fs::write(&path, value).map_err(|error| io::Error::other(format!("{error}")));
    net::netns::within(namespace, write).unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// Keeps chains that it is not told of, and waits for the lock that all legacy iptables share.
fn restore(name: &str) -> Command {
    program(name, &["--noflush", "--wait", "30"])
}

fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments);
    command
}

fn ports<'a>(service: &'a Service, node: &str) -> Vec<Port<'a>> {
    let named = |pods: &[&Pod]| -> Vec<(String, Ipv4Addr)> {
        pods.iter().map(|pod| (pod.name.clone(), pod.address)).collect()
    };
    let all: Vec<&Pod> = service.endpoints.iter().collect();
    let local: Vec<&Pod> = all.iter().copied().filter(|pod| pod.node == node).collect();
    let port = |(protocol, port, added)| Port {
        service,
        protocol,
        port,
        node_port: service.node_port + added,
        all: named(&all),
        local: named(&local),
    };
    PORTS.map(port).into()
}
