//! Objects by their names, each with its version, and what changed lately: what the store locks.

use super::{
    admission,
    definition::Definition,
    error::ApiError,
    kind::{Kind, Resource},
    select::Selection,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// How many changes are remembered for clients that watch or page; a client that is further behind
/// is told so (410) and lists again. A world writes a few changes per pod, so this is hundreds of
/// pods, and a few megabytes.
pub const HISTORY: usize = 4096;

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
    pub(super) key: Key,
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

#[derive(Debug, Default)]
pub(super) struct State {
    /// Version of the newest write.
    pub(super) revision: u64,
    /// What ENIConfigs look like, while there is a definition of them.
    pub(super) definition: Option<Arc<Definition>>,
    /// By name.
    pub(super) objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Change>,
}

impl Key {
    pub(super) fn new(kind: Kind, namespace: Option<&str>, name: &str) -> Self {
        Self { kind, namespace: namespace.unwrap_or_default().into(), name: name.into() }
    }
}

impl State {
    pub(super) fn object(&self, key: &Key) -> Result<Arc<Value>, ApiError> {
        let resource: &Resource = key.kind.resource();
        self.objects.get(key).cloned().ok_or_else(|| ApiError::not_found(resource, &key.name))
    }

    pub(super) fn put(&mut self, key: Key, object: Value) -> Arc<Value> {
        let object = self.versioned(object);
        let before = self.objects.insert(key.clone(), Arc::clone(&object));
        self.remember(key, before, Arc::clone(&object), false);
        object
    }

    pub(super) fn remove(&mut self, key: &Key, last: &Value) -> Arc<Value> {
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

    pub(super) fn mark_deleted(&mut self, key: Key, old: &Arc<Value>) -> Arc<Value> {
        if old["metadata"].get("deletionTimestamp").is_some() {
            return Arc::clone(old);
        }
        self.put(key, marked(old))
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

    pub(super) fn since(&self, revision: u64) -> Result<Vec<Change>, ApiError> {
        let oldest = self.history.front().map_or(self.revision, |first| first.revision - 1);
        if revision < oldest {
            let why = format!("too old resource version: {revision} ({oldest})");
            return Err(ApiError::Expired(why));
        }
        Ok(self.history.iter().filter(|change| change.revision > revision).cloned().collect())
    }
}

pub(super) fn selected(
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

/// An object that waits for its finalizers.
pub(super) fn marked(object: &Value) -> Value {
    let mut marked = object.clone();
    if marked["metadata"].get("deletionTimestamp").is_none() {
        marked["metadata"]["deletionTimestamp"] = admission::timestamp().into();
    }
    marked
}

pub(super) fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|it| !it.is_empty())
}
