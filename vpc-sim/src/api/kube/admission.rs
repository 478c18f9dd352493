//! The rules for objects that come in: names, versions, what a client may not write.

use super::{
    definition::{self, Definition},
    error::{ApiError, Cause, MODIFIED},
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

/// Longest value of a label.
const MAX_LABEL: usize = 63;

/// What a name must be, in the words of the API server.
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
    '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
    validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// What the value of a label must be, in the same words.
const LABEL: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and \
    end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
    validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// The time as objects carry it.
pub(crate) fn timestamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// An object as it is stored after its creation.
pub(crate) fn created(
    resource: &Resource,
    definition: Option<&Definition>,
    namespace: Option<&str>,
    object: Value,
) -> Result<Value, ApiError> {
    let mut object = checked_shape(resource, object)?;
    let metadata = metadata_of(&mut object);
    if metadata.get("resourceVersion").and_then(Value::as_str).is_some_and(|it| !it.is_empty()) {
        let why = "resourceVersion should not be set on objects to be created";
        return Err(ApiError::Internal(why.into()));
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
        Kind::Definition => definition::establish(&mut object, &timestamp()),
        Kind::Node
        | Kind::Event
        | Kind::ConfigMap
        | Kind::ServiceAccount
        | Kind::EniConfig
        | Kind::Lease => {}
    }
    valid(resource, definition, &object)?;
    Ok(object)
}

/// What replaces `old` when a client writes `new`.
pub(crate) fn updated(
    resource: &Resource,
    definition: Option<&Definition>,
    old: &Value,
    new: Value,
    part: Part,
) -> Result<Value, ApiError> {
    let mut new = checked_shape(resource, new)?;
    let name = old["metadata"]["name"].as_str().unwrap_or_default();
    let given = metadata_of(&mut new);
    place_in(old["metadata"]["namespace"].as_str(), given)?;
    if given.get("name").is_some_and(|it| it.as_str() != Some(name)) {
        let given = given.get("name").and_then(Value::as_str).unwrap_or_default();
        let why =
            format!("the name of the object ({given}) does not match the name on the URL ({name})");
        return Err(ApiError::BadRequest(why));
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
    valid(resource, definition, &result)?;
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

/// Refuses to replace an object of a kind whose changes must say from which version they were made
/// (`AllowUnconditionalUpdate` of the kinds in `k8s.io/kubernetes` `pkg/registry`, and of custom objects).
pub(crate) fn check_version_given(
    resource: &Resource,
    name: &str,
    given: &Value,
) -> Result<(), ApiError> {
    let must = match resource.kind {
        Kind::EniConfig | Kind::Lease | Kind::Definition => true,
        Kind::Namespace
        | Kind::Node
        | Kind::Pod
        | Kind::Event
        | Kind::ConfigMap
        | Kind::ServiceAccount => false,
    };
    let is_given = given["metadata"]["resourceVersion"].as_str().is_some_and(|it| !it.is_empty());
    if must && !is_given {
        let why = "Invalid value: 0: must be specified for an update";
        return Err(ApiError::invalid(resource, name, "metadata.resourceVersion", why));
    }
    Ok(())
}

/// Refuses a deletion of another version or another object of this name.
pub(crate) fn check_preconditions(
    resource: &Resource,
    name: &str,
    old: &Value,
    preconditions: &Map<String, Value>,
) -> Result<(), ApiError> {
    for (key, title, what) in [
        ("uid", "UID", "The object might have been deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "The object might have been modified"),
    ] {
        let found = old["metadata"][key].as_str().unwrap_or_default();
        let wanted = preconditions.get(key).and_then(Value::as_str).filter(|it| *it != found);
        if let Some(wanted) = wanted {
            let why = format!(
                "the {title} in the precondition ({wanted}) does not match the {title} in record \
                 ({found}). {what}"
            );
            // The API server names the kind here, not the resource.
            return Err(ApiError::Conflict {
                resource: resource.name.into(),
                name: name.into(),
                why,
            });
        }
    }
    Ok(())
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

fn valid(
    resource: &Resource,
    definition: Option<&Definition>,
    object: &Value,
) -> Result<(), ApiError> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let refuse = |field: &str, why: &str| Err(ApiError::invalid(resource, name, field, why));
    if name.is_empty() {
        return refuse("metadata.name", "Required value: name or generateName is required");
    }
    if !is_subdomain(name) {
        return refuse("metadata.name", &format!("Invalid value: {name:?}: {SUBDOMAIN}"));
    }
    for map in ["labels", "annotations"] {
        let value = &object["metadata"][map];
        let texts = value.as_object().is_some_and(|it| it.values().all(Value::is_string));
        if !value.is_null() && !texts {
            return refuse(&format!("metadata.{map}"), "Invalid value: must map text to text");
        }
    }
    for label in object["metadata"]["labels"].as_object().into_iter().flat_map(Map::values) {
        if let Some(label) = label.as_str().filter(|it| !is_label(it)) {
            return refuse("metadata.labels", &format!("Invalid value: {label:?}: {LABEL}"));
        }
    }
    let mut wrong = Vec::new();
    match (resource.kind, definition) {
        (Kind::Definition, _) => drop(definition::parse(object)?),
        (Kind::EniConfig, Some(definition)) => definition.schema.check(object, "", &mut wrong),
        (Kind::Pod, _) => containers_of(&object["spec"]["containers"], &mut wrong),
        (_, _) => {}
    }
    if wrong.is_empty() { Ok(()) } else { Err(ApiError::invalid_by(resource, name, wrong)) }
}

/// A pod has containers, each with a name and an image.
fn containers_of(containers: &Value, wrong: &mut Vec<Cause>) {
    let required = |field: String| Cause { field, why: "Required value".into() };
    let containers = containers.as_array().map(Vec::as_slice).unwrap_or_default();
    if containers.is_empty() {
        wrong.push(required("spec.containers".into()));
    }
    for (n, container) in containers.iter().enumerate() {
        for field in ["name", "image"] {
            if container[field].as_str().is_none_or(str::is_empty) {
                wrong.push(required(format!("spec.containers[{n}].{field}")));
            }
        }
    }
}

fn is_label(value: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let ends = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    value.len() <= MAX_LABEL
        && value.chars().all(legal)
        && ends(value.chars().next())
        && ends(value.chars().last())
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
