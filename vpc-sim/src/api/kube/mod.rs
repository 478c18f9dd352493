//! A Kubernetes API that is sufficient for reflectors, kubectl and patches.
//!
//! [`Store`] holds the objects and the rules of writing them; [`router`] serves it. There is no
//! authentication, no scheduler, and no admission beyond names, versions and the ENIConfig's
//! schema. What nodes are refused is said, as RBAC would.

mod access;
mod admission;
mod body;
mod decode;
mod definition;
mod discovery;
mod error;
mod event_form;
mod fields;
mod form;
mod handle;
mod kind;
mod kubeconfig;
mod objects;
mod openapi;
mod patch;
mod path;
mod protobuf;
mod query;
mod schema;
mod select;
mod store;
mod typed;
mod watch;

use access::Access;
pub use access::{Asked, Caller, READING, Verb};
pub use error::ApiError;
pub use kind::Kind;
pub use kubeconfig::kubeconfig;
pub use objects::HISTORY;
pub use store::Store;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use std::sync::Arc;

/// The API over HTTP, as a caller sees it.
pub fn router(store: Arc<Store>, caller: Caller) -> Router {
    Router::new().fallback(serve).with_state((store, caller))
}

async fn serve(
    State((store, caller)): State<(Arc<Store>, Caller)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let segments: Vec<&str> = uri.path().split('/').filter(|it| !it.is_empty()).collect();
    if matches!(segments.as_slice(), ["healthz" | "readyz" | "livez"]) {
        return "ok".into_response();
    }
    if method == Method::GET
        && let Some(found) = discovery::answer(&segments, store.access())
    {
        return answer(StatusCode::OK, &found);
    }
    if method == Method::GET && segments.first() == Some(&"openapi") {
        let definition = store.get(Kind::Definition, None, &definition::name()).ok();
        let found = openapi::answer(&segments, store.access(), definition.as_ref());
        return found.map_or_else(
            || ApiError::NoSuchPath.into_response(),
            |found| answer(StatusCode::OK, &found),
        );
    }
    let handled = query::Query::parse(uri.query()).and_then(|query| {
        let request = handle::Request { method, query, headers: &headers, body: &body, caller };
        handle::handle(&store, &segments, &request)
    });
    handled.unwrap_or_else(IntoResponse::into_response)
}

fn answer(status: StatusCode, object: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], object.to_string()).into_response()
}

#[cfg(test)]
mod tests;
