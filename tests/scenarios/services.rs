//! Services beside kube-proxy in each of its modes: who answers, whom they see, and that no packet
//! takes an interface that the VPC does not accept it from.

use crate::kube_proxy::{External, KubeProxy, Mode, Service, set};
use ipnetwork::Ipv4Network;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};
use tests::{
    Row, http,
    world::{CUSTOM, Pod, World, ZONES},
};
use vpc_sim::world::status::InterfaceStatus;

/// How often a service with two pods is asked: all of it would go to one of them by chance once in
/// 8,000 times.
const ENOUGH: usize = 14;

#[test]
fn services_are_reached_beside_kube_proxy_that_writes_nftables_by_iptables() {
    starts_first(Mode::IptablesNft);
    starts_last(Mode::IptablesNft);
}

#[test]
fn services_are_reached_beside_kube_proxy_that_writes_the_old_tables_by_iptables() {
    starts_first(Mode::IptablesLegacy);
    starts_last(Mode::IptablesLegacy);
}

#[test]
fn services_are_reached_beside_kube_proxy_in_its_own_mode_nftables() {
    starts_first(Mode::Nftables);
    starts_last(Mode::Nftables);
}

#[test]
fn services_are_reached_whatever_reverse_path_filter_the_node_has_been_given() {
    for value in ["1", "2"] {
        let _row = Row(value);
        let cluster = Cluster::without_daemons();
        for node in cluster.nodes() {
            for which in ["all", "default"] {
                set(node, &format!("conf/{which}/rp_filter"), value);
            }
        }
        let proxies = cluster.kube_proxies(Mode::Nftables);
        cluster.start_daemons();

        let pods = cluster.pods();

        cluster.check(&pods, &proxies);
    }
}

#[test]
fn node_ports_are_answered_also_when_somebody_else_translates_what_leaves_the_vpc() {
    let cluster = Cluster::without_daemons();
    cluster.start_daemons_with(&["AWS_VPC_K8S_CNI_EXTERNALSNAT=true"]);
    let pods = cluster.pods();
    let services = services(&pods);
    for proxy in cluster.kube_proxies(Mode::Nftables) {
        proxy.sync(&services);
    }

    cluster.check_cluster_ips(&pods, &services);
    cluster.check_node_ports(&pods, &services);
    cluster.check_node_ports_with_pods_of_both_nodes(&pods, &services);

    assert_eq!(cluster.world.status().dropped, []);
}

#[test]
fn services_are_reached_in_every_layout_of_our_rules() {
    for env in ["ENI_CNI_RULE_LAYOUT=aws", "ENABLE_PREFIX_DELEGATION=true"] {
        let _row = Row(env);
        let cluster = Cluster::without_daemons();
        cluster.start_daemons_with(&[env]);
        let pods = cluster.pods();

        let proxies = cluster.kube_proxies(Mode::IptablesNft);

        cluster.check(&pods, &proxies);
    }
}

#[test]
fn a_node_port_is_answered_by_the_interface_that_it_was_asked_through() {
    let cluster = Cluster::without_daemons();
    cluster.start_daemons();
    let pods = cluster.pods();
    let services = services(&pods);
    // With iptables it is open at every address of the node.
    for proxy in cluster.kube_proxies(Mode::IptablesNft) {
        proxy.sync(&services);
    }
    let [_, elsewhere, local] = &services;

    let interfaces = cluster.world.node("n1").interfaces;
    for interface in &interfaces {
        let at = SocketAddr::from((interface.primary.unwrap(), local.node_port));
        for from in [&cluster.far, &place(&pods.far)] {
            cluster.check_answer(from, at, &pods.near, from.address);
        }
        // The answer of the other node's pod comes in by the primary interface.
        let at = SocketAddr::from((interface.primary.unwrap(), elsewhere.node_port));
        for from in [&cluster.far, &place(&pods.far)] {
            cluster.check_answer(from, at, &pods.far, cluster.near.address);
        }
    }

    assert_eq!(interfaces.len(), 3, "the primary one, that of the pods, and another");
    assert_eq!(cluster.world.status().dropped, []);
}

#[test]
fn a_pod_reaches_a_service_whose_endpoint_is_outside_of_the_vpc_as_its_node() {
    for mode in [Mode::IptablesNft, Mode::IptablesLegacy, Mode::Nftables] {
        let cluster = Cluster::without_daemons();
        cluster.start_daemons();
        let pods = cluster.pods();
        let Place { namespace, address } = cluster.internet.clone();
        let endpoint = Pod { node: String::new(), name: "other".into(), address, namespace };
        let service = Service { endpoints: vec![endpoint], ..services(&pods)[0].clone() };
        for proxy in cluster.kube_proxies(mode) {
            proxy.sync(std::slice::from_ref(&service));
        }

        // By an interface of the pod it would leave with an address that this does not have.
        let at = SocketAddr::from((service.cluster_ip, 80));
        let seen = http::get_within(&pods.client.namespace, at).unwrap();

        assert_eq!(seen.trim(), cluster.public().to_string(), "{mode:?}");
        assert_eq!(cluster.world.status().dropped, [], "{mode:?}");
    }
}

fn starts_first(mode: Mode) {
    let cluster = Cluster::without_daemons();
    let proxies = cluster.kube_proxies(mode);
    cluster.start_daemons();

    let pods = cluster.pods();

    cluster.check(&pods, &proxies);
}

fn starts_last(mode: Mode) {
    let cluster = Cluster::without_daemons();
    cluster.start_daemons();
    let pods = cluster.pods();

    let proxies = cluster.kube_proxies(mode);

    cluster.check(&pods, &proxies);
}

/// Two nodes in one zone, in each other's subnet, with pods on secondary interfaces.
pub(crate) struct Cluster {
    pub(crate) world: World,
    near: Place,
    far: Place,
    pub(crate) internet: Place,
}

/// Somewhere that asks, and as whom it is seen.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) namespace: PathBuf,
    pub(crate) address: Ipv4Addr,
}

/// Its pods.
pub(crate) struct Pods {
    /// On the first node: one that only asks, and one that is asked.
    pub(crate) client: Pod,
    pub(crate) near: Pod,
    /// On the second node.
    pub(crate) far: Pod,
}

impl Cluster {
    pub(crate) fn without_daemons() -> Self {
        let file = tests::repository().join("tests/scenarios/node-ports.toml");
        let world = World::described_by(Some(&file));
        world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
        let [near, far] = ["n1", "n2"].map(|node| {
            let address = world.node_add(node, ZONES[0], &[]).address;
            Place { namespace: world.namespace(node, None), address }
        });
        let internet = Place {
            namespace: net::netns::path(&format!("{}.internet", world.name())),
            address: world.status().summary.internet,
        };
        Self { world, near, far, internet }
    }

    pub(crate) fn nodes(&self) -> [&Path; 2] {
        [&self.near.namespace, &self.far.namespace]
    }

    pub(crate) fn start_daemons(&self) {
        self.start_daemons_with(&[]);
    }

    pub(crate) fn start_daemons_with(&self, env: &[&str]) {
        for node in ["n1", "n2"] {
            self.world.daemon_start(node, &[CUSTOM, env].concat());
        }
    }

    pub(crate) fn kube_proxies(&self, mode: Mode) -> [KubeProxy<'_>; 2] {
        ["n1", "n2"].map(|node| KubeProxy::start(&self.world, node, mode))
    }

    pub(crate) fn pods(&self) -> Pods {
        let pods = Pods {
            client: self.world.pod_add("n1", "client"),
            near: self.world.pod_add("n1", "near"),
            far: self.world.pod_add("n2", "far"),
        };
        for pod in [&pods.client, &pods.near, &pods.far] {
            assert_eq!(pod.address.octets()[..3], [100, 64, 0], "{pod:?}: no secondary interface");
        }
        // From here on the VPC does not change.
        for node in ["n1", "n2"] {
            self.world.settled(node);
        }
        pods
    }

    /// The primary address of the interface that holds a pod's address.
    fn interface_of(&self, pod: &Pod) -> Ipv4Addr {
        let mut interfaces = self.world.node(&pod.node).interfaces.into_iter();
        interfaces.find(|eni| holds(eni, pod.address)).expect("one has it").primary.unwrap()
    }

    /// The first node, as it is seen on the internet.
    pub(crate) fn public(&self) -> Ipv4Addr {
        self.world.node("n1").public_address.expect("nodes of this world have one")
    }

    /// Gives kube-proxy the services, asks everybody from everywhere, and asserts that the VPC has
    /// dropped nothing.
    fn check(&self, pods: &Pods, proxies: &[KubeProxy<'_>; 2]) {
        let services = services(pods);
        for proxy in proxies {
            proxy.sync(&services);
        }

        self.check_cluster_ips(pods, &services);
        self.check_node_ports(pods, &services);
        self.check_node_ports_with_pods_of_both_nodes(pods, &services);
        self.check_without_services(pods);

        assert_eq!(self.world.status().dropped, []);
    }

    fn check_cluster_ips(&self, pods: &Pods, services: &Services) {
        let at = |service: &Service| SocketAddr::from((service.cluster_ip, 80));
        let [near, far, _] = services;
        for (service, pod) in [(near, &pods.near), (far, &pods.far)] {
            self.check_answer(&place(&pods.client), at(service), pod, pods.client.address);
            self.check_answer(&self.near, at(service), pod, self.near.address);
        }
        // A pod that asks itself must not see its own address as the other side's.
        self.check_answer(&place(&pods.near), at(near), &pods.near, self.near.address);
        self.check_answer(&place(&pods.far), at(far), &pods.far, self.far.address);
        let at = SocketAddr::from((self.near.address, near.node_port));
        self.check_answer(&place(&pods.near), at, &pods.near, self.near.address);
    }

    fn check_node_ports(&self, pods: &Pods, services: &Services) {
        let [near, far, _] = services;
        for (service, pod) in [(near, &pods.near), (far, &pods.far)] {
            let seen = self.near.address;
            let at = SocketAddr::from((self.near.address, service.node_port));
            for from in [&self.far, &self.near, &place(&pods.far)] {
                self.check_answer(from, at, pod, seen);
            }
            // What a pod of the node sends to another node leaves by the pod's interface, and with
            // the address of that.
            let leaves = pod.node != pods.client.node;
            let seen_of_pod = if leaves { self.interface_of(&pods.client) } else { seen };
            self.check_answer(&place(&pods.client), at, pod, seen_of_pod);
            let at = SocketAddr::from((self.public(), service.node_port));
            self.check_answer(&self.internet, at, pod, seen);
        }
    }

    fn check_node_ports_with_pods_of_both_nodes(&self, pods: &Pods, services: &Services) {
        let [_, _, local] = services;
        let at = SocketAddr::from((self.near.address, local.node_port));
        for _ in 0..ENOUGH {
            for from in [&self.far, &place(&pods.far), &place(&pods.client)] {
                self.check_answer(from, at, &pods.near, from.address);
            }
            let at = SocketAddr::from((self.public(), local.node_port));
            self.check_answer(&self.internet, at, &pods.near, self.internet.address);
        }
        let cluster_ip = SocketAddr::from((local.cluster_ip, 80));
        let mut answered = vec![];
        for _ in 0..ENOUGH {
            let (name, seen) = self.world.ask_at(&pods.client.namespace, cluster_ip).unwrap();
            assert_eq!(seen, IpAddr::V4(pods.client.address), "{name}");
            answered.push(name);
        }
        assert!(answered.contains(&pods.near.name), "{answered:?}");
        assert!(answered.contains(&pods.far.name), "{answered:?}");
    }

    /// What goes on beside services: probes of kubelet, pods among themselves, the internet.
    fn check_without_services(&self, pods: &Pods) {
        let at = |pod: &Pod| SocketAddr::from((pod.address, 80));
        for from in [&self.near, &self.far, &place(&pods.client)] {
            for pod in [&pods.near, &pods.far] {
                self.check_answer(from, at(pod), pod, from.address);
            }
        }
        self.check_answer(&place(&pods.far), at(&pods.near), &pods.near, pods.far.address);
        let public = IpAddr::V4(self.public());
        for from in [&pods.client.namespace, &self.near.namespace] {
            assert_eq!(self.world.seen_on_the_internet(from), public, "{from:?}");
        }
    }

    /// `from` asks there, and the pod answers, having seen the source.
    #[track_caller]
    fn check_answer(&self, from: &Place, at: SocketAddr, pod: &Pod, source: Ipv4Addr) {
        let answer = self.world.ask_at(&from.namespace, at);

        let want = Ok((pod.name.clone(), IpAddr::V4(source)));
        assert_eq!(answer, want, "{} asked {at}", from.namespace.display());
    }
}

/// Whether an interface has an address, alone or in a prefix.
fn holds(eni: &InterfaceStatus, address: Ipv4Addr) -> bool {
    let within = |prefix: &String| prefix.parse::<Ipv4Network>().unwrap().contains(address);
    eni.secondary.contains(&address) || eni.prefixes.iter().any(within)
}

fn place(pod: &Pod) -> Place {
    Place { namespace: pod.namespace.clone(), address: pod.address }
}

/// With a pod of the first node, with a pod of the second, and with one of each whose node ports
/// are answered by pods of the node alone.
type Services = [Service; 3];

pub(crate) fn services(pods: &Pods) -> Services {
    let (near, far) = (pods.near.clone(), pods.far.clone());
    let service = |number: u8, name, external, endpoints| Service {
        name,
        cluster_ip: [172, 20, 0, number].into(),
        node_port: 30_000 + u16::from(number),
        external,
        endpoints,
    };
    [
        service(1, "near", External::Cluster, vec![near.clone()]),
        service(2, "far", External::Cluster, vec![far.clone()]),
        service(3, "local", External::Local, vec![near, far]),
    ]
}
