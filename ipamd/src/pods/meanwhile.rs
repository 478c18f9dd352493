//! Answers while a start takes long: what it waits for, so that nobody waits with it.

use super::{asks_for_health, refusal, wire};
use cni::{Code, Command, Error};
use rpc::{Connection, Listener, Reply, Request};
use std::{sync::mpsc, time::Duration};
use tracing::warn;

/// How long a client may take to send its request. One thread answers, and `STATUS` has two seconds.
const RECEIVE: Duration = Duration::from_millis(500);

/// How often to look whether the start has come to its end. It waits for that.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Answers requests until the start is over: then `over` is disconnected, and who asks from then on waits
/// for the workers. `words` says what the start waits for.
pub(crate) fn answer(listener: &Listener, over: &mpsc::Receiver<()>, words: &dyn Fn() -> String) {
    while over.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
        match listener.accept_within(LOOK_EVERY) {
            Ok(Some(connection)) => answer_one(connection, words),
            Ok(None) => {}
            Err(error) => {
                warn!(error = %error, "failed to accept a connection of the plugin");
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }
}

fn answer_one(connection: Connection, words: &dyn Fn() -> String) {
    if !wire::is_of_root(&connection) {
        return;
    }
    let request = match connection.receive(RECEIVE) {
        Ok(request) => request,
        Err(error) => return warn!(error = %error, "failed to receive a request"),
    };
    // STATUS does not wait as long as a start may take.
    if connection.caller_left() {
        return;
    }
    // Without an answer the plugin keeps the DEL, and this daemon finds it there when it serves.
    let Some(reply) = not_yet(&request, words()) else { return };
    if let Err(error) = connection.reply(&reply) {
        warn!(error = %error, "failed to send an answer");
    }
}

/// The answer of a daemon that does not serve yet; none to a DEL.
fn not_yet(request: &Request, words: String) -> Option<Reply> {
    let error = |code| Error { code, msg: words, details: String::new() };
    if asks_for_health(request) {
        return Some(refusal(&error(Code::NotAvailable), None));
    }
    let parsed = match cni::Request::parse(&request.env, &request.stdin) {
        Ok(parsed) => parsed,
        Err(error) => return Some(refusal(&error, None)),
    };
    let code = match parsed.command {
        Command::Del => return None,
        Command::Version => {
            let stdout = cni::version_reply(&request.stdin);
            return Some(Reply { exit_code: 0, stdout });
        }
        // CNI 1.1.0, "STATUS": 50, the plugin is not available (i.e. cannot service ADD requests).
        Command::Status => Code::NotAvailable,
        Command::Add | Command::Check | Command::Gc => Code::TryAgainLater,
    };
    Some(refusal(&error(code), Some(parsed.config.cni_version)))
}
