//! What the API refuses, and the `Status` object that says so.

use super::{answer, kind::Resource};
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

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
    /// Nothing is served under this path, which is said in plain text.
    #[error("404 page not found")]
    NoSuchPath,
    /// A patch that does not fit the object.
    #[error("the server rejected our request due to an error in our request")]
    PatchRefused,
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
    #[error("{kind} \"{name}\" is invalid: {}", told(causes))]
    Invalid {
        /// Kind with the group.
        kind: String,
        /// Name of the object.
        name: String,
        /// What is wrong with which fields, at least one.
        causes: Vec<Cause>,
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
    /// The client takes no media type that is written here.
    #[error("only the following media types are accepted: {0}")]
    NotAcceptable(String),
    /// The server's own words for what it calls an internal error.
    #[error("{0}")]
    Internal(String),
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Path of the field.
    pub field: String,
    /// What is wrong with it, which begins with the API server's name of the kind of fault.
    pub why: String,
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
        Self::invalid_by(resource, name, vec![Cause { field: field.into(), why: why.into() }])
    }

    pub(crate) fn invalid_by(resource: &Resource, name: &str, causes: Vec<Cause>) -> Self {
        let kind = match resource.group {
            "" => resource.name.to_owned(),
            group => format!("{}.{group}", resource.name),
        };
        Self::Invalid { kind, name: name.into(), causes }
    }

    /// What options of a request break, such as `DeleteOptions`.
    pub(crate) fn invalid_options(options: &str, field: &str, why: impl Into<String>) -> Self {
        let causes = vec![Cause { field: field.into(), why: why.into() }];
        Self::Invalid { kind: format!("{options}.meta.k8s.io"), name: String::new(), causes }
    }

    /// The HTTP status and the word that clients branch on (`k8s.io/apimachinery` `StatusReason`).
    fn code_and_reason(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound { .. } | Self::NoSuchPath => (StatusCode::NOT_FOUND, "NotFound"),
            Self::Forbidden { .. } => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::AlreadyExists { .. } => (StatusCode::CONFLICT, "AlreadyExists"),
            Self::Conflict { .. } => (StatusCode::CONFLICT, "Conflict"),
            Self::Invalid { .. } | Self::PatchRefused => {
                (StatusCode::UNPROCESSABLE_ENTITY, "Invalid")
            }
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            Self::Expired(_) => (StatusCode::GONE, "Expired"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            Self::UnsupportedMediaType(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType")
            }
            Self::NotAcceptable(_) => (StatusCode::NOT_ACCEPTABLE, "NotAcceptable"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
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
        let of = |name: &str, kind: &str| {
            let (kind, group) = kind.split_once('.').unwrap_or((kind, ""));
            let named = [("name", name), ("group", group), ("kind", kind)];
            let said = named.into_iter().filter(|(_, text)| !text.is_empty());
            said.map(|(key, text)| (key.to_owned(), text.into())).collect::<Map<_, _>>()
        };
        match self {
            Self::NotFound { resource, name }
            | Self::AlreadyExists { resource, name }
            | Self::Conflict { resource, name, .. } => Some(of(name, resource).into()),
            Self::Invalid { kind, name, causes } => {
                let mut details = of(name, kind);
                details.insert("causes".into(), causes.iter().map(Cause::told).collect());
                Some(details.into())
            }
            Self::Forbidden { resource, .. } => Some(of("", resource).into()),
            Self::NoSuchPath
            | Self::PatchRefused
            | Self::BadRequest(_)
            | Self::Expired(_)
            | Self::MethodNotAllowed
            | Self::UnsupportedMediaType(_)
            | Self::NotAcceptable(_)
            | Self::Internal(_) => None,
        }
    }
}

impl Cause {
    fn told(&self) -> Value {
        json!({ "reason": self.reason(), "message": self.why, "field": self.field })
    }

    /// The word that clients branch on (`k8s.io/apimachinery` `field.ErrorType`).
    fn reason(&self) -> &'static str {
        match &self.why {
            why if why.starts_with("Required value") => "FieldValueRequired",
            why if why.starts_with("Unsupported value") => "FieldValueNotSupported",
            why if why.starts_with("Forbidden") => "FieldValueForbidden",
            why if why.contains(" in body must be of type ") => "FieldValueTypeInvalid",
            _ => "FieldValueInvalid",
        }
    }
}

fn told(causes: &[Cause]) -> String {
    let all: Vec<_> = causes.iter().map(|it| format!("{}: {}", it.field, it.why)).collect();
    match all.as_slice() {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self == Self::NoSuchPath {
            return (StatusCode::NOT_FOUND, format!("{self}\n")).into_response();
        }
        answer(self.code_and_reason().0, &self.to_status())
    }
}
