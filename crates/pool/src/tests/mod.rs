//! What the pool does, one sentence a test.

mod allocating;
mod asking;
mod choosing;
mod explaining;
mod growing;
mod missing;
mod open;
mod owning;
mod shrinking;
mod stocking;
mod tables;
mod tagging;
mod waking;
mod world;

use crate::*;
use std::time::Duration;

const AT: Time = Time(Duration::ZERO);

/// An m5.large: three interfaces with nine secondary addresses each.
const LIMITS: Limits = Limits { enis: 3, max_enis: None, blocks_per_eni: 9, max_pods: None };

const TARGETS: Targets = Targets {
    mode: Mode::Addresses,
    warm_enis: 1,
    warm_prefixes: 0,
    warm_addresses: None,
    minimum_addresses: None,
    cooldown: Duration::from_secs(30),
};

/// Of what nobody asks for nothing is kept.
const NOTHING_WARM: Targets = Targets { warm_enis: 0, warm_addresses: Some(0), ..TARGETS };

fn pool<const N: usize>(source: Source, enis: [(EniId, Eni); N]) -> Pool {
    with_targets(TARGETS, source, enis)
}

fn with_targets<const N: usize>(targets: Targets, source: Source, enis: [(EniId, Eni); N]) -> Pool {
    let mut pool = Pool::new(targets, LIMITS, source);
    pool.observe(enis.into(), AT);
    pool
}

fn node() -> Source {
    Source::Node(supply(&["subnet-node"]))
}

fn config(subnets: &[&str]) -> Source {
    Source::EniConfig { name: "us-west-2a".into(), supply: supply(subnets) }
}

fn supply(subnets: &[&str]) -> Supply {
    Supply { subnets: subnets.iter().map(|it| (*it).into()).collect(), groups: groups() }
}

fn groups() -> std::collections::BTreeSet<String> {
    ["sg-1".to_owned()].into()
}

fn primary(addresses: u8) -> (EniId, Eni) {
    secondary(0, "subnet-node", addresses)
}

fn secondary(device_index: u8, subnet: &str, addresses: u8) -> (EniId, Eni) {
    let blocks = (1..=addresses).map(|host| Block::Address(address(device_index, host))).collect();
    with_blocks(device_index, subnet, blocks)
}

fn prefixed(device_index: u8, subnet: &str, prefixes: u8) -> (EniId, Eni) {
    let blocks = (1..=prefixes).map(|nth| Block::Prefix(address(device_index, nth * 16))).collect();
    with_blocks(device_index, subnet, blocks)
}

fn with_blocks(
    device_index: u8,
    subnet: &str,
    blocks: std::collections::BTreeSet<Block>,
) -> (EniId, Eni) {
    let eni = Eni {
        device_index: device_index.into(),
        subnet: subnet.into(),
        groups: groups(),
        blocks,
        readiness: Readiness::Ready,
        ownership: Ownership::Ours,
        lifetime: Lifetime::Instance,
    };
    (id(device_index), eni)
}

fn attach(device_index: u32, subnet: &str, amount: Amount) -> Action {
    Action::AttachEni { device_index, subnet: subnet.into(), groups: groups(), amount }
}

fn assign(eni: EniId, amount: Amount) -> Action {
    Action::Assign { eni, amount }
}

fn id(device_index: u8) -> EniId {
    EniId(format!("eni-{device_index}"))
}

fn address(device_index: u8, host: u8) -> std::net::Ipv4Addr {
    [10, 0, device_index, host].into()
}

fn owner(container: impl ToString) -> Owner {
    Owner { network: "aws-cni".into(), container: container.to_string(), interface: "eth0".into() }
}

fn slots(attached: usize, not_serving: &[NotServing]) -> Slots {
    Slots { attached, limits: LIMITS, not_serving: not_serving.into(), of_others: 0 }
}

fn refusal(cause: Cause) -> Refusal {
    Refusal { cause, message: format!("{cause:?}") }
}
