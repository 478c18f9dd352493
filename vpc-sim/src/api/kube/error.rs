//! What the API refuses, and the `Status` object that says so.

use super::{answer, kind::Resource};
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The object does not exist.
    #[error("{resource} \"{name}\" not found")]
    NotFound {
        /// Plural with the group.
        resource: String,
        /// Name of the object.
        name: String,
    },
    /// The caller may not do that.
    #[error("{resource} is forbidden: {why}")]
    Forbidden {
        /// Plural with the group.
        resource: String,
        /// RBAC's words.
        why: String,
    },
    /// Nothing is served under this path.
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    /// An object of this name exists.
    #[error("{resource} \"{name}\" already exists")]
    AlreadyExists {
        /// Plural with the group.
        resource: String,
        /// Name of the object.
        name: String,
    },
    /// The object changed since the client read it.
    #[error("Operation cannot be fulfilled on {resource} \"{name}\": {why}")]
    Conflict {
        /// Plural with the group.
        resource: String,
        /// Name of the object.
        name: String,
        /// What differs.
        why: String,
    },
    /// The object breaks the rules of its kind.
    #[error("{kind} \"{name}\" is invalid: {field}: {why}")]
    Invalid {
        /// Kind with the group.
        kind: String,
        /// Name of the object.
        name: String,
        /// Path of the field.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// The request itself is not understood.
    #[error("{0}")]
    BadRequest(String),
    /// The version that the client asks for is no longer kept.
    #[error("{0}")]
    Expired(String),
    /// The path is served, this method is not.
    #[error("the server does not allow this method on the requested resource")]
    MethodNotAllowed,
    /// The body has a type that is not understood.
    #[error("the body of the request was in an unknown format - accepted media types include: {0}")]
    UnsupportedMediaType(String),
}

/// What a conflict of versions says, word for word as the API server does.
pub(crate) const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

impl ApiError {
    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        Self::NotFound { resource: resource.qualified(), name: name.into() }
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::AlreadyExists { resource: resource.qualified(), name: name.into() }
    }

    pub(crate) fn conflict(resource: &Resource, name: &str, why: impl Into<String>) -> Self {
        Self::Conflict { resource: resource.qualified(), name: name.into(), why: why.into() }
    }

    pub(crate) fn invalid(
        resource: &Resource,
        name: &str,
        field: &str,
        why: impl Into<String>,
    ) -> Self {
        let kind = match resource.group {
            "" => resource.name.to_owned(),
            group => format!("{}.{group}", resource.name),
        };
        Self::Invalid { kind, name: name.into(), field: field.into(), why: why.into() }
    }

    /// The HTTP status and the word that clients branch on (`k8s.io/apimachinery` `StatusReason`).
    fn code_and_reason(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound { .. } | Self::NoSuchPath => (StatusCode::NOT_FOUND, "NotFound"),
            Self::Forbidden { .. } => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::AlreadyExists { .. } => (StatusCode::CONFLICT, "AlreadyExists"),
            Self::Conflict { .. } => (StatusCode::CONFLICT, "Conflict"),
            Self::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            Self::Expired(_) => (StatusCode::GONE, "Expired"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            Self::UnsupportedMediaType(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType")
            }
        }
    }

    /// The `Status` object, as it is answered and as it appears in a watch.
    pub(crate) fn to_status(&self) -> Value {
        let (code, reason) = self.code_and_reason();
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.to_string(),
            "reason": reason,
            "code": code.as_u16(),
        });
        if let Some(details) = self.details() {
            status["details"] = details;
        }
        status
    }

    fn details(&self) -> Option<Value> {
        match self {
            Self::NotFound { resource, name }
            | Self::AlreadyExists { resource, name }
            | Self::Conflict { resource, name, .. } => {
                let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
                Some(json!({ "name": name, "group": group, "kind": plural }))
            }
            Self::Invalid { kind, name, field, why } => {
                let (kind, group) = kind.split_once('.').unwrap_or((kind, ""));
                let cause =
                    json!({ "reason": "FieldValueInvalid", "field": field, "message": why });
                Some(json!({ "name": name, "group": group, "kind": kind, "causes": [cause] }))
            }
            Self::Forbidden { resource, .. } => {
                let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
                Some(json!({ "group": group, "kind": plural }))
            }
            Self::NoSuchPath
            | Self::BadRequest(_)
            | Self::Expired(_)
            | Self::MethodNotAllowed
            | Self::UnsupportedMediaType(_) => None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        answer(self.code_and_reason().0, &self.to_status())
    }
}
