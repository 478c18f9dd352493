//! Tags that the settings ask for, on every interface that is used, and permissions that hang on them.

use std::{collections::BTreeMap, fs};
use tests::{
    command::until,
    repository,
    world::{CUSTOM, World, ZONES},
};
use vpc_sim::world::calls::Call;

const CLUSTER: &str = "cluster.k8s.amazonaws.com/name";
const OWNER: &str = "eks:eni:owner";
const INSTANCE: &str = "node.k8s.amazonaws.com/instance_id";

#[test]
fn every_interface_that_is_used_has_the_tags_of_the_settings_and_a_restart_makes_no_call() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    let for_pods = "subnet=pods-a,group=pods,secondary=5,device_index=1";
    let alone = "node.k8s.amazonaws.com/no_manage=true";
    let of_user = format!("subnet=pods-a,group=pods,device_index=2,tag={alone}");
    let more = ["--interface", for_pods, "--interface", &of_user];
    let instance = world.node_add("n1", ZONES[0], &more).instance_id;
    let env = |team: &str| {
        let tags = format!("ADDITIONAL_ENI_TAGS={{\"team\":\"{team}\"}}");
        let more = ["CLUSTER_NAME=c1", "WARM_IP_TARGET=1", &tags].map(str::to_owned);
        CUSTOM.iter().map(|it| (*it).to_owned()).chain(more).collect::<Vec<_>>()
    };
    let start = |team: &str| {
        let env = env(team);
        world.daemon_start("n1", &env.iter().map(String::as_str).collect::<Vec<_>>());
    };

    start("net");

    let settings = [(CLUSTER, "c1"), (OWNER, "amazon-vpc-cni"), ("team", "net")];
    has_tags(&world, 0, &[&settings[..], &[(INSTANCE, &instance)]].concat());
    // With the tag of an instance it would be known as made for it, and given back.
    has_tags(&world, 1, &settings);
    world.settled("n1");
    has_tags(&world, 2, &[("node.k8s.amazonaws.com/no_manage", "true")]);

    world.daemon_stop("n1");
    let before = taggings(&world);
    start("net");
    world.settled("n1");
    assert_eq!(taggings(&world), before, "a restart");

    world.daemon_stop("n1");
    start("web");
    let settings = [(CLUSTER, "c1"), (OWNER, "amazon-vpc-cni"), ("team", "web")];
    has_tags(&world, 1, &settings);
    has_tags(&world, 0, &[&settings[..], &[(INSTANCE, &instance)]].concat());
    world.settled("n1");
    assert_eq!(taggings(&world).len(), before.len() + 1, "one call for both");
    has_tags(&world, 2, &[("node.k8s.amazonaws.com/no_manage", "true")]);
}

#[test]
fn tags_that_ec2_refuses_keep_no_pod_waiting_and_are_tried_again() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &[]);
    let refused = ["fault", "add", "error", "--code", "InternalError", "--action", "CreateTags"];
    world.sim(&[&refused[..], &["--calls", "3"]].concat());

    world.daemon_start("n1", &["CLUSTER_NAME=c1"]);
    world.pod_add("n1", "p");

    let instance = world.node("n1").instance_id;
    let owner = (OWNER, "amazon-vpc-cni");
    has_tags(&world, 0, &[(CLUSTER, "c1"), owner, (INSTANCE, &instance)]);
    let log = world.log("n1");
    let line = log.lines().find(|line| line.contains("CreateTags: InternalError"));
    assert!(line.is_some_and(|line| line.contains("failed to change what EC2 has")), "{log}");
    let outcomes: Vec<_> = taggings(&world).into_iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes, ["InternalError", "InternalError", "InternalError", "OK"]);
}

#[test]
fn an_interface_that_was_being_made_is_finished_although_the_settings_have_changed() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    let instance = world.node_add("n1", ZONES[0], &[]).instance_id;
    let env = |team| [CUSTOM, &["WARM_ENI_TARGET=1", team]].concat();
    world.sim(&["fault", "add", "lost-reply", "--action", "CreateNetworkInterface"]);
    world.daemon_start("n1", &env(r#"ADDITIONAL_ENI_TAGS={"team":"net"}"#));
    until("an interface that the daemon does not know of", || {
        let calls = world.calls("n1");
        let made = calls.iter().any(|call| call.action == "CreateNetworkInterface");
        if made { Ok(()) } else { Err(format!("{calls:?}")) }
    });
    world.daemon_kill("n1");
    world.sim(&["fault", "clear"]);

    world.daemon_start("n1", &env(r#"ADDITIONAL_ENI_TAGS={"team":"web"}"#));
    world.settled("n1");

    let made = world.ec2(&format!(
        "Action=DescribeNetworkInterfaces&Filter.1.Name=description&Filter.1.Value.1=aws-K8S-{instance}"
    ));
    let attached = world.more_interfaces("n1");
    assert_eq!(made.matches("<networkInterfaceId>").count(), attached.len(), "{made}");
    let teams: Vec<_> = attached.iter().map(|eni| eni.tags["team"].as_str()).collect();
    assert_eq!(teams, ["web"]);
}

#[test]
fn a_policy_with_conditions_on_tags_allows_all_that_a_node_does() {
    let world = World::up();
    let vpc = between(&world.ec2("Action=DescribeVpcs"), "<vpcId>", "<");
    let text = fs::read_to_string(repository().join("conf/iam-policy-scoped.json")).unwrap();
    let policy = world.folder().join("policy.json");
    let text = text.replace("${CLUSTER_NAME}", "c1").replace("${VPC_ID}", &vpc);
    fs::write(&policy, text).unwrap();
    world.sim(&["policy", "set", policy.to_str().unwrap()]);
    let of_cluster = ["--type", "m5.large", "--tag", "kubernetes.io/cluster/c1=owned"];
    world.node_add("n1", ZONES[0], &of_cluster);
    let env = ["CLUSTER_NAME=c1", "WARM_IP_TARGET=2", "IP_COOLDOWN_PERIOD=1"];

    world.daemon_start("n1", &env);
    let pods: Vec<_> = (0..12).map(|pod| world.pod_add("n1", &format!("p{pod}"))).collect();
    world.settled("n1");
    assert_eq!(world.more_interfaces("n1").len(), 1);
    // Groups follow, and the interface is given back with its pods.
    world.sim(&["group", "set", "n1", "pods"]);
    let group = world.status().groups["pods"].clone();
    until("the other interface follows", || {
        let interfaces = world.more_interfaces("n1");
        let followed = interfaces.iter().all(|it| it.groups == [group.clone()]);
        if followed { Ok(()) } else { Err(format!("{interfaces:?}")) }
    });
    for pod in &pods {
        world.pod_rm(pod);
    }
    // A daemon that has seen them keeps their addresses for a while. All are free at one moment, so
    // that an interface has none in the way of its end.
    world.daemon_kill("n1");
    world.daemon_start("n1", &["CLUSTER_NAME=c1", "WARM_IP_TARGET=2", "IP_COOLDOWN_PERIOD=0"]);
    until("one interface, with two addresses, and the other deleted", || {
        let interfaces = world.node("n1").interfaces;
        let all = world.ec2("Action=DescribeNetworkInterfaces");
        let deleted = all.matches("<networkInterfaceId>").count() == 1;
        let rest = interfaces.len() == 1 && interfaces[0].secondary.len() == 2;
        if rest && deleted { Ok(()) } else { Err(format!("{interfaces:?} {all}")) }
    });

    let calls = world.calls("n1");
    let refused = |call: &&Call| call.outcome == "UnauthorizedOperation";
    assert_eq!(calls.iter().find(refused), None);
    let made = |action: &str| calls.iter().any(|it| it.action == action && it.outcome == "OK");
    for action in [
        "CreateTags",
        "AssignPrivateIpAddresses",
        "CreateNetworkInterface",
        "AttachNetworkInterface",
        "ModifyNetworkInterfaceAttribute",
        "UnassignPrivateIpAddresses",
        "DetachNetworkInterface",
        "DeleteNetworkInterface",
    ] {
        assert!(made(action), "{action}: {calls:?}");
    }
}

/// Waits until the interface at a device index of n1 has exactly these tags, but for the time at
/// which it was made.
#[track_caller]
fn has_tags(world: &World, device_index: u32, wanted: &[(&str, &str)]) {
    let wanted: BTreeMap<String, String> =
        wanted.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    until("these tags", || {
        let interfaces = world.node("n1").interfaces;
        let eni = interfaces.iter().find(|it| it.device_index == device_index);
        let tags = eni.map(|eni| eni.tags.clone()).unwrap_or_default();
        if tags == wanted { Ok(()) } else { Err(format!("{device_index}: {tags:?}")) }
    });
}

fn taggings(world: &World) -> Vec<Call> {
    world.calls("n1").into_iter().filter(|call| call.action == "CreateTags").collect()
}

fn between(text: &str, before: &str, after: &str) -> String {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split(after).next().unwrap_or_default().to_owned()
}
