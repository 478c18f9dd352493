//! Events of the Node: why pods get no address, and what else is wrong with it.

use super::report::AddFailure;
use crate::settings::Verdict;
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

/// The shortest time between two events of one reason, however many pods fail.
const PAUSE: Duration = Duration::from_secs(300);

/// The longest note that Kubernetes takes.
const LONGEST_NOTE: usize = 1024;

/// How many notices wait for Kubernetes. It may be away for long: those that come then are in the log.
const WAITING: usize = 64;

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
        tokio::select! {
            changed = failures.changed() => {
                if changed.is_err() {
                    return;
                }
                let failure = failures.borrow_and_update().clone();
                if let Some(AddFailure { reason, message }) = failure {
                    events.write(event_reason(reason), "AssignAddress", None, &message).await;
                }
            }
            Some(NodeNotice { reason, note }) = notices.recv() => {
                events.write(reason, "LookAround", Some(&note), &note).await;
            }
        }
    }
}

/// Writes events, and none of them too often.
struct Events {
    recorder: Recorder,
    client: Client,
    name: String,
    /// When one was written last: by its reason, and by what tells it from others of that reason.
    told: BTreeMap<(&'static str, String), Instant>,
}

impl Events {
    fn new(client: Client, name: String) -> Self {
        let reporter = Reporter { controller: "aws-node".into(), instance: Some(name.clone()) };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { recorder, client, name, told: BTreeMap::new() }
    }

    /// Writes one. `apart` tells it from others of its reason: without it there is one at a time.
    async fn write(&mut self, reason: &'static str, action: &str, apart: Option<&str>, note: &str) {
        self.told.retain(|_, at| at.elapsed() < PAUSE);
        let key = (reason, apart.unwrap_or_default().to_owned());
        if self.told.contains_key(&key) {
            return;
        }
        let event = Event {
            type_: EventType::Warning,
            reason: reason.into(),
            note: Some(note.chars().take(LONGEST_NOTE).collect()),
            action: action.into(),
            secondary: None,
        };
        let node = reference(&self.client, &self.name).await;
        match self.recorder.publish(&event, &node).await {
            Ok(()) => {
                self.told.insert(key, Instant::now());
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, note, "failed to write an event");
            }
        }
    }
}

/// How often one event about a setting is tried: with growing pauses, for half an hour.
const ATTEMPTS: u32 = 12;

/// The first pause after an event was not taken; it doubles up to the pause between events.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Writes an event for each setting that is not acted on.
pub(crate) async fn tell_settings(settings: Vec<Verdict>, client: Client, name: String) {
    for setting in settings {
        // A recorder counts events of one reason as one, with the first one's note.
        let reporter = Reporter { controller: "aws-node".into(), instance: Some(name.clone()) };
        let recorder = Recorder::new(client.clone(), reporter);
        let note = setting.to_string();
        let event = Event {
            type_: EventType::Warning,
            reason: "SettingNotActedOn".into(),
            note: Some(note.chars().take(LONGEST_NOTE).collect()),
            action: "ReadSettings".into(),
            secondary: None,
        };
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            let node = reference(&client, &name).await;
            match recorder.publish(&event, &node).await {
                Ok(()) => break,
                Err(error) if attempt == ATTEMPTS => warn!(
                    error = &error as &dyn std::error::Error,
                    note, "failed to write an event about a setting"
                ),
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(PAUSE);
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
