//! Events have two forms, core/v1 and events.k8s.io/v1, of the same objects.

use super::kind::{Kind, Resource};
use serde_json::Value;

/// Field of core/v1 and its name in events.k8s.io/v1 (`k8s.io/kubernetes` `pkg/apis/events/v1`).
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// A stored object as `resource` shows it.
pub(crate) fn served(resource: &Resource, stored: &Value) -> Value {
    let mut object = stored.clone();
    if is_other_form(resource) {
        rename(&mut object, NAMES.iter().copied());
        object["apiVersion"] = resource.api_version().into();
    }
    object
}

/// An object that came in as `resource`, in its stored form.
pub(crate) fn stored(resource: &Resource, served: Value) -> Value {
    let mut object = served;
    if is_other_form(resource) && object.is_object() {
        rename(&mut object, NAMES.iter().map(|(core, new)| (*new, *core)));
        if object.get("apiVersion").is_some_and(|it| *it == resource.api_version()) {
            object["apiVersion"] = resource.kind.resource().api_version().into();
        }
    }
    object
}

fn is_other_form(resource: &Resource) -> bool {
    resource.kind == Kind::Event && resource.group != resource.kind.resource().group
}

fn rename<'a>(object: &mut Value, names: impl Iterator<Item = (&'a str, &'a str)>) {
    let Some(object) = object.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(value) = object.remove(from) {
            object.insert(to.into(), value);
        }
    }
}
