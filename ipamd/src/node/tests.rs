//! A node without a network: what happens to an address after a DEL, and what STATUS answers.

use super::*;
use crate::examples::attachment;
use crate::pods::teardown;
use pool::{Allocation, Limits, Owner, Source};
use record::{Attachment, Interface, Origin};
use std::{
    collections::BTreeSet,
    fs,
    net::Ipv4Addr,
    path::PathBuf,
    process, thread,
    time::{Duration, Instant},
};

/// An address of the node.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

/// CNI requirement 40.
#[test]
fn an_address_is_nobodys_until_its_link_is_gone_even_without_a_cooldown() {
    let (node, leaving, _folder) = node("gone", 1);
    let (first, second) = (owner("first"), owner("second"));
    allocate(&node, &first).unwrap();

    teardown::release(&node, &first, Some(EndedPod { pod: pod(), host: Some(7) })).unwrap();
    let before = allocate(&node, &second);
    // The kernel of this test has no such link: to the reaper it is gone already.
    teardown::start(&node, leaving).unwrap();
    let patience = Instant::now() + Duration::from_secs(30);
    let after = loop {
        match allocate(&node, &second) {
            None if Instant::now() < patience => thread::sleep(Duration::from_millis(5)),
            allocation => break allocation,
        }
    };

    assert_eq!(before, None);
    assert_eq!(after, Some(ADDRESS));
}

#[test]
fn an_address_without_a_link_is_free_at_once_without_a_cooldown() {
    let (node, _leaving, _folder) = node("free", 1);
    allocate(&node, &owner("first")).unwrap();

    teardown::release(&node, &owner("first"), None).unwrap();

    assert_eq!(allocate(&node, &owner("second")), Some(ADDRESS));
}

/// CNI requirement 47.
#[test]
fn status_does_not_wait_for_who_holds_the_state() {
    let (node, _leaving, _folder) = node("held", 1);
    let held = node.store.state();

    let forecast = thread::scope(|scope| scope.spawn(|| node.forecast(Instant::now())).join());

    drop(held);
    assert!(forecast.unwrap().is_none());
}

#[test]
fn to_look_ahead_changes_nothing() {
    let (node, _leaving, _folder) = node("ahead", 1);

    let forecast = node.forecast(Instant::now()).unwrap();

    assert!(forecast.address.is_ok() && !forecast.full);
    assert_eq!(node.store.state().pool.allocations().count(), 0);
    assert_eq!(node.store.attachments(), []);
}

/// CNI requirement 47.
#[test]
fn a_node_with_as_many_pods_as_kubelet_allows_is_full() {
    let (node, _leaving, _folder) = node("full", 1);
    node.store.state().pool.set_max_pods(Some(1));
    allocate(&node, &owner("first")).unwrap();

    let forecast = node.forecast(Instant::now()).unwrap();

    assert!(forecast.full && forecast.address.is_err());
}

/// CNI requirement 30.
#[test]
fn pods_of_an_interface_that_is_not_set_up_are_cut_off() {
    for (device_index, cut_off) in [(0, 0), (1, 1)] {
        let (node, _leaving, _folder) = node(&format!("cut-{device_index}"), 1);
        allocate(&node, &owner("first")).unwrap();

        node.change_interface(&EniId("eni-1".into()), |eni| eni.record.device_index = device_index);

        let found = node.forecast(Instant::now()).unwrap().cut_off;
        assert_eq!(found, cut_off, "device index {device_index}");
    }
}

// Nothing that is sent to one of these would come.
#[test]
fn what_ec2_names_outside_of_the_subnet_of_its_interface_goes_to_no_pod_and_the_rest_does() {
    let (node, _leaving, _folder) = node("outside", 3);
    let id = EniId("eni-1".into());

    node.change_interface(&id, |eni| {
        eni.record.subnet_cidr = Some("10.0.0.0/29".parse().unwrap());
        // Its last address lies outside.
        eni.record.prefixes = [Ipv4Addr::new(10, 0, 0, 0)].into();
        eni.record.addresses.extend([[8, 8, 8, 8], [0, 0, 0, 0]].map(Ipv4Addr::from));
    });

    let pods = ["first", "second", "third", "fourth"].map(|pod| allocate(&node, &owner(pod)));
    let within = [5, 6, 7].map(|last| Some(Ipv4Addr::new(10, 0, 0, last)));
    assert_eq!(BTreeSet::from(pods), within.into_iter().chain([None]).collect());
    assert_eq!(node.store.state().outside.len(), 3);
}

/// A node with so many addresses, none of which cools for any time.
fn node(name: &str, addresses: u8) -> (std::sync::Arc<Node>, ReaperQueue, Folder) {
    let folder = Folder(std::env::temp_dir().join(format!("ipamd-node-{}-{name}", process::id())));
    let environment = [("IP_COOLDOWN_PERIOD", "0"), ("WARM_ENI_TARGET", "0")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = Settings::read(&environment.into()).unwrap();
    let identity = Identity {
        instance: "i-1".into(),
        instance_type: "m5.large".into(),
        region: "us-west-2".into(),
        mac: net::Mac([6, 0, 0, 0, 0, 1]),
        vpc_cidrs: vec![],
    };
    let record = Interface {
        mac: identity.mac,
        card: 0,
        device_index: 0,
        subnet: "subnet-1".into(),
        subnet_cidr: None,
        primary: [10, 0, 0, 4].into(),
        groups: BTreeSet::new(),
        addresses: (0..addresses).map(|n| Ipv4Addr::new(10, 0, 0, 5 + n)).collect(),
        prefixes: BTreeSet::new(),
        attachment: None,
        origin: Origin::Ours,
        outlives_instance: false,
        special_type: None,
        tags: [].into(),
    };
    let limits = Limits { enis: 1, max_enis: None, blocks_per_eni: 9, max_pods: None };
    let source =
        Source::Node(pool::Supply { subnets: vec!["subnet-1".into()], groups: BTreeSet::new() });
    let pool = Pool::new(settings.targets, limits, source);
    let journal = Journal::open(Journal::read(&folder.0).unwrap(), |_| {}).unwrap();
    let link = net::PrimaryLink { index: 2, name: "ens5".into(), device: 2 };
    let host = HostNetwork::of(&settings, &identity, &record, &link);
    let attached = BTreeMap::from([(EniId("eni-1".into()), Attached::new(record))]);
    let (reaper, leaving) = reaper_queue();
    let kernel = Netlink::open().unwrap();
    let state = (pool, journal, attached);
    let node = Node::new(settings, identity, [].into(), host, state, kernel, reaper);
    (std::sync::Arc::new(node), leaving, folder)
}

/// The address that an owner gets without waiting.
fn allocate(node: &Node, owner: &Owner) -> Option<Ipv4Addr> {
    let patience = Patience { wait: Duration::ZERO, caller_gone: &|| false };
    let attach = |allocation: &Allocation, table, egress| Attachment {
        network: owner.network.clone(),
        container: owner.container.clone(),
        interface: owner.interface.clone(),
        pod_name: owner.container.clone(),
        host_name: pod().host_name,
        address: allocation.address,
        eni: allocation.eni.0.clone(),
        table,
        egress,
        ..attachment()
    };
    node.allocate(owner, patience, attach).0.ok().map(|attachment| attachment.address)
}

fn owner(container: &str) -> Owner {
    Owner { network: "n".into(), container: container.into(), interface: "eth0".into() }
}

fn pod() -> net::pod::Pod {
    net::pod::Pod {
        // No kernel has a link of this name.
        host_name: "eniofnotest".into(),
        pod_name: "eth0".into(),
        address: ADDRESS,
        table: net::op::MAIN_TABLE,
        egress: net::EgressSelector::Main,
        mtu: 9001,
        host_mac: None,
        role: net::pod::Role::First,
    }
}

/// A folder that is removed when the test ends, however it ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
