//! A cluster that lacks the CRD, refuses a resource, or has malformed objects: the pod's event and the
//! Node's say what to do, what works goes on, and Kubernetes is asked less and less often.

use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};
use tests::{
    command::until,
    repository,
    world::{CUSTOM, World, ZONES, has_list, list_from_before},
};

/// An ADD that does not wait long for what cannot come.
const IMPATIENT: &[&str] = &["ENI_CNI_ADD_WAIT=1"];

const ENICONFIGS: &str = "eniconfigs.crd.k8s.amazonaws.com";

#[test]
fn without_the_crd_the_error_and_the_event_say_what_to_apply_and_creating_it_heals() {
    let world = world(&["kube", "crd", "rm"]);
    world.daemon_start("n1", &[CUSTOM, IMPATIENT].concat());

    let apply = "404 page not found: the cluster lacks the \
                 CustomResourceDefinition eniconfigs.crd.k8s.amazonaws.com (kubectl apply -f \
                 conf/eniconfig-crd.yaml)";
    refused_with(&world, "n1", apply);
    told_by_event(&world, apply);
    world.sim(&["kube", "crd", "add"]);
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.settled("n1");

    assert_eq!(world.pod_add("n1", "p").address.octets()[..3], [100, 64, 0]);
}

#[test]
fn a_refused_resource_is_told_with_its_code_and_granting_it_heals() {
    for resource in [ENICONFIGS, "nodes"] {
        let world = world(&["kube", "refuse", resource]);
        world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
        world.daemon_start("n1", &[CUSTOM, IMPATIENT].concat());

        let refused =
            refused_with(&world, "n1", &format!("list {resource}: 403 {resource} is forbidden"));
        told_by_event(&world, &format!("list {resource}: 403 "));
        world.sim(&["kube", "allow", resource]);
        world.settled("n1");

        assert!(refused.contains("(kubectl apply -f conf/rbac.yaml)"), "{refused}");
        assert_eq!(world.pod_add("n1", "p").address.octets()[..3], [100, 64, 0], "{resource}");
    }
}

#[test]
fn what_kubernetes_refuses_is_asked_for_after_pauses_that_grow() {
    const LISTS: u64 = 5;
    let world = world(&["kube", "crd", "rm"]);
    let began = Instant::now();
    world.daemon_start("n1", &[CUSTOM, IMPATIENT].concat());

    until("five lists", || {
        let lists = asked(&world, "list", ENICONFIGS, 404);
        if lists >= LISTS { Ok(()) } else { Err(format!("{lists} lists")) }
    });

    // At least half of 1, 2, 4 and 8 seconds; a machine that is slow makes them longer only.
    let passed = began.elapsed();
    assert!(passed >= Duration::from_millis(7_500), "{passed:?} for {LISTS} lists");
}

#[test]
fn a_malformed_eniconfig_concerns_the_nodes_that_use_it_and_no_others() {
    let world = world(&["kube", "allow"]);
    world.node_add("n2", ZONES[1], &[]);
    list_from_before(&world, "n2");
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    let objects = [
        (json!({}), "ENIConfig `us-west-2b` has no spec.subnet: name the pods' subnet"),
        (
            json!({ "spec": { "subnet": "s", "securityGroups": "sg-1" } }),
            "ENIConfig `us-west-2b` is malformed: spec.securityGroups is a text: make it a list of \
             texts",
        ),
    ];
    store(&world, objects[0].0.clone());
    world.daemon_start("n1", &[CUSTOM, IMPATIENT].concat());
    world.daemon_start("n2", &[CUSTOM, IMPATIENT].concat());

    world.settled("n1");
    let pod = world.pod_add("n1", "p1");
    for (object, why) in objects {
        store(&world, object);
        refused_with(&world, "n2", why);
        told_by_event(&world, why);
    }
    world.eniconfig_delete(ZONES[1]);
    world.eniconfig_create(ZONES[1], "pods-b", &["pods"]);
    world.settled("n2");

    assert_eq!(pod.address.octets()[..3], [100, 64, 0]);
    assert_eq!(world.pod_add("n2", "p2").address.octets()[..3], [100, 64, 1]);
}

#[test]
fn a_node_that_knows_its_eniconfig_goes_on_while_kubernetes_refuses() {
    let world = world(&["kube", "allow"]);
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.daemon_start("n1", &[CUSTOM, IMPATIENT].concat());
    world.settled("n1");
    world.daemon_stop("n1");

    world.sim(&["kube", "refuse", ENICONFIGS]);
    world.daemon_start("n1", &[CUSTOM, IMPATIENT].concat());
    until("a refused list", || match asked(&world, "list", ENICONFIGS, 403) {
        0 => Err("none".into()),
        _ => Ok(()),
    });

    assert_eq!(world.pod_add("n1", "p").address.octets()[..3], [100, 64, 0]);
}

#[test]
fn without_custom_networking_eniconfigs_are_not_asked_for() {
    let world = world(&["kube", "crd", "rm"]);
    world.daemon_start("n1", &[]);
    world.settled("n1");

    until("nodes and pods are watched", || {
        let watched = ["nodes", "pods"].map(|it| asked(&world, "watch", it, 200));
        if watched.contains(&0) { Err(format!("{watched:?}")) } else { Ok(()) }
    });

    assert_eq!(asked(&world, "list", ENICONFIGS, 404), 0);
    assert!(!world.sim(&["calls"]).contains(ENICONFIGS));
}

/// What a server's audit log would show. An event is patched when it is told again, after minutes.
#[test]
fn what_is_asked_of_kubernetes_is_what_the_role_allows_and_says_who_asks() {
    let role = fs::read_to_string(repository().join("conf/rbac.yaml")).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&role).unwrap();
    let roles = documents.iter().filter_map(|it| it["rules"].as_array());
    let mut allowed = BTreeSet::new();
    for rule in roles.flatten() {
        let texts = |key: &str| -> Vec<String> {
            let all = rule[key].as_array().unwrap().iter();
            all.map(|it| it.as_str().unwrap().to_owned()).collect()
        };
        for (resource, verb) in texts("resources")
            .iter()
            .flat_map(|it| texts("verbs").into_iter().map(move |v| (it.clone(), v)))
        {
            let group = &texts("apiGroups")[0];
            let dot = if group.is_empty() { "" } else { "." };
            allowed.insert(format!("{verb} {resource}{dot}{group}"));
        }
    }
    assert!(allowed.remove("patch events.events.k8s.io"));
    let world = world(&["kube", "allow"]);
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);

    // A setting that is told by an event, and a search for interfaces of dead nodes that comes soon.
    let settings = ["ENABLE_MULTI_NIC=true", "CLUSTER_NAME=c1", "ENI_CNI_SWEEP_INTERVAL=1"];
    world.daemon_start("n1", &[CUSTOM, &settings].concat());
    world.pod_add("n1", "p");

    until("all that is allowed is asked for, and nothing else", || {
        let counts: Value = serde_json::from_str(&world.sim(&["calls", "--json"])).unwrap();
        let text = |it: &Value, key: &str| it[key].as_str().unwrap().to_owned();
        let asked: BTreeSet<_> = counts["kubernetes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| format!("{} {}", text(it, "verb"), text(it, "resource")))
            .collect();
        if asked == allowed { Ok(()) } else { Err(format!("{asked:?}")) }
    });
    let counts: Value = serde_json::from_str(&world.sim(&["calls", "--json"])).unwrap();
    let agents: Vec<_> = counts["kubernetes_agents"].as_object().unwrap().keys().collect();
    let own = format!("eni-cni/{} (linux/", env!("CARGO_PKG_VERSION"));
    assert!(agents.len() == 1 && agents[0].starts_with(&own), "{agents:?}");
}

#[test]
fn an_odd_pod_and_an_odd_node_hide_no_others() {
    let world = world(&["kube", "allow"]);
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    // As no server of today gives them out; a typed client reads neither list.
    let spec = json!({ "nodeName": "n1", "hostNetwork": "yes", "containers": "none" });
    let pod = json!({ "kind": "Pod", "metadata": { "name": "odd" }, "spec": spec,
        "status": { "phase": "Pending" } });
    store_as_is(&world, &pod);
    let labels = json!({ "topology.kubernetes.io/zone": ZONES[0], "odd": 1 });
    let node = json!({ "kind": "Node", "metadata": { "name": "n1", "labels": labels },
        "status": { "capacity": { "pods": 29 }, "images": "none" } });
    store_as_is(&world, &node);

    world.daemon_start("n1", &[CUSTOM, IMPATIENT].concat());
    world.settled("n1");

    assert_eq!(world.pod_add("n1", "p").address.octets()[..3], [100, 64, 0]);
    assert!(!world.log("n1").contains("failed to watch Kubernetes"), "{}", world.log("n1"));
}

#[test]
fn a_daemon_that_is_not_told_its_nodes_name_serves_and_does_not_ask_kubernetes() {
    let world = world(&["kube", "allow"]);
    world.daemon_start_with("n1", &["--unset", "MY_NODE_NAME"], &[]);

    world.pod_add("n1", "p");

    assert_eq!(asked(&world, "list", "nodes", 200), 0);
}

#[test]
fn a_pod_has_the_annotations_and_host_ports_that_it_was_started_with() {
    let world = world(&["kube", "allow"]);
    world.daemon_start("n1", &[]);

    world.sim(&[
        "pod",
        "add",
        "n1",
        "p",
        "--annotation",
        "team=a",
        "--host-port",
        "8080:80",
        "5353:53/udp",
    ]);

    let pod = world.kubernetes("GET /api/v1/namespaces/default/pods/p", &json!(null));
    let pod: serde_json::Value = serde_json::from_str(&pod).unwrap();
    assert_eq!(pod["metadata"]["annotations"]["team"], "a");
    let port = |host: u16, pod: u16, protocol: &str| json!({ "hostPort": host, "containerPort": pod, "protocol": protocol });
    let want = json!([port(8080, 80, "TCP"), port(5353, 53, "UDP")]);
    assert_eq!(pod["spec"]["containers"][0]["ports"], want);
}

#[test]
fn a_fresh_node_to_which_kubernetes_says_nothing_gets_its_list_after_a_while() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &[]);
    world.sim(&["kube", "refuse", ENICONFIGS]);

    // It waits for the list.
    world.daemon_start("n1", &[CUSTOM, IMPATIENT].concat());

    assert!(has_list(&world, "n1"));
    refused_with(&world, "n1", "list eniconfigs.crd.k8s.amazonaws.com: 403");
}

/// A world with a node whose daemon has not been started, after such a command.
fn world(command: &[&str]) -> World {
    let world = World::up();
    world.node_add("n1", ZONES[0], &[]);
    // As one that was Ready before: pods come.
    list_from_before(&world, "n1");
    world.sim(command);
    world
}

/// An ENIConfig of the second zone, older than today's schema.
fn store(world: &World, mut object: serde_json::Value) {
    object["kind"] = json!("ENIConfig");
    object["metadata"] = json!({ "name": ZONES[1] });
    store_as_is(world, &object);
}

/// What a pod's event says once it says why.
fn refused_with(world: &World, node: &str, why: &str) -> String {
    until(&format!("an error with: {why}"), || match world.try_pod_add(node, "refused") {
        Err(error) if error.contains(why) => Ok(error),
        Err(error) => Err(error),
        Ok(pod) => {
            world.pod_rm(&pod);
            Err("a pod started".into())
        }
    })
}

/// Waits until an event of the Node says why.
fn told_by_event(world: &World, why: &str) {
    let output = |world: &World| world.kubernetes("GET /api/v1/events", &json!(null));
    until(&format!("an event of the Node with: {why}"), || {
        let all: serde_json::Value = serde_json::from_str(&output(world)).unwrap();
        let events = all["items"].as_array().cloned().unwrap_or_default();
        let tells = |it: &serde_json::Value| {
            it["involvedObject"]["kind"] == "Node"
                && it["message"].as_str().is_some_and(|text| text.contains(why))
        };
        if events.iter().any(tells) { Ok(()) } else { Err(format!("{events:?}")) }
    });
}

/// Stores an object without any check.
fn store_as_is(world: &World, object: &serde_json::Value) {
    let file = world.folder().join("object.json");
    std::fs::write(&file, object.to_string()).unwrap();
    world.sim(&["kube", "store", &file.to_string_lossy()]);
}

/// How often nodes have asked Kubernetes for something, with such an answer.
fn asked(world: &World, verb: &str, resource: &str, status: u16) -> u64 {
    let counts: serde_json::Value = serde_json::from_str(&world.sim(&["calls", "--json"])).unwrap();
    let counts = counts["kubernetes"].as_array().unwrap().iter();
    let is_one = |it: &&serde_json::Value| {
        it["verb"] == verb && it["resource"] == resource && it["status"] == status
    };
    counts.filter(is_one).filter_map(|it| it["total"].as_u64()).sum()
}
