//! The rules for objects that come in: names, versions, what a client may not write.

use super::{
    error::{ApiError, MODIFIED},
    kind::{Kind, Resource},
};
use rand::Rng;
use serde_json::{Map, Value, json};

/// What of an object a write is about; the rest stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything but `status`.
    Main,
    /// Only `status`.
    Status,
    /// Both, for the world itself.
    Whole,
}

/// Letters of generated names: the API server's, which spell no words.
const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Length of the generated end of a name (`k8s.io/apiserver` `names.maxGeneratedNameLength`).
const SUFFIX_LENGTH: usize = 5;

/// Longest name, a DNS-1123 subdomain.
const MAX_NAME: usize = 253;

/// The time as objects carry it.
pub(crate) fn timestamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// An object as it is stored after its creation.
pub(crate) fn created(
    resource: &Resource,
    namespace: Option<&str>,
    object: Value,
) -> Result<Value, ApiError> {
    let mut object = checked_shape(resource, object)?;
    let metadata = metadata_of(&mut object);
    if metadata.get("resourceVersion").and_then(Value::as_str).is_some_and(|it| !it.is_empty()) {
        let why = "resourceVersion should not be set on objects to be created";
        return Err(ApiError::BadRequest(why.into()));
    }
    let unnamed = metadata.get("name").is_none_or(|name| name.as_str() == Some(""));
    if unnamed && let Some(prefix) = metadata.get("generateName").and_then(Value::as_str) {
        let name = format!("{prefix}{}", suffix());
        metadata.insert("name".into(), name.into());
    }
    place_in(namespace, metadata)?;
    metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".into(), timestamp().into());
    metadata.insert("generation".into(), 1.into());
    for never in ["managedFields", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        metadata.remove(never);
    }
    match resource.kind {
        Kind::Pod => object["status"] = json!({ "phase": "Pending" }),
        Kind::Namespace => object["status"] = json!({ "phase": "Active" }),
        Kind::Node
        | Kind::Event
        | Kind::ConfigMap
        | Kind::ServiceAccount
        | Kind::EniConfig
        | Kind::Lease => {}
    }
    valid(resource, &object)?;
    Ok(object)
}

/// What replaces `old` when a client writes `new`.
pub(crate) fn updated(
    resource: &Resource,
    old: &Value,
    new: Value,
    part: Part,
) -> Result<Value, ApiError> {
    let mut new = checked_shape(resource, new)?;
    let name = old["metadata"]["name"].as_str().unwrap_or_default();
    let given = metadata_of(&mut new);
    place_in(old["metadata"]["namespace"].as_str(), given)?;
    if given.get("name").is_some_and(|it| it.as_str() != Some(name)) {
        let why = "the name of the object does not match the name on the URL";
        return Err(ApiError::BadRequest(why.into()));
    }
    check_versions(resource, name, old, given)?;
    let metadata = updated_metadata(&old["metadata"], given);

    let mut result = match part {
        Part::Status => {
            let mut result = old.clone();
            set_or_remove(&mut result, "status", new.get("status"));
            result
        }
        Part::Main if resource.status => {
            set_or_remove(&mut new, "status", old.get("status"));
            new
        }
        Part::Main | Part::Whole => new,
    };
    result["metadata"] = metadata;
    if body(&result) != body(old) {
        let generation = old["metadata"]["generation"].as_u64().unwrap_or(1);
        result["metadata"]["generation"] = (generation + 1).into();
    }
    valid(resource, &result)?;
    Ok(result)
}

/// Refuses a write that was made from another version or another object of this name.
pub(crate) fn check_versions(
    resource: &Resource,
    name: &str,
    old: &Value,
    given: &Map<String, Value>,
) -> Result<(), ApiError> {
    let text = |key: &str| given.get(key).and_then(Value::as_str).filter(|it| !it.is_empty());
    if text("resourceVersion").is_some_and(|it| old["metadata"]["resourceVersion"] != *it) {
        return Err(ApiError::conflict(resource, name, MODIFIED));
    }
    match text("uid") {
        Some(uid) if old["metadata"]["uid"] != *uid => {
            let found = old["metadata"]["uid"].as_str().unwrap_or_default();
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {found}"
            );
            Err(ApiError::conflict(resource, name, why))
        }
        Some(_) | None => Ok(()),
    }
}

/// The kind and the version must be those of the path, or absent.
fn checked_shape(resource: &Resource, mut object: Value) -> Result<Value, ApiError> {
    if !object.is_object() {
        return Err(ApiError::BadRequest("the body is not a JSON object".into()));
    }
    for (key, want) in [("apiVersion", resource.api_version()), ("kind", resource.name.into())] {
        match object.get(key) {
            None | Some(Value::Null) => object[key] = want.into(),
            Some(Value::String(given)) if *given == want => {}
            Some(given) => {
                let why = format!("{key} in the data ({given}) does not match the expected {want}");
                return Err(ApiError::BadRequest(why));
            }
        }
    }
    match object.get("metadata") {
        None | Some(Value::Null) => object["metadata"] = json!({}),
        Some(Value::Object(_)) => {}
        Some(_) => return Err(ApiError::BadRequest("metadata is not a JSON object".into())),
    }
    Ok(object)
}

fn metadata_of(object: &mut Value) -> &mut Map<String, Value> {
    object["metadata"].as_object_mut().expect("the shape has been checked")
}

fn place_in(namespace: Option<&str>, metadata: &mut Map<String, Value>) -> Result<(), ApiError> {
    let given = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
    if !given.is_empty() && namespace.is_some_and(|it| it != given) {
        let why =
            "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::BadRequest(why.into()));
    }
    match namespace {
        Some(namespace) => metadata.insert("namespace".into(), namespace.into()),
        None => metadata.remove("namespace"),
    };
    Ok(())
}

/// Labels, annotations and the like from the client; identity and history from the store.
fn updated_metadata(old: &Value, given: &Map<String, Value>) -> Value {
    let mut metadata = given.clone();
    metadata.remove("managedFields");
    for key in [
        "name",
        "generateName",
        "uid",
        "creationTimestamp",
        "generation",
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        match old.get(key) {
            Some(value) => metadata.insert(key.into(), value.clone()),
            None => metadata.remove(key),
        };
    }
    metadata.into()
}

fn set_or_remove(object: &mut Value, key: &str, value: Option<&Value>) {
    let Some(object) = object.as_object_mut() else { return };
    match value {
        Some(value) => object.insert(key.into(), value.clone()),
        None => object.remove(key),
    };
}

/// What counts for `metadata.generation`.
fn body(object: &Value) -> Vec<(&String, &Value)> {
    let fields = object.as_object().into_iter().flatten();
    fields.filter(|(key, _)| *key != "metadata" && *key != "status").collect()
}

fn suffix() -> String {
    let mut rng = rand::rng();
    let letter = |_| char::from(SUFFIX_LETTERS[rng.random_range(0..SUFFIX_LETTERS.len())]);
    (0..SUFFIX_LENGTH).map(letter).collect()
}

fn valid(resource: &Resource, object: &Value) -> Result<(), ApiError> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let refuse = |field: &str, why: &str| Err(ApiError::invalid(resource, name, field, why));
    if name.is_empty() {
        return refuse("metadata.name", "Required value: name or generateName is required");
    }
    if !is_subdomain(name) {
        return refuse(
            "metadata.name",
            "Invalid value: must be a lowercase RFC 1123 subdomain (a-z, 0-9, '-', '.')",
        );
    }
    for map in ["labels", "annotations"] {
        let value = &object["metadata"][map];
        let texts = value.as_object().is_some_and(|it| it.values().all(Value::is_string));
        if !value.is_null() && !texts {
            return refuse(&format!("metadata.{map}"), "Invalid value: must map text to text");
        }
    }
    if resource.kind == Kind::EniConfig {
        return valid_eniconfig(resource, name, &object["spec"]);
    }
    Ok(())
}

/// The schema of the ENIConfig CRD (`conf/eniconfig-crd.yaml`): `spec` may be missing; where it is not,
/// `spec.subnet` is a text and required, `spec.securityGroups` and `spec.subnets` are lists of texts.
fn valid_eniconfig(resource: &Resource, name: &str, spec: &Value) -> Result<(), ApiError> {
    let refuse = |field: &str, why: &str| Err(ApiError::invalid(resource, name, field, why));
    if spec.is_null() {
        return Ok(());
    }
    if !spec.is_object() {
        return refuse("spec", "Invalid value: must be of type object");
    }
    if spec["subnet"].is_null() {
        return refuse("spec.subnet", "Required value");
    }
    if !spec["subnet"].is_string() {
        return refuse("spec.subnet", "Invalid value: must be of type string");
    }
    for list in ["securityGroups", "subnets"] {
        let texts = spec[list].as_array().is_some_and(|it| it.iter().all(Value::is_string));
        if !spec[list].is_null() && !texts {
            let field = format!("spec.{list}");
            return refuse(&field, "Invalid value: must be of type array of string");
        }
    }
    Ok(())
}

fn is_subdomain(name: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label = |label: &str| {
        label.starts_with(alphanumeric)
            && label.ends_with(alphanumeric)
            && label.chars().all(|c| alphanumeric(c) || c == '-')
    };
    name.len() <= MAX_NAME && name.split('.').all(label)
}
