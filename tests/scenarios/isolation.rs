//! A pod talks only with its own address, and only root on the node talks to the daemon.

use crate::{kube_proxy::set, monitor::within, packets, services::Cluster};
use std::{
    fs,
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tests::{
    by_hand::{Container, Ended, ended},
    http,
    world::{World, ZONES, logged},
};

/// Where the node listens.
const PORT: u16 = 7777;

/// Index of the only link of a pod but for its loopback.
const POD_LINK: u32 = 2;

/// Becomes `nobody` and runs what follows.
const AS_NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// An address of the VPC that nobody has, and one that is not of the VPC.
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);
const ON_THE_INTERNET: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// Where the metadata service of every instance is.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

#[test]
fn a_pod_cannot_send_with_an_address_that_is_not_its_own() {
    let world = World::up();
    for (node, zone) in ["n1", "n2"].into_iter().zip(ZONES) {
        world.node_add(node, zone, &[]);
        world.daemon_start(node, &[]);
    }
    let (liar, victim) = (world.pod_add("n1", "liar"), world.pod_add("n1", "victim"));
    let (near, far) = (world.pod_add("n1", "near"), world.pod_add("n2", "far"));
    let nodes = ["n1", "n2"].map(|node| world.node(node).address);
    // EC2 would let the first two pass: they are of the same interface.
    let others = [victim.address, nodes[0], nodes[1], far.address, NOBODY, ON_THE_INTERNET];

    // What distributions set for all interfaces, and udev for each that comes, is not our choice.
    for (of_all, of_each) in [
        ("0", None),
        ("1", None),
        ("2", None),
        ("2", Some("2")),
        ("2", Some("0")),
        ("0", Some("0")),
    ] {
        for node in ["n1", "n2"].map(|node| world.namespace(node, None)) {
            set(&node, "conf/all/rp_filter", of_all);
            for veth in of_each.iter().flat_map(|_| veths(&node)) {
                set(&node, &format!("conf/{veth}/rp_filter"), of_each.unwrap());
            }
        }
        for to in [&near, &far] {
            let receiver = packets::receiver(&to.namespace);
            for other in others.iter().filter(|other| **other != to.address) {
                packets::send(&liar.namespace, *other, to.address, "spoofed");
            }
            packets::send(&liar.namespace, liar.address, to.address, "genuine");

            // Sent later over the same wires, so the others are not on their way any more.
            let first = packets::receive(&receiver);
            let want = (liar.address, "genuine".into());
            assert_eq!(first, want, "{of_all}, {of_each:?} {to:?}");
        }
    }
    // The VPC did not have to.
    assert_eq!(world.status().dropped, []);
}

#[test]
fn a_pod_does_not_reach_what_listens_on_the_loopback_of_its_node() {
    let world = World::with_node("n1", &[]);
    let node = world.namespace("n1", None);
    let pod = world.pod_add("n1", "p");
    // As kube-proxy sets it for node ports on 127.0.0.1.
    set(&node, "conf/all/route_localnet", "1");
    let receiver = packets::receiver(&node);
    // A pod that may change its network can send there.
    set(&pod.namespace, "conf/all/route_localnet", "1");
    for change in ["address del 127.0.0.1/8 dev lo", "route add 127.0.0.1 via 169.254.1.1 dev eth0"]
    {
        let place = format!("n1/{}", pod.name);
        let command: Vec<&str> =
            ["exec", &place, "--", "ip"].into_iter().chain(change.split(' ')).collect();
        world.sim(&command);
    }

    packets::send(&pod.namespace, pod.address, Ipv4Addr::LOCALHOST, "to the loopback");
    packets::send(&pod.namespace, pod.address, world.node("n1").address, "to the node");

    assert_eq!(packets::receive(&receiver), (pod.address, "to the node".into()));
}

#[test]
fn a_pod_reaches_the_metadata_service_and_is_its_node_there() {
    let cluster = Cluster::without_daemons();
    cluster.start_daemons();
    let pods = cluster.pods();

    for pod in [&pods.client, &pods.far] {
        let id = net::netns::within(&pod.namespace, instance_id).unwrap();

        assert_eq!(id, cluster.world.node(&pod.node).instance_id, "{pod:?}");
    }
}

#[test]
fn a_pod_does_not_reach_the_node_by_a_link_local_address() {
    let world = World::with_node("n1", &[]);
    let pod = world.pod_add("n1", "p");
    let node = world.namespace("n1", None);
    let listen = || {
        let socket = UdpSocket::bind(("::", PORT))?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(socket)
    };
    let receiver = net::netns::within(&node, listen).unwrap();
    // Neither end gets one of the kernel's; a pod may give one to itself, and somebody one to the node.
    let links = within(&node, &["ip", "-o", "link", "show", "type", "veth"]);
    let veth =
        links.lines().find_map(|line| line.split([' ', '@']).find(|it| it.starts_with("eni")));
    let give = |namespace: &Path, address: &str, link: &str| {
        within(namespace, &["ip", "-6", "address", "add", address, "dev", link, "nodad"]);
    };
    give(&node, "fe80::1/64", veth.unwrap_or_else(|| panic!("{links}")));
    give(&pod.namespace, "fe80::2/64", "eth0");

    let link_local = SocketAddrV6::new("fe80::1".parse().unwrap(), PORT, 0, POD_LINK);
    let genuine = SocketAddrV4::new(world.node("n1").address, PORT);
    let send = || {
        UdpSocket::bind("[::]:0")?.send_to(b"by the link", link_local)?;
        UdpSocket::bind("0.0.0.0:0")?.send_to(b"genuine", genuine)
    };
    net::netns::within(&pod.namespace, send).unwrap();

    let mut buffer = [0; 64];
    let (length, _) = receiver.recv_from(&mut buffer).unwrap();
    assert_eq!(String::from_utf8_lossy(&buffer[..length]), "genuine");
}

#[test]
fn pods_reach_the_metadata_service_unless_that_is_blocked_and_the_node_always_does() {
    let service = SocketAddr::from(([169, 254, 169, 254], 80));
    let connect = |from: &Path| {
        let limit = Duration::from_secs(10);
        net::netns::within(from, || TcpStream::connect_timeout(&service, limit))
    };
    let world = World::with_node("n1", &[]);
    let pod = world.pod_add("n1", "p");
    let node = world.namespace("n1", None);
    let open = connect(&pod.namespace);

    world.daemon_stop("n1");
    world.daemon_start("n1", &["ENI_CNI_BLOCK_POD_IMDS=true"]);
    let blocked = connect(&pod.namespace);
    let of_node = connect(&node);

    assert!(open.is_ok(), "{open:?}");
    let refused = blocked.map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(ErrorKind::HostUnreachable), "told so, not left waiting");
    assert!(of_node.is_ok(), "{of_node:?}");
    world.everybody_reaches_everybody(&[pod, world.pod_add("n1", "q")]);
}

#[test]
fn nobody_but_root_reaches_the_daemons_socket() {
    let world = World::up();
    let open = Open::on(&world);
    let container = Container::new(&world);

    let del = open.del_as_nobody(&world, &container);

    assert!(!del.success, "{del:?}");
    assert_eq!(del.printed["code"], 11, "{del:?}");
    assert!(del.printed["msg"].as_str().unwrap().contains("cannot reach ipamd"), "{del:?}");
    assert!(!world.log("n1").contains("refuse a client"), "it was reached");
}

#[test]
fn the_daemon_refuses_everybody_but_root_also_when_its_socket_is_open_to_all() {
    let world = World::up();
    let open = Open::on(&world);
    let container = Container::new(&world);
    let added = open.plugin(&world, &container.env("ADD"), &[]);
    for file in fs::read_dir(&open.0).unwrap() {
        open_to_all(&file.unwrap().path());
    }

    let del = open.del_as_nobody(&world, &container);
    let again = open.plugin(&world, &container.env("ADD"), &[]);

    assert!(added.success, "{added:?}");
    assert!(!del.success, "{del:?}");
    logged(&world, "n1", "refuse a client that is not root uid=65534", 1);
    assert_eq!(again.printed, added.printed, "its address was released");
}

/// Names of the host ends of pods.
fn veths(node: &Path) -> Vec<String> {
    let links = net::netns::within(node, || net::Netlink::open()?.links()).unwrap();
    links.into_iter().map(|link| link.name).filter(|name| name.starts_with("eni")).collect()
}

/// The id of the instance that the metadata service sees, by its second version.
fn instance_id() -> io::Result<String> {
    let at = SocketAddr::from((METADATA, 80));
    let good = |(status, body): (u16, String)| match status {
        200 => Ok(body),
        _ => Err(io::Error::other(format!("{status}: {body}"))),
    };
    let ttl = "x-aws-ec2-metadata-token-ttl-seconds: 60\r\ncontent-length: 0\r\n";
    let token = good(http::exchange(at, "PUT /latest/api/token", ttl, "")?)?;
    let token = format!("x-aws-ec2-metadata-token: {token}\r\n");
    good(http::exchange(at, "GET /latest/meta-data/instance-id", &token, "")?)
}

/// A folder that everybody may enter, with the daemon's socket and a plugin.
struct Open(PathBuf);

impl Open {
    /// Makes one and starts a daemon there.
    fn on(world: &World) -> Self {
        let open = Self(std::env::temp_dir().join(format!("{}-open", world.name())));
        fs::create_dir(&open.0).unwrap();
        fs::copy(tests::binary("aws-cni"), open.0.join("aws-cni")).unwrap();
        open_to_all(&open.0);
        open_to_all(&open.0.join("aws-cni"));
        world.node_add("n1", ZONES[0], &[]);
        world.daemon_start("n1", &[&open.run_dir()]);
        open
    }

    fn run_dir(&self) -> String {
        format!("ENI_CNI_RUN_DIR={}", self.0.display())
    }

    fn plugin(&self, world: &World, call: &[(&str, String)], before: &[&str]) -> Ended {
        let plugin = self.0.join("aws-cni");
        let run_dir = self.run_dir();
        let program = [before, &["env", &run_dir, plugin.to_str().unwrap()]].concat();
        ended(&world.exec("n1", &program, call, &world.plugin_conf("n1", "1.0.0")))
    }

    /// A DEL needs no right but that to talk to the daemon.
    fn del_as_nobody(&self, world: &World, container: &Container) -> Ended {
        let mut call = container.env("DEL");
        for (name, value) in &mut call {
            if *name == "CNI_NETNS" {
                value.clear();
            }
        }
        self.plugin(world, &call, &AS_NOBODY)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// To all but for changes of a folder.
fn open_to_all(path: &Path) {
    let mode = if path.is_dir() { 0o755 } else { 0o777 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
