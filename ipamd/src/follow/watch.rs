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
use quoted::quoted;
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
        let mut known = Known::Nothing;
        loop {
            let mut opened = None;
            let from_before = matches!(known, Known::UpTo(_));
            let end = match self.round(&mut known, &mut opened, tell).await {
                Ok(()) => End::Closed,
                Err(Stop::NobodyListens) => return Err(NobodyListens),
                Err(Stop::Expired(_)) if from_before => {
                    known = Known::Expired;
                    End::Expired
                }
                Err(stop @ (Stop::Expired(_) | Stop::Failed(_))) => {
                    let why = match stop {
                        Stop::Expired(why) => {
                            known = Known::Expired;
                            why
                        }
                        Stop::Failed(why) => why,
                        Stop::NobodyListens => return Err(NobodyListens),
                    };
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
        known: &mut Known,
        opened: &mut Option<Instant>,
        tell: &mpsc::Sender<Event<T>>,
    ) -> Result<(), Stop> {
        let age = match known {
            Known::UpTo(_) => None,
            Known::Nothing => Some(Age::Any),
            Known::Expired => Some(Age::Newest),
        };
        if let Some(age) = age {
            let (objects, listed_at) = self.list(age).await?;
            tell.send(Event::Listed(objects)).await?;
            *known = Known::UpTo(listed_at);
        }
        let from = match known {
            Known::UpTo(version) => version.clone(),
            Known::Nothing | Known::Expired => String::new(),
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
                    *known = Known::Expired;
                }
                self.failed("watch", &error)
            })?;
            let told = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    note(known, &object);
                    Event::Changed(key(&object), (self.read)(&object))
                }
                WatchEvent::Deleted(object) => {
                    note(known, &object);
                    Event::Gone(key(&object))
                }
                WatchEvent::Bookmark(mark) => {
                    *known = Known::UpTo(mark.metadata.resource_version);
                    continue;
                }
                WatchEvent::Error(status) => {
                    *known = Known::Expired;
                    return Err(self.failed("watch", &kube::Error::Api(status)));
                }
            };
            tell.send(told).await?;
        }
    }

    /// All of them, page by page, and the version that they have together.
    async fn list(&self, age: Age) -> Result<(BTreeMap<Key, T>, String), Stop> {
        let mut params = params(age, self.fields.as_deref());
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
            return Stop::Expired(in_words(verb, self.resource, error));
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
    Expired(String),
    Failed(String),
}

/// What is known of the objects.
enum Known {
    /// Nothing yet.
    Nothing,
    /// Everything up to a version.
    UpTo(String),
    /// What was known is too old to go on from, or it is not known how old it is.
    Expired,
}

/// How new a list must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// Whatever the server has in its memory: what changed since is told by the watch. It costs the
    /// cluster's database nothing, which counts when a thousand daemons start.
    Any,
    /// At least as new as the database: what comes from memory may be as old as what has expired.
    Newest,
}

/// What to ask of a list. From memory it comes in one: servers do not divide that, and old ones ask the
/// database when a limit is given.
fn params(age: Age, fields: Option<&str>) -> ListParams {
    let params = match age {
        Age::Any => ListParams::default().match_any(),
        Age::Newest => ListParams::default().limit(PAGE),
    };
    match fields {
        Some(fields) => params.fields(fields),
        None => params,
    }
}

impl<T> From<mpsc::error::SendError<T>> for Stop {
    fn from(_: mpsc::error::SendError<T>) -> Self {
        Self::NobodyListens
    }
}

/// HTTP 410: the version is no longer kept.
const EXPIRED: u16 = 410;

/// What the server said of a request, and what to do where that is known.
pub(crate) fn in_words(verb: &str, resource: &str, error: &kube::Error) -> String {
    let kube::Error::Api(status) = error else {
        return format!("{verb} {resource}: {}", quoted(with_causes(error), quoted::LONG));
    };
    let message = quoted(&status.message, quoted::LONG);
    let said = format!("{verb} {resource}: {} {message}", status.code);
    match (status.code, resource.split_once('.')) {
        (403, _) => format!(
            "{said}: give the daemon's service account the rights that it lacks \
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

fn note(known: &mut Known, object: &Value) {
    if let Some(newest) = object["metadata"]["resourceVersion"].as_str() {
        *known = Known::UpTo(newest.to_owned());
    }
}

fn key(object: &Value) -> Key {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::{Response, StatusCode, Uri};
    use kube::client::Body;
    use serde_json::json;
    use std::{
        collections::VecDeque,
        convert::Infallible,
        future::ready,
        sync::{Arc, Mutex},
    };

    #[tokio::test]
    async fn what_the_server_has_in_memory_will_do_until_it_is_too_old_to_go_on_from() {
        let list = || (200, json!({ "metadata": { "resourceVersion": "10" }, "items": [] }));
        let gone = || (410, json!({ "kind": "Status", "code": 410, "message": "too old" }));
        let refused = || (403, json!({ "kind": "Status", "code": 403, "message": "no" }));
        let script = [refused(), list(), (200, json!(null)), gone(), list(), (200, json!(null))];

        let asked = asked(script).await;

        let asked: Vec<_> = asked.iter().map(|it| (it.contains("watch=true"), it)).collect();
        let from_memory =
            "fieldSelector=metadata.name%3Dn1&resourceVersion=0&resourceVersionMatch=NotOlderThan";
        for (nth, watches, query) in [
            (0, false, from_memory),
            (1, false, from_memory),
            (2, true, "resourceVersion=10"),
            (3, true, "resourceVersion=10"),
            (4, false, "fieldSelector=metadata.name%3Dn1&limit=500"),
            (5, true, "resourceVersion=10"),
        ] {
            let (is_watch, asked) = &asked[nth];
            assert_eq!(*is_watch, watches, "{nth}: {asked}");
            let is_whole = watches || asked.split_once("?&").is_some_and(|(_, it)| it == query);
            assert!(asked.contains(query) && is_whole, "{nth}: {asked}");
        }
    }

    #[tokio::test]
    async fn a_list_that_has_expired_when_it_is_watched_is_a_failure() {
        let list = (200, json!({ "metadata": { "resourceVersion": "10" }, "items": [] }));
        let gone = (410, json!({ "kind": "Status", "code": 410, "message": "too old" }));
        let (client, _) = client([list, gone]);

        let mut events = watch(client).start();

        assert!(matches!(events.recv().await, Some(Event::Listed(_))));
        let failed = events.recv().await;
        assert!(matches!(&failed, Some(Event::Failed(why)) if why.contains("410")), "{failed:?}");
    }

    /// What is asked of a server that answers so.
    async fn asked<const N: usize>(script: [(u16, Value); N]) -> Vec<String> {
        let (client, asked) = client(script);
        let mut events = watch(client).start();
        while asked.lock().unwrap().len() < N {
            events.recv().await.unwrap();
        }
        let asked = asked.lock().unwrap();
        asked.iter().map(ToString::to_string).collect()
    }

    fn watch(client: Client) -> Watch<()> {
        let fields = Some("metadata.name=n1".into());
        Watch { client, path: "/api/v1/nodes", resource: "nodes", fields, seed: 7, read: |_| () }
    }

    /// A client of a server that answers so, and what it was asked; then nothing is there any more. The
    /// answer null is a watch that ends.
    fn client<const N: usize>(script: [(u16, Value); N]) -> (Client, Arc<Mutex<Vec<Uri>>>) {
        let asked = Arc::new(Mutex::new(vec![]));
        let (noted, script) = (asked.clone(), Arc::new(Mutex::new(VecDeque::from(script))));
        let answer = move |request: hyper::Request<Body>| {
            noted.lock().unwrap().push(request.uri().clone());
            let next = script.lock().unwrap().pop_front();
            let (status, body) = next.unwrap_or((500, json!({ "kind": "Status", "code": 500 })));
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let mut response = Response::new(Body::from(body.into_bytes()));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            ready(Ok::<_, Infallible>(response))
        };
        (Client::new(tower::service_fn(answer), "default"), asked)
    }
}
