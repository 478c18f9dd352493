//! The objects of a cluster, their versions, and what changed lately.

use super::{
    Access, Asked, Verb,
    admission::{self, Part},
    definition::{self, Definition},
    error::ApiError,
    kind::{Kind, RESOURCES},
    objects::{Change, Key, Snapshot, State, has_finalizers, marked, selected},
    select::Selection,
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

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

/// What a deletion must find, from `DeleteOptions.preconditions`.
pub(crate) type Preconditions = serde_json::Map<String, Value>;

/// Whether a write is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// It is done.
    Real,
    /// It is only tried (`dryRun=All`).
    Dry,
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
        store.set_crd(true);
        Arc::new(store)
    }

    /// Creates an object and returns it as stored, with name, uid and version.
    pub fn create(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        object: Value,
    ) -> Result<Value, ApiError> {
        self.try_create(kind, namespace, object, Write::Real)
    }

    /// As [`Store::create`], or only whether that would succeed.
    pub(crate) fn try_create(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        object: Value,
        write: Write,
    ) -> Result<Value, ApiError> {
        let definition = self.definition();
        let object = admission::created(kind.resource(), definition.as_deref(), namespace, object)?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let key = Key::new(kind, namespace, name);
        let mut state = self.lock();
        if let Some(namespace) = namespace {
            state.object(&Key::new(Kind::Namespace, None, namespace))?;
        }
        if state.objects.contains_key(&key) {
            return Err(ApiError::already_exists(kind.resource(), name));
        }
        if write == Write::Dry {
            return Ok(object);
        }
        self.defined(kind, &object, &mut state)?;
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

    /// Removes the definition of ENIConfigs, and with it all of them; or installs `conf/eniconfig-crd.yaml`
    /// where there is none.
    pub fn set_crd(&self, has_crd: bool) {
        let name = definition::name();
        // In both cases the outcome is the wanted one when nothing is to be done.
        let _ = if has_crd {
            self.create(Kind::Definition, None, definition::installed())
        } else {
            self.delete(Kind::Definition, None, &name)
        };
    }

    /// What ENIConfigs look like, while there is a definition of them.
    pub(crate) fn definition(&self) -> Option<Arc<Definition>> {
        self.lock().definition.clone()
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
        self.modify(kind, namespace, name, (Part::Whole, Write::Real), |old| {
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
        self.delete_if(kind, namespace, name, &Preconditions::new(), Write::Real)
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
        write: Write,
    ) -> Result<Value, ApiError> {
        let key = Key::new(kind, namespace, name);
        let mut state = self.lock();
        let old = state.object(&key)?;
        admission::check_preconditions(kind.resource(), name, &old, preconditions)?;
        if write == Write::Dry {
            let last = if has_finalizers(&old) { marked(&old) } else { Value::clone(&old) };
            return Ok(last);
        }
        let gone = if has_finalizers(&old) {
            state.mark_deleted(key, &old)
        } else {
            let gone = state.remove(&key, &old);
            if kind == Kind::Definition {
                self.undefined(&mut state);
            }
            gone
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
        (part, write): (Part, Write),
        change: impl FnOnce(&Value) -> Result<Value, ApiError>,
    ) -> Result<Value, ApiError> {
        let key = Key::new(kind, namespace, name);
        let mut state = self.lock();
        let old = state.object(&key)?;
        let definition = state.definition.clone();
        let new = change(&old)?;
        let new = admission::updated(kind.resource(), definition.as_deref(), &old, new, part)?;
        if write == Write::Dry {
            return Ok(new);
        }
        self.defined(kind, &new, &mut state)?;
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

    /// From here on ENIConfigs look as a definition that is written says.
    fn defined(&self, kind: Kind, object: &Value, state: &mut State) -> Result<(), ApiError> {
        if kind == Kind::Definition {
            state.definition = Some(Arc::new(definition::parse(object)?));
            self.access.set_crd(true);
        }
        Ok(())
    }

    /// Without their definition there are no ENIConfigs.
    fn undefined(&self, state: &mut State) {
        let all = state.objects.iter().filter(|(key, _)| key.kind == Kind::EniConfig);
        let all: Vec<_> = all.map(|(key, last)| (key.clone(), Arc::clone(last))).collect();
        for (key, last) in all {
            state.remove(&key, &last);
        }
        state.definition = None;
        // Before the change is published, which ends watches of them.
        self.access.set_crd(false);
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
