//! The rules of EC2, one by one.

mod addresses;
mod attach;
mod changes;
mod describe;
mod kinds;

use super::{
    assign::{Assigned, Reassignment, Wanted},
    attach::{Attach, Detach},
    create::{Attribute, CreateInterface},
    reservation::{CreateReservation, ReservationType},
    spec::{PermissionSpec, SubnetSpec},
    *,
};
use std::time::Duration;

const NOW: Time = Time::ZERO;

/// A VPC with one m5.large (3 interfaces of 10 addresses) in zone a.
struct World {
    vpc: Vpc,
    instance: InstanceId,
}

fn world() -> World {
    world_with(|_| {})
}

fn world_with(change: impl FnOnce(&mut Spec)) -> World {
    let mut spec = Spec::default();
    change(&mut spec);
    let mut world = World { vpc: Vpc::new(spec).unwrap(), instance: InstanceId("i-".into()) };
    world.instance = world.launch("a", "m5.large", "nodes-a").unwrap();
    world
}

impl World {
    fn subnet(&self, name: &str) -> String {
        self.vpc.subnets().values().find(|subnet| subnet.name == name).unwrap().id.clone()
    }

    fn launch(&mut self, node: &str, kind: &str, subnet: &str) -> Result<InstanceId, Ec2Error> {
        let launch = Launch {
            node: node.into(),
            instance_type: kind.into(),
            subnet_id: self.subnet(subnet),
            groups: Vec::new(),
            role: Some("node".into()),
        };
        self.vpc.run_instance(NOW, &launch)
    }

    fn create(&mut self, subnet: &str, wanted: Wanted) -> Result<String, Ec2Error> {
        let subnet_id = self.subnet(subnet);
        let request = CreateInterface { subnet_id, wanted, ..CreateInterface::default() };
        self.vpc.create_network_interface(NOW, &request).map(|interface| interface.id.0.clone())
    }

    fn attach(&mut self, interface_id: &str, device_index: u32) -> Result<String, Ec2Error> {
        let request = Attach {
            interface_id: interface_id.into(),
            instance_id: self.instance.0.clone(),
            device_index,
            card_index: None,
        };
        self.vpc.attach_network_interface(NOW, &request).map(|at| at.id.0.clone())
    }

    fn attached(&mut self, wanted: Wanted) -> String {
        let interface = self.create("pods-a", wanted).unwrap();
        self.attach(&interface, 1).unwrap();
        interface
    }

    fn assign(&mut self, interface: &str, wanted: Wanted) -> Result<Assigned, Ec2Error> {
        self.vpc.assign_private_ip_addresses(NOW, interface, &wanted, Reassignment::Refused)
    }

    fn interface(&self, id: &str) -> &Interface {
        self.vpc.interface(id).unwrap()
    }

    fn primary(&self) -> &Interface {
        self.vpc.interfaces().values().find(|eni| eni.attachment.is_some()).unwrap()
    }

    fn macs_shown(&self, now: Time) -> usize {
        self.vpc.metadata(now, &self.instance).unwrap().interfaces.len()
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Ec2Error>, code: &str) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.code, code, "{error}");
    error.message
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let (one, same, other) = (world(), world(), world_with(|spec| spec.seed = 1));

    assert_eq!(one.vpc.topology(), same.vpc.topology());
    assert_ne!(one.vpc.topology(), other.vpc.topology());
}

#[test]
fn a_launched_instance_has_its_primary_interface_at_once() {
    let world = world();

    let layout = world.vpc.topology();

    let (id, eni) = layout.enis.first_key_value().unwrap();
    assert_eq!((eni.node.as_str(), eni.device.as_str(), eni.boot), ("a", "ens5", true));
    assert!(layout.public[&eni.primary.unwrap()].is_documentation(), "{:?}", layout.public);
    let instance = world.vpc.instance_by_node("a").unwrap();
    assert_eq!(Some(instance.private_ip), eni.primary);
    assert_eq!(world.vpc.instance_by_address(eni.primary.unwrap()).unwrap().id, world.instance);
    let attachment = world.interface(id).attachment.clone().unwrap();
    assert!(attachment.delete_on_termination);
}

#[test]
fn two_instances_cannot_be_the_same_node() {
    let mut world = world();

    let again = world.launch("a", "m5.large", "nodes-a");

    refused(again, "InvalidParameterValue");
}

#[test]
fn termination_deletes_the_interfaces_that_go_with_the_instance_and_frees_the_others() {
    let mut world = world();
    let free = world.vpc.subnets()[&world.subnet("nodes-a")].free();
    let stays = world.attached(Wanted::Count(2));
    let primary = world.primary().id.clone();

    world.vpc.terminate_instance(NOW, &world.instance.clone()).unwrap();

    assert!(world.vpc.interface(primary.as_str()).is_err());
    assert_eq!(world.interface(&stays).status(), "available");
    assert_eq!(world.vpc.subnets()[&world.subnet("nodes-a")].free(), free + 1);
    assert_eq!(world.vpc.topology().enis.len() + world.vpc.topology().public.len(), 0);
    assert!(world.vpc.instance_by_node("a").is_none());
}

#[test]
fn a_terminated_instance_is_described_for_an_hour() {
    let mut world = world();
    world.vpc.terminate_instance(NOW, &world.instance.clone()).unwrap();

    let count =
        |world: &World| world.vpc.describe_instances(&Lookup::default()).unwrap().items.len();
    let at_once = count(&world);
    world.vpc.advance(Time(Duration::from_secs(3600)));

    assert_eq!((at_once, count(&world)), (1, 0));
}

#[test]
fn groups_must_exist_and_be_few() {
    let mut world = world();
    let interface = world.create("pods-a", Wanted::Nothing).unwrap();
    let modify = |world: &mut World, groups: Vec<String>| {
        let attribute = Attribute::Groups(groups);
        world.vpc.modify_network_interface_attribute(NOW, &interface, &attribute)
    };

    let unknown = modify(&mut world, vec!["sg-0123456789abcdef0".into()]);

    let text = refused(unknown, "InvalidGroup.NotFound");
    assert_eq!(text, "The security group 'sg-0123456789abcdef0' does not exist");
}

#[test]
fn more_than_five_groups_are_refused() {
    let ids: Vec<String> = (0..6).map(|index| format!("sg-{index}")).collect();
    let mut world = world_with(|spec| {
        spec.groups = ids
            .iter()
            .map(|id| spec::GroupSpec {
                name: format!("group {id}"),
                id: Some(id.clone()),
                ingress: Vec::new(),
                egress: None,
            })
            .collect();
    });
    let request = |world: &World, count: usize| CreateInterface {
        subnet_id: world.subnet("pods-a"),
        groups: ids[..count].to_vec(),
        ..CreateInterface::default()
    };
    let (five, six) = (request(&world, 5), request(&world, 6));

    let accepted = world.vpc.create_network_interface(NOW, &five).cloned();
    let too_many = world.vpc.create_network_interface(NOW, &six).cloned();

    assert_eq!(accepted.unwrap().groups, ids[..5]);
    refused(too_many, "SecurityGroupsPerInterfaceLimitExceeded");
}

#[test]
fn a_group_may_permit_a_group_that_comes_later() {
    let member = PermissionSpec {
        group: Some("web".into()),
        cidr: None,
        ..PermissionSpec::everything("0.0.0.0/0".parse().unwrap())
    };
    let group = |name: &str, id: &str, ingress| spec::GroupSpec {
        name: name.into(),
        id: Some(id.into()),
        ingress,
        egress: None,
    };

    let world = world_with(|spec| {
        spec.groups = vec![group("db", "sg-db", vec![member]), group("web", "sg-web", Vec::new())];
    });

    let peer = &world.vpc.topology().groups["sg-db"].ingress[0].peer;
    assert_eq!(*peer, crate::topology::Peer::Group("sg-web".into()));
}

#[test]
fn the_metadata_service_shows_changes_late() {
    let mut world = world();
    let lag = world.vpc.imds().lag;
    let before = world.macs_shown(NOW);

    let interface = world.attached(Wanted::Nothing);
    world.assign(&interface, Wanted::Count(1)).unwrap();

    let shown_from = NOW + lag;
    assert_eq!((before, world.macs_shown(NOW), world.macs_shown(shown_from)), (1, 1, 2));
    let view = world.vpc.metadata(shown_from, &world.instance).unwrap();
    assert_eq!(view.interfaces[1].secondary.len(), 1);
}

#[test]
fn the_metadata_service_shows_a_detached_interface_for_a_while() {
    let mut world = world();
    let lag = world.vpc.imds().lag;
    let interface = world.create("pods-a", Wanted::Nothing).unwrap();
    let attachment = world.attach(&interface, 1).unwrap();
    let later = Time(Duration::from_secs(10));
    world.vpc.advance(later);

    world.vpc.detach_network_interface(later, &attachment, Detach::Forced).unwrap();
    world.vpc.advance(later);

    assert_eq!(world.interface(&interface).status(), "available");
    assert_eq!((world.macs_shown(later), world.macs_shown(later + lag)), (2, 1));
}

#[test]
fn a_client_token_is_free_again_when_its_interface_is_deleted() {
    let mut world = world();
    let request = CreateInterface {
        subnet_id: world.subnet("pods-a"),
        client_token: Some("token".into()),
        ..CreateInterface::default()
    };

    let first = world.vpc.create_network_interface(NOW, &request).unwrap().id.clone();
    let again = world.vpc.create_network_interface(NOW, &request).unwrap().id.clone();
    world.vpc.delete_network_interface(NOW, first.as_str()).unwrap();
    let new = world.vpc.create_network_interface(NOW, &request).unwrap().id.clone();

    assert_eq!(first, again);
    assert_ne!(first, new);
}

#[test]
fn fifty_tags_are_enough_and_some_are_reserved() {
    let mut world = world();
    let interface = world.create("pods-a", Wanted::Nothing).unwrap();
    let mut tag = |keys: Vec<String>| {
        let tags = keys.into_iter().map(|key| (key, String::new())).collect();
        world.vpc.create_tags(std::slice::from_ref(&interface), &tags)
    };

    refused(tag(vec!["aws:key".into()]), "InvalidParameterValue");
    tag((0..50).map(|index| format!("key-{index}")).collect()).unwrap();

    tag(vec!["key-7".into()]).unwrap();
    refused(tag(vec!["one more".into()]), "TagLimitExceeded");
}

#[test]
fn zones_have_the_same_id_in_every_account() {
    let world = world();

    assert_eq!(world.vpc.zone_id("us-west-2b"), "usw2-az2");
}

#[test]
fn calls_are_throttled_over_all_nodes_together() {
    let mut world = world();
    let lookup = Lookup { max_results: Some(5), ..Lookup::default() };
    let action = Action::DESCRIBE_NETWORK_INTERFACES;
    let mut call = |now, who| world.vpc.admit(now, who, action, lookup.breadth());

    let first: Vec<_> = (0..50).flat_map(|_| [call(NOW, "a"), call(NOW, "b")]).collect();
    let refused = call(NOW, "c").unwrap_err();
    let later = call(Time(Duration::from_millis(50)), "c");

    assert!(first.iter().all(Result::is_ok));
    assert_eq!(refused.to_string(), "RequestLimitExceeded: Request limit exceeded.");
    assert_eq!((refused.status, later.is_ok()), (503, true));
}

#[test]
fn a_client_token_with_other_parameters_is_a_mistake() {
    let mut world = world();
    let request = CreateInterface {
        subnet_id: world.subnet("pods-a"),
        client_token: Some("token".into()),
        ..CreateInterface::default()
    };
    let other = CreateInterface { description: "other".into(), ..request.clone() };

    world.vpc.create_network_interface(NOW, &request).unwrap();
    let mismatch = world.vpc.create_network_interface(NOW, &other).cloned();

    refused(mismatch, "IdempotentParameterMismatch");
}

#[test]
fn quotas_are_settings() {
    let mut world = world_with(|spec| {
        let group = |id: &str| spec::GroupSpec {
            name: format!("group {id}"),
            id: Some(id.into()),
            ingress: Vec::new(),
            egress: None,
        };
        spec.groups = vec![group("sg-1"), group("sg-2")];
        spec.quotas.groups_per_interface = 1;
        spec.quotas.interfaces_per_region = 2;
    });
    let groups = vec!["sg-1".to_owned(), "sg-2".to_owned()];
    let request =
        CreateInterface { subnet_id: world.subnet("pods-a"), groups, ..CreateInterface::default() };

    let groups = world.vpc.create_network_interface(NOW, &request).cloned();
    world.create("pods-a", Wanted::Nothing).unwrap();
    let third = world.create("pods-a", Wanted::Nothing);

    refused(groups, "SecurityGroupsPerInterfaceLimitExceeded");
    refused(third, "NetworkInterfaceLimitExceeded");
}
