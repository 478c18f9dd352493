//! Looking things up: filters with wildcards, pages, and what is refused.

use super::*;

/// Interfaces `aws-K8S-0` to `aws-K8S-6`, each with its number as a tag.
fn seven() -> World {
    let mut world = world();
    let subnet_id = world.subnet("pods-a");
    for number in 0..7 {
        let request = CreateInterface {
            subnet_id: subnet_id.clone(),
            description: format!("aws-K8S-{number}"),
            tags: [("number".to_owned(), number.to_string())].into(),
            ..CreateInterface::default()
        };
        world.vpc.create_network_interface(NOW, &request).unwrap();
    }
    world
}

fn filter(name: &str, values: &[&str]) -> Filter {
    Filter { name: name.into(), values: values.iter().map(ToString::to_string).collect() }
}

#[track_caller]
fn check(filters: &[(&str, &[&str])], want: usize) {
    let world = seven();
    let filters = filters.iter().map(|(name, values)| filter(name, values)).collect();

    let lookup = Lookup { filters, ..Lookup::default() };
    let found = world.vpc.describe_network_interfaces(&lookup).unwrap().items.len();

    assert_eq!(found, want);
}

#[test]
fn values_of_a_filter_are_alternatives_and_filters_must_all_match() {
    check(&[("tag:number", &["1", "2", "9"])], 2);
    check(&[("tag:number", &["1", "2"]), ("description", &["aws-K8S-2"])], 1);
    check(&[("tag-key", &["number"])], 7);
    check(&[("status", &["in-use"])], 1);
}

#[test]
fn filters_have_wildcards_and_escapes() {
    check(&[("description", &["aws-K8S-*"])], 7);
    check(&[("description", &["aws-???-5"])], 1);
    check(&[("description", &[r"aws-K8S-\*"])], 0);
    check(&[("description", &["AWS-K8S-*"])], 0);
}

#[test]
fn a_filter_by_instance_finds_what_a_wildcard_finds() {
    let mut world = seven();
    let interface = world.attached(Wanted::Nothing);
    let find = |world: &World, id: &str| {
        let filters = vec![filter("attachment.instance-id", &[id])];
        let lookup = Lookup { filters, ..Lookup::default() };
        let page = world.vpc.describe_network_interfaces(&lookup).unwrap();
        page.items.iter().map(|eni| eni.id.0.clone()).collect::<Vec<_>>()
    };

    let by_id = find(&world, world.instance.as_str());
    let by_wildcard = find(&world, "i-*");

    assert_eq!(by_id.len(), 2);
    assert!(by_id.contains(&interface));
    assert_eq!((by_id, find(&world, "i-0")), (by_wildcard, Vec::new()));
}

#[test]
fn pages_follow_each_other_and_hold_everything_once() {
    let world = seven();
    let mut lookup = Lookup { max_results: Some(5), ..Lookup::default() };

    let first = world.vpc.describe_network_interfaces(&lookup).unwrap();
    lookup.next_token = first.next_token.clone();
    let second = world.vpc.describe_network_interfaces(&lookup).unwrap();

    let ids: std::collections::BTreeSet<_> =
        first.items.iter().chain(&second.items).map(|eni| &eni.id).collect();
    assert_eq!((first.items.len(), second.items.len(), ids.len()), (5, 3, 8));
    assert_eq!(second.next_token, None);
}

#[test]
fn what_ec2_refuses_to_look_up_is_refused() {
    let world = seven();
    let id = world.primary().id.0.clone();
    let refuse = |lookup: Lookup, code: &str| {
        refused(world.vpc.describe_network_interfaces(&lookup), code);
    };
    let none = Lookup::default;
    let many: Vec<&str> = vec!["x"; 201];

    refuse(Lookup { max_results: Some(4), ..none() }, "InvalidMaxResults");
    refuse(Lookup { max_results: Some(1001), ..none() }, "InvalidMaxResults");
    refuse(Lookup { next_token: Some("zz".into()), ..none() }, "InvalidNextToken");
    refuse(Lookup { ids: vec![id], max_results: Some(5), ..none() }, "InvalidParameterCombination");
    refuse(Lookup { filters: vec![filter("colour", &["x"])], ..none() }, "InvalidParameterValue");
    refuse(Lookup { filters: vec![filter("vpc-id", &many)], ..none() }, "FilterLimitExceeded");
}
