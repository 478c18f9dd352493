//! One request: read it, do it, answer it.

use super::{
    access::{Caller, Verb},
    admission::{self, Part},
    answer,
    body::{self, DeleteOptions, media_type},
    decode::Decoder,
    error::ApiError,
    event_form,
    form::Form,
    kind::{Kind, Resource},
    objects::{Key, Snapshot},
    patch::Patch,
    path::{ObjectPath, Target},
    query::Query,
    select::Selection,
    store::{Store, Write},
    watch,
};
use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
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
            let namespace = match (resource.namespaced, namespace) {
                (true, None) => return Err(ApiError::MethodNotAllowed),
                (_, namespace) => namespace,
            };
            let write = write(query, "CreateOptions")?;
            let (object, decoder) = incoming(store, resource, request)?;
            event_form::check_new(resource, &object)?;
            let created = store.try_create(resource.kind, namespace, object, write)?;
            Ok(warned(answer(StatusCode::CREATED, &form.of(resource, &created)), &decoder))
        }
        Method::DELETE => {
            let options = body::delete_options(request.headers, query, request.body)?;
            let snapshot = store.snapshot(resource.kind, &selection);
            for (Key { namespace, name, .. }, _) in &snapshot.objects {
                let namespace = resource.namespaced.then_some(namespace.as_str());
                match delete(store, (resource.kind, namespace, name), &options) {
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
            let write = write(query, "UpdateOptions")?;
            let (object, decoder) = incoming(store, resource, request)?;
            // What is not there is said first.
            store.get(kind, namespace, name)?;
            admission::check_version_given(resource, name, &object)?;
            let stored = store.modify(kind, namespace, name, (part, write), |_| Ok(object))?;
            Ok(warned(answer(StatusCode::OK, &form.of(resource, &stored)), &decoder))
        }
        Method::PATCH => {
            let patch = Patch::parse(resource, media_type(request.headers), request.body)?;
            let mut decoder = Decoder::new(store, resource, query.validation()?);
            let (status, stored) = patched(store, path, part, (query, &mut decoder), patch)?;
            Ok(warned(answer(status, &form.of(resource, &stored)), &decoder))
        }
        Method::DELETE if part == Part::Main => {
            let options = body::delete_options(request.headers, query, request.body)?;
            let gone = delete(store, (kind, namespace, name), &options)?;
            if gone["metadata"].get("deletionTimestamp").is_some() {
                return Ok(answer(StatusCode::OK, &form.of(resource, &gone)));
            }
            let uid = &gone["metadata"]["uid"];
            let mut details = json!({ "name": name, "kind": resource.plural, "uid": uid });
            if !resource.group.is_empty() {
                details["group"] = resource.group.into();
            }
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
    (query, decoder): (&Query, &mut Decoder),
    patch: Patch,
) -> Result<(StatusCode, Value), ApiError> {
    let ObjectPath { resource, namespace, name } = path;
    let namespace = namespace.as_deref();
    let write = write(query, "PatchOptions")?;
    if let Patch::Apply(object) = &patch {
        if query.text("fieldManager").is_none() {
            let why = "Required value: is required for apply patch";
            return Err(ApiError::invalid_options("PatchOptions", "fieldManager", why));
        }
        let missing = store.get(resource.kind, namespace, name).is_err();
        if missing && part == Part::Main {
            let mut object = object.clone();
            if object.is_object() {
                object["metadata"]["name"] = name.as_str().into();
            }
            let object = event_form::stored(resource, decoder.body(object)?);
            event_form::check_new(resource, &object)?;
            let created = store.try_create(resource.kind, namespace, object, write)?;
            return Ok((StatusCode::CREATED, created));
        }
    }
    let stored = store.modify(resource.kind, namespace, name, (part, write), |old| {
        let new = patch.apply(resource, &event_form::served(resource, old))?;
        Ok(event_form::stored(resource, decoder.patched(new)?))
    })?;
    Ok((StatusCode::OK, stored))
}

/// Whether the parameters of a request say that nothing is written.
fn write(query: &Query, options: &str) -> Result<Write, ApiError> {
    Ok(if query.dry_run(options)? { Write::Dry } else { Write::Real })
}

fn delete(
    store: &Store,
    (kind, namespace, name): (Kind, Option<&str>, &str),
    options: &DeleteOptions,
) -> Result<Value, ApiError> {
    let write = if options.dry_run { Write::Dry } else { Write::Real };
    store.delete_if(kind, namespace, name, &options.preconditions, write)
}

/// The object of a body in its stored form, and what was dropped of it.
fn incoming(
    store: &Store,
    resource: &'static Resource,
    request: &Request<'_>,
) -> Result<(Value, Decoder), ApiError> {
    let mut decoder = Decoder::new(store, resource, request.query.validation()?);
    let object = body::object(resource, request.headers, request.body)?;
    let object = event_form::stored(resource, decoder.body(object)?);
    Ok((object, decoder))
}

/// The answer with what was dropped of the object.
fn warned(mut answer: Response, decoder: &Decoder) -> Response {
    for warning in decoder.warnings() {
        if let Ok(value) = HeaderValue::from_str(&warning) {
            answer.headers_mut().append(header::WARNING, value);
        }
    }
    answer
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

/// A header; empty without it.
fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
}
