//! A stand-in of the peer, amazon-vpc-cni-k8s v1.23.1, on a node of a world: its interfaces in EC2,
//! its network in the kernel, its checkpoint, and a plugin that makes and ends pods as its own does.
//!
//! Written from what is known of the peer and from nodes that it has left (`tests/peer-node/`), with
//! `ip`, `iptables` and `nft`: nothing of it is shared with what it judges.

pub mod checkpoint;
mod cloud;
mod host;
pub mod normal;

use crate::{
    repository,
    world::{Pod, World},
};
use checkpoint::Entry;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    net::Ipv4Addr,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::{Path, PathBuf},
};
use vpc_sim::world::status::InterfaceStatus;

/// The peer's table of the primary interface: the main one.
const MAIN: u32 = 254;

/// The plugin.
const PLUGIN: &str = include_str!("plugin.py");

/// The plugins that the peer chains, as far as they do nothing: they hand on what they get.
const CHAINED: &str = "#!/usr/bin/env python3
import json, os, sys
conf = json.load(sys.stdin)
if os.environ[\"CNI_COMMAND\"] == \"ADD\":
    print(json.dumps(conf[\"prevResult\"]))
";

/// How the peer was configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Single addresses, also of the primary interface.
    Default,
    /// Single addresses of interfaces in the ENIConfig's subnet.
    Custom,
    /// Prefixes, also of the primary interface.
    Prefixes,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Default, Self::Custom, Self::Prefixes];

    /// The settings that make it, of the peer and of whoever takes its place.
    pub fn env(self) -> &'static [&'static str] {
        match self {
            Self::Default => &[],
            Self::Custom => crate::world::CUSTOM,
            Self::Prefixes => &["ENABLE_PREFIX_DELEGATION=true"],
        }
    }

    /// The folder of what the real peer has left in this mode.
    pub fn left_by_the_peer(self) -> PathBuf {
        let name = match self {
            Self::Default => "default",
            Self::Custom => "custom",
            Self::Prefixes => "prefixes",
        };
        repository().join("tests/peer-node").join(name)
    }

    /// Interfaces beside the primary one, so many that pods are on more than one in each mode.
    fn more_interfaces(self) -> u32 {
        match self {
            Self::Default | Self::Custom => 2,
            Self::Prefixes => 1,
        }
    }
}

/// A world in which the peer has lived: subnets in which every interface may be full, and an
/// ENIConfig named after the zone where the mode needs one.
pub fn world(mode: Mode) -> World {
    let world = World::described_by(Some(&repository().join("tests/peer-node/world.toml")));
    if mode == Mode::Custom {
        world.eniconfig_create(ZONE, "pods-a", &["pods"]);
    }
    world
}

/// The zone of such a world.
pub const ZONE: &str = "us-west-2a";

/// A node that the peer serves.
pub struct PeerNode<'w> {
    world: &'w World,
    node: String,
    mode: Mode,
}

impl<'w> PeerNode<'w> {
    /// A node that the peer has served since its boot, without pods.
    pub fn new(world: &'w World, node: &str, mode: Mode) -> Self {
        Self::with_interfaces(world, node, mode, mode.more_interfaces())
    }

    /// The same with so many interfaces beside the primary one.
    pub fn with_interfaces(world: &'w World, node: &str, mode: Mode, more: u32) -> Self {
        world.node_add(node, ZONE, &[]);
        let peer = Self { world, node: node.into(), mode };
        peer.fill_primary();
        for device in 1..=more {
            peer.attach(device);
        }
        peer.start();
        peer
    }

    /// Starts the peer: on a fresh node, or after somebody else has served it. What its checkpoint
    /// says counts as far as the peer believes it.
    pub fn start(&self) {
        let interfaces = self.interfaces();
        self.set_up_host(&interfaces);
        let restored = match fs::read_to_string(self.checkpoint_path()) {
            Ok(text) => {
                let entries = checkpoint::read(&text).unwrap();
                let blocks = checkpoint::blocks(&interfaces, self.mode);
                for entry in checkpoint::stale(&entries, &self.links()) {
                    self.shell(&host::without_rules_of(entry.address));
                }
                checkpoint::restored(&entries, &self.links(), &blocks).unwrap()
            }
            Err(_) => vec![],
        };
        self.write_checkpoint(&restored);
        self.write_pool(&interfaces);
        for entry in &restored {
            self.renew_rule_of(entry.address);
        }
        // The real one listens here; what a peer that has ended leaves is the file.
        let socket = self.world.node_folder(&self.node).run().join("ipamd.sock");
        let _ = fs::remove_file(&socket);
        UnixListener::bind(socket).unwrap();
        self.install();
    }

    /// Starts a pod that serves, as kubelet and the runtime do with the plugin of the peer.
    #[track_caller]
    pub fn pod_add(&self, name: &str) -> Pod {
        assert!(self.is_installed(), "the plugin on {} is not the peer's any more", self.node);
        self.world.pod_add(&self.node, name)
    }

    /// Starts so many pods with this beginning of their names.
    pub fn pods_add(&self, prefix: &str, count: usize) -> Vec<Pod> {
        (0..count).map(|number| self.pod_add(&format!("{prefix}{number}"))).collect()
    }

    /// Lets the next call of the plugin be killed after a step: of an ADD `recorded`, `linked`,
    /// `in the pod` or `routed`, of a DEL `released`.
    pub fn dies_when(&self, step: &str) {
        fs::write(self.own_folder().join("dies-when"), step).unwrap();
    }

    /// Whether the node's plugin is the peer's.
    pub fn is_installed(&self) -> bool {
        let plugin = self.world.node_folder(&self.node).cni_bin().join("aws-cni");
        fs::read_to_string(plugin).is_ok_and(|text| text == PLUGIN)
    }

    /// Where the peer keeps its checkpoint.
    pub fn checkpoint_path(&self) -> PathBuf {
        self.world.node_folder(&self.node).run().join("ipam.json")
    }

    /// The setting that says so.
    pub fn backing_store(&self) -> String {
        format!("AWS_VPC_K8S_CNI_BACKING_STORE={}", self.checkpoint_path().display())
    }

    /// The checkpoint as the peer understands it, whoever wrote it.
    ///
    /// # Errors
    /// The peer would not start with it.
    pub fn checkpoint(&self) -> Result<Vec<Entry>, String> {
        let path = self.checkpoint_path();
        let text = fs::read_to_string(&path).map_err(|error| format!("{path:?}: {error}"))?;
        checkpoint::read(&text)
    }

    /// The addresses that the peer would give to new pods if it were started now.
    ///
    /// # Errors
    /// It would not start.
    pub fn would_give(&self) -> Result<BTreeSet<Ipv4Addr>, String> {
        let blocks = checkpoint::blocks(&self.interfaces(), self.mode);
        checkpoint::would_give(&self.checkpoint()?, &self.links(), &blocks)
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.node
    }

    /// Its mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Runs a shell's script on the node.
    #[track_caller]
    pub fn shell(&self, script: &str) -> String {
        let output = self.world.exec(&self.node, &["sh", "-euc", script], &[], "");
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The interfaces as EC2 knows them, the primary one first.
    fn interfaces(&self) -> Vec<InterfaceStatus> {
        let mut interfaces = self.world.node(&self.node).interfaces;
        interfaces.sort_by_key(|interface| interface.device_index);
        interfaces
    }

    /// Names of the node's links.
    fn links(&self) -> Vec<String> {
        let links: Value = serde_json::from_str(&self.shell("ip -json link")).unwrap();
        let names = links.as_array().unwrap().iter().map(|link| link["ifname"].as_str().unwrap());
        names.map(ToOwned::to_owned).collect()
    }

    /// What the plugin reads: blocks in the order of interfaces.
    fn write_pool(&self, interfaces: &[InterfaceStatus]) {
        let interfaces = interfaces.iter().map(|interface| {
            let device = interface.device_index;
            let cidrs = checkpoint::blocks(std::slice::from_ref(interface), self.mode);
            let cidrs: Vec<String> = cidrs.iter().map(ToString::to_string).collect();
            json!({ "device": device, "table": table(device), "cidrs": cidrs })
        });
        let pool = json!({ "interfaces": interfaces.collect::<Value>(), "cooling": {}, "turn": 0 });
        fs::create_dir_all(self.own_folder()).unwrap();
        fs::write(self.own_folder().join("pool.json"), pool.to_string()).unwrap();
    }

    fn write_checkpoint(&self, entries: &[Entry]) {
        let path = self.checkpoint_path();
        let fresh = path.with_extension("json.tmp1");
        fs::write(&fresh, checkpoint::write(entries)).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(fresh, path).unwrap();
    }

    /// Puts plugins and network list where the runtime looks for them.
    fn install(&self) {
        let folder = self.world.node_folder(&self.node);
        put(&folder.cni_bin().join("aws-cni"), PLUGIN, 0o755);
        for chained in ["egress-cni", "portmap"] {
            put(&folder.cni_bin().join(chained), CHAINED, 0o755);
        }
        let list = fs::read_to_string(Mode::Default.left_by_the_peer().join("conflist.json"));
        let mut list: Value = serde_json::from_str(&list.unwrap()).unwrap();
        let log = folder.log().join("plugin.log");
        list["plugins"][0]["pluginLogFile"] = log.to_str().unwrap().into();
        put(&folder.cni_conf().join("10-aws.conflist"), &list.to_string(), 0o644);
    }

    /// What belongs to the stand-in alone.
    fn own_folder(&self) -> PathBuf {
        self.world.node_folder(&self.node).run().with_file_name("peer")
    }
}

/// The routing table of an interface.
fn table(device: u32) -> u32 {
    if device == 0 { MAIN } else { device + 1 }
}

/// The name of an interface's link on a node.
fn device_name(device: u32) -> String {
    format!("ens{}", 5 + device)
}

fn put(path: &Path, text: &str, mode: u32) {
    let fresh = path.with_extension("fresh");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&fresh, text).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(mode)).unwrap();
    fs::rename(fresh, path).unwrap();
}
