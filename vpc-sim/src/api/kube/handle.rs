//! One request: read it, do it, answer it.

use super::{
    access::{Caller, Verb},
    admission::Part,
    answer,
    error::ApiError,
    event_form,
    form::Form,
    kind::Resource,
    patch::Patch,
    path::{ObjectPath, Target},
    query::Query,
    select::Selection,
    store::{Key, Preconditions, Snapshot, Store},
    watch,
};
use axum::{
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// A request without its path.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) query: Query,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    pub(crate) caller: Caller,
}

/// Carries out a request on the objects that the path names.
pub(crate) fn handle(
    store: &Arc<Store>,
    segments: &[&str],
    request: &Request<'_>,
) -> Result<Response, ApiError> {
    let target = Target::parse(segments)?;
    let (resource, namespace) = match &target {
        Target::Collection { resource, namespace } => (*resource, namespace.as_deref()),
        Target::Object(path) | Target::Status(path) => (path.resource, path.namespace.as_deref()),
    };
    let is_object = !matches!(target, Target::Collection { .. });
    let verb = Verb::of(&request.method, is_object, request.query.flag("watch"));
    let allowed = store.access().check(request.caller, verb, resource, namespace);
    let answer = match allowed.and_then(|()| carry_out(store, &target, request)) {
        Ok(answer) => answer,
        Err(error) => error.into_response(),
    };
    if request.caller == Caller::Node {
        store.access().note(verb, resource, answer.status().as_u16());
        store.access().note_agent(text(request.headers, header::USER_AGENT));
    }
    Ok(answer)
}

fn carry_out(
    store: &Arc<Store>,
    target: &Target,
    request: &Request<'_>,
) -> Result<Response, ApiError> {
    let query = &request.query;
    if request.method != Method::GET && query.text("dryRun").is_some() {
        return Err(ApiError::BadRequest("dryRun is not supported by this API".into()));
    }
    match target {
        Target::Collection { resource, namespace } => {
            on_collection(store, resource, namespace.as_deref(), request)
        }
        Target::Object(path) => on_object(store, path, Part::Main, request),
        Target::Status(path) => on_object(store, path, Part::Status, request),
    }
}

fn on_collection(
    store: &Arc<Store>,
    resource: &'static Resource,
    namespace: Option<&str>,
    request: &Request<'_>,
) -> Result<Response, ApiError> {
    let query = &request.query;
    let selection = query.selection(resource, namespace)?;
    let form = Form::asked_for(request.headers);
    match request.method {
        Method::GET if query.flag("watch") => watch_answer(store, resource, selection, form, query),
        Method::GET => {
            let (snapshot, metadata) = page(store, resource, &selection, query)?;
            Ok(answer(StatusCode::OK, &form.of_list(resource, &snapshot, metadata)))
        }
        Method::POST => {
            let object = event_form::stored(resource, object_in(request)?);
            let namespace = match (resource.namespaced, namespace) {
                (true, None) => return Err(ApiError::MethodNotAllowed),
                (_, namespace) => namespace,
            };
            let created = store.create(resource.kind, namespace, object)?;
            Ok(answer(StatusCode::CREATED, &form.of(resource, &created)))
        }
        Method::DELETE => {
            let snapshot = store.snapshot(resource.kind, &selection);
            for (Key { namespace, name, .. }, _) in &snapshot.objects {
                let namespace = resource.namespaced.then_some(namespace.as_str());
                match store.delete(resource.kind, namespace, name) {
                    Ok(_) | Err(ApiError::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            let metadata = json!({ "resourceVersion": snapshot.revision.to_string() });
            Ok(answer(StatusCode::OK, &form.of_list(resource, &snapshot, metadata)))
        }
        _ => Err(ApiError::MethodNotAllowed),
    }
}

fn on_object(
    store: &Arc<Store>,
    path: &ObjectPath,
    part: Part,
    request: &Request<'_>,
) -> Result<Response, ApiError> {
    let ObjectPath { resource, namespace, name } = path;
    let (kind, namespace) = (resource.kind, namespace.as_deref());
    let query = &request.query;
    let form = Form::asked_for(request.headers);
    match request.method {
        Method::GET if query.flag("watch") => {
            let selection = query.selection(resource, namespace)?.named(name);
            watch_answer(store, resource, selection, form, query)
        }
        Method::GET => {
            let found = store.get(kind, namespace, name)?;
            Ok(answer(StatusCode::OK, &form.of(resource, &found)))
        }
        Method::PUT => {
            let object = event_form::stored(resource, object_in(request)?);
            let stored = store.modify(kind, namespace, name, part, |_| Ok(object))?;
            Ok(answer(StatusCode::OK, &form.of(resource, &stored)))
        }
        Method::PATCH => {
            let content_type = text(request.headers, header::CONTENT_TYPE);
            let patch = Patch::parse(content_type, request.body)?;
            let (status, stored) = patched(store, path, part, query, patch)?;
            Ok(answer(status, &form.of(resource, &stored)))
        }
        Method::DELETE if part == Part::Main => {
            let gone = store.delete_if(kind, namespace, name, &preconditions(request)?)?;
            if gone["metadata"].get("deletionTimestamp").is_some() {
                return Ok(answer(StatusCode::OK, &form.of(resource, &gone)));
            }
            let uid = &gone["metadata"]["uid"];
            let details = json!({
                "name": name, "group": resource.group, "kind": resource.plural, "uid": uid,
            });
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": details,
            });
            Ok(answer(StatusCode::OK, &status))
        }
        _ => Err(ApiError::MethodNotAllowed),
    }
}

fn patched(
    store: &Store,
    path: &ObjectPath,
    part: Part,
    query: &Query,
    patch: Patch,
) -> Result<(StatusCode, Value), ApiError> {
    let ObjectPath { resource, namespace, name } = path;
    let namespace = namespace.as_deref();
    if let Patch::Apply(object) = &patch {
        if query.text("fieldManager").is_none() {
            let why = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
            return Err(ApiError::BadRequest(why.into()));
        }
        let missing = store.get(resource.kind, namespace, name).is_err();
        if missing && part == Part::Main {
            let mut object = event_form::stored(resource, object.clone());
            if object.is_object() {
                object["metadata"]["name"] = name.as_str().into();
            }
            return Ok((StatusCode::CREATED, store.create(resource.kind, namespace, object)?));
        }
    }
    let stored = store.modify(resource.kind, namespace, name, part, |old| {
        let new = patch.apply(&event_form::served(resource, old))?;
        Ok(event_form::stored(resource, new))
    })?;
    Ok((StatusCode::OK, stored))
}

fn watch_answer(
    store: &Arc<Store>,
    resource: &'static Resource,
    selection: Selection,
    form: Form,
    query: &Query,
) -> Result<Response, ApiError> {
    let request = watch::Request {
        resource,
        selection,
        form,
        start: query.start()?,
        bookmarks: query.flag("allowWatchBookmarks"),
        timeout: query.timeout()?,
    };
    let body = watch::body(Arc::clone(store), request);
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// The objects of a list request, and the list's metadata. Pages show the objects as they were at
/// the first page.
fn page(
    store: &Store,
    resource: &Resource,
    selection: &Selection,
    query: &Query,
) -> Result<(Snapshot, Value), ApiError> {
    let exact = query.text("resourceVersionMatch") == Some("Exact");
    let (mut snapshot, after) = match (query.text("continue"), query.number("resourceVersion")?) {
        (Some(token), _) => {
            let (revision, namespace, name) = continued(token)?;
            let snapshot = store.snapshot_at(revision, resource.kind, selection)?;
            (snapshot, Some((namespace, name)))
        }
        (None, Some(revision)) if exact => {
            (store.snapshot_at(revision, resource.kind, selection)?, None)
        }
        (None, _) => (store.snapshot(resource.kind, selection), None),
    };
    if let Some((namespace, name)) = after {
        let told = |key: &Key| (&*key.namespace, &*key.name) <= (namespace, name);
        snapshot.objects.retain(|(key, _)| !told(key));
    }
    let mut metadata = json!({ "resourceVersion": snapshot.revision.to_string() });
    let limit = query.number("limit")?.and_then(|it| usize::try_from(it).ok()).unwrap_or(0);
    if limit > 0 && snapshot.objects.len() > limit {
        let remaining = snapshot.objects.len() - limit;
        snapshot.objects.truncate(limit);
        if let Some((Key { namespace, name, .. }, _)) = snapshot.objects.last() {
            metadata["continue"] = format!("{}.{namespace}.{name}", snapshot.revision).into();
        }
        if selection.is_everything() {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    Ok((snapshot, metadata))
}

/// A continue token: the revision of the first page and the last object that was told. A namespace
/// has no dot in its name.
fn continued(token: &str) -> Result<(u64, &str, &str), ApiError> {
    let mut parts = token.splitn(3, '.');
    let revision = parts.next().and_then(|it| it.parse().ok());
    match (revision, parts.next(), parts.next()) {
        (Some(revision), Some(namespace), Some(name)) => Ok((revision, namespace, name)),
        _ => Err(ApiError::BadRequest("continue key is not valid".into())),
    }
}

fn object_in(request: &Request<'_>) -> Result<Value, ApiError> {
    let content_type = text(request.headers, header::CONTENT_TYPE);
    if !matches!(content_type.split(';').next(), Some("application/json" | "")) {
        return Err(ApiError::UnsupportedMediaType("application/json".into()));
    }
    serde_json::from_slice(request.body).map_err(|error| {
        ApiError::BadRequest(format!("the object provided is unrecognized: not JSON: {error}"))
    })
}

fn preconditions(request: &Request<'_>) -> Result<Preconditions, ApiError> {
    if request.body.is_empty() {
        return Ok(Preconditions::new());
    }
    let options = object_in(request)?;
    Ok(options["preconditions"].as_object().cloned().unwrap_or_default())
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
}
