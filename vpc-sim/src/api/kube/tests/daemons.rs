//! What daemons of nodes use: pods that wait, conditions, events and leases.

use super::*;

#[tokio::test]
async fn pods_are_listed_and_watched_by_node_and_phase() {
    let api = Api::new();
    for (name, node) in [("p1", "n1"), ("p2", "n1"), ("p3", "n2")] {
        api.post(PODS, pod(name, node)).await;
    }
    let phase = |phase: &str| json!({ "status": { "phase": phase } });
    api.patch(&format!("{PODS}/p2/status"), MERGE, phase("Running")).await;
    let pending = "fieldSelector=spec.nodeName%3Dn1,status.phase%3DPending";
    let not_done = "fieldSelector=spec.nodeName%3Dn1,status.phase!%3DFailed";

    let (_, list) = api.get(&format!("/api/v1/pods?{pending}")).await;
    let (_, both) = api.get(&format!("/api/v1/pods?{not_done}")).await;
    let mut watch = api.watch(&format!("/api/v1/pods?watch=1&{pending}")).await;
    api.patch(&format!("{PODS}/p1/status"), MERGE, phase("Running")).await;
    api.patch(&format!("{PODS}/p3/status"), MERGE, phase("Running")).await;
    api.patch(&format!("{PODS}/p2/status"), MERGE, phase("Pending")).await;

    assert_eq!((names(&list), names(&both)), (vec!["p1"], vec!["p1", "p2"]));
    for (kind, name) in [("ADDED", "p1"), ("DELETED", "p1"), ("ADDED", "p2")] {
        let event = watch.next().await.unwrap();
        assert_eq!(
            (&event["type"], &event["object"]["metadata"]["name"]),
            (&kind.into(), &name.into())
        );
        assert_eq!(event["object"]["status"]["phase"], "Pending", "{kind} {name}: {event}");
    }
}

#[tokio::test]
async fn a_pod_without_a_phase_is_pending() {
    let api = Api::new();
    let mut object = pod("p", "n1");
    object.as_object_mut().unwrap().remove("status");

    let (_, created) = api.post(PODS, object).await;

    assert_eq!(created["status"]["phase"], "Pending");
}

#[tokio::test]
async fn conditions_of_a_node_are_merged_by_their_type() {
    let api = Api::new();
    api.post(NODES, node("n1")).await;
    let path = "/api/v1/nodes/n1/status";
    let conditions = |list: Value| json!({ "status": { "conditions": list } });
    let ready = json!({ "type": "Ready", "status": "True", "reason": "KubeletReady" });
    api.patch(path, STRATEGIC, conditions(json!([ready]))).await;

    let ours = json!({ "type": "NetworkAddresses", "status": "False", "reason": "Full" });
    api.patch(path, STRATEGIC, conditions(json!([ours]))).await;
    let change = json!([{ "type": "NetworkAddresses", "status": "True" }]);
    let (status, node) = api.patch(path, STRATEGIC, conditions(change)).await;
    let (_, main) =
        api.patch("/api/v1/nodes/n1", STRATEGIC, conditions(json!([{ "type": "X" }]))).await;

    let changed = json!({ "type": "NetworkAddresses", "status": "True", "reason": "Full" });
    assert_eq!(status, 200);
    assert_eq!(node["status"]["conditions"], json!([ready, changed]));
    assert_eq!(main["status"]["conditions"], node["status"]["conditions"]);
}

#[tokio::test]
async fn an_event_of_core_is_created_and_counted_up() {
    let api = Api::new();
    let path = "/api/v1/namespaces/default/events";
    let event = json!({
        "metadata": { "generateName": "n1." },
        "involvedObject": { "kind": "Node", "name": "n1", "uid": "n1" },
        "reason": "SubnetFull", "message": "subnet-1 has no free address", "type": "Warning",
        "source": { "component": "ipamd", "host": "n1" }, "count": 1,
        "firstTimestamp": "2026-11-23T01:00:26Z", "lastTimestamp": "2026-11-23T01:00:26Z",
    });

    let (created, object) = api.post(path, event).await;
    let name = object["metadata"]["name"].as_str().unwrap();
    let (patched, _) = api.patch(&format!("{path}/{name}"), STRATEGIC, json!({ "count": 2 })).await;
    let selector = "involvedObject.kind%3DNode,involvedObject.name%3Dn1,reason%3DSubnetFull";
    let (_, found) = api.get(&format!("/api/v1/events?fieldSelector={selector}")).await;

    assert_eq!((created, patched), (201, 200));
    assert_eq!(found["items"][0]["count"], 2);
    assert_eq!(found["items"][0]["source"]["component"], "ipamd");
}

#[tokio::test]
async fn a_lease_is_held_by_whoever_writes_the_newest_version() {
    let api = Api::new();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    let lease = |holder: &str| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": "eni-cleaner" },
            "spec": {
                "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 0,
                "acquireTime": "2026-11-23T01:00:26.000000Z",
                "renewTime": "2026-11-23T01:00:26.000000Z",
            },
        })
    };

    let (created, first) = api.post(leases, lease("n1")).await;
    let (taken, _) = api.post(leases, lease("n2")).await;
    let mut renewed = first.clone();
    renewed["spec"]["renewTime"] = json!("2026-11-23T01:00:36.000000Z");
    let (status, newer) = api.put(&format!("{leases}/eni-cleaner"), renewed).await;
    let mut late = first.clone();
    late["spec"]["holderIdentity"] = json!("n2");
    let (conflict, _) = api.put(&format!("{leases}/eni-cleaner"), late).await;
    let (_, read) = api.get(&format!("{leases}/eni-cleaner")).await;

    assert_eq!((created, taken, status, conflict), (201, 409, 200, 409));
    assert_eq!(read, newer);
    assert_eq!(read["spec"]["holderIdentity"], "n1");
}
