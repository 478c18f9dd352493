//! Follows a kind of objects of Kubernetes: lists them, watches them, and begins again with growing
//! pauses.

use super::pace::{End, Pace};
use futures::StreamExt;
use kube::{
    Client,
    core::{
        Request, WatchEvent,
        params::{ListParams, WatchParams},
    },
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    error::Error,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, time::timeout};
use tracing::warn;

/// How long a page of a list, or the beginning of a watch, may take: a server that is overloaded
/// answers within a minute, or refuses.
const ANSWER: Duration = Duration::from_secs(60);

/// How long a watch may be silent: the server ends it before that (`WatchParams::default` asks for 290
/// seconds), unless the connection is dead.
const SILENCE: Duration = Duration::from_secs(295);

/// Objects on a page of a list, as client-go asks for them.
const PAGE: u32 = 500;

/// Changes that wait for whoever follows; the watch waits with them.
const WAITING: usize = 16;

/// Namespace and name of an object; the namespace is empty where there is none.
pub(super) type Key = (String, String);

/// What happened to the objects.
#[derive(Debug)]
pub(super) enum Event<T> {
    /// These are all.
    Listed(BTreeMap<Key, T>),
    /// What is known is followed from here on.
    Followed,
    /// One is new, or another than before.
    Changed(Key, T),
    /// One is gone.
    Gone(Key),
    /// They are not known at the moment, and why.
    Failed(String),
}

/// What is watched, and what is read of each object. An object is read by itself: what is odd about one
/// hides no other.
pub(super) struct Watch<T> {
    pub(super) client: Client,
    /// The path of all of them.
    pub(super) path: &'static str,
    /// The resource as RBAC names it.
    pub(super) resource: &'static str,
    /// The field selector.
    pub(super) fields: Option<String>,
    /// A number of this node's own, for pauses.
    pub(super) seed: u64,
    pub(super) read: fn(&Value) -> T,
}

impl<T: Send + 'static> Watch<T> {
    /// Follows until nobody listens any more.
    pub(super) fn start(self) -> mpsc::Receiver<Event<T>> {
        let (tell, events) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            // Ends with the listener.
            let _ = self.run(&tell).await;
        });
        events
    }

    async fn run(self, tell: &mpsc::Sender<Event<T>>) -> Result<(), NobodyListens> {
        let mut pace = Pace::new(self.seed);
        let mut version = None;
        loop {
            let mut opened = None;
            let end = match self.round(&mut version, &mut opened, tell).await {
                Ok(()) => End::Closed,
                Err(Stop::NobodyListens) => return Err(NobodyListens),
                Err(Stop::Expired) => {
                    version = None;
                    End::Expired
                }
                Err(Stop::Failed(why)) => {
                    let pause =
                        pace.after(End::Failed, opened.map_or(Duration::ZERO, |at| at.elapsed()));
                    warn!(error = why, retry_in = ?pause, "failed to watch Kubernetes");
                    tell.send(Event::Failed(why)).await.map_err(|_| NobodyListens)?;
                    tokio::time::sleep(pause).await;
                    continue;
                }
            };
            let lasted = opened.map_or(Duration::ZERO, |at: Instant| at.elapsed());
            tokio::time::sleep(pace.after(end, lasted)).await;
        }
    }

    /// Lists where no version is known, and watches until the watch ends.
    async fn round(
        &self,
        version: &mut Option<String>,
        opened: &mut Option<Instant>,
        tell: &mpsc::Sender<Event<T>>,
    ) -> Result<(), Stop> {
        let from = match version {
            Some(version) => version.clone(),
            None => {
                let (objects, listed_at) = self.list().await?;
                tell.send(Event::Listed(objects)).await?;
                version.insert(listed_at).clone()
            }
        };
        let params = match &self.fields {
            Some(fields) => WatchParams::default().fields(fields),
            None => WatchParams::default(),
        };
        let request = Request::new(self.path).watch(&params, &from);
        let request =
            request.map_err(|error| self.failed("watch", &kube::Error::BuildRequest(error)))?;
        let opening = timeout(ANSWER, self.client.request_events::<Value>(request)).await;
        let events = opening.map_err(|_| self.silent("watch", ANSWER))?;
        let events = events.map_err(|error| self.failed("watch", &error))?;
        let mut events = std::pin::pin!(events);
        *opened = Some(Instant::now());
        tell.send(Event::Followed).await?;
        loop {
            let next = timeout(SILENCE, events.next()).await;
            let Some(event) = next.map_err(|_| self.silent("watch", SILENCE))? else {
                return Ok(());
            };
            let event = event.map_err(|error| {
                // What was not understood may be anything; what was not received comes again.
                if matches!(error, kube::Error::SerdeError(_)) {
                    *version = None;
                }
                self.failed("watch", &error)
            })?;
            let told = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    note(version, &object);
                    Event::Changed(key(&object), (self.read)(&object))
                }
                WatchEvent::Deleted(object) => {
                    note(version, &object);
                    Event::Gone(key(&object))
                }
                WatchEvent::Bookmark(mark) => {
                    *version = Some(mark.metadata.resource_version);
                    continue;
                }
                WatchEvent::Error(status) => {
                    *version = None;
                    return Err(self.failed("watch", &kube::Error::Api(status)));
                }
            };
            tell.send(told).await?;
        }
    }

    /// All of them, page by page, and the version that they have together.
    async fn list(&self) -> Result<(BTreeMap<Key, T>, String), Stop> {
        let mut params = ListParams::default().limit(PAGE);
        if let Some(fields) = &self.fields {
            params = params.fields(fields);
        }
        let mut objects = BTreeMap::new();
        loop {
            let request = Request::new(self.path).list(&params);
            let request =
                request.map_err(|error| self.failed("list", &kube::Error::BuildRequest(error)))?;
            let answer = timeout(ANSWER, self.client.request::<Value>(request)).await;
            let answer = answer.map_err(|_| self.silent("list", ANSWER))?;
            let page = answer.map_err(|error| self.failed("list", &error))?;
            let items = page["items"].as_array().into_iter().flatten();
            objects.extend(items.map(|object| (key(object), (self.read)(object))));
            let more = page["metadata"]["continue"].as_str().filter(|more| !more.is_empty());
            match more {
                Some(more) => params.continue_token = Some(more.to_owned()),
                None => {
                    let version = page["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                    return Ok((objects, version.to_owned()));
                }
            }
        }
    }

    fn failed(&self, verb: &str, error: &kube::Error) -> Stop {
        if let kube::Error::Api(status) = error
            && status.code == EXPIRED
        {
            return Stop::Expired;
        }
        Stop::Failed(in_words(verb, self.resource, error))
    }

    fn silent(&self, verb: &str, limit: Duration) -> Stop {
        let resource = self.resource;
        Stop::Failed(format!("{verb} {resource}: the Kubernetes API was silent for {limit:?}"))
    }
}

/// Nobody wants to know any more.
struct NobodyListens;

/// Why a round ended.
enum Stop {
    NobodyListens,
    Expired,
    Failed(String),
}

impl<T> From<mpsc::error::SendError<T>> for Stop {
    fn from(_: mpsc::error::SendError<T>) -> Self {
        Self::NobodyListens
    }
}

/// HTTP 410: the version is no longer kept.
const EXPIRED: u16 = 410;

/// What the server said of a request, and what to do where that is known.
pub(super) fn in_words(verb: &str, resource: &str, error: &kube::Error) -> String {
    let kube::Error::Api(status) = error else {
        return format!("{verb} {resource}: {}", with_causes(error));
    };
    let said = format!("{verb} {resource}: {} {}", status.code, status.message);
    match (status.code, resource.split_once('.')) {
        (403, _) => format!(
            "{said}: let the ClusterRole of the daemon's service account get, list and watch it \
             (kubectl apply -f conf/rbac.yaml)"
        ),
        (404, Some(_)) => format!(
            "{said}: the cluster lacks the CustomResourceDefinition {resource} \
             (kubectl apply -f conf/eniconfig-crd.yaml)"
        ),
        (401, _) => {
            format!("{said}: the token of the daemon's service account is not accepted")
        }
        _ => said,
    }
}

/// An error and its causes; those that it quotes already are left out.
fn with_causes(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let said = deeper.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = deeper.source();
    }
    text
}

fn note(version: &mut Option<String>, object: &Value) {
    if let Some(newest) = object["metadata"]["resourceVersion"].as_str() {
        *version = Some(newest.to_owned());
    }
}

fn key(object: &Value) -> Key {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}
