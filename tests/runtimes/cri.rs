//! The container runtime interface as kubelet uses it: sandboxes and containers in them.

use crate::{
    grpc::{self, Refusal},
    protobuf::{Fields, Message},
};
use serde_json::Value;
use std::{
    net::Ipv4Addr,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// kubelet gives a sandbox four minutes; nothing here is worth that.
const LIMIT: Duration = Duration::from_secs(60);

/// The Kubernetes namespace of all pods.
const NAMESPACE: &str = "default";

/// A runtime at its socket.
#[derive(Clone, Debug)]
pub(crate) struct Cri {
    /// Where it listens.
    pub(crate) socket: PathBuf,
    /// Below which control group its containers go.
    pub(crate) cgroup: String,
}

/// The pod to start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    /// Ports of the host, and those of the pod that they lead to.
    pub(crate) ports: &'a [(u16, u16)],
    pub(crate) annotations: &'a [(&'a str, &'a str)],
}

/// A sandbox, as the runtime shows it.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    pub(crate) ready: bool,
    pub(crate) address: Option<Ipv4Addr>,
    /// Its network namespace, as the runtime sees it.
    pub(crate) namespace: Option<PathBuf>,
    /// Its process, by its number within the enclosure.
    pub(crate) process: u64,
}

impl Cri {
    /// Whether the runtime and its network are ready, or else what it says.
    pub(crate) fn is_ready(&self) -> Result<(), String> {
        let status = self.call("Status", Message::default(), LIMIT).map_err(|it| it.to_string())?;
        let conditions = status.message(1).messages(1);
        let lacks = conditions.iter().find(|condition| condition.number(2) == 0);
        match lacks {
            Some(lacks) => Err(format!("{} {}", lacks.text(1), lacks.text(4))),
            None if conditions.is_empty() => Err("it tells nothing".into()),
            None => Ok(()),
        }
    }

    /// The version of CNI in which the runtime speaks with a network.
    pub(crate) fn version_of(&self, network: &str) -> Option<String> {
        let answer = self.call("Status", Message::default().number(1, 1), LIMIT).ok()?;
        let info = answer.messages(2).into_iter().find(|entry| entry.text(1) == "cniconfig")?;
        let info: Value = serde_json::from_str(&info.text(2)).ok()?;
        let mut networks = info["Networks"].as_array()?.iter().map(|it| &it["Config"]);
        let found = networks.find(|config| config["Name"] == network)?;
        found["CNIVersion"].as_str().map(str::to_owned)
    }

    /// Starts a pod's sandbox: its id.
    pub(crate) fn run(&self, wanted: &Wanted<'_>) -> Result<String, Refusal> {
        self.run_within(wanted, LIMIT)
    }

    /// The same, given up at a deadline.
    pub(crate) fn run_within(
        &self,
        wanted: &Wanted<'_>,
        deadline: Duration,
    ) -> Result<String, Refusal> {
        let request = Message::default().message(1, &self.config(wanted));
        Ok(self.call("RunPodSandbox", request, deadline)?.text(1))
    }

    /// Stops a sandbox.
    pub(crate) fn stop(&self, id: &str) -> Result<(), Refusal> {
        self.stop_within(id, LIMIT)
    }

    /// The same, given up at a deadline.
    pub(crate) fn stop_within(&self, id: &str, deadline: Duration) -> Result<(), Refusal> {
        self.call("StopPodSandbox", Message::default().text(1, id), deadline).map(drop)
    }

    /// Removes a sandbox.
    pub(crate) fn remove(&self, id: &str) -> Result<(), Refusal> {
        self.call("RemovePodSandbox", Message::default().text(1, id), LIMIT).map(drop)
    }

    /// What the runtime knows of a sandbox.
    pub(crate) fn sandbox(&self, id: &str) -> Result<Sandbox, Refusal> {
        let request = Message::default().text(1, id).number(2, 1);
        let answer = self.call("PodSandboxStatus", request, LIMIT)?;
        let status = answer.message(1);
        let info = answer.messages(2).into_iter().find(|entry| entry.text(1) == "info");
        let info: Option<Value> = info.and_then(|entry| serde_json::from_str(&entry.text(2)).ok());
        let namespaces = info.as_ref().map(|it| &it["runtimeSpec"]["linux"]["namespaces"]);
        let namespaces = namespaces.and_then(Value::as_array).into_iter().flatten();
        let network = namespaces.filter(|it| it["type"] == "network");
        let process = info.as_ref().and_then(|it| it["pid"].as_u64());
        Ok(Sandbox {
            process: process.unwrap_or_default(),
            ready: status.number(3) == 0,
            address: status.message(5).text(1).parse().ok(),
            namespace: network.filter_map(|it| it["path"].as_str()).map(PathBuf::from).next(),
        })
    }

    /// Ids of all sandboxes, and whether each is ready.
    pub(crate) fn sandboxes(&self) -> Result<Vec<(String, bool)>, Refusal> {
        let all = self.call("ListPodSandbox", Message::default(), LIMIT)?.messages(1);
        Ok(all.iter().map(|it| (it.text(1), it.number(3) == 0)).collect())
    }

    /// Starts a container in the sandbox of a pod: its id.
    pub(crate) fn start(
        &self,
        sandbox: &str,
        wanted: &Wanted<'_>,
        image: &str,
        command: &[&str],
    ) -> Result<String, Refusal> {
        let name = Message::default().text(1, "main");
        let container =
            Message::default().message(1, &name).message(2, &Message::default().text(1, image));
        let container = command.iter().fold(container, |it, word| it.text(3, word));
        let request = Message::default()
            .text(1, sandbox)
            .message(2, &container)
            .message(3, &self.config(wanted));
        let id = self.call("CreateContainer", request, LIMIT)?.text(1);
        self.call("StartContainer", Message::default().text(1, &id), LIMIT)?;
        Ok(id)
    }

    /// Runs a command in a container: what it printed, or what it printed when it failed.
    pub(crate) fn exec(&self, container: &str, command: &[&str]) -> Result<String, String> {
        let request = Message::default().text(1, container).number(3, LIMIT.as_secs());
        let request = command.iter().fold(request, |it, word| it.text(2, word));
        let ended = self.call("ExecSync", request, LIMIT).map_err(|error| error.to_string())?;
        let printed = [ended.text(1), ended.text(2)].concat();
        if ended.number(3) == 0 { Ok(printed) } else { Err(printed) }
    }

    fn config(&self, wanted: &Wanted<'_>) -> Message {
        // Of one pod no two sandboxes have the same number.
        static ATTEMPTS: AtomicU64 = AtomicU64::new(1);
        let Wanted { name, ports, annotations } = wanted;
        let metadata = Message::default()
            .text(1, name)
            .text(2, &format!("uid-of-{name}"))
            .text(3, NAMESPACE)
            .number(4, ATTEMPTS.fetch_add(1, Ordering::Relaxed));
        let config = Message::default().message(1, &metadata).text(2, name);
        let config = ports.iter().fold(config, |it, (host, pod)| {
            let port = Message::default().number(2, (*pod).into()).number(3, (*host).into());
            it.message(5, &port)
        });
        let config = annotations.iter().fold(config, |it, (key, value)| it.entry(7, key, value));
        config.message(8, &Message::default().text(1, &self.cgroup))
    }

    fn call(&self, method: &str, request: Message, deadline: Duration) -> Result<Fields, Refusal> {
        let method = format!("/runtime.v1.RuntimeService/{method}");
        let answer = grpc::call(&self.socket, &method, &request.into_bytes(), deadline)?;
        Ok(Fields::read(&answer).expect("the runtime answers with messages"))
    }
}
