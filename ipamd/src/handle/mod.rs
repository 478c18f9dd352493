//! From a request of the runtime to what it is answered, one file per verb.

mod add;
mod del;

pub(crate) use del::remove;

use crate::{
    metrics::{self, Outcome},
    node::Node,
};
use cni::{Code, Command, Error};
use rpc::{Reply, Request};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How long a verb waits for another one on the same attachment: the runtime sends none side by
/// side, but a killed one may still be at work here.
const TURN: Duration = Duration::from_secs(10);

/// Answers one request. `left` tells whether the caller is gone.
pub(crate) fn handle(node: &Node, request: Request, left: &dyn Fn() -> bool) -> Reply {
    let began = Instant::now();
    let parsed = match cni::Request::parse(&request.env, &request.stdin) {
        Ok(parsed) => parsed,
        Err(error) => return refusal(&error, None),
    };
    let version = parsed.config.cni_version;
    let answer = match parsed.command {
        Command::Add => {
            add::add(node, &parsed, request, left).and_then(|result| result.to_json(version))
        }
        Command::Del => del::del(node, &parsed).map(|()| String::new()),
        Command::Check | Command::Gc | Command::Status | Command::Version => Err(Error {
            code: Code::InvalidEnvironment,
            msg: format!(
                "CNI_COMMAND={} is not served by this version of ipamd",
                parsed.command.as_str()
            ),
            details: String::new(),
        }),
    };
    let (verb, container) = (parsed.command.as_str(), &parsed.container_id);
    let outcome = if answer.is_ok() { Outcome::Done } else { Outcome::Failed };
    metrics::answered(parsed.command.as_str(), began.elapsed(), outcome);
    let (pod, took_ms) = (pod(&parsed), began.elapsed().as_millis());
    match answer {
        Ok(stdout) => {
            info!(verb, pod, container, took_ms, "done");
            Reply { exit_code: 0, stdout }
        }
        Err(error) => {
            warn!(
                verb,
                pod,
                container,
                took_ms,
                error = error.msg,
                details = error.details,
                "failed"
            );
            refusal(&error, Some(version))
        }
    }
}

fn refusal(error: &Error, version: Option<cni::Version>) -> Reply {
    Reply { exit_code: 1, stdout: error.to_json(version.map(cni::Version::as_str)) }
}

/// The pod, for people.
fn pod(request: &cni::Request) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "-".into());
    format!("{}/{}", part(&request.args.namespace), part(&request.args.name))
}

fn owner(request: &cni::Request) -> pool::Owner {
    pool::Owner {
        network: request.config.name.clone(),
        container: request.container_id.clone(),
        interface: request.ifname.clone(),
    }
}

fn busy() -> Error {
    Error {
        code: Code::TryAgainLater,
        msg: format!(
            "another request for this container is at work for more than {} s",
            TURN.as_secs()
        ),
        details: String::new(),
    }
}

fn internal(what: &str, error: impl std::fmt::Display) -> Error {
    Error { code: Code::Internal, msg: format!("{what}: {error:#}"), details: String::new() }
}
