//! The four kinds of patch that the API takes.

use super::{
    body::yaml,
    error::ApiError,
    fields::{Merge, Message, Shape, message},
    kind::Resource,
};
use serde_json::{Map, Value};

/// A patch as it arrived.
#[derive(Clone, Debug)]
pub(crate) enum Patch {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7386.
    Merge(Value),
    /// A merge in which some lists are maps.
    Strategic(Value),
    /// Server-side apply: a merge that creates what is missing. Who owns which field is not kept.
    Apply(Value),
}

const TYPES: &str =
    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

/// What is taken for built-in kinds, whose lists have keys.
const BUILT_IN_TYPES: &str = "application/json-patch+json, application/merge-patch+json, \
    application/strategic-merge-patch+json, application/apply-patch+yaml";

impl Patch {
    /// Reads a body of the given media type.
    pub(crate) fn parse(
        resource: &Resource,
        media_type: &str,
        body: &[u8],
    ) -> Result<Self, ApiError> {
        let refused = |error: serde_json::Error| {
            ApiError::BadRequest(format!("the patch is not JSON of its type: {error}"))
        };
        let is_built_in = resource.message().is_some();
        match media_type {
            "application/json-patch+json" => {
                serde_json::from_slice(body).map(Self::Json).map_err(refused)
            }
            "application/merge-patch+json" => {
                serde_json::from_slice(body).map(Self::Merge).map_err(refused)
            }
            "application/strategic-merge-patch+json" if is_built_in => {
                serde_json::from_slice(body).map(Self::Strategic).map_err(refused)
            }
            "application/apply-patch+yaml" => {
                let parsed = yaml(body).map(Self::Apply);
                parsed
                    .map_err(|error| ApiError::BadRequest(format!("error decoding YAML: {error}")))
            }
            _ => {
                let known = if is_built_in { BUILT_IN_TYPES } else { TYPES };
                Err(ApiError::UnsupportedMediaType(known.into()))
            }
        }
    }

    /// The object after the patch.
    pub(crate) fn apply(self, resource: &Resource, object: &Value) -> Result<Value, ApiError> {
        let mut result = object.clone();
        match self {
            Self::Json(patch) => {
                json_patch::patch(&mut result, &patch).map_err(|_| ApiError::PatchRefused)?
            }
            Self::Merge(patch) => json_patch::merge(&mut result, &patch),
            Self::Strategic(patch) | Self::Apply(patch) => {
                let within = resource.message().map_or(Within::Custom, Within::Message);
                strategic_merge(&mut result, patch, within);
            }
        }
        Ok(result)
    }
}

/// Where a merge is.
#[derive(Clone, Copy)]
enum Within {
    /// In an object of a built-in kind.
    Message(&'static Message),
    /// In one of a kind that is defined, but for its metadata; or below what is known.
    Custom,
}

impl Within {
    /// What a field is, and how it is merged if it is a list.
    fn step(self, name: &str) -> (Self, Merge) {
        match self {
            Self::Custom if name == "metadata" => {
                (Self::Message(message("ObjectMeta")), Merge::Replace)
            }
            Self::Custom => (Self::Custom, Merge::Replace),
            Self::Message(of) => match of.field(name) {
                Some((_, field)) => {
                    let within = field.kind.message().map_or(Self::Custom, Self::Message);
                    let merge = match field.shape {
                        Shape::List(merge) => merge,
                        Shape::One | Shape::Map => Merge::Replace,
                    };
                    (within, merge)
                }
                None => (Self::Custom, Merge::Replace),
            },
        }
    }
}

fn strategic_merge(target: &mut Value, patch: Value, within: Within) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() || patch.get("$patch").is_some_and(|it| it == "replace") {
        *target = Value::Object(Map::new());
    }
    let Some(object) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value.as_array().cloned().unwrap_or_default();
            if let Some(list) = object.get_mut(list).and_then(Value::as_array_mut) {
                list.retain(|it| !gone.contains(it));
            }
            continue;
        }
        if let Some(keys) = value.as_array().filter(|_| name == "$retainKeys") {
            object.retain(|key, _| keys.iter().any(|it| it == key));
        }
        if name.starts_with('$') {
            continue; // Directives about the order of lists, which we do not keep.
        }
        let (within, merge) = within.step(&name);
        match (value, merge) {
            (Value::Null, _) => {
                object.remove(&name);
            }
            (Value::Array(elements), Merge::By(key))
                if object.get(&name).is_some_and(Value::is_array) =>
            {
                merge_list(&mut object[&name], elements, key, within);
            }
            (Value::Array(elements), Merge::Unite)
                if object.get(&name).is_some_and(Value::is_array) =>
            {
                let Some(list) = object[&name].as_array_mut() else { continue };
                let new = elements.into_iter().filter(|it| !list.contains(it)).collect::<Vec<_>>();
                list.extend(new);
            }
            (value, _) => strategic_merge(object.entry(name).or_insert(Value::Null), value, within),
        }
    }
}

fn merge_list(target: &mut Value, elements: Vec<Value>, key: &str, within: Within) {
    let Some(list) = target.as_array_mut() else { return };
    for element in elements {
        let found = list.iter().position(|it| it.get(key) == element.get(key));
        let delete = element.get("$patch").is_some_and(|it| it == "delete");
        match (found, delete) {
            (Some(at), true) => {
                list.remove(at);
            }
            (Some(at), false) => strategic_merge(&mut list[at], element, within),
            (None, true) => {}
            (None, false) => list.push(element),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::kind::Kind, *};
    use serde_json::json;

    #[track_caller]
    fn check(content_type: &str, patch: Value, want: Value) {
        let object = json!({ "spec": { "unschedulable": true }, "status": { "conditions": [
            { "type": "Ready", "status": "False", "reason": "x" },
            { "type": "Disk", "status": "False" },
        ]}});
        let nodes = Kind::Node.resource();

        let patch = Patch::parse(nodes, content_type, patch.to_string().as_bytes()).unwrap();

        assert_eq!(patch.apply(nodes, &object).unwrap(), want);
    }

    #[test]
    fn a_merge_patch_replaces_lists_and_removes_nulls() {
        check(
            "application/merge-patch+json",
            json!({ "spec": null, "status": { "conditions": [1] }, "b": { "c": 2 } }),
            json!({ "status": { "conditions": [1] }, "b": { "c": 2 } }),
        );
    }

    #[test]
    fn a_strategic_merge_matches_conditions_by_their_type() {
        check(
            "application/strategic-merge-patch+json",
            json!({ "status": { "$setElementOrder/conditions": [], "conditions": [
                { "type": "Ready", "status": "True" },
                { "type": "Disk", "$patch": "delete" },
                { "type": "New", "status": "True" },
            ]}}),
            json!({ "spec": { "unschedulable": true }, "status": { "conditions": [
                { "type": "Ready", "status": "True", "reason": "x" },
                { "type": "New", "status": "True" },
            ]}}),
        );
    }

    #[test]
    fn a_json_patch_edits_by_path() {
        check(
            "application/json-patch+json",
            json!([{ "op": "remove", "path": "/status" },
                   { "op": "add", "path": "/b", "value": 2 }]),
            json!({ "spec": { "unschedulable": true }, "b": 2 }),
        );
    }

    #[test]
    fn a_strategic_merge_unites_values_and_takes_them_away() {
        let nodes = Kind::Node.resource();
        let object = json!({ "metadata": { "finalizers": ["a", "b"] } });
        let patch = json!({ "metadata": {
            "finalizers": ["b", "c"], "$deleteFromPrimitiveList/finalizers": ["a"],
        }});

        let result = Patch::Strategic(patch).apply(nodes, &object).unwrap();

        assert_eq!(result["metadata"]["finalizers"], json!(["b", "c"]));
    }

    #[test]
    fn a_patch_of_another_type_or_of_no_json_is_refused() {
        let nodes = Kind::Node.resource();
        let unknown = Patch::parse(nodes, "application/json", b"{}").unwrap_err();
        let broken = Patch::parse(nodes, "application/merge-patch+json", b"{").unwrap_err();
        let strategic = "application/strategic-merge-patch+json";
        let of_eniconfig = Patch::parse(Kind::EniConfig.resource(), strategic, b"{}").unwrap_err();

        assert!(matches!(unknown, ApiError::UnsupportedMediaType(_)), "{unknown}");
        assert!(matches!(broken, ApiError::BadRequest(_)), "{broken}");
        assert!(matches!(of_eniconfig, ApiError::UnsupportedMediaType(_)), "{of_eniconfig}");
    }
}
