//! What the daemon asks Kubernetes for, by the API server's own record, and what it does where it is
//! refused.

use crate::cluster::Cluster;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs, thread,
    time::{Duration, Instant},
};
use tests::{command::until, repository};

/// Verb, group and resource.
type Right = (String, String, String);

/// How long the daemons are refused. Pauses grow from one second, and are cut at random by up to a half.
const REFUSED: Duration = Duration::from_secs(20);

/// How long after their start daemons are waited for that ask at the same time.
const TOGETHER: Duration = Duration::from_secs(10);

/// The most that a daemon may ask for one resource in that time: after 1, 2, 4 and 8 seconds, each cut to
/// its half, a list and the watch that it tries, and what was on its way.
const ASKED: usize = 16;

/// What takes something away, or gives it back.
type Step<'a> = &'a dyn Fn();

/// What the daemons read.
const READ: [&str; 3] = ["nodes", "pods", "eniconfigs"];

/// A request of a daemon.
#[derive(Debug)]
struct Request {
    right: Right,
    status: u64,
    node: String,
    agent: String,
}

/// The permissions of `conf/rbac.yaml` are those that are used: none is missing, none is idle but
/// [`later`]. All turns before this one have used what there is to use.
pub(crate) fn what_is_asked_is_what_is_granted(cluster: &Cluster) {
    let requests = requests(cluster, 0);

    let asked: BTreeSet<_> = requests.iter().map(|it| it.right.clone()).collect();
    let mut granted = granted();
    assert!(granted.remove(&later()), "{granted:?}");
    assert_eq!(
        asked.difference(&BTreeSet::from([later()])).cloned().collect::<BTreeSet<_>>(),
        granted
    );
    let agents: BTreeSet<_> = requests.iter().map(|it| &it.agent).collect();
    assert!(agents.iter().all(|it| it.starts_with("eni-cni/")), "{agents:?}");
}

/// A role that lost its binding, and a flow schema that gives the daemons no share at all: pods go on and
/// start, the API server is left in peace, and what was taken away is found again once it is back.
pub(crate) fn daemons_that_are_refused_ask_seldom_and_come_back(cluster: &Cluster) {
    let binding = cluster.get("clusterrolebinding aws-node");
    let cases: [(&str, u64, usize, Step<'_>, Step<'_>); 2] = [
        (
            "no binding",
            403,
            2,
            &|| drop(cluster.kubectl("delete clusterrolebinding aws-node")),
            &|| cluster.create_again(&binding),
        ),
        // One request at a time goes through: who asks beside it is refused.
        ("no share", 429, 1, &|| cluster.apply(STARVED), &|| {
            drop(cluster.try_kubectl(&["delete", "--filename", "-"], STARVED).unwrap());
        }),
    ];
    for (what, status, nodes, refuse, allow) in cases {
        let _row = tests::Row(what);
        cluster.deploy("refused", 2);
        refuse();
        let mut before = lines(cluster);
        for node in ["n1", "n2"] {
            cluster.shell(node, "pkill -KILL -x aws-k8s-agent");
        }
        let mut started = Instant::now();
        until("so many daemons are refused", || {
            // Daemons that happened to ask one after the other start together once more, as pods that
            // kubelet has not seen fail.
            if started.elapsed() > TOGETHER {
                before = lines(cluster);
                cluster.kubectl("delete pods --namespace kube-system --selector k8s-app=aws-node");
                started = Instant::now();
            }
            let asked = requests(cluster, before);
            let refused: BTreeSet<_> =
                asked.iter().filter(|it| it.status == status).map(|it| it.node.clone()).collect();
            if refused.len() >= nodes { Ok(()) } else { Err(format!("{asked:?}")) }
        });
        // It is on record which ENIConfig a node uses.
        cluster.kubectl("scale deployment refused --replicas 4");
        cluster.rolled_out("deployment/refused");
        thread::sleep(REFUSED);
        let asked = requests(cluster, before);
        for (node, resource) in both().flat_map(|node| READ.map(|it| (node.clone(), it))) {
            let of = |it: &&Request| it.node == node && it.right.2 == resource;
            let count = asked.iter().filter(of).count();
            assert!(count <= ASKED, "{node} asked {count} times for {resource}: {asked:?}");
        }

        allow();
        until("every daemon that was started watches", || {
            let asked = requests(cluster, before);
            let watched: BTreeSet<_> = asked
                .iter()
                .filter(|it| it.right.0 == "watch" && it.status == 200)
                .map(|it| (it.node.clone(), it.right.2.clone()))
                .collect();
            if watched.len() == 2 * READ.len() { Ok(()) } else { Err(format!("{asked:?}")) }
        });
        cluster.kubectl("delete deployment refused");
    }

    fn both() -> impl Iterator<Item = String> {
        ["10.0.0.", "10.0.1."].into_iter().map(str::to_owned)
    }
}

/// No seat for requests of the daemon, and none that it could borrow.
const STARVED: &str = "apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: { name: starved }
spec:
  type: Limited
  limited:
    nominalConcurrencyShares: 0
    lendablePercent: 0
    borrowingLimitPercent: 0
    limitResponse: { type: Reject }
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: { name: starved }
spec:
  priorityLevelConfiguration: { name: starved }
  matchingPrecedence: 2
  rules:
    - subjects:
        - kind: ServiceAccount
          serviceAccount: { namespace: kube-system, name: aws-node }
      resourceRules:
        - { apiGroups: ['*'], resources: ['*'], verbs: ['*'], namespaces: ['*'], clusterScope: true }
";

fn log(cluster: &Cluster) -> String {
    let folder = std::env::temp_dir().join(format!("vpc-sim-{}", cluster.world.name()));
    fs::read_to_string(folder.join("control-plane/audit.log")).unwrap()
}

/// How much is on record.
pub(crate) fn lines(cluster: &Cluster) -> usize {
    log(cluster).lines().count()
}

/// What has been noted since so much was on record.
pub(crate) fn events(cluster: &Cluster, since: usize) -> Vec<Value> {
    let log = log(cluster);
    log.lines().skip(since).filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// What the daemons have asked since so much was on record; the node is the beginning of its address.
fn requests(cluster: &Cluster, since: usize) -> Vec<Request> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let events = events(cluster, since).into_iter();
    // Requests of whoever is unknown are noted too.
    let events = events.filter(|it| it["user"]["username"].is_string());
    // Of a watch its beginning is enough, of everything else the end.
    let told = events.filter(|it| (it["verb"] == "watch") == (it["stage"] == "ResponseStarted"));
    let told = told.filter(|it| it["objectRef"]["resource"].is_string());
    told.map(|it| {
        let of = &it["objectRef"];
        let from = text(&it["sourceIPs"][0]);
        Request {
            right: (text(&it["verb"]), text(&of["apiGroup"]), text(&of["resource"])),
            status: it["responseStatus"]["code"].as_u64().unwrap_or_default(),
            node: from.rsplit_once('.').map_or(String::new(), |(network, _)| format!("{network}.")),
            agent: text(&it["userAgent"]),
        }
    })
    .collect()
}

/// An event that is told again is patched, which comes after five minutes: not waited for here.
fn later() -> Right {
    ("patch".into(), "events.k8s.io".into(), "events".into())
}

fn granted() -> BTreeSet<Right> {
    let text = fs::read_to_string(repository().join("conf/rbac.yaml")).unwrap();
    let documents = text.split("\n---\n").map(|it| serde_saphyr::from_str::<Value>(it).unwrap());
    let rules: Vec<Value> =
        documents.filter_map(|it| it["rules"].as_array().cloned()).flatten().collect();
    let words = |rule: &Value, key: &str| {
        let list = rule[key].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|it| it.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let mut rights = BTreeSet::new();
    for rule in &rules {
        for verb in words(rule, "verbs") {
            for group in words(rule, "apiGroups") {
                for resource in words(rule, "resources") {
                    rights.insert((verb.clone(), group.clone(), resource));
                }
            }
        }
    }
    rights
}
