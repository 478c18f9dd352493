//! The socket that the plugin talks to: a thread accepts, a bounded number of threads answer.

use crate::{handle, node::Node};
use anyhow::Result;
use rpc::{Connection, Listener};
use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};
use tracing::warn;

/// Requests that are answered side by side. The kernel does two of them at a time at best; the rest
/// is for those that wait for an address: as many as a node may have pods at start.
const AT_ONCE: usize = 256;

/// How long a client may take to send its request: it has it ready when it connects.
const RECEIVE: Duration = Duration::from_secs(5);

/// How long to wait after the socket refused a connection, so that an error that stays (no
/// descriptors left) does not become a busy loop.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers requests on a thread of its own, for ever.
pub(crate) fn start(node: Arc<Node>, listener: Listener) -> Result<()> {
    let places = Arc::new(Places::default());
    thread::Builder::new().name("accept".into()).spawn(move || {
        loop {
            match listener.accept() {
                Ok(connection) => spawn(&node, &places, connection),
                Err(error) => {
                    warn!(error = %error, "accept a connection of the plugin");
                    thread::sleep(PAUSE);
                }
            }
        }
    })?;
    Ok(())
}

fn spawn(node: &Arc<Node>, places: &Arc<Places>, connection: Connection) {
    let place = Places::take(places);
    let node = node.clone();
    let spawned = thread::Builder::new().name("answer".into()).spawn(move || {
        answer(&node, connection);
        drop(place);
    });
    if let Err(error) = spawned {
        warn!(error = %error, "start a thread for a request; the runtime asks again");
    }
}

fn answer(node: &Node, connection: Connection) {
    match connection.credentials() {
        // Only root on the node talks to the daemon, whatever the modes of files and folders.
        Ok(peer) if peer.uid == 0 => {}
        Ok(peer) => {
            return warn!(uid = peer.uid, pid = peer.pid, "refuse a client that is not root");
        }
        Err(error) => return warn!(error = %error, "ask who the client is"),
    }
    let reply = match connection.receive(RECEIVE) {
        Ok(request) => handle::handle(node, request, &|| connection.caller_left()),
        Err(error) => return warn!(error = %error, "receive a request"),
    };
    if let Err(error) = connection.reply(&reply) {
        // Killed in the middle: the DEL that the runtime sends next cleans up.
        warn!(error = %error, "send an answer");
    }
}

/// Counts the requests that are being answered.
#[derive(Debug, Default)]
struct Places {
    taken: Mutex<usize>,
    left: Condvar,
}

/// One of them; free again when it is dropped.
struct Place(Arc<Places>);

impl Places {
    fn take(places: &Arc<Self>) -> Place {
        let mut taken = places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken >= AT_ONCE {
            taken = places.left.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken += 1;
        Place(places.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.left.notify_one();
    }
}
