//! Events of the Node that say why pods get no address.

use super::report::AddFailure;
use k8s_openapi::api::core::v1::{Node, ObjectReference};
use kube::{
    Api, Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tracing::warn;

/// The shortest time between two events of one reason, however many pods fail.
const PAUSE: Duration = Duration::from_secs(300);

/// The longest note that Kubernetes takes.
const LONGEST_NOTE: usize = 1024;

/// Writes an event for every ADD that failed for want of an address, for ever.
pub(crate) async fn tell(
    mut failures: watch::Receiver<Option<AddFailure>>,
    client: Client,
    name: String,
) {
    let reporter = Reporter { controller: "aws-node".into(), instance: Some(name.clone()) };
    let recorder = Recorder::new(client.clone(), reporter);
    let mut told: BTreeMap<&'static str, Instant> = BTreeMap::new();
    while failures.changed().await.is_ok() {
        let Some(AddFailure { reason, message }) = failures.borrow_and_update().clone() else {
            continue;
        };
        if told.get(reason).is_some_and(|at| at.elapsed() < PAUSE) {
            continue;
        }
        told.insert(reason, Instant::now());
        let event = Event {
            type_: EventType::Warning,
            reason: event_reason(reason).into(),
            note: Some(message.chars().take(LONGEST_NOTE).collect()),
            action: "AssignAddress".into(),
            secondary: None,
        };
        let node = reference(&client, &name).await;
        if let Err(error) = recorder.publish(&event, &node).await {
            warn!(
                error = &error as &dyn std::error::Error,
                note = message,
                "failed to write an event"
            );
            told.remove(reason);
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
