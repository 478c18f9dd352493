//! Attaching and detaching.

use super::*;

#[test]
fn an_attached_device_appears_later_than_the_attachment() {
    let mut world = world();
    let latency = world.vpc.latency().clone();
    let interface = world.attached(Wanted::Nothing);
    let states = |world: &World| {
        let state = world.interface(&interface).attachment.as_ref().unwrap().state;
        (state, world.vpc.topology().enis.contains_key(&interface))
    };

    let at_once = states(&world);
    let attached = world.vpc.next_event().unwrap();
    world.vpc.advance(attached);
    let then = states(&world);
    let present = world.vpc.next_event().unwrap();
    world.vpc.advance(present);

    assert_eq!(at_once, (AttachmentState::Attaching, false));
    assert_eq!(attached, Time(latency.attach));
    assert_eq!(then, (AttachmentState::Attached, false));
    assert_eq!(present, Time(latency.attach + latency.device));
    assert_eq!(states(&world), (AttachmentState::Attached, true));
    assert_eq!(world.vpc.topology().enis[&interface].device, "ens6");
    assert!(!world.vpc.topology().enis[&interface].boot);
}

#[test]
fn a_detached_device_is_gone_before_the_interface_is_available() {
    let mut world = world();
    let interface = world.create("pods-a", Wanted::Nothing).unwrap();
    let attachment = world.attach(&interface, 1).unwrap();
    let detached = Time(Duration::from_secs(10));
    world.vpc.advance(detached);

    world.vpc.detach_network_interface(detached, &attachment, Detach::Orderly).unwrap();
    let twice = world.vpc.detach_network_interface(detached, &attachment, Detach::Orderly);
    let gone = world.vpc.next_event().unwrap();
    world.vpc.advance(gone);
    let status = world.interface(&interface).status();
    let wired = world.vpc.topology().enis.contains_key(&interface);
    let busy = world.vpc.delete_network_interface(gone, &interface);
    world.vpc.advance(Time(Duration::from_secs(20)));

    refused(twice, "IncorrectState");
    assert_eq!((status, wired), ("in-use", false));
    let text = refused(busy, "InvalidParameterValue");
    assert_eq!(text, format!("Network interface '{interface}' is currently in use."));
    assert_eq!(world.interface(&interface).status(), "available");
    world.attach(&interface, 1).unwrap();
}

#[test]
fn an_interface_that_is_detached_while_attaching_never_has_a_device() {
    let mut world = world();
    let interface = world.create("pods-a", Wanted::Nothing).unwrap();
    let attachment = world.attach(&interface, 1).unwrap();

    world.vpc.detach_network_interface(NOW, &attachment, Detach::Orderly).unwrap();

    while let Some(next) = world.vpc.next_event() {
        world.vpc.advance(next);
        assert!(!world.vpc.topology().enis.contains_key(&interface), "at {next:?}");
    }
    assert_eq!(world.interface(&interface).status(), "available");
}

#[test]
fn attach_refuses_another_zone() {
    let mut world = world();
    let interface = world.create("pods-b", Wanted::Nothing).unwrap();

    let result = world.attach(&interface, 1);

    let text = refused(result, "InvalidParameterValue");
    assert!(text.contains("not in the same availability zone"), "{text}");
}

#[test]
fn the_code_of_an_attach_across_zones_is_a_setting() {
    let code = "InvalidParameterCombination";
    let mut world = world_with(|spec| spec.undocumented.attach_across_zones = code.into());
    let interface = world.create("pods-b", Wanted::Nothing).unwrap();

    let result = world.attach(&interface, 1);

    refused(result, code);
}

#[test]
fn attach_refuses_an_index_or_a_card_that_is_not_free() {
    let mut world = world();
    let interface = world.create("pods-a", Wanted::Nothing).unwrap();
    let on_card = |card_index| Attach {
        interface_id: interface.clone(),
        instance_id: world.instance.0.clone(),
        device_index: 1,
        card_index,
    };
    let (second_card, first_card) = (on_card(Some(1)), on_card(Some(0)));

    let in_use = world.attach(&interface, 0);
    let no_card = world.vpc.attach_network_interface(NOW, &second_card).cloned();

    let text = refused(in_use, "InvalidParameterValue");
    assert!(text.ends_with("already has an interface attached at device index '0'."), "{text}");
    refused(no_card, "InvalidParameterValue");
    world.vpc.attach_network_interface(NOW, &first_card).unwrap();
}

#[test]
fn attach_refuses_more_interfaces_than_the_type_has() {
    let mut world = world();
    for index in 1..3 {
        let interface = world.create("pods-a", Wanted::Nothing).unwrap();
        world.attach(&interface, index).unwrap();
    }
    let interface = world.create("pods-a", Wanted::Nothing).unwrap();

    let result = world.attach(&interface, 3);

    let text = refused(result, "AttachmentLimitExceeded");
    assert_eq!(text, "Interface count 4 exceeds the limit for m5.large");
}

#[test]
fn detach_refuses_the_primary_interface() {
    let mut world = world();
    let attachment = world.primary().attachment.clone().unwrap().id;

    let result = world.vpc.detach_network_interface(NOW, attachment.as_str(), Detach::Forced);

    refused(result, "OperationNotPermitted");
}

#[test]
fn each_network_card_has_a_limit_and_device_indexes_of_its_own() {
    let mut world = world();
    // c6in.32xlarge: two cards of eight interfaces.
    world.instance = world.launch("big", "c6in.32xlarge", "nodes-a").unwrap();
    let mut attach = |card_index, device_index| {
        let interface_id = world.create("pods-a", Wanted::Nothing).unwrap();
        let instance_id = world.instance.0.clone();
        let card_index = Some(card_index);
        let request = Attach { interface_id, instance_id, device_index, card_index };
        world.vpc.attach_network_interface(NOW, &request).map(|at| at.card_index)
    };

    let first: Vec<_> = (1..8).map(|index| attach(0, index)).collect();
    let full = attach(0, 8);
    let second: Vec<_> = (0..8).map(|index| attach(1, index)).collect();
    let taken = attach(1, 3);
    let none = attach(2, 0);

    assert!(first.iter().all(|card| *card == Ok(0)), "{first:?}");
    assert!(second.iter().all(|card| *card == Ok(1)), "{second:?}");
    let text = refused(full, "AttachmentLimitExceeded");
    assert_eq!(text, "Interface count 9 exceeds the limit for c6in.32xlarge");
    refused(taken, "InvalidParameterValue");
    refused(none, "InvalidParameterValue");
}

#[test]
fn an_interface_is_attached_once() {
    let mut world = world();
    let interface = world.attached(Wanted::Nothing);

    let again = world.attach(&interface, 2);

    let text = refused(again, "InvalidNetworkInterface.InUse");
    assert_eq!(text, format!("Interface: [{interface}] in use."));
}
