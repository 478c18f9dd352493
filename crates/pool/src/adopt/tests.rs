//! What each witness says, and what is claimed of it.

use super::*;
use std::time::Duration;

const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 6);

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn what_everybody_says_makes_the_claim() {
    let journal = |pod| held(Witness::Journal, A, pod, 20);
    let checkpoint = |pod, at| held(Witness::Checkpoint, A, pod, at);
    let routed = |pod: &str| kernel(&[(A, Some(pod))], &[pod]);
    let link_only = |pod: &str| kernel(&[], &[pod]);
    for (row, entries, seen, want) in [
        ("nobody", vec![], kernel(&[], &[]), None),
        ("ours, there", vec![journal("web")], routed("web"), Some(lives("web", Witness::Journal))),
        (
            "the peer's, there",
            vec![checkpoint("web", 10)],
            routed("web"),
            Some(lives("web", Witness::Checkpoint)),
        ),
        (
            "the peer's, its route flushed",
            vec![checkpoint("web", 10)],
            link_only("web"),
            Some(lives("web", Witness::Checkpoint)),
        ),
        (
            "routed, and on no record",
            vec![],
            routed("web"),
            Some(Claim::Unknown(Unknown::Link("eniweb".into()))),
        ),
        (
            "routed to another pod than the record says",
            vec![journal("web")],
            routed("db"),
            Some(Claim::Unknown(Unknown::Link("enidb".into()))),
        ),
        (
            "two records, the kernel has the older one's pod",
            vec![journal("web"), checkpoint("db", 30)],
            routed("web"),
            Some(lives("web", Witness::Journal)),
        ),
        (
            "two records, the kernel has the newer one's pod",
            vec![journal("web"), checkpoint("db", 30)],
            routed("db"),
            Some(lives("db", Witness::Checkpoint)),
        ),
        (
            "ours, nothing in the kernel",
            vec![journal("web")],
            kernel(&[], &[]),
            Some(suspect("web")),
        ),
        (
            "the peer's, nothing in the kernel",
            vec![checkpoint("web", 10)],
            kernel(&[], &[]),
            Some(Claim::Unknown(Unknown::LinkGone("default/web".into()))),
        ),
        (
            "released by us after the checkpoint",
            vec![released(A, 20), checkpoint("web", 10)],
            kernel(&[], &[]),
            Some(Claim::Released),
        ),
        (
            "released by us after the checkpoint, its link on its way out",
            vec![released(A, 20), checkpoint("web", 10)],
            link_only("web"),
            Some(Claim::Released),
        ),
        (
            "released by us before the checkpoint, its route flushed",
            vec![released(A, 20), checkpoint("web", 30)],
            link_only("web"),
            Some(lives("web", Witness::Checkpoint)),
        ),
        (
            "released by us before the checkpoint",
            vec![released(A, 20), checkpoint("web", 30)],
            kernel(&[], &[]),
            Some(Claim::Unknown(Unknown::LinkGone("default/web".into()))),
        ),
        (
            "released by us, and there all the same",
            vec![released(A, 20), checkpoint("web", 10)],
            routed("web"),
            Some(lives("web", Witness::Checkpoint)),
        ),
    ] {
        let found = claims(&entries, &seen);

        assert_eq!(found.claims.get(&A), want.as_ref(), "{row}");
    }
}

#[test]
fn a_rule_alone_holds_an_address_and_so_does_a_route_to_something_else() {
    for (row, trace, want) in [
        ("rule", Trace { rule: true, ..Trace::default() }, Unknown::Rule),
        ("elsewhere", Trace { elsewhere: true, ..Trace::default() }, Unknown::Elsewhere),
        ("own", Trace { own: true, ..Trace::default() }, Unknown::Own),
    ] {
        let seen = Seen { traces: [(A, trace)].into(), links: BTreeSet::new() };

        for entries in [vec![], vec![released(A, 20)]] {
            let found = claims(&entries, &seen);

            assert_eq!(found.claims[&A], Claim::Unknown(want.clone()), "{row} {entries:?}");
        }
    }
}

#[test]
fn a_newer_pod_of_the_same_name_leaves_the_older_ones_address_to_its_namespace() {
    let older = held(Witness::Journal, A, "web", 10);
    let Holder::Pod { owner, .. } = older.holder.clone() else { unreachable!("it is held") };
    let mut newer = held(Witness::Checkpoint, B, "web", 20);
    if let Holder::Pod { owner, .. } = &mut newer.holder {
        owner.container = "another".into();
    }

    let found = claims(&[older, newer], &kernel(&[(B, Some("web"))], &["web"]));

    assert_eq!(found.claims[&A], Claim::Suspect { owner });
    assert!(matches!(found.claims[&B], Claim::Lives { by: Witness::Checkpoint, .. }));
}

#[test]
fn whoever_lost_an_address_to_another_pod_ends_without_freeing_it() {
    let entries = [held(Witness::Journal, A, "web", 10), held(Witness::Checkpoint, A, "db", 20)];

    let found = claims(&entries, &kernel(&[(A, Some("db"))], &["db"]));

    assert_eq!(found.superseded, [(owner("web"), A)]);
    assert_eq!(
        found.disagreements[&A],
        "checkpoint: default/db (c-db, enidb); journal: default/web (c-web, eniweb); \
         kernel: routed to enidb"
    );
}

#[test]
fn where_witnesses_disagree_people_are_told_what_the_kernel_shows() {
    for (trace, want) in [
        (Trace { own: true, ..Trace::default() }, "kernel: the node's own"),
        (
            Trace { elsewhere: true, rule: true, ..Trace::default() },
            "kernel: routed to something else than a pod",
        ),
        (Trace { rule: true, ..Trace::default() }, "kernel: a rule, and no route"),
        (Trace::default(), "kernel: nothing"),
    ] {
        let seen = Seen { traces: [(A, trace)].into(), links: BTreeSet::new() };

        let found = claims(&[held(Witness::Journal, A, "web", 10)], &seen);

        let said = &found.disagreements[&A];
        assert_eq!(*said, format!("journal: default/web (c-web, eniweb); {want}"));
    }
}

#[test]
fn why_an_address_is_held_is_told_to_people_and_to_metrics() {
    let (link, pod) = ("eniweb".to_owned(), "default/web".to_owned());
    let all = [
        (Unknown::Link(link), "routed to eniweb, which no record knows"),
        (Unknown::Elsewhere, "routed to something else than a pod"),
        (Unknown::Rule, "a rule is about it"),
        (
            Unknown::LinkGone(pod.clone()),
            "the checkpoint has it with default/web, whose link is gone",
        ),
        (Unknown::Own, "an address of the node itself"),
        (
            Unknown::NoInterface(pod),
            "pod default/web has it, and no interface is known to carry it",
        ),
    ];

    assert_eq!(all.clone().map(|(why, _)| why.word()), Unknown::WORDS);
    for (why, want) in all {
        assert_eq!(why.to_string(), want);
    }
}

#[test]
fn who_agrees_is_not_told_of() {
    let same = [held(Witness::Journal, A, "web", 10), held(Witness::Checkpoint, A, "web", 20)];
    let own = Seen {
        traces: [(B, Trace { own: true, ..Trace::default() })].into(),
        links: BTreeSet::new(),
    };

    assert!(claims(&same, &kernel(&[(A, Some("web"))], &["web"])).disagreements.is_empty());
    assert!(claims(&[], &own).disagreements.is_empty());
    assert!(claims(&[released(A, 5)], &Seen::default()).disagreements.is_empty());
}

fn owner(pod: &str) -> Owner {
    Owner { network: "aws-cni".into(), container: format!("c-{pod}"), interface: "eth0".into() }
}

fn held(witness: Witness, address: Ipv4Addr, pod: &str, at: u64) -> Entry {
    let (owner, link) = (owner(pod), format!("eni{pod}"));
    let holder = Holder::Pod { owner, link, pod: format!("default/{pod}") };
    Entry { witness, address, holder, at: Time(Duration::from_secs(at)) }
}

fn released(address: Ipv4Addr, at: u64) -> Entry {
    let at = Time(Duration::from_secs(at));
    Entry { witness: Witness::Journal, address, holder: Holder::Released, at }
}

fn kernel(routes: &[(Ipv4Addr, Option<&str>)], links: &[&str]) -> Seen {
    let trace =
        |pod: &Option<&str>| Trace { link: pod.map(|pod| format!("eni{pod}")), ..Trace::default() };
    Seen {
        traces: routes.iter().map(|(address, pod)| (*address, trace(pod))).collect(),
        links: links.iter().map(|pod| format!("eni{pod}")).collect(),
    }
}

fn lives(pod: &str, by: Witness) -> Claim {
    Claim::Lives { owner: owner(pod), by }
}

fn suspect(pod: &str) -> Claim {
    Claim::Suspect { owner: owner(pod) }
}
