//! Each guard by itself: what is deleted, and what differs from it in one thing and is not.

use super::*;
use record::stamp::rfc3339;
use std::time::UNIX_EPOCH;

const CLUSTER: &str = "c1";
const OWN: &str = "i-own";
const DEAD: &str = "i-dead";
const GRACE: Duration = Duration::from_secs(900);
const MADE: Time = Time(Duration::from_secs(1_000_000));
/// The first look, a day after the interface was made.
const FIRST: Time = Time(Duration::from_secs(1_086_400));
const SECOND: Time = Time(Duration::from_secs(1_087_300));

#[test]
fn what_a_dead_node_of_this_cluster_left_is_deleted_at_the_second_look() {
    check(left(), &world(), [DEAD]);
}

#[test]
fn what_ec2_no_longer_describes_is_dead_as_well() {
    let world = instances([(OWN, alive())]);

    check(left(), &world, [DEAD]);
}

#[test]
fn one_look_is_not_enough_whatever_the_tag_says_of_its_age() {
    let mut sweep = sweep();

    let due = look(&mut sweep, &[left()], &world(), FIRST);

    assert_eq!((due.now.len(), due.later), (0, 1));
}

#[test]
fn two_looks_that_are_nearer_than_the_grace_period_are_not_enough() {
    let mut sweep = sweep();
    look(&mut sweep, &[left()], &world(), FIRST);

    let early = Time(SECOND.0 - Duration::from_secs(1));
    let due = look(&mut sweep, &[left()], &world(), early);

    assert_eq!((due.now.len(), due.later), (0, 1));
    assert_eq!(look(&mut sweep, &[left()], &world(), SECOND).now.len(), 1);
}

#[test]
fn an_interface_that_was_attached_between_two_looks_is_seen_anew() {
    let mut sweep = sweep();
    look(&mut sweep, &[left()], &world(), FIRST);
    look(&mut sweep, &[], &world(), FIRST + GRACE / 2);

    assert_eq!(look(&mut sweep, &[left()], &world(), SECOND).later, 1);

    sweep.nothing();
    assert_eq!(look(&mut sweep, &[left()], &world(), SECOND + GRACE).later, 1);
}

#[test]
fn an_instance_that_is_alive_looks_after_its_own_interfaces() {
    let living = instances([(OWN, alive()), (DEAD, alive())]);

    check(left(), &living, []);
    // It was shown as gone before, as one that EC2 has just launched may be.
    let mut sweep = sweep();
    look(&mut sweep, &[left()], &world(), FIRST);
    assert_eq!(look(&mut sweep, &[left()], &living, SECOND), Due::default());
    assert_eq!(look(&mut sweep, &[left()], &world(), SECOND + GRACE).later, 1);
}

#[test]
fn this_nodes_own_interfaces_are_its_records_to_say() {
    let own = Loose { description: "aws-K8S-i-own".into(), ..tagged(INSTANCE_TAG, OWN) };

    assert_eq!(sweep().candidates(std::slice::from_ref(&own)), [] as [&Loose; 0]);
    check(own, &world(), []);
}

#[test]
fn an_answer_that_lacks_this_node_is_not_believed_and_changes_nothing() {
    let mut sweep = sweep();
    look(&mut sweep, &[left()], &world(), FIRST);

    let ended = Instance { terminated: true, ..alive() };
    for odd in [instances([]), instances([(OWN, ended)])] {
        assert_eq!(sweep.look(&[&left()], &odd, SECOND), Err(Unbelieved));
    }

    assert_eq!(look(&mut sweep, &[left()], &world(), SECOND).now.len(), 1);
}

#[test]
fn an_interface_that_is_not_available_stays() {
    check(Loose { available: false, ..left() }, &world(), []);
}

#[test]
fn an_interface_of_another_type_or_of_a_service_stays() {
    check(Loose { plain: false, ..left() }, &world(), []);
}

#[test]
fn an_interface_of_another_cluster_or_of_none_stays() {
    check(tagged(CLUSTER_TAG, "c2"), &world(), []);
    check(untagged(CLUSTER_TAG), &world(), []);
}

#[test]
fn an_interface_that_is_not_to_be_managed_stays() {
    check(tagged(NO_MANAGE_TAG, "true"), &world(), []);
    check(tagged(NO_MANAGE_TAG, "false"), &world(), [DEAD]);
}

#[test]
fn a_users_interface_stays() {
    check(untagged(INSTANCE_TAG), &world(), []);
    check(Loose { description: "mine".into(), ..left() }, &world(), []);
    check(Loose { description: String::new(), ..left() }, &world(), []);
    // Copied from another one.
    check(Loose { description: "aws-K8S-i-other".into(), ..left() }, &world(), []);
    let nameless = Loose { description: "aws-K8S-".into(), ..tagged(INSTANCE_TAG, "") };
    check(nameless, &world(), []);
}

#[test]
fn an_interface_of_another_controller_stays() {
    check(tagged(OWNER_TAG, "eks-vpc-resource-controller"), &world(), []);
    check(untagged(OWNER_TAG), &world(), [DEAD]);
}

/// A cluster of the same name there, and a subnet that another account shares: its instances are not
/// described to us, dead or alive.
#[test]
fn an_interface_of_another_vpc_or_account_stays() {
    check(Loose { vpc: "vpc-2".into(), ..left() }, &world(), []);
    check(Loose { account: "2".into(), ..left() }, &world(), []);
    let nowhere = Instance { vpc: None, ..alive() };
    check(left(), &instances([(OWN, nowhere)]), []);
}

#[test]
fn what_says_that_it_was_just_made_stays_however_long_it_seems_to_have_been_there() {
    let made = |time: Time| tagged(CREATED_TAG, &rfc3339(UNIX_EPOCH + time.0));
    let near = GRACE - Duration::from_secs(1);

    check(made(Time(SECOND.0 - near)), &world(), []);
    check(made(SECOND + near), &world(), []);
    check(made(Time(SECOND.0 - GRACE)), &world(), [DEAD]);
}

#[test]
fn without_a_time_that_can_be_believed_what_was_seen_here_counts() {
    check(untagged(CREATED_TAG), &world(), [DEAD]);
    for odd in ["", "yesterday", "2199-01-01T00:00:00Z", "-005000-01-01T00:00:00Z"] {
        check(tagged(CREATED_TAG, odd), &world(), [DEAD]);
    }
    // As the peer writes it.
    check(tagged(CREATED_TAG, "1970-01-12T13:46:40Z"), &world(), [DEAD]);
}

#[test]
fn one_look_deletes_so_many_and_leaves_the_rest_to_the_next() {
    let many: Vec<_> = (0..MOST_DELETED + 7)
        .map(|n| Loose { id: EniId(format!("eni-{n:04}")), ..left() })
        .collect();
    let mut sweep = sweep();
    look(&mut sweep, &many, &world(), FIRST);

    let due = look(&mut sweep, &many, &world(), SECOND);

    assert_eq!((due.now.len(), due.later), (MOST_DELETED, 7));
    let rest: Vec<_> = many.iter().filter(|eni| !due.now.contains_key(&eni.id)).cloned().collect();
    assert_eq!(look(&mut sweep, &rest, &world(), SECOND).now.len(), 7);
}

#[test]
fn ec2_is_asked_for_no_more_instances_than_one_call_takes() {
    let many: Vec<_> = (0..300)
        .flat_map(|n| {
            let instance = format!("i-{n:04}");
            let description = format!("aws-K8S-{instance}");
            let eni = Loose { description, ..tagged(INSTANCE_TAG, &instance) };
            [eni.clone(), eni]
        })
        .collect();
    let sweep = sweep();

    let candidates = sweep.candidates(&many);

    let instances = sweep.instances(&candidates);
    assert_eq!((instances.len(), candidates.len()), (MOST_INSTANCES, 2 * (MOST_INSTANCES - 1)));
    assert!(instances.contains(OWN));
}

/// What becomes of an interface that two looks show alike, the grace period apart.
#[track_caller]
fn check<const N: usize>(
    eni: Loose,
    instances: &BTreeMap<String, Instance>,
    deleted_of: [&str; N],
) {
    let mut sweep = sweep();
    look(&mut sweep, std::slice::from_ref(&eni), instances, FIRST);

    let due = look(&mut sweep, &[eni], instances, SECOND);

    assert_eq!(due.now.values().map(String::as_str).collect::<Vec<_>>(), deleted_of);
}

fn look(
    sweep: &mut Sweep,
    listed: &[Loose],
    instances: &BTreeMap<String, Instance>,
    now: Time,
) -> Due {
    let candidates = sweep.candidates(listed);
    sweep.look(&candidates, instances, now).unwrap()
}

fn sweep() -> Sweep {
    Sweep::new(CLUSTER.into(), OWN.into(), GRACE)
}

/// What a node that is gone has left.
fn left() -> Loose {
    let tags = [
        (INSTANCE_TAG, DEAD),
        (CREATED_TAG, &rfc3339(UNIX_EPOCH + MADE.0)),
        (CLUSTER_TAG, CLUSTER),
        (OWNER_TAG, OWNER),
    ];
    Loose {
        id: EniId("eni-1".into()),
        available: true,
        plain: true,
        description: "aws-K8S-i-dead".into(),
        tags: tags.map(|(key, value)| (key.into(), value.into())).into(),
        vpc: "vpc-1".into(),
        account: "1".into(),
    }
}

fn tagged(key: &str, value: &str) -> Loose {
    let mut eni = left();
    eni.tags.insert(key.into(), value.into());
    eni
}

fn untagged(key: &str) -> Loose {
    let mut eni = left();
    eni.tags.remove(key);
    eni
}

/// This node lives, the other is gone.
fn world() -> BTreeMap<String, Instance> {
    let dead = Instance { terminated: true, vpc: None, account: "1".into() };
    instances([(OWN, alive()), (DEAD, dead)])
}

fn instances<const N: usize>(of: [(&str, Instance); N]) -> BTreeMap<String, Instance> {
    of.map(|(id, instance)| (id.into(), instance)).into()
}

fn alive() -> Instance {
    Instance { terminated: false, vpc: Some("vpc-1".into()), account: "1".into() }
}
