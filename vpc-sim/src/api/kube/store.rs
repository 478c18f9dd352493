//! The objects of a cluster, their versions, and what changed lately.

use super::{
    Access, Asked, Verb,
    admission::{self, Part},
    error::ApiError,
    kind::{Kind, RESOURCES, Resource},
    select::Selection,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// How many changes are remembered for clients that watch or page; a client that is further behind
/// is told so (410) and lists again. A world writes a few changes per pod, so this is hundreds of
/// pods, and a few megabytes.
pub const HISTORY: usize = 4096;

/// Namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// The objects of a cluster.
///
/// The rules of the API (names, versions, generations) hold for every write. Objects are plain JSON
/// in the form of the kind's first version.
#[derive(Debug)]
pub struct Store {
    state: Mutex<State>,
    revision: watch::Sender<u64>,
    access: Access,
}

/// What names an object. The namespace is empty for kinds that have none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// One write.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    key: Key,
    /// The object before; `None` when this created it.
    pub(crate) before: Option<Arc<Value>>,
    /// The object after; in a deletion its last state, with the version of the deletion.
    pub(crate) after: Arc<Value>,
    /// The object is gone.
    pub(crate) deleted: bool,
}

/// Objects as they were at one revision.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) revision: u64,
    pub(crate) objects: Vec<(Key, Arc<Value>)>,
}

/// What a deletion must find, from `DeleteOptions.preconditions`.
pub(crate) type Preconditions = serde_json::Map<String, Value>;

#[derive(Debug, Default)]
struct State {
    revision: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Change>,
}

impl Store {
    /// A cluster with its initial namespaces and nothing else.
    pub fn new() -> Arc<Self> {
        let (state, revision) = (Mutex::new(State::default()), watch::Sender::new(0));
        let store = Self { state, revision, access: Access::new() };
        for name in NAMESPACES {
            let namespace = json!({
                "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } },
                "spec": { "finalizers": ["kubernetes"] },
            });
            store.create(Kind::Namespace, None, namespace).expect("nothing is there yet");
        }
        Arc::new(store)
    }

    /// Creates an object and returns it as stored, with name, uid and version.
    pub fn create(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        object: Value,
    ) -> Result<Value, ApiError> {
        let object = admission::created(kind.resource(), namespace, object)?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let key = Key::new(kind, namespace, name);
        let mut state = self.lock();
        if let Some(namespace) = namespace {
            state.object(&Key::new(Kind::Namespace, None, namespace))?;
        }
        if state.objects.contains_key(&key) {
            return Err(ApiError::already_exists(kind.resource(), name));
        }
        let stored = state.put(key, object);
        self.publish(&state);
        Ok(Value::clone(&stored))
    }

    /// Stores an object as it is, as one that was stored before today's rules and schema: only its
    /// kind and its name are looked at. One of this name is replaced.
    pub fn put_as_is(&self, mut object: Value) -> Result<(), ApiError> {
        let bad = |why: &str| ApiError::BadRequest(why.into());
        let kind = object["kind"].as_str().ok_or_else(|| bad("the object has no kind"))?;
        let known = RESOURCES.iter().find(|it| it.name.eq_ignore_ascii_case(kind));
        let resource =
            known.ok_or_else(|| bad(&format!("no kind {kind} is served")))?.kind.resource();
        let name = object["metadata"]["name"].as_str().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| bad("the object has no metadata.name"))?.to_owned();
        let within = object["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
        let namespace = resource.namespaced.then_some(within.as_str());
        object["kind"] = resource.name.into();
        object["apiVersion"] = resource.api_version().into();
        if let Some(namespace) = namespace {
            object["metadata"]["namespace"] = namespace.into();
        }
        let key = Key::new(resource.kind, namespace, &name);
        let mut state = self.lock();
        let old = state.objects.get(&key).map(|old| old["metadata"].clone()).unwrap_or_default();
        for (field, new) in [
            ("uid", uuid::Uuid::new_v4().to_string()),
            ("creationTimestamp", admission::timestamp()),
        ] {
            let kept = old.get(field).cloned();
            object["metadata"][field] = kept.unwrap_or_else(|| new.into());
        }
        state.put(key, object);
        self.publish(&state);
        Ok(())
    }

    /// Removes the definition of ENIConfigs, and with it all of them; or brings it back.
    pub fn set_crd(&self, has_crd: bool) {
        let mut state = self.lock();
        if !has_crd {
            let all = state.objects.iter().filter(|(key, _)| key.kind == Kind::EniConfig);
            let all: Vec<_> = all.map(|(key, last)| (key.clone(), Arc::clone(last))).collect();
            for (key, last) in all {
                state.remove(&key, &last);
            }
        }
        self.access.set_crd(has_crd);
        // Also when nothing was removed: watches end with the definition.
        self.revision.send_replace(state.revision);
    }

    /// Refuses nodes a resource from now on, with 403.
    pub fn refuse(&self, resource: &str, verbs: &[Verb]) -> Result<(), ApiError> {
        self.access.refuse(resource, verbs)
    }

    /// Lets nodes have a resource again, or everything.
    pub fn allow(&self, resource: Option<&str>) -> Result<(), ApiError> {
        self.access.allow(resource)
    }

    /// What nodes asked for so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.access.asked()
    }

    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// One object.
    pub fn get(&self, kind: Kind, namespace: Option<&str>, name: &str) -> Result<Value, ApiError> {
        let found = self.lock().object(&Key::new(kind, namespace, name))?;
        Ok(Value::clone(&found))
    }

    /// All objects of a kind, in one namespace or in all of them, by name.
    pub fn list(&self, kind: Kind, namespace: Option<&str>) -> Vec<Value> {
        let snapshot = self.snapshot(kind, &Selection::all(namespace));
        snapshot.objects.iter().map(|(_, object)| Value::clone(object)).collect()
    }

    /// Replaces an object, its `status` included, by what `edit` makes of it.
    pub fn edit(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        name: &str,
        edit: impl FnOnce(&mut Value),
    ) -> Result<Value, ApiError> {
        self.modify(kind, namespace, name, Part::Whole, |old| {
            let mut new = old.clone();
            edit(&mut new);
            Ok(new)
        })
    }

    /// Deletes an object at once and returns its last state; with finalizers it is only marked.
    /// A namespace takes its objects with it.
    pub fn delete(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Value, ApiError> {
        self.delete_if(kind, namespace, name, &Preconditions::new())
    }

    /// The revision of the newest write, and a way to wait for the next one.
    pub fn revision(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Deletes an object if it is the one that the client means.
    pub(crate) fn delete_if(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        name: &str,
        preconditions: &Preconditions,
    ) -> Result<Value, ApiError> {
        let key = Key::new(kind, namespace, name);
        let mut state = self.lock();
        let old = state.object(&key)?;
        admission::check_versions(kind.resource(), name, &old, preconditions)?;
        let gone = if has_finalizers(&old) {
            state.mark_deleted(key, &old)
        } else {
            state.remove(&key, &old)
        };
        self.publish(&state);
        Ok(Value::clone(&gone))
    }

    /// Replaces a part of an object by what `change` makes of it. Nothing is written when nothing
    /// changes.
    pub(crate) fn modify(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        name: &str,
        part: Part,
        change: impl FnOnce(&Value) -> Result<Value, ApiError>,
    ) -> Result<Value, ApiError> {
        let key = Key::new(kind, namespace, name);
        let mut state = self.lock();
        let old = state.object(&key)?;
        let new = admission::updated(kind.resource(), &old, change(&old)?, part)?;
        let stored = if new == *old {
            old
        } else if !has_finalizers(&new) && new["metadata"].get("deletionTimestamp").is_some() {
            state.remove(&key, &new)
        } else {
            state.put(key, new)
        };
        self.publish(&state);
        Ok(Value::clone(&stored))
    }

    /// The selected objects of a kind as they are now.
    pub(crate) fn snapshot(&self, kind: Kind, selection: &Selection) -> Snapshot {
        let state = self.lock();
        selected(state.revision, kind, selection, &state.objects)
    }

    /// The selected objects of a kind as they were at `revision`.
    pub(crate) fn snapshot_at(
        &self,
        revision: u64,
        kind: Kind,
        selection: &Selection,
    ) -> Result<Snapshot, ApiError> {
        let state = self.lock();
        let mut objects = state.objects.clone();
        for change in state.since(revision)?.iter().rev() {
            match &change.before {
                Some(before) => objects.insert(change.key.clone(), Arc::clone(before)),
                None => objects.remove(&change.key),
            };
        }
        Ok(selected(revision, kind, selection, &objects))
    }

    /// The newest revision, and the changes of a kind after `revision`, oldest first. [`ApiError::Expired`] when
    /// they are no longer known.
    pub(crate) fn changes(
        &self,
        kind: Kind,
        revision: u64,
    ) -> Result<(u64, Vec<Change>), ApiError> {
        let state = self.lock();
        let mut changes = state.since(revision)?;
        changes.retain(|change| change.key.kind == kind);
        Ok((state.revision, changes))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every write puts its object in one step, so a panic elsewhere leaves no half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: &State) {
        self.revision
            .send_if_modified(|it| std::mem::replace(it, state.revision) != state.revision);
    }
}

impl Key {
    fn new(kind: Kind, namespace: Option<&str>, name: &str) -> Self {
        Self { kind, namespace: namespace.unwrap_or_default().into(), name: name.into() }
    }
}

impl State {
    fn object(&self, key: &Key) -> Result<Arc<Value>, ApiError> {
        let resource: &Resource = key.kind.resource();
        self.objects.get(key).cloned().ok_or_else(|| ApiError::not_found(resource, &key.name))
    }

    fn put(&mut self, key: Key, object: Value) -> Arc<Value> {
        let object = self.versioned(object);
        let before = self.objects.insert(key.clone(), Arc::clone(&object));
        self.remember(key, before, Arc::clone(&object), false);
        object
    }

    fn remove(&mut self, key: &Key, last: &Value) -> Arc<Value> {
        let last = self.versioned(last.clone());
        let before = self.objects.remove(key);
        self.remember(key.clone(), before, Arc::clone(&last), true);
        if key.kind == Kind::Namespace {
            let inside = |it: &&Key| it.namespace == key.name;
            let keys: Vec<Key> = self.objects.keys().filter(inside).cloned().collect();
            for key in keys {
                if let Some(object) = self.objects.get(&key).cloned() {
                    self.remove(&key, &object);
                }
            }
        }
        last
    }

    fn mark_deleted(&mut self, key: Key, old: &Arc<Value>) -> Arc<Value> {
        if old["metadata"].get("deletionTimestamp").is_some() {
            return Arc::clone(old);
        }
        let mut marked = Value::clone(old);
        marked["metadata"]["deletionTimestamp"] = admission::timestamp().into();
        self.put(key, marked)
    }

    fn versioned(&mut self, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        Arc::new(object)
    }

    fn remember(&mut self, key: Key, before: Option<Arc<Value>>, after: Arc<Value>, deleted: bool) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(Change { revision: self.revision, key, before, after, deleted });
    }

    fn since(&self, revision: u64) -> Result<Vec<Change>, ApiError> {
        let oldest = self.history.front().map_or(self.revision, |first| first.revision - 1);
        if revision < oldest {
            let why = format!("too old resource version: {revision} ({oldest})");
            return Err(ApiError::Expired(why));
        }
        Ok(self.history.iter().filter(|change| change.revision > revision).cloned().collect())
    }
}

fn selected(
    revision: u64,
    kind: Kind,
    selection: &Selection,
    objects: &BTreeMap<Key, Arc<Value>>,
) -> Snapshot {
    let objects = objects
        .iter()
        .filter(|(key, object)| key.kind == kind && selection.matches(object))
        .map(|(key, object)| (key.clone(), Arc::clone(object)))
        .collect();
    Snapshot { revision, objects }
}

fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|it| !it.is_empty())
}
