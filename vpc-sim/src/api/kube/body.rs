//! The body of a request: JSON, YAML or protobuf.

use super::{
    error::ApiError,
    fields::message,
    kind::Resource,
    protobuf,
    query::{Query, is_dry_run},
};
use axum::http::{HeaderMap, header};
use serde_json::{Map, Value, json};

/// Kubernetes' protobuf.
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// What a deletion says.
#[derive(Debug, Default)]
pub(crate) struct DeleteOptions {
    /// What must be found.
    pub(crate) preconditions: Map<String, Value>,
    /// Nothing is deleted.
    pub(crate) dry_run: bool,
}

/// The object in a body.
pub(crate) fn object(
    resource: &Resource,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Value, ApiError> {
    let unrecognized = |why: String| {
        let name = resource.name;
        ApiError::BadRequest(format!(
            "the object provided is unrecognized (must be of type {name}): {why}"
        ))
    };
    match (media_type(headers), resource.message()) {
        ("application/json" | "", _) => serde_json::from_slice(body).map_err(|error| {
            unrecognized(format!("couldn't get version/kind; json parse error: {error}"))
        }),
        ("application/yaml", _) => {
            yaml(body).map_err(|error| unrecognized(format!("yaml: {error}")))
        }
        (PROTOBUF, Some(message)) => protobuf::decode(message, body).map_err(unrecognized),
        (_, found) => {
            let more = found.map(|_| format!(", {PROTOBUF}")).unwrap_or_default();
            let known = format!("application/json, application/yaml{more}");
            Err(ApiError::UnsupportedMediaType(known))
        }
    }
}

/// What a deletion says, in its body or in the parameters.
pub(crate) fn delete_options(
    headers: &HeaderMap,
    query: &Query,
    body: &[u8],
) -> Result<DeleteOptions, ApiError> {
    let options = if body.is_empty() {
        json!({})
    } else {
        match media_type(headers) {
            "application/json" | "" => serde_json::from_slice(body).map_err(|error| {
                ApiError::BadRequest(format!(
                    "couldn't get version/kind; json parse error: {error}"
                ))
            })?,
            "application/yaml" => yaml(body).map_err(ApiError::BadRequest)?,
            PROTOBUF => {
                protobuf::decode(message("DeleteOptions"), body).map_err(ApiError::BadRequest)?
            }
            _ => {
                let known = format!("application/json, application/yaml, {PROTOBUF}");
                return Err(ApiError::UnsupportedMediaType(known));
            }
        }
    };
    let Value::Object(mut options) = options else {
        return Err(ApiError::BadRequest("DeleteOptions are no object".into()));
    };
    let kind = options.remove("kind").filter(|it| !it.is_null() && *it != "");
    let version = options.remove("apiVersion").filter(|it| !it.is_null() && *it != "");
    if let Some(kind) = kind.filter(|it| *it != "DeleteOptions") {
        let version = version.unwrap_or_default();
        let why = format!("no kind {kind} is registered for version {version} in scheme");
        return Err(ApiError::BadRequest(why));
    }
    super::typed::prune(message("DeleteOptions"), &mut options, "", &mut Vec::new())
        .map_err(|error| ApiError::BadRequest(error.0))?;
    let said: Vec<&str> = options
        .get("dryRun")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let dry_run = query.dry_run("DeleteOptions")? | is_dry_run("DeleteOptions", &said)?;
    let preconditions = options.get("preconditions").and_then(Value::as_object).cloned();
    Ok(DeleteOptions { preconditions: preconditions.unwrap_or_default(), dry_run })
}

/// A body of YAML.
pub(crate) fn yaml(body: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

/// The media type of a body, without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    value.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}
