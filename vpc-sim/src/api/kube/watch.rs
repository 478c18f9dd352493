//! A watch: what changed since a version, as lines of JSON that never end by themselves.

use super::{
    error::ApiError,
    form::Form,
    kind::Resource,
    objects::{Change, Snapshot},
    select::Selection,
    store::Store,
};
use axum::body::{Body, Bytes};
use futures::stream;
use serde_json::{Value, json};
use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// How long a watch lives when the client does not say: the API server's `--min-request-timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);

/// How often a client that takes bookmarks gets one: about once a minute, as from the API server.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// What a client asks of a watch.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) resource: &'static Resource,
    pub(crate) selection: Selection,
    pub(crate) form: Form,
    pub(crate) start: Start,
    pub(crate) bookmarks: bool,
    pub(crate) timeout: Option<Duration>,
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With an ADDED for every object that exists.
    Existing,
    /// The same, and a bookmark that says where the existing ones end.
    ExistingThenBookmark,
    /// With what changes from now on.
    Now,
    /// With what changed after a version.
    After(u64),
}

/// The body of the answer to a watch.
pub(crate) fn body(store: Arc<Store>, request: Request) -> Body {
    let watch = Watch::begin(store, request);
    Body::from_stream(stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((Ok::<_, Infallible>(line), watch))
    }))
}

struct Watch {
    store: Arc<Store>,
    revision: watch::Receiver<u64>,
    request: Request,
    /// Everything up to here has been told.
    told: u64,
    lines: VecDeque<Bytes>,
    ends: Instant,
    bookmark_at: Instant,
    over: bool,
}

impl Watch {
    fn begin(store: Arc<Store>, request: Request) -> Self {
        let now = Instant::now();
        let mut watch = Self {
            revision: store.revision(),
            told: 0,
            lines: VecDeque::new(),
            ends: now + request.timeout.unwrap_or(DEFAULT_TIMEOUT),
            bookmark_at: now + BOOKMARK_EVERY,
            over: false,
            store,
            request,
        };
        match watch.request.start {
            Start::After(revision) => watch.told = revision,
            Start::Now => watch.told = *watch.revision.borrow(),
            Start::Existing => watch.tell_existing(),
            Start::ExistingThenBookmark => {
                watch.tell_existing();
                let end = json!({ "k8s.io/initial-events-end": "true" });
                watch.tell_bookmark(Some(end));
            }
        }
        watch
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            // Seen before looking, so that a write in between wakes us again.
            self.revision.borrow_and_update();
            match self.store.changes(self.request.resource.kind, self.told) {
                Ok((revision, changes)) => {
                    changes.iter().for_each(|change| self.tell(change));
                    self.told = self.told.max(revision);
                }
                Err(expired) => self.tell_error(&expired),
            }
            // As the API server does with watches of a definition that is removed.
            self.over |= !self.store.access().has(self.request.resource.kind);
            if self.lines.is_empty() && !self.over {
                self.wait().await;
            }
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            changed = self.revision.changed() => self.over = changed.is_err(),
            () = sleep_until(self.ends) => {
                self.over = true;
                self.tell_bookmark(None);
            }
            () = sleep_until(self.bookmark_at) => {
                self.bookmark_at = Instant::now() + BOOKMARK_EVERY;
                self.tell_bookmark(None);
            }
        }
    }

    fn tell_existing(&mut self) {
        let Snapshot { revision, objects } =
            self.store.snapshot(self.request.resource.kind, &self.request.selection);
        for (_, object) in objects {
            self.push("ADDED", &object);
        }
        self.told = revision;
    }

    /// A change seen through the selection: what leaves it is deleted for this client.
    fn tell(&mut self, change: &Change) {
        let selected = |it: &Value| self.request.selection.matches(it);
        let before = change.before.as_deref().is_some_and(selected);
        let after = !change.deleted && selected(&change.after);
        match (before, after) {
            (false, false) => {}
            (false, true) => self.push("ADDED", &change.after),
            (true, true) => self.push("MODIFIED", &change.after),
            (true, false) if change.deleted => self.push("DELETED", &change.after),
            (true, false) => {
                // The last state that the client was shown, with the version of the change.
                let mut last = change.before.as_deref().cloned().unwrap_or_default();
                last["metadata"]["resourceVersion"] = change.revision.to_string().into();
                self.push("DELETED", &last);
            }
        }
    }

    fn tell_bookmark(&mut self, annotations: Option<Value>) {
        if !self.request.bookmarks {
            return;
        }
        let mut metadata = json!({ "resourceVersion": self.told.to_string() });
        if let Some(annotations) = annotations {
            metadata["annotations"] = annotations;
        }
        let resource = self.request.resource.kind.resource();
        let object = json!({
            "kind": resource.name,
            "apiVersion": resource.api_version(),
            "metadata": metadata,
        });
        self.push("BOOKMARK", &object);
    }

    fn tell_error(&mut self, error: &ApiError) {
        self.over = true;
        self.push_line(&json!({ "type": "ERROR", "object": error.to_status() }));
    }

    fn push(&mut self, kind: &str, stored: &Value) {
        let object = self.request.form.of(self.request.resource, stored);
        self.push_line(&json!({ "type": kind, "object": object }));
    }

    fn push_line(&mut self, event: &Value) {
        self.lines.push_back(format!("{event}\n").into());
    }
}
