//! Requests of the runtime and their answers, one file per verb.

mod add;
mod check;
pub(crate) mod checkpoint;
mod del;
mod gc;
pub(crate) mod held;
pub(crate) mod orphans;
pub(crate) mod restore;
mod result;
pub(crate) mod run_folder;
mod status;
pub(crate) mod teardown;
mod unrecorded;
pub(crate) mod wire;

use crate::{
    node::{AllocateError, Node},
    tell::{
        metrics::{self, Outcome},
        report,
    },
};
use cni::{Code, Command, Error};
use rpc::{Reply, Request};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How long a verb waits for another one on the same attachment: the runtime sends none side by
/// side, but a killed one may still be at work here.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Answers one request. `caller_gone` tells whether the caller has hung up.
pub(crate) fn handle(node: &Node, request: Request, caller_gone: &dyn Fn() -> bool) -> Reply {
    let began = Instant::now();
    if request.env.get("CNI_COMMAND").is_some_and(|command| command == rpc::HEALTH) {
        return match status::health(node) {
            Ok(()) => Reply { exit_code: 0, stdout: String::new() },
            Err(error) => refusal(&error, None),
        };
    }
    let parsed = match cni::Request::parse(&request.env, &request.stdin) {
        Ok(parsed) => parsed,
        Err(error) => return refusal(&error, None),
    };
    let version = parsed.config.cni_version;
    let answer =
        answer(node, &parsed, request, caller_gone).map_err(|error| for_verb(&parsed, error));
    let (verb, container) = (parsed.command.as_str(), &parsed.container_id);
    let outcome = if answer.is_ok() { Outcome::Done } else { Outcome::Failed };
    metrics::answered(parsed.command.as_str(), began.elapsed(), outcome);
    let (pod, took_ms) = (pod_name(&parsed), began.elapsed().as_millis());
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
                "failed to answer a request"
            );
            refusal(&error, Some(version))
        }
    }
}

fn answer(
    node: &Node,
    request: &cni::Request,
    carried: Request,
    caller_gone: &dyn Fn() -> bool,
) -> Result<String, Error> {
    let silent = |()| String::new();
    match request.command {
        Command::Add => add::add(node, request, carried, caller_gone)
            .and_then(|result| result.to_json(request.config.cni_version)),
        Command::Del => del::del(node, request).map(silent),
        Command::Check => check::check(node, request, carried).map(silent),
        Command::Gc => gc::gc(node, request).map(silent),
        Command::Status => status::status(node).map(silent),
        // The plugin answers by itself; a runtime that came here gets the same.
        Command::Version => Ok(cni::version_reply(&carried.stdin)),
    }
}

/// The error of a DEL must never read as if the pod were gone: containerd takes that for success.
fn for_verb(request: &cni::Request, error: Error) -> Error {
    if request.command == Command::Del { error.for_del() } else { error }
}

fn refusal(error: &Error, version: Option<cni::Version>) -> Reply {
    Reply { exit_code: 1, stdout: error.to_json(version.map(cni::Version::as_str)) }
}

/// The pod, for people.
fn pod_name(request: &cni::Request) -> String {
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
            LOCK_WAIT.as_secs()
        ),
        details: String::new(),
    }
}

fn no_address(error: AllocateError) -> Error {
    match error {
        AllocateError::NoAddress { none, reason, at } => Error {
            code: Code::TryAgainLater,
            msg: report::no_address(&none, &reason, at),
            details: String::new(),
        },
        AllocateError::CallerLeft => internal("wait for an address", "the caller left"),
        AllocateError::Journal(error) => internal("put the address on record", error),
    }
}

fn internal(what: &str, error: impl std::fmt::Display) -> Error {
    Error { code: Code::Internal, msg: format!("{what}: {error:#}"), details: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CNI requirement 32.
    #[test]
    fn what_the_daemon_says_to_a_del_is_never_taken_for_a_success() {
        let request = |verb: &str| {
            let env = [
                ("CNI_COMMAND", verb),
                ("CNI_CONTAINERID", "c"),
                ("CNI_NETNS", "/n"),
                ("CNI_IFNAME", "eth0"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
            cni::Request::parse(&env.into(), br#"{"name":"n"}"#).unwrap()
        };
        let cause = std::io::Error::from(std::io::ErrorKind::NotFound);
        let missing = std::io::Error::from_raw_os_error(nix::libc::ENOENT);
        let error = || internal(&format!("write: {missing}"), format!("link not found: {cause}"));

        let del = for_verb(&request("DEL"), error()).msg;
        let add = for_verb(&request("ADD"), error()).msg;

        assert_eq!(del, "write: missing (os error 2): link missing: entity missing");
        assert!(add.contains("not found"), "{add}");
    }
}
