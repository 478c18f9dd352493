//! Interfaces that dead nodes left in EC2: which node deletes them, when, and which stay.

use serde_json::{Value, json};
use tests::{
    command::until,
    world::{CUSTOM, World, ZONES, logged},
};
use vpc_sim::world::calls::Call;

const LEASE: &str =
    "GET /apis/coordination.k8s.io/v1/namespaces/kube-system/leases/eni-cni-sweeper";

const CLUSTER: &str = "CLUSTER_NAME=c1";

/// A look each second, and two seconds between two of which the later one decides.
const QUICK: &[&str] = &[CLUSTER, "ENI_CNI_SWEEP_INTERVAL=1", "ENI_CNI_SWEEP_GRACE=2"];

/// The Lease lasts so long that a busy machine does not pass it on.
const STEADY: &[&str] = &[CLUSTER, "ENI_CNI_SWEEP_INTERVAL=5", "ENI_CNI_SWEEP_GRACE=2"];

/// Looks each second that never decide.
const PATIENT: &[&str] = &[CLUSTER, "ENI_CNI_SWEEP_INTERVAL=1", "ENI_CNI_SWEEP_GRACE=86400"];

#[test]
fn what_a_dead_node_left_is_deleted_once_by_one_node_of_the_cluster() {
    let world = cluster(&[("n1", STEADY)]);
    holder(&world, &["n1"]);
    world.node_add("n2", ZONES[0], &[]);
    world.daemon_start("n2", QUICK);
    until("the other node has asked who does it", || match leases(&world, "get", 200) {
        0 => Err("it has not".into()),
        _ => Ok(()),
    });

    let eni = leave(&world, "n3");

    until("it is deleted", || is_gone(&world, &eni));
    let deletes = ["n1", "n2"].map(|node| deletes(&world, node).len());
    let looks = asked(&world, "n2", LIST) + asked(&world, "n2", "DescribeInstances");
    assert_eq!((deletes, looks), ([1, 0], 0));
    for (node, sweeper) in [("n1", "1"), ("n2", "0")] {
        until("metrics that say so", || {
            let metrics = world.metrics(node);
            let is = |name: &str| metrics[name] == sweeper;
            let are = is("eni_cni_sweeper") && is("eni_cni_swept_interfaces_total");
            if are { Ok(()) } else { Err(format!("{node}: {metrics:?}")) }
        });
    }
}

#[test]
fn what_a_dead_node_left_a_moment_ago_stays_however_often_it_is_seen() {
    let world = cluster(&[("n1", PATIENT)]);

    let eni = leave(&world, "n3");

    looks(&world, "n1", 4);
    assert_eq!(deletes(&world, "n1"), []);
    assert!(is_gone(&world, &eni).is_err());
}

#[test]
fn an_interface_that_a_living_node_cannot_attach_for_long_stays_its_own() {
    let world = cluster(&[("n1", QUICK)]);
    let eni = begin(&world, "n2");

    looks(&world, "n1", 5);

    assert_eq!(deletes(&world, "n1"), []);
    world.sim(&["fault", "clear"]);
    until("it is attached after all", || {
        let calls = world.calls("n2");
        let attaches = |it: &&Call| it.action == "AttachNetworkInterface" && it.outcome == "OK";
        let attached = calls.iter().rev().find(attaches);
        let same = attached.is_some_and(|it| it.parameters.contains(&eni));
        if same { Ok(()) } else { Err(format!("{calls:?}")) }
    });
}

#[test]
fn of_interfaces_that_belong_to_no_node_only_those_of_this_clusters_daemons_go() {
    const INSTANCE: &str = "node.k8s.amazonaws.com/instance_id=i-0dead0dead0dead00";
    const OF_CLUSTER: &str = "cluster.k8s.amazonaws.com/name=c1";
    const DESCRIPTION: &str = "aws-K8S-i-0dead0dead0dead00";
    let world = World::up();
    let make = |description: &str, tags: &[&str]| make(&world, description, tags);
    let alone = "node.k8s.amazonaws.com/no_manage=true";
    let of_trunk = "eks:eni:owner=eks-vpc-resource-controller";
    let staying = [
        make(DESCRIPTION, &[INSTANCE]),
        make(DESCRIPTION, &[INSTANCE, "cluster.k8s.amazonaws.com/name=c2"]),
        make(DESCRIPTION, &[INSTANCE, OF_CLUSTER, alone]),
        make(DESCRIPTION, &[INSTANCE, OF_CLUSTER, of_trunk]),
        make(DESCRIPTION, &[OF_CLUSTER]),
        make("for my database", &[INSTANCE, OF_CLUSTER]),
    ];
    let left = make(DESCRIPTION, &[INSTANCE, OF_CLUSTER]);
    world.node_add("n1", ZONES[0], &[]);

    world.daemon_start("n1", QUICK);

    until("it is deleted", || is_gone(&world, &left));
    let seen = asked(&world, "n1", LIST);
    until("it has looked again", || {
        let now = asked(&world, "n1", LIST);
        if now >= seen + 3 { Ok(()) } else { Err(format!("{now}")) }
    });
    assert_eq!(deletes(&world, "n1").len(), 1);
    for eni in staying {
        assert!(is_gone(&world, &eni).is_err(), "{eni}");
    }
}

#[test]
fn a_node_on_which_it_is_switched_off_or_that_knows_no_cluster_asks_nobody() {
    let off = [QUICK, &["DISABLE_LEAKED_ENI_CLEANUP=true"]].concat();
    let world = cluster(&[("n1", &off), ("n2", &QUICK[1..]), ("n4", QUICK)]);

    let eni = leave(&world, "n3");

    until("it is deleted", || is_gone(&world, &eni));
    for (node, why) in [("n1", "DISABLE_LEAKED_ENI_CLEANUP"), ("n2", "CLUSTER_NAME")] {
        assert_eq!(asked(&world, node, "DescribeInstances"), 0, "{node}");
        assert_eq!(asked(&world, node, LIST), 0, "{node}");
        let line = format!("are not searched for why=\"{why} is");
        logged(&world, node, &line, 1);
    }
    // Who holds the Lease reads it once, before there is one.
    assert_eq!(leases(&world, "get", 200), 0);
}

#[test]
fn when_the_node_that_deletes_dies_another_takes_over() {
    let world = cluster(&[("n1", QUICK), ("n2", QUICK)]);
    let first = holder(&world, &["n1", "n2"]);
    let second = if first == "n1" { "n2" } else { "n1" };

    world.node_rm(&first);

    holder(&world, &[second]);
    let eni = leave(&world, "n3");
    until("it is deleted", || is_gone(&world, &eni));
    // The dead node's own may be among what was left.
    let deleted = deletes(&world, second).into_iter();
    assert_eq!(deleted.filter(|call| call.parameters.contains(&eni)).count(), 1);
}

#[test]
fn a_missing_permission_is_told_once_and_where_it_is_granted_it_goes_on() {
    let world = cluster(&[("n1", QUICK)]);
    world.sim(&["fault", "add", "deny", "--action", "DescribeInstances"]);

    let eni = leave(&world, "n3");

    until("it was refused again", || {
        let refused = world.calls("n1").into_iter();
        let refused = refused.filter(|it| it.outcome == "UnauthorizedOperation").count();
        if refused >= 3 { Ok(()) } else { Err(format!("{refused}")) }
    });
    until("an event of the Node", || {
        let events = world.kubernetes("GET /api/v1/events", &json!(null));
        let tells = events.contains("\"LeakedInterfaces\"") && events.contains("iam-policy.json");
        if tells { Ok(()) } else { Err(events) }
    });
    logged(&world, "n1", "failed to search for interfaces that dead nodes left", 1);
    assert!(is_gone(&world, &eni).is_err());
    world.sim(&["fault", "clear"]);
    until("it is deleted", || is_gone(&world, &eni));
}

#[test]
fn an_interface_that_somebody_attaches_at_that_moment_is_his_and_no_failure() {
    let world = cluster(&[("n1", QUICK)]);
    let in_use = ["--code", "InvalidParameterValue", "--message", "it is currently in use."];
    let once = ["--action", "DeleteNetworkInterface", "--node", "n1", "--calls", "1"];
    world.sim(&[&["fault", "add", "error"], &in_use[..], &once].concat());

    let eni = leave(&world, "n3");

    // It was let go of again, in truth never taken.
    until("it is deleted", || is_gone(&world, &eni));
    assert_eq!(deletes(&world, "n1").len(), 2);
    logged(&world, "n1", "an interface that a dead node left is attached by now", 1);
    assert!(!world.log("n1").contains("failed to search for interfaces"), "{}", world.log("n1"));
}

/// The call that finds what is attached nowhere.
const LIST: &str = "DescribeNetworkInterfaces status=available";

/// A world with nodes whose daemons serve.
fn cluster(nodes: &[(&str, &[&str])]) -> World {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    for (node, settings) in nodes {
        world.node_add(node, ZONES[0], &[]);
        world.daemon_start(node, settings);
    }
    world
}

/// Boots a node that makes an interface and cannot attach it; which one. It takes no part in the search.
fn begin(world: &World, node: &str) -> String {
    let instance = world.node_add(node, ZONES[0], &[]).instance_id;
    let attach = ["--action", "AttachNetworkInterface", "--node", node];
    world.sim(&[&["fault", "add", "throttle"], &attach[..]].concat());
    // With custom networking it needs one whatever comes first: the primary interface carries no pod.
    world.daemon_start(node, &[CUSTOM, &[CLUSTER]].concat());
    until("an interface that is attached nowhere", || {
        let listed = described(world, &format!("description&Filter.1.Value.1=aws-K8S-{instance}"));
        let id = listed.split("<networkInterfaceId>").nth(1).and_then(|it| it.split('<').next());
        id.map(str::to_owned).ok_or(listed)
    })
}

/// The same of a node that is terminated then.
fn leave(world: &World, node: &str) -> String {
    let eni = begin(world, node);
    world.node_rm(node);
    eni
}

/// Makes an interface as somebody outside does.
fn make(world: &World, description: &str, tags: &[&str]) -> String {
    let escape = |text: &str| text.replace(' ', "%20").replace('/', "%2F").replace(':', "%3A");
    let tags = tags.iter().enumerate().map(|(n, tag)| {
        let (key, value) = tag.split_once('=').unwrap();
        let tag = format!("TagSpecification.1.Tag.{}", n + 1);
        format!("&{tag}.Key={}&{tag}.Value={}", escape(key), escape(value))
    });
    let subnet = world.status().subnets.into_values().next().unwrap().id;
    let made = world.ec2(&format!(
        "Action=CreateNetworkInterface&SubnetId={subnet}&Description={}\
         &TagSpecification.1.ResourceType=network-interface{}",
        escape(description),
        tags.collect::<String>()
    ));
    let (_, rest) = made.split_once("<networkInterfaceId>").unwrap();
    rest.split('<').next().unwrap().to_owned()
}

fn is_gone(world: &World, eni: &str) -> Result<(), String> {
    let listed = described(world, &format!("network-interface-id&Filter.1.Value.1={eni}"));
    if listed.contains("<networkInterfaceId>") { Err(listed) } else { Ok(()) }
}

fn described(world: &World, filter: &str) -> String {
    world.ec2(&format!("Action=DescribeNetworkInterfaces&Filter.1.Name={filter}"))
}

/// The node that holds the Lease, once one does that is wanted.
fn holder(world: &World, wanted: &[&str]) -> String {
    until("a node holds the Lease", || {
        if leases(world, "create", 201) == 0 {
            return Err("no node has made it".into());
        }
        let lease = world.kubernetes(LEASE, &json!(null));
        let holds = |node: &&&str| lease.contains(&format!("\"{node}_i-"));
        wanted.iter().find(holds).map(|node| (*node).to_owned()).ok_or(lease)
    })
}

/// Waits until a node has looked so often since something was there to look at.
fn looks(world: &World, node: &str, times: usize) {
    until("it has looked", || {
        let looked = asked(world, node, "DescribeInstances");
        if looked >= times { Ok(()) } else { Err(format!("{looked}")) }
    });
}

/// How often a node has made a call.
fn asked(world: &World, node: &str, call: &str) -> usize {
    let (action, status) = call.split_once(' ').unwrap_or((call, ""));
    let is_one = |it: &Call| {
        let has_filter = status.is_empty() || it.parameters.contains("available");
        it.action == action && has_filter
    };
    world.calls(node).into_iter().filter(is_one).count()
}

fn deletes(world: &World, node: &str) -> Vec<Call> {
    let calls = world.calls(node).into_iter();
    calls.filter(|call| call.action == "DeleteNetworkInterface").collect()
}

/// How often nodes have done that with a Lease, with such an answer.
fn leases(world: &World, verb: &str, status: u16) -> u64 {
    let counts: Value = serde_json::from_str(&world.sim(&["calls", "--json"])).unwrap();
    let counts = counts["kubernetes"].as_array().unwrap().iter();
    let is_one = |it: &&Value| {
        let of_leases = it["resource"] == "leases.coordination.k8s.io";
        of_leases && it["verb"] == verb && it["status"] == status
    };
    counts.filter(is_one).filter_map(|it| it["total"].as_u64()).sum()
}
