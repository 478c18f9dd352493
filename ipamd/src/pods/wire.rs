//! Serves the plugin's socket with a bounded number of worker threads.

use super::account::Answered;
use crate::{
    node::{MOST_WAITING, Node},
    pods,
    retry::Pauses,
};
use rpc::{Connection, Listener, ReceiveError, Request};
use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tracing::warn;

/// Requests that are answered side by side beside those that wait for an address: these are never in the way
/// of a DEL that would free one. The kernel does two of them at a time at best.
const OTHERS: usize = 64;

/// Requests that are answered side by side.
const AT_ONCE: usize = MOST_WAITING + OTHERS;

/// How long a client may take to send its request: it has it ready when it connects.
const RECEIVE: Duration = Duration::from_secs(5);

/// Clients that may be that slow side by side: half of [`OTHERS`].
const SLOW: usize = 32;

/// How long a client may take while so many have said nothing: then they do not hold others up.
const RECEIVE_BESIDE_SLOW: Duration = Duration::from_millis(250);

/// How long to wait after the socket refused a connection, so that an error that stays (no
/// descriptors left) does not become a busy loop.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest: pods wait for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Threads that wait for requests while there are none. As many as runtimes start pods side by side
/// when a node boots; the next request finds one that waits, and starts no thread.
const IDLE: usize = 8;

/// How long what is in hand may take to end, after SIGTERM: much longer than a request takes that waits
/// for no address, and within the grace period of the DaemonSet, which is 10 s.
const FINISH: Duration = Duration::from_secs(5);

/// How often to look whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Answers requests on threads of their own, until they are to finish.
pub(crate) fn start(node: Arc<Node>, listener: Arc<Listener>) -> io::Result<Arc<Workers>> {
    let workers =
        Arc::new(Workers { node, listener, count: Mutex::default(), silent: AtomicUsize::new(0) });
    for _ in 0..IDLE {
        spawn(&workers)?;
    }
    Ok(workers)
}

/// The worker threads, and what they share.
pub(crate) struct Workers {
    node: Arc<Node>,
    listener: Arc<Listener>,
    count: Mutex<Count>,
    /// Clients that have not sent their request yet.
    silent: AtomicUsize,
}

/// How many workers there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    all: usize,
    /// Those of them that wait for a request.
    idle: usize,
}

/// What a thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Waits for a request.
    Wait,
    /// Ends: enough others wait.
    End,
}

impl Count {
    /// One more worker, idle.
    fn spawned(&mut self) {
        self.all += 1;
        self.idle += 1;
    }

    /// An idle worker has a request. Returns whether another must be spawned, as none is idle now.
    fn busy(&mut self) -> bool {
        self.idle -= 1;
        self.idle == 0 && self.all < AT_ONCE
    }

    /// An idle worker ends.
    fn ended(&mut self) {
        self.all -= 1;
        self.idle -= 1;
    }

    /// A worker has answered.
    fn idle(&mut self) -> Next {
        if self.idle >= IDLE {
            self.all -= 1;
            return Next::End;
        }
        self.idle += 1;
        Next::Wait
    }
}

impl Workers {
    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes no more requests, and answers those that were taken, but for those that wait for an
    /// address: their plugins ask the next daemon. Waits for it, up to the limit.
    pub(crate) fn finish(&self) {
        self.listener.close();
        self.node.store.end_waits();
        let deadline = Instant::now() + FINISH;
        while self.count().all > 0 && Instant::now() < deadline {
            thread::sleep(LOOK_EVERY);
        }
        let Count { all, .. } = *self.count();
        if all > 0 {
            warn!(requests = all, waited = ?FINISH, "failed to finish requests in time: their plugins ask the next daemon");
        }
    }

    /// The work of one thread.
    fn work(self: &Arc<Self>) {
        let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE, 0);
        loop {
            let connection = match self.listener.accept() {
                Ok(connection) => connection,
                Err(_) if self.listener.is_closed() => {
                    self.count().ended();
                    return;
                }
                Err(error) => {
                    let pause = pauses.next();
                    warn!(error = %error, retry_in = ?pause, "failed to accept a connection of the plugin");
                    thread::sleep(pause);
                    continue;
                }
            };
            pauses.reset();
            if self.count().busy()
                && let Err(error) = spawn(self)
            {
                warn!(error = %error, "failed to start a thread for requests; they wait for those that are");
            }
            let guard = LostOnPanic(self);
            self.answer(connection);
            std::mem::forget(guard);
            if self.count().idle() == Next::End {
                return;
            }
        }
    }

    fn answer(&self, connection: Connection) {
        if !is_of_root(&connection) {
            return;
        }
        let node = &self.node;
        let (reply, answered) = match self.receive(&connection) {
            Ok(request) if pods::asks_for_health(&request) => (pods::health(node), None),
            Ok(request) => {
                let (reply, answered) = pods::handle(node, request, &|| connection.caller_left());
                (reply, Some(answered))
            }
            Err(error) => return warn!(error = %error, "failed to receive a request"),
        };
        if answered.as_ref().is_some_and(Answered::is_for_the_next) {
            // Without an answer the plugin asks the next daemon.
            drop(connection);
        } else if let Err(error) = connection.reply(&reply) {
            // Killed in the middle: the DEL that the runtime sends next cleans up.
            warn!(error = %error, "failed to send an answer");
        }
        if let Some(answered) = answered {
            answered.tell(node);
        }
    }

    /// The request of a client, which has so long to send it.
    fn receive(&self, connection: &Connection) -> Result<Request, ReceiveError> {
        let slow = self.silent.fetch_add(1, Ordering::Relaxed) >= SLOW;
        let received = connection.receive(if slow { RECEIVE_BESIDE_SLOW } else { RECEIVE });
        self.silent.fetch_sub(1, Ordering::Relaxed);
        received
    }
}

/// Dropped only by a panic: the thread does not come back.
struct LostOnPanic<'a>(&'a Workers);

impl Drop for LostOnPanic<'_> {
    fn drop(&mut self) {
        self.0.count().all -= 1;
    }
}

fn spawn(workers: &Arc<Workers>) -> io::Result<()> {
    workers.count().spawned();
    let spawned = workers.clone();
    let spawned = thread::Builder::new().name("answer".into()).spawn(move || spawned.work());
    if spawned.is_err() {
        workers.count().ended();
    }
    spawned.map(drop)
}

/// Whether a client is root, who alone on the node talks to the daemon, whatever the modes of files and
/// folders.
pub(super) fn is_of_root(connection: &Connection) -> bool {
    match connection.credentials() {
        Ok(peer) if peer.uid == 0 => return true,
        Ok(peer) => warn!(uid = peer.uid, pid = peer.pid, "refuse a client that is not root"),
        Err(error) => warn!(error = %error, "failed to ask who the client is"),
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_waits_for_the_next_request_until_there_are_too_many() {
        let mut count = Count::default();
        count.spawned();

        for busy in 1..=AT_ONCE {
            assert_eq!(count.idle, 1, "with {busy} requests");
            if count.busy() {
                count.spawned();
            }
        }

        assert_eq!(count, Count { all: AT_ONCE, idle: 0 });
    }

    #[test]
    fn after_a_burst_a_few_wait_on() {
        let mut count = Count { all: AT_ONCE, idle: 0 };

        let ended = (0..AT_ONCE).filter(|_| count.idle() == Next::End).count();

        assert_eq!(ended, AT_ONCE - IDLE);
        assert_eq!(count, Count { all: IDLE, idle: IDLE });
    }
}
