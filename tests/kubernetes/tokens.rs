//! The daemons' tokens are replaced while they watch: kubelet brings new ones, and the old ones end.

use crate::{
    access,
    cluster::{Cluster, How, Proxy, Runtime},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    env, thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tests::{command::until, prober::Prober};

/// For how many seconds it is looked at; `make soak` sets it.
const SECONDS: &str = "TOKENS";

/// As short as a token may last. kubelet brings another after four fifths of it.
const LIFE: u64 = 600;

/// Tokens that each daemon must have shown in the end: the first, and two that replaced it.
const TOKENS: usize = 3;

/// The longest that a daemon may be without a watch. What the server ends in order is opened again at once;
/// on a busy machine that takes a moment.
const BLIND: f64 = 5.0;

/// Between two rounds of pods that come and go: the machine has other things to do.
const PAUSE: Duration = Duration::from_secs(5);

/// What the daemons watch.
const WATCHED: [&str; 3] = ["nodes", "pods", "eniconfigs"];

/// With tokens that last ten minutes, for the time that `TOKENS` says in seconds.
#[test]
#[expect(clippy::print_stderr, reason = "nothing is left out in silence")]
fn daemons_whose_tokens_are_replaced_lose_no_watch_and_no_pod() {
    let Some(seconds) = env::var(SECONDS).ok().and_then(|it| it.parse().ok()) else {
        eprintln!("NOT TESTED: tokens are replaced after eight minutes: `make soak` waits for it");
        return;
    };
    let how = How { proxy: Proxy::Iptables, runtime: Runtime::OfTheMachine, settings: "" };
    let Some(cluster) = Cluster::up(how) else { return };
    give_short_tokens(&cluster);
    cluster.deploy("stays", 4);
    cluster.deploy("comes", 2);
    cluster.forget_events();
    let since = access::lines(&cluster);
    let (began, prober) = (Instant::now(), Prober::start(&cluster.pods("stays")));

    let mut rounds = 0;
    while began.elapsed() < Duration::from_secs(seconds) {
        change_groups(&cluster, rounds);
        for replicas in [12, 2] {
            cluster.kubectl(&format!("scale deployment comes --replicas {replicas}"));
            cluster.rolled_out("deployment/comes");
        }
        prober.round();
        rounds += 1;
        thread::sleep(PAUSE);
    }

    eprintln!("{rounds} rounds of pods that came and went");
    prober.end().check();
    judge(&access::events(&cluster, since));
    assert_eq!(cluster.warnings(), Vec::<String>::new());
    let daemons = cluster.get("pods --namespace kube-system --selector k8s-app=aws-node");
    for pod in daemons["items"].as_array().unwrap() {
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{pod}");
    }
}

/// A token of its own in the DaemonSet, as short as the API server gives one.
fn give_short_tokens(cluster: &Cluster) {
    let sources = serde_json::json!([
        { "serviceAccountToken": { "path": "token", "expirationSeconds": LIFE } },
        { "configMap": { "name": "kube-root-ca.crt" } },
        { "downwardAPI": { "items": [
            { "path": "namespace", "fieldRef": { "fieldPath": "metadata.namespace" } },
        ] } },
    ]);
    let patch = serde_json::json!({ "spec": { "template": { "spec": {
        "automountServiceAccountToken": false,
        "volumes": [{ "name": "token", "projected": { "sources": sources } }],
        "containers": [{ "name": "aws-node", "volumeMounts": [{
            "name": "token",
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
            "readOnly": true,
        }] }],
    } } } });
    let arguments = ["--namespace", "kube-system", "patch", "daemonset", "aws-node", "--patch"];
    let patch = patch.to_string();
    cluster.try_kubectl(&[&arguments[..], &[&patch]].concat(), "").unwrap();
    cluster.kubectl("--namespace kube-system rollout status daemonset/aws-node --timeout 100s");
}

/// Names other security groups in an ENIConfig, and waits until its node has them: its daemon watches.
fn change_groups(cluster: &Cluster, round: usize) {
    let group = ["sg-0e000000000000001", "sg-0d000000000000001"][round % 2];
    let patch = format!(r#"{{"spec":{{"securityGroups":["{group}"]}}}}"#);
    cluster.kubectl(&format!("patch eniconfig us-west-2b --type merge --patch {patch}"));
    until("interfaces have the groups of the ENIConfig", || {
        let interfaces = cluster.world.more_interfaces("n2");
        let followed = interfaces.iter().all(|it| it.groups == [group]);
        if followed && !interfaces.is_empty() { Ok(()) } else { Err(format!("{interfaces:?}")) }
    });
}

/// What the API server has noted of the daemons.
fn judge(events: &[Value]) {
    let of_daemons =
        |it: &&Value| it["userAgent"].as_str().is_some_and(|it| it.starts_with("eni-cni/"));
    let events: Vec<_> = events.iter().filter(of_daemons).collect();
    let refused: Vec<_> = events.iter().filter(|it| it["responseStatus"]["code"] == 401).collect();
    assert!(refused.is_empty(), "refused as unknown: {refused:?}");

    let mut tokens: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for event in &events {
        let shown =
            event["user"]["extra"]["authentication.kubernetes.io/credential-id"].to_string();
        tokens.entry(from(event)).or_default().insert(shown);
    }
    assert_eq!(tokens.len(), 2, "{tokens:?}");
    for (node, tokens) in &tokens {
        assert!(tokens.len() >= TOKENS, "{node} has shown {tokens:?}");
        for resource in WATCHED {
            let watches = events.iter().filter(|it| {
                from(it) == *node
                    && it["verb"] == "watch"
                    && it["objectRef"]["resource"] == resource
            });
            let watches: Vec<_> = watches.copied().collect();
            let gaps = gaps(&watches, now());
            assert!(!gaps.is_empty(), "{node} has opened no second watch of {resource}");
            assert!(
                gaps.iter().all(|it| *it <= BLIND),
                "{node} did not watch {resource}: {gaps:?}"
            );
        }
    }
}

/// For how many seconds there was none, after each that ended.
fn gaps(watches: &[&Value], now: f64) -> Vec<f64> {
    let at = |nth: usize, stage: &str| {
        (watches[nth]["stage"] == stage).then(|| seconds(&watches[nth]["stageTimestamp"]))
    };
    let ends = (0..watches.len()).filter_map(|nth| Some((nth, at(nth, "ResponseComplete")?)));
    ends.map(|(nth, ended)| {
        let next = (nth..watches.len()).find_map(|next| at(next, "ResponseStarted"));
        (next.unwrap_or(now) - ended).rem_euclid(DAY)
    })
    .collect()
}

/// The time of day.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64().rem_euclid(DAY)
}

/// Seconds of a day.
const DAY: f64 = 86_400.0;

/// The time of day of a time stamp such as `2026-12-01T14:03:07.012345Z`.
fn seconds(stamp: &Value) -> f64 {
    let stamp = stamp.as_str().unwrap();
    let time = stamp.split('T').nth(1).unwrap().trim_end_matches('Z');
    time.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}

fn from(event: &Value) -> &str {
    event["sourceIPs"][0].as_str().unwrap_or_default()
}
