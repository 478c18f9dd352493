//! A pod talks only with its own address, and only root on the node talks to the daemon.

use crate::{
    by_hand::{Container, Ended, ended},
    command::until,
    monitor::within,
    packets,
    world::{World, ZONES},
};
use std::{
    fs,
    io::ErrorKind,
    net::{SocketAddr, SocketAddrV4, SocketAddrV6, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where the node listens.
const PORT: u16 = 7777;

/// Index of the only link of a pod but for its loopback.
const POD_LINK: u32 = 2;

/// Becomes `nobody` and runs what follows.
const AS_NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

#[test]
fn a_pod_cannot_send_with_the_address_of_another() {
    let world = World::up();
    for (node, zone) in ["n1", "n2"].into_iter().zip(ZONES) {
        world.node_add(node, zone, &[]);
        world.daemon_start(node, &[]);
    }
    let (liar, victim) = (world.pod_add("n1", "liar"), world.pod_add("n1", "victim"));
    let (near, far) = (world.pod_add("n1", "near"), world.pod_add("n2", "far"));

    for to in [near, far] {
        let receiver = packets::receiver(&to.namespace);
        // EC2 would let it pass: the address is one of the node's.
        packets::send(&liar.namespace, victim.address, to.address, "spoofed");
        packets::send(&liar.namespace, liar.address, to.address, "genuine");

        // Sent later over the same wires, so the first is not on its way any more.
        assert_eq!(packets::receive(&receiver), (liar.address, "genuine".into()), "{to:?}");
    }
}

#[test]
fn a_setting_for_all_links_does_not_undo_it() {
    let world = World::with_node("n1", &[]);
    let node = world.namespace("n1", None);
    let loosen = "echo 2 > /proc/sys/net/ipv4/conf/all/rp_filter";
    within(&node, &["sh", "-c", loosen]);
    let (liar, near) = (world.pod_add("n1", "liar"), world.pod_add("n1", "near"));
    let victim = world.pod_add("n1", "victim");
    let receiver = packets::receiver(&near.namespace);

    for source in [victim.address, world.node("n1").address, [192, 0, 2, 1].into()] {
        packets::send(&liar.namespace, source, near.address, "spoofed");
    }
    packets::send(&liar.namespace, liar.address, near.address, "genuine");

    assert_eq!(packets::receive(&receiver), (liar.address, "genuine".into()));
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
    let addresses = until("the veth has a link-local address", || {
        let shown = within(&node, &["ip", "-6", "-o", "address", "show", "scope", "link"]);
        let found = shown.lines().find(|line| line.contains(" eni") && !line.contains("tentative"));
        found.map(str::to_owned).ok_or(shown.clone())
    });
    let address = addresses.split_whitespace().nth(3).unwrap().trim_end_matches("/64").to_owned();
    until("the pod has one as well", || {
        let shown = within(&pod.namespace, &["ip", "-6", "-o", "address", "show", "scope", "link"]);
        let ready = shown.contains("eth0") && !shown.contains("tentative");
        ready.then_some(()).ok_or(shown)
    });

    let link_local = SocketAddrV6::new(address.parse().unwrap(), PORT, 0, POD_LINK);
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
    assert!(world.log("n1").contains("refuse a client that is not root uid=65534"));
    assert_eq!(again.printed, added.printed, "its address was released");
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
