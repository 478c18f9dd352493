//! The plugin run by hand, as a runtime of any version of CNI runs it.

use crate::{command::run, world::World};
use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// A container without a runtime: an id and a network namespace.
#[derive(Debug)]
pub struct Container {
    /// `CNI_CONTAINERID`.
    pub id: String,
    /// The file of its network namespace.
    pub namespace: PathBuf,
    name: String,
}

/// How a plugin ended.
#[derive(Debug)]
pub struct Ended {
    /// Whether it exited with 0.
    pub success: bool,
    /// What it printed, or null when it printed nothing.
    pub printed: Value,
}

impl Container {
    /// Makes a namespace, which is removed with the world.
    pub fn new(world: &World) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("by-hand-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let name = format!("{}.{id}", world.name());
        let namespace = net::netns::create(&name).unwrap();
        Self { id, namespace, name }
    }

    /// Removes the namespace.
    pub fn end(&self) {
        net::netns::remove(&self.name).unwrap();
    }

    /// What a runtime sets for this container.
    pub fn env(&self, verb: &str) -> [(&'static str, String); 6] {
        let Self { id, .. } = self;
        let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={id}");
        [
            ("CNI_COMMAND", verb.into()),
            ("CNI_CONTAINERID", id.clone()),
            ("CNI_NETNS", self.namespace.display().to_string()),
            ("CNI_IFNAME", "eth0".into()),
            ("CNI_PATH", "/opt/cni/bin".into()),
            ("CNI_ARGS", args),
        ]
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = net::netns::remove(&self.name);
    }
}

impl World {
    /// Runs the plugin of a node for a container, with a configuration of this version.
    pub fn plugin(&self, node: &str, verb: &str, container: &Container, version: &str) -> Ended {
        self.plugin_with(node, verb, container, version, &Value::Null)
    }

    /// The same, with more keys in the configuration.
    pub fn plugin_with(
        &self,
        node: &str,
        verb: &str,
        container: &Container,
        version: &str,
        keys: &Value,
    ) -> Ended {
        let mut conf: Value = serde_json::from_str(&self.plugin_conf(node, version)).unwrap();
        for (key, value) in keys.as_object().into_iter().flatten() {
            conf[key] = value.clone();
        }
        let mut command = self.plugin_command(node);
        ended(&run(command.envs(container.env(verb)), &conf.to_string()))
    }

    /// The plugin of a node, in its network.
    pub fn plugin_command(&self, node: &str) -> Command {
        let plugin = self.node_folder(node).cni_bin().join("aws-cni");
        let mut command = Command::new(crate::binary("vpc-sim"));
        command.args(["--name", self.name(), "exec", node, "--"]).arg(plugin);
        command
    }

    /// What a runtime gives to the first plugin of a node's conflist on stdin.
    pub fn plugin_conf(&self, node: &str, version: &str) -> String {
        let path = self.node_folder(node).cni_conf().join("10-aws.conflist");
        let list: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let mut conf = list["plugins"][0].clone();
        conf["name"] = list["name"].clone();
        conf["cniVersion"] = version.into();
        conf.to_string()
    }
}

/// Reads what a plugin printed.
pub fn ended(output: &std::process::Output) -> Ended {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let printed = if stdout.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
    };
    Ended { success: output.status.success(), printed }
}
