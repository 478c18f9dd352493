//! The four kinds of patch that the API takes.

use super::error::ApiError;
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

/// Lists that a strategic merge matches by a key of their elements, from the `patchMergeKey` tags in
/// `k8s.io/api/core/v1`. Lists that are not named here are replaced.
const MERGE_KEYS: [(&str, &str); 12] = [
    ("addresses", "type"),
    ("conditions", "type"),
    ("containerStatuses", "name"),
    ("containers", "name"),
    ("env", "name"),
    ("hostAliases", "ip"),
    ("imagePullSecrets", "name"),
    ("initContainers", "name"),
    ("ownerReferences", "uid"),
    ("podIPs", "ip"),
    ("taints", "key"),
    ("volumes", "name"),
];

const TYPES: &str = "application/json-patch+json, application/merge-patch+json, \
    application/strategic-merge-patch+json, application/apply-patch+yaml";

impl Patch {
    /// Reads a body of the given content type.
    pub(crate) fn parse(content_type: &str, body: &[u8]) -> Result<Self, ApiError> {
        let refused = |error: serde_json::Error| {
            ApiError::BadRequest(format!("the patch is not JSON of its type: {error}"))
        };
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => {
                serde_json::from_slice(body).map(Self::Json).map_err(refused)
            }
            "application/merge-patch+json" => {
                serde_json::from_slice(body).map(Self::Merge).map_err(refused)
            }
            "application/strategic-merge-patch+json" => {
                serde_json::from_slice(body).map(Self::Strategic).map_err(refused)
            }
            // JSON is YAML, and what kubectl and the client libraries send.
            "application/apply-patch+yaml" => {
                serde_json::from_slice(body).map(Self::Apply).map_err(refused)
            }
            _ => Err(ApiError::UnsupportedMediaType(TYPES.into())),
        }
    }

    /// The object after the patch.
    pub(crate) fn apply(self, object: &Value) -> Result<Value, ApiError> {
        let mut result = object.clone();
        match self {
            Self::Json(patch) => json_patch::patch(&mut result, &patch)
                .map_err(|error| ApiError::BadRequest(format!("json patch: {error}")))?,
            Self::Merge(patch) => json_patch::merge(&mut result, &patch),
            Self::Strategic(patch) | Self::Apply(patch) => strategic_merge(&mut result, patch),
        }
        Ok(result)
    }
}

fn strategic_merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() || patch.get("$patch").is_some_and(|it| it == "replace") {
        *target = Value::Object(Map::new());
    }
    let Some(object) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if name.starts_with('$') {
            continue; // Directives about the order of lists, which we do not keep.
        }
        let merge_key = MERGE_KEYS.iter().find(|(list, _)| *list == name).map(|(_, key)| *key);
        match (value, merge_key) {
            (Value::Null, _) => {
                object.remove(&name);
            }
            (Value::Array(elements), Some(key))
                if object.get(&name).is_some_and(Value::is_array) =>
            {
                merge_list(&mut object[&name], elements, key);
            }
            (value, _) => strategic_merge(object.entry(name).or_insert(Value::Null), value),
        }
    }
}

fn merge_list(target: &mut Value, elements: Vec<Value>, key: &str) {
    let Some(list) = target.as_array_mut() else { return };
    for element in elements {
        let found = list.iter().position(|it| it.get(key) == element.get(key));
        let delete = element.get("$patch").is_some_and(|it| it == "delete");
        match (found, delete) {
            (Some(at), true) => {
                list.remove(at);
            }
            (Some(at), false) => strategic_merge(&mut list[at], element),
            (None, true) => {}
            (None, false) => list.push(element),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(content_type: &str, patch: Value, want: Value) {
        let object = json!({ "a": 1, "conditions": [
            { "type": "Ready", "status": "False", "reason": "x" },
            { "type": "Disk", "status": "False" },
        ]});

        let patch = Patch::parse(content_type, patch.to_string().as_bytes()).unwrap();

        assert_eq!(patch.apply(&object).unwrap(), want);
    }

    #[test]
    fn a_merge_patch_replaces_lists_and_removes_nulls() {
        check(
            "application/merge-patch+json",
            json!({ "a": null, "conditions": [1], "b": { "c": 2 } }),
            json!({ "conditions": [1], "b": { "c": 2 } }),
        );
    }

    #[test]
    fn a_strategic_merge_matches_conditions_by_their_type() {
        check(
            "application/strategic-merge-patch+json",
            json!({ "$setElementOrder/conditions": [], "conditions": [
                { "type": "Ready", "status": "True" },
                { "type": "Disk", "$patch": "delete" },
                { "type": "New", "status": "True" },
            ]}),
            json!({ "a": 1, "conditions": [
                { "type": "Ready", "status": "True", "reason": "x" },
                { "type": "New", "status": "True" },
            ]}),
        );
    }

    #[test]
    fn a_json_patch_edits_by_path() {
        check(
            "application/json-patch+json; charset=utf-8",
            json!([{ "op": "remove", "path": "/conditions" },
                   { "op": "add", "path": "/b", "value": 2 }]),
            json!({ "a": 1, "b": 2 }),
        );
    }

    #[test]
    fn a_patch_of_another_type_or_of_no_json_is_refused() {
        let unknown = Patch::parse("application/json", b"{}").unwrap_err();
        let broken = Patch::parse("application/merge-patch+json", b"{").unwrap_err();

        assert!(matches!(unknown, ApiError::UnsupportedMediaType(_)), "{unknown}");
        assert!(matches!(broken, ApiError::BadRequest(_)), "{broken}");
    }
}
