//! Questions to the cluster, asked with its own client.

use super::Programs;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};

/// How long one question may take.
const ASK_LIMIT: Duration = Duration::from_secs(20);

/// How often a question is asked again; each time a program starts.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// kubectl on the node of the control plane, as somebody who may do everything.
#[derive(Debug)]
pub(super) struct Kubectl {
    program: PathBuf,
    network: OsString,
    config: PathBuf,
}

impl Kubectl {
    pub(super) fn new(programs: &Programs, network: &Path, config: PathBuf) -> Self {
        let mut option = OsString::from("--net=");
        option.push(network);
        Self { program: programs.path("kubectl"), network: option, config }
    }

    /// Runs it to its end; what it printed.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<String> {
        let asked = || format!("kubectl {}", arguments.join(" "));
        let mut command = Command::new("nsenter");
        command.arg(&self.network).arg(&self.program).arg("--kubeconfig").arg(&self.config);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let ended = timeout(ASK_LIMIT, command.output()).await;
        let output = ended.with_context(asked)?.with_context(asked)?;
        if !output.status.success() {
            bail!("{}: {}", asked(), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits until a question is answered.
    pub(super) async fn until(&self, arguments: &[&str], limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            match self.run(arguments).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    let limit = limit.as_secs();
                    return Err(error.context(format!("no answer within {limit} s")));
                }
                Err(_) => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// What each node's condition Ready says, by name.
    pub(super) async fn conditions(&self) -> Result<BTreeMap<String, String>> {
        let nodes = self.run(&["get", "nodes", "--output", "json"]).await?;
        Ok(conditions(&serde_json::from_str(&nodes).context("read the list of nodes")?))
    }
}

fn conditions(nodes: &Value) -> BTreeMap<String, String> {
    let nodes = nodes["items"].as_array().into_iter().flatten();
    let nodes = nodes.filter_map(|node| {
        let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        let ready = { conditions }.find(|it| it["type"] == "Ready");
        let said = match ready {
            Some(it) if it["status"] == "True" => "Ready".to_owned(),
            Some(it) => format!("NotReady: {}", it["message"].as_str().unwrap_or("no reason")),
            None => "NotReady: kubelet has not said anything yet".to_owned(),
        };
        Some((node["metadata"]["name"].as_str()?.to_owned(), said))
    });
    nodes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_is_ready_or_says_why_not() {
        let node = |name: &str, conditions: Value| json!({ "metadata": { "name": name }, "status": { "conditions": conditions } });
        let ready = |status: &str| json!([{ "type": "DiskPressure", "status": "False" }, { "type": "Ready", "status": status, "message": "cni plugin not initialized" }]);

        let said = conditions(&json!({ "items": [
            node("a", ready("True")), node("b", ready("False")), node("c", json!([]))
        ] }));

        let want = [
            ("a", "Ready"),
            ("b", "NotReady: cni plugin not initialized"),
            ("c", "NotReady: kubelet has not said anything yet"),
        ];
        assert_eq!(said, want.map(|(name, said)| (name.to_owned(), said.to_owned())).into());
    }
}
