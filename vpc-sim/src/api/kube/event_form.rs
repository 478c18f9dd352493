//! Events have two forms, core/v1 and events.k8s.io/v1, of the same objects.

use super::{
    error::{ApiError, Cause},
    kind::{Kind, Resource},
};
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

/// Longest texts of a new Event (`k8s.io/kubernetes` `pkg/apis/core/validation/events.go`).
const LONGEST: [(&str, usize); 4] =
    [("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024)];

/// Refuses a new Event of events.k8s.io, in its stored form, that lacks what those must have.
pub(crate) fn check_new(resource: &Resource, event: &Value) -> Result<(), ApiError> {
    if !is_other_form(resource) {
        return Ok(());
    }
    let text = |field: &str| event[field].as_str().unwrap_or_default();
    let mut wrong = Vec::new();
    let mut refuse = |field: &str, why: String| wrong.push(Cause { field: field.into(), why });
    if text("eventTime").is_empty() {
        refuse("eventTime", "Required value".into());
    } else {
        let controller = ("reportingController", text("reportingComponent"));
        let others = ["reportingInstance", "action", "reason"].map(|field| (field, text(field)));
        for (field, _) in [controller].into_iter().chain(others).filter(|it| it.1.is_empty()) {
            refuse(field, "Required value".into());
        }
        for (field, most) in LONGEST.into_iter().filter(|(field, most)| text(field).len() > *most) {
            refuse(field, format!("Invalid value: \"\": can have at most {most} characters"));
        }
    }
    if !["Normal", "Warning"].contains(&text("type")) {
        refuse("type", format!("Invalid value: \"\": has invalid value: {}", text("type")));
    }
    let name = event["metadata"]["name"].as_str().unwrap_or_default();
    if wrong.is_empty() { Ok(()) } else { Err(ApiError::invalid_by(resource, name, wrong)) }
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
