//! Requests of the runtime and their answers, one file per verb.

mod account;
mod add;
mod check;
pub(crate) mod checkpoint;
mod del;
mod gc;
pub(crate) mod held;
pub(crate) mod meanwhile;
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
use account::{Account, Answered};
use cni::{Code, Command, Error};
use rpc::{Reply, Request};
use std::time::{Duration, Instant};

/// How long a verb waits for another one on the same attachment: the runtime sends none side by
/// side, but a killed one may still be at work here.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Whether a request is that of `ipamd health`, which is no runtime's.
pub(crate) fn asks_for_health(request: &Request) -> bool {
    request.env.get("CNI_COMMAND").is_some_and(|command| command == rpc::HEALTH)
}

/// Answers `ipamd health`.
pub(crate) fn health(node: &Node) -> Reply {
    match status::health(node) {
        Ok(()) => Reply { exit_code: 0, stdout: String::new() },
        Err(error) => refusal(&error, None),
    }
}

/// Answers one request, and returns what there is to tell of it. `caller_gone` tells whether the caller
/// has hung up.
pub(crate) fn handle(
    node: &Node,
    request: Request,
    caller_gone: &dyn Fn() -> bool,
) -> (Reply, Answered) {
    let began = Instant::now();
    let mut account = Account::default();
    let parsed = match cni::Request::parse(&request.env, &request.stdin) {
        Ok(parsed) => parsed,
        Err(error) => {
            let reply = refusal(&error, None);
            let (request, took) = (Err(request.env), began.elapsed());
            return (reply, Answered { request, account, took, failed: Some(error) });
        }
    };
    let version = parsed.config.cni_version;
    let answer = answer(node, &parsed, request, caller_gone, &mut account)
        .map_err(|error| for_verb(&parsed, error));
    let took = began.elapsed();
    let outcome = if answer.is_ok() { Outcome::Done } else { Outcome::Failed };
    metrics::answered(parsed.command.as_str(), took, outcome);
    let (reply, failed) = match answer {
        Ok(stdout) => (Reply { exit_code: 0, stdout }, None),
        Err(error) => (refusal(&error, Some(version)), Some(error)),
    };
    (reply, Answered { request: Ok(parsed), account, took, failed })
}

fn answer(
    node: &Node,
    request: &cni::Request,
    carried: Request,
    caller_gone: &dyn Fn() -> bool,
    account: &mut Account,
) -> Result<String, Error> {
    let silent = |()| String::new();
    match request.command {
        Command::Add => add::add(node, request, carried, caller_gone, account)
            .and_then(|result| result.to_json(request.config.cni_version)),
        Command::Del => del::del(node, request, carried, account).map(silent),
        Command::Check => check::check(node, request, carried, account).map(silent),
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
        AllocateError::Ending => {
            internal("wait for an address", "this daemon ends, the next one is asked")
        }
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
