//! Events of the Node: why pods get no address, and what else is wrong with it.

use super::report::AddFailure;
use crate::retry::Pauses;
use k8s_openapi::api::core::v1::{Node, ObjectReference};
use kube::{
    Api, Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};
use tracing::warn;

/// The shortest time between two events of one reason and cause, however many pods fail.
const PAUSE: Duration = Duration::from_secs(300);

/// The first pause after Kubernetes refused an event; it doubles up to [`PAUSE`].
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// How often one event is tried before it is given up: with growing pauses, for half an hour.
const ATTEMPTS: u32 = 12;

/// Causes that are remembered as told; more are told again.
const MOST_TOLD: usize = 64;

/// How many notices wait for Kubernetes. It may be away for long: those that come then are in the log.
const WAITING: usize = 64;

/// The longest note that Kubernetes takes.
const LONGEST_NOTE: usize = 1024;

/// What an event about a failed ADD is about.
const ASSIGN: &str = "AssignAddress";

/// What every other event is about.
const LOOK: &str = "LookAtNode";

/// Something that whoever looks at the Node should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeNotice {
    reason: &'static str,
    note: String,
}

impl NodeNotice {
    /// Something that is wrong. `reason` is a word in the manner of Kubernetes.
    pub(crate) fn warning(reason: &'static str, note: String) -> Self {
        Self { reason, note }
    }
}

/// Notices on their way to Kubernetes. They wait where there is none yet.
#[derive(Debug)]
pub(crate) struct Notices {
    sender: mpsc::Sender<NodeNotice>,
    receiver: Mutex<Option<mpsc::Receiver<NodeNotice>>>,
}

impl Default for Notices {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }
}

impl Notices {
    /// Tells it, without a wait.
    pub(crate) fn tell(&self, notice: NodeNotice) {
        // The log has it as well.
        let _ = self.sender.try_send(notice);
    }

    /// What was told and will be, once.
    pub(crate) fn take(&self) -> Option<mpsc::Receiver<NodeNotice>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Writes events of the Node: for ADDs that failed for want of an address, and what else is told of
/// it, for ever.
pub(crate) async fn tell(
    mut failures: watch::Receiver<Option<AddFailure>>,
    mut notices: mpsc::Receiver<NodeNotice>,
    client: Client,
    name: String,
) {
    let mut events = Events::new(client, name);
    loop {
        let retry = events.next_retry();
        tokio::select! {
            changed = failures.changed() => {
                if changed.is_err() {
                    return;
                }
                let failure = failures.borrow_and_update().clone();
                if let Some(AddFailure { reason, cause, message }) = failure {
                    events.tell((event_reason(reason), cause), ASSIGN, message).await;
                }
            }
            Some(NodeNotice { reason, note }) = notices.recv() => {
                events.tell((reason, note.clone()), LOOK, note).await;
            }
            () = tokio::time::sleep_until(retry.unwrap_or_else(Instant::now).into()), if retry.is_some() => {
                events.retry().await;
            }
        }
    }
}

/// What tells events apart: their reason and its cause.
type Key = (&'static str, String);

/// Writes events, one of a reason and its cause at a time.
struct Events {
    reporter: Reporter,
    client: Client,
    name: String,
    told: BTreeMap<Key, Told>,
}

/// When a reason with its cause is told next.
struct Told {
    next: Instant,
    /// Its own: a recorder counts up what it has told of a reason, and keeps the first note.
    recorder: Recorder,
    refused: Pauses,
    attempts: u32,
    /// What Kubernetes has not taken yet.
    waits: Option<(&'static str, String)>,
}

impl Events {
    fn new(client: Client, name: String) -> Self {
        let reporter = Reporter { controller: "aws-node".into(), instance: Some(name.clone()) };
        Self { reporter, client, name, told: BTreeMap::new() }
    }

    /// When something is to be tried again.
    fn next_retry(&self) -> Option<Instant> {
        let waiting = self.told.values().filter(|told| told.waits.is_some());
        waiting.map(|told| told.next).min()
    }

    /// Tells it, unless it was told lately.
    async fn tell(&mut self, key: Key, action: &'static str, note: String) {
        let now = Instant::now();
        if self.told.len() >= MOST_TOLD {
            self.told.retain(|_, told| told.next > now);
        }
        if self.told.len() >= MOST_TOLD {
            self.told.clear();
        }
        let told = self.told.entry(key.clone()).or_insert_with(|| Told {
            next: now,
            recorder: Recorder::new(self.client.clone(), self.reporter.clone()),
            refused: Pauses::new(FIRST_RETRY, PAUSE, 0),
            attempts: 0,
            waits: None,
        });
        if told.next <= now {
            told.attempts = 0;
            told.waits = Some((action, note));
            self.write(&key).await;
        }
    }

    /// Tries again what is due.
    async fn retry(&mut self) {
        let now = Instant::now();
        let due = self.told.iter().filter(|(_, told)| told.waits.is_some() && told.next <= now);
        let due: Vec<Key> = due.map(|(key, _)| key.clone()).collect();
        for key in due {
            self.write(&key).await;
        }
    }

    async fn write(&mut self, key: &Key) {
        let node = reference(&self.client, &self.name).await;
        let Some(told) = self.told.get_mut(key) else { return };
        let Some((action, note)) = told.waits.clone() else { return };
        let event = Event {
            type_: EventType::Warning,
            reason: key.0.into(),
            note: Some(note.chars().take(LONGEST_NOTE).collect()),
            action: action.into(),
            secondary: None,
        };
        match told.recorder.publish(&event, &node).await {
            Ok(()) => {
                told.refused.reset();
                told.waits = None;
                told.next = Instant::now() + PAUSE;
            }
            Err(error) => {
                let pause = told.refused.next();
                told.next = Instant::now() + pause;
                told.attempts += 1;
                if told.attempts >= ATTEMPTS {
                    told.waits = None;
                }
                warn!(
                    error = &error as &dyn std::error::Error,
                    note,
                    not_before = ?pause,
                    "failed to write an event"
                );
            }
        }
    }
}

/// The Node; `kubectl describe node` finds events by its name and uid.
async fn reference(client: &Client, name: &str) -> ObjectReference {
    let nodes: Api<Node> = Api::all(client.clone());
    let uid = nodes.get_metadata(name).await.ok().and_then(|node| node.metadata.uid);
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Node".into()),
        name: Some(name.into()),
        uid,
        ..ObjectReference::default()
    }
}

/// The pool's reason as Kubernetes writes reasons.
fn event_reason(reason: &str) -> &'static str {
    match reason {
        "full" => "NoPodAddressFull",
        "backing_off" => "NoPodAddressRefused",
        "no_source" => "NoPodAddressNoSource",
        _ => "NoPodAddressYet",
    }
}
