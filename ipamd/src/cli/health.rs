//! `ipamd health`: what the probes of a kubelet ask.

use super::stay_down;
use anyhow::{Result, bail};
use rpc::{CallError, Request};
use serde_json::Value;
use std::{path::Path, time::Duration};

/// How long an answer may take. The daemon gives it from memory.
const DEADLINE: Duration = Duration::from_secs(5);

/// Asks the daemon of this node. What to tell who asked.
///
/// # Errors
/// It does not answer; or `ready` is asked for, and pods get no addresses here.
pub(super) fn run(ready: bool) -> Result<String> {
    judge(&rpc::run_dir(), ready)
}

fn judge(run_dir: &Path, ready: bool) -> Result<String> {
    if stay_down::is_told(run_dir) {
        // To end this process would change nothing: it is as it should be.
        return match ready {
            true => bail!("this node was handed back: no pod starts here until `ipamd take-over`"),
            false => Ok("handed back: serves nothing until `ipamd take-over`\n".into()),
        };
    }
    let request =
        Request { env: [("CNI_COMMAND".into(), rpc::HEALTH.into())].into(), ..Request::default() };
    let reply = match rpc::call(&run_dir.join(rpc::SOCKET_NAME), &request, DEADLINE) {
        Ok(reply) => reply,
        Err(error @ CallError::NobodyListens(_)) => {
            bail!("the daemon does not serve in {}: {error}", run_dir.display())
        }
        Err(error) => bail!("the daemon does not answer: {error}"),
    };
    match reply.exit_code {
        0 => Ok("ready: pods get addresses\n".into()),
        _ if ready => bail!("not ready: {}", words(&reply.stdout)),
        _ => Ok(format!("alive, not ready: {}\n", words(&reply.stdout))),
    }
}

/// What an error of CNI says, without its frame.
fn words(error: &str) -> String {
    let error: Value = serde_json::from_str(error).unwrap_or_default();
    let part = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    match (part("msg"), part("details")) {
        (msg, details) if details.is_empty() => msg,
        (msg, details) => format!("{msg}; {details}"),
    }
}
