//! The API as its clients see it.

mod access;
mod daemons;

use super::*;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use futures::StreamExt;
use serde_json::json;
use std::time::Duration;
use tower::ServiceExt;

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/namespaces/default/pods";
const ENICONFIGS: &str = "/apis/crd.k8s.amazonaws.com/v1alpha1/eniconfigs";

/// No line of a watch is longer in coming, or the test has failed.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_created_object_has_identity_and_version_and_can_be_read() {
    let api = Api::new();

    let (status, created) = api.post(NODES, node("n1")).await;
    let (_, read) = api.get("/api/v1/nodes/n1").await;

    assert_eq!(status, 201);
    assert_eq!(read, created);
    assert_eq!(read["kind"], "Node");
    assert_eq!(read["metadata"]["generation"], 1);
    assert!(
        read["metadata"]["uid"].is_string() && read["metadata"]["creationTimestamp"].is_string()
    );
}

#[tokio::test]
async fn a_name_is_taken_once_and_generated_when_asked() {
    let api = Api::new();
    api.post(NODES, node("n1")).await;

    let (again, status) = api.post(NODES, node("n1")).await;
    let (_, generated) = api.post(NODES, json!({ "metadata": { "generateName": "n-" } })).await;

    assert_eq!((again, &status["reason"]), (409, &json!("AlreadyExists")));
    assert_eq!(generated["metadata"]["name"].as_str().unwrap().len(), "n-".len() + 5);
}

#[tokio::test]
async fn errors_are_status_objects() {
    let api = Api::new();

    let (missing, status) = api.get("/api/v1/nodes/n1").await;
    let (broken, bad) = api.send("POST", NODES, JSON, "{").await;
    let (nowhere, namespace) = api.post("/api/v1/namespaces/x/pods", pod("p", "n1")).await;
    let (unnamed, invalid) = api.post(NODES, json!({})).await;
    let (unknown, _) = api.get("/api/v1/services").await;
    let (method, _) = api.send("PUT", NODES, JSON, "{}").await;
    let (protobuf, _) = api.send("POST", NODES, "application/vnd.kubernetes.protobuf", "k8s").await;

    assert_eq!(missing, 404);
    assert_eq!(status["message"], r#"nodes "n1" not found"#);
    assert_eq!(status["details"], json!({ "name": "n1", "kind": "nodes" }));
    assert_eq!((broken, &bad["reason"]), (400, &json!("BadRequest")));
    assert_eq!((nowhere, &namespace["message"]), (404, &json!(r#"namespaces "x" not found"#)));
    assert_eq!((unnamed, &invalid["reason"]), (422, &json!("Invalid")));
    assert_eq!((unknown, method, protobuf), (404, 405, 400));
}

#[tokio::test]
async fn an_eniconfig_without_a_subnet_is_refused() {
    let api = Api::new();
    let config = |spec: Value| eniconfig("us-west-2a", spec);

    let (missing, status) = api.post(ENICONFIGS, config(json!({}))).await;
    let (wrong, _) =
        api.post(ENICONFIGS, config(json!({ "subnet": "s", "securityGroups": "sg-1" }))).await;
    let (right, _) =
        api.post(ENICONFIGS, config(json!({ "subnet": "s", "securityGroups": ["sg-1"] }))).await;

    assert_eq!(missing, 422);
    assert_eq!(
        status["message"],
        r#"ENIConfig.crd.k8s.amazonaws.com "us-west-2a" is invalid: spec.subnet: Required value"#
    );
    assert_eq!((wrong, right), (422, 201));
}

#[tokio::test]
async fn an_update_from_an_old_version_conflicts() {
    let api = Api::new();
    let (_, mut first) = api.post(NODES, node("n1")).await;
    api.patch("/api/v1/nodes/n1", MERGE, json!({ "metadata": { "labels": { "a": "b" } } })).await;

    first["spec"] = json!({ "unschedulable": true });
    let (status, conflict) = api.put("/api/v1/nodes/n1", first).await;

    assert_eq!((status, &conflict["reason"]), (409, &json!("Conflict")));
}

#[tokio::test]
async fn a_write_without_a_change_keeps_the_version() {
    let api = Api::new();
    let (_, created) = api.post(NODES, node("n1")).await;

    let (_, same) = api.put("/api/v1/nodes/n1", created.clone()).await;
    let spec = json!({ "spec": { "unschedulable": true } });
    let (_, changed) = api.patch("/api/v1/nodes/n1", MERGE, spec).await;
    let labels = json!({ "metadata": { "labels": { "a": "b" } } });
    let (_, labelled) = api.patch("/api/v1/nodes/n1", MERGE, labels).await;

    assert_eq!(same, created);
    assert_ne!(changed["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
    assert_eq!(changed["metadata"]["generation"], 2);
    assert_eq!(labelled["metadata"]["generation"], 2);
}

#[tokio::test]
async fn status_and_the_rest_are_written_apart() {
    let api = Api::new();
    api.post(PODS, pod("p", "n1")).await;
    let path = format!("{PODS}/p");
    let both = json!({ "spec": { "nodeName": "n2" }, "status": { "phase": "Running" } });

    let (_, status) = api.patch(&format!("{path}/status"), MERGE, both.clone()).await;
    let (_, main) = api.patch(&path, MERGE, json!({ "status": { "phase": "Failed" } })).await;

    assert_eq!(
        (&status["spec"]["nodeName"], &status["status"]["phase"]),
        (&json!("n1"), &json!("Running"))
    );
    assert_eq!(main["status"]["phase"], "Running");
}

#[tokio::test]
async fn server_side_apply_creates_and_then_merges() {
    let api = Api::new();
    let path = format!("{ENICONFIGS}/default?fieldManager=test&force=true");

    let (created, _) =
        api.patch(&path, APPLY, eniconfig("default", json!({ "subnet": "a" }))).await;
    let groups = eniconfig("default", json!({ "securityGroups": ["sg-1"] }));
    let (merged, object) = api.patch(&path, APPLY, groups).await;
    let (anonymous, _) = api.patch(&format!("{ENICONFIGS}/x"), APPLY, json!({})).await;

    assert_eq!((created, merged, anonymous), (201, 200, 422));
    assert_eq!(object["spec"], json!({ "subnet": "a", "securityGroups": ["sg-1"] }));
}

#[tokio::test]
async fn a_list_is_narrowed_by_selectors_and_paged_as_of_its_first_page() {
    let api = Api::new();
    for (name, node) in [("p1", "n1"), ("p2", "n2"), ("p3", "n1")] {
        api.post(PODS, pod(name, node)).await;
    }

    let (_, on_n1) = api.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await;
    let (_, by_label) = api.get("/api/v1/pods?labelSelector=name+in+(p2,p3)").await;
    let (_, first) = api.get(&format!("{PODS}?limit=2")).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    api.send("DELETE", &format!("{PODS}/p3"), JSON, "").await;
    let (_, second) = api.get(&format!("{PODS}?limit=2&continue={token}")).await;

    assert_eq!(names(&on_n1), ["p1", "p3"]);
    assert_eq!(names(&by_label), ["p2", "p3"]);
    assert_eq!((names(&first), names(&second)), (vec!["p1", "p2"], vec!["p3"]));
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    assert_eq!(first["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_watch_tells_what_changes_after_its_version() {
    let api = Api::new();
    api.post(PODS, pod("p1", "n1")).await;
    let (_, list) = api.get(PODS).await;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();

    let mut watch = api.watch(&format!("{PODS}?watch=true&resourceVersion={version}")).await;
    api.post(PODS, pod("p2", "n1")).await;
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    api.patch(&format!("{PODS}/p2"), MERGE, label).await;
    api.send("DELETE", &format!("{PODS}/p2"), JSON, "").await;

    for kind in ["ADDED", "MODIFIED", "DELETED"] {
        let event = watch.next().await.unwrap();
        assert_eq!(
            (&event["type"], &event["object"]["metadata"]["name"]),
            (&json!(kind), &json!("p2"))
        );
    }
}

#[tokio::test]
async fn an_object_that_leaves_the_selection_is_deleted_for_the_watch() {
    let api = Api::new();
    api.post(PODS, pod("p", "n1")).await;

    let mut watch = api.watch("/api/v1/pods?watch=1&labelSelector=name%3Dp").await;
    api.patch(&format!("{PODS}/p"), MERGE, json!({ "metadata": { "labels": null } })).await;

    assert_eq!(watch.next().await.unwrap()["type"], "ADDED");
    let deleted = watch.next().await.unwrap();
    assert_eq!(
        (&deleted["type"], &deleted["object"]["metadata"]["labels"]["name"]),
        (&json!("DELETED"), &json!("p"))
    );
}

#[tokio::test]
async fn a_streaming_list_ends_with_a_marked_bookmark() {
    let api = Api::new();
    api.post(NODES, node("n1")).await;
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1";

    let mut watch = api.watch(&format!("{NODES}?{query}")).await;

    assert_eq!(watch.next().await.unwrap()["type"], "ADDED");
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(watch.next().await.unwrap()["type"], "BOOKMARK");
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn what_is_no_longer_remembered_is_gone() {
    let api = Api::new();
    api.post(NODES, node("n1")).await;
    for n in 0..=HISTORY {
        api.store.edit(Kind::Node, None, "n1", |it| it["spec"]["n"] = n.into()).unwrap();
    }

    let mut watch = api.watch(&format!("{NODES}?watch=1&resourceVersion=1")).await;
    let (list, status) =
        api.get(&format!("{NODES}?resourceVersion=1&resourceVersionMatch=Exact")).await;

    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(watch.next().await, None);
    assert_eq!((list, &status["reason"]), (410, &json!("Expired")));
}

#[tokio::test]
async fn an_event_has_two_forms() {
    let api = Api::new();
    let event = json!({
        "metadata": { "name": "e" }, "type": "Warning", "eventTime": "2026-12-01T10:00:00.000000Z",
        "reportingController": "aws-node", "reportingInstance": "n1", "action": "Assign",
        "regarding": { "kind": "Pod", "name": "p" }, "note": "why", "reason": "Failed",
    });
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    let mut bare = event.clone();
    bare["metadata"]["name"] = "bare".into();
    bare["action"] = "".into();

    let (status, _) = api.post(events, event).await;
    let (refused, why) = api.post(events, bare).await;
    let (_, core) = api.get("/api/v1/events?fieldSelector=involvedObject.name%3Dp").await;
    let (_, new) = api.get("/apis/events.k8s.io/v1/namespaces/default/events/e").await;

    assert_eq!((status, refused), (201, 422));
    assert_eq!(why["details"]["causes"][0]["field"], "action");
    assert_eq!(core["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(core["items"][0]["message"], "why");
    assert_eq!((&new["note"], &new["apiVersion"]), (&json!("why"), &json!("events.k8s.io/v1")));
}

#[tokio::test]
async fn a_finalizer_delays_a_deletion() {
    let api = Api::new();
    let mut object = node("n1");
    object["metadata"]["finalizers"] = json!(["a/b"]);
    api.post(NODES, object).await;

    let (_, marked) = api.send("DELETE", "/api/v1/nodes/n1", JSON, "").await;
    let (still, _) = api.get("/api/v1/nodes/n1").await;
    api.patch("/api/v1/nodes/n1", MERGE, json!({ "metadata": { "finalizers": null } })).await;
    let (gone, _) = api.get("/api/v1/nodes/n1").await;

    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!((still, gone), (200, 404));
}

#[tokio::test]
async fn a_deletion_spares_another_object_of_the_same_name() {
    let api = Api::new();
    api.post(NODES, node("n1")).await;
    let options = json!({ "preconditions": { "uid": "another" } }).to_string();

    let (status, _) = api.send("DELETE", "/api/v1/nodes/n1", JSON, &options).await;

    assert_eq!(status, 409);
}

#[tokio::test]
async fn a_deleted_namespace_takes_its_objects_with_it() {
    let api = Api::new();
    api.post("/api/v1/namespaces", json!({ "metadata": { "name": "x" } })).await;
    api.post("/api/v1/namespaces/x/pods", pod("p", "n1")).await;

    api.send("DELETE", "/api/v1/namespaces/x", JSON, "").await;

    assert_eq!(api.get("/api/v1/namespaces/x/pods/p").await.0, 404);
}

#[tokio::test]
async fn a_client_may_ask_for_metadata_only() {
    let api = Api::new();
    api.post(NODES, node("n1")).await;
    let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

    let request = Request::get(NODES).header("accept", accept).body(Body::empty()).unwrap();
    let (_, list) = api.answer(request).await;

    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["metadata"]["name"], "n1");
    assert_eq!(list["items"][0].get("status"), None);
}

#[tokio::test]
async fn discovery_names_what_is_served() {
    let api = Api::new();

    let (_, groups) = api.get("/apis").await;
    let (_, resources) = api.get("/apis/crd.k8s.amazonaws.com/v1alpha1").await;

    assert_eq!(groups["groups"].as_array().unwrap().len(), 4);
    assert_eq!(resources["resources"][0]["kind"], "ENIConfig");
    for path in ["/version", "/api", "/api/v1", "/apis/events.k8s.io"] {
        assert_eq!(api.get(path).await.0, 200, "{path}");
    }
}

struct Api {
    store: Arc<Store>,
    caller: Caller,
}

impl Api {
    fn new() -> Self {
        Self { store: Store::new(), caller: Caller::Outside }
    }

    async fn respond(&self, request: Request<Body>) -> Response {
        router(Arc::clone(&self.store), self.caller).oneshot(request).await.unwrap()
    }

    async fn answer(&self, request: Request<Body>) -> (u16, Value) {
        let response = self.respond(request).await;
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (
            status,
            serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into()),
        )
    }

    async fn send(&self, method: &str, path: &str, content_type: &str, body: &str) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path);
        let request =
            request.header("content-type", content_type).body(Body::from(body.to_owned()));
        self.answer(request.unwrap()).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, "", "").await
    }

    async fn post(&self, path: &str, object: Value) -> (u16, Value) {
        self.send("POST", path, JSON, &object.to_string()).await
    }

    async fn put(&self, path: &str, object: Value) -> (u16, Value) {
        self.send("PUT", path, JSON, &object.to_string()).await
    }

    async fn patch(&self, path: &str, content_type: &str, patch: Value) -> (u16, Value) {
        self.send("PATCH", path, content_type, &patch.to_string()).await
    }

    async fn watch(&self, path: &str) -> Lines {
        let response = self.respond(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 200, "{path}");
        Lines(response.into_body().into_data_stream())
    }
}

struct Lines(axum::body::BodyDataStream);

impl Lines {
    async fn next(&mut self) -> Option<Value> {
        let line = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("a line in time")?;
        Some(serde_json::from_slice(&line.unwrap()).unwrap())
    }
}

fn node(name: &str) -> Value {
    json!({ "kind": "Node", "apiVersion": "v1", "metadata": { "name": name } })
}

fn pod(name: &str, node: &str) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "name": name } },
        "spec": { "nodeName": node, "containers": [{ "name": "web", "image": "web" }] },
    })
}

fn eniconfig(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "crd.k8s.amazonaws.com/v1alpha1",
        "kind": "ENIConfig",
        "metadata": { "name": name },
        "spec": spec,
    })
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|it| it["metadata"]["name"].as_str().unwrap()).collect()
}
