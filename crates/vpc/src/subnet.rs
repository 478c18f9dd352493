//! The addresses of a subnet: who has which, and which one is next.

use super::{ids::EniId, interface::Interface};
use ipnetwork::Ipv4Network;
use rand::{Rng, seq::IteratorRandom};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    str::FromStr,
};

/// Addresses in a prefix that EC2 delegates over IPv4: a /28.
pub(super) const PREFIX_SIZE: u32 = 16;

/// Addresses at the beginning of a subnet that nobody gets: the network, the router, DNS, and one
/// for the future. The last address is the fifth.
const RESERVED_AT_START: u32 = 4;

/// Random picks before looking at every address; enough while a tenth of the subnet is free.
const BLIND_PICKS: usize = 32;

/// A subnet.
#[derive(Clone, Debug)]
pub struct Subnet {
    /// Its id.
    pub id: String,
    /// Its name in the specification, and its tag `Name`.
    pub name: String,
    /// Its addresses.
    pub cidr: Ipv4Network,
    /// Its availability zone.
    pub zone: String,
    /// Instances launched here get a public address.
    pub public_ips: bool,
    pub(super) space: Space,
}

/// What a reserved block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReservationType {
    /// For prefixes, which come from here first.
    Prefix,
    /// For addresses and prefixes that are asked for by name.
    Explicit,
}

impl ReservationType {
    /// Its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prefix => "prefix",
            Self::Explicit => "explicit",
        }
    }
}

impl FromStr for ReservationType {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        [Self::Prefix, Self::Explicit].into_iter().find(|it| it.as_str() == name).ok_or(())
    }
}

/// A reserved block of a subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CidrReservation {
    /// Its id: `scr-0…`.
    pub id: String,
    /// Id of the subnet.
    pub subnet_id: String,
    /// The block.
    pub cidr: Ipv4Network,
    /// What it is for.
    pub kind: ReservationType,
    /// Words for people.
    pub description: String,
}

impl Subnet {
    /// Addresses that nobody has, those inside of prefixes not counted: EC2's
    /// `AvailableIpAddressCount`.
    #[must_use]
    pub fn free(&self) -> u32 {
        self.space.free()
    }

    /// The same, were these all interfaces of the VPC: what a read sees that lags.
    pub fn free_beside<'a>(&self, interfaces: impl Iterator<Item = &'a Interface>) -> u32 {
        let here = interfaces.filter(|interface| interface.subnet_id == self.id);
        let taken = here.map(|interface| {
            interface.addresses().count() + interface.prefixes.len() * PREFIX_SIZE as usize
        });
        self.space.usable().saturating_sub(u32::try_from(taken.sum::<usize>()).unwrap_or(u32::MAX))
    }

    /// The interface that has an address, alone or inside of a prefix.
    #[must_use]
    pub fn owner(&self, address: Ipv4Addr) -> Option<&EniId> {
        self.space.owner(address)
    }
}

/// Who has which address. Single addresses and prefixes come from the same space.
#[derive(Clone, Debug)]
pub(super) struct Space {
    first: u32,
    last: u32,
    single: BTreeMap<u32, EniId>,
    prefixes: BTreeMap<u32, EniId>,
    /// First and last address of blocks that are reserved, and what for.
    reserved: Vec<(u32, u32, ReservationType)>,
}

impl Space {
    pub(super) fn new(cidr: Ipv4Network) -> Self {
        Self {
            first: cidr.network().into(),
            last: cidr.broadcast().into(),
            single: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            reserved: Vec::new(),
        }
    }

    /// Keeps a block for something, from now on.
    pub(super) fn reserve(&mut self, kind: ReservationType, block: Ipv4Network) {
        self.reserved.push((block.network().into(), block.broadcast().into(), kind));
    }

    /// Keeps a block for nothing.
    pub(super) fn unreserve(&mut self, block: Ipv4Network) {
        self.reserved.retain(|(first, _, _)| *first != u32::from(block.network()));
    }

    pub(super) fn free(&self) -> u32 {
        let taken = self.single.len() + self.prefixes.len() * PREFIX_SIZE as usize;
        self.usable().saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX))
    }

    /// Addresses that somebody could have.
    fn usable(&self) -> u32 {
        (self.last - self.first + 1).saturating_sub(RESERVED_AT_START + 1)
    }

    pub(super) fn owner(&self, address: Ipv4Addr) -> Option<&EniId> {
        let address = u32::from(address);
        self.single.get(&address).or_else(|| self.prefixes.get(&(address & !(PREFIX_SIZE - 1))))
    }

    /// Whether anybody may have this address: it is in the subnet and not reserved.
    pub(super) fn is_usable(&self, address: Ipv4Addr) -> bool {
        (self.first + RESERVED_AT_START..self.last).contains(&u32::from(address))
    }

    /// Whether a prefix could be taken now.
    pub(super) fn is_free_prefix(&self, prefix: Ipv4Network) -> bool {
        self.free_block(prefix.network().into())
    }

    pub(super) fn take(&mut self, address: Ipv4Addr, owner: &EniId) {
        self.single.insert(address.into(), owner.clone());
    }

    pub(super) fn release(&mut self, address: Ipv4Addr) {
        self.single.remove(&address.into());
    }

    pub(super) fn take_prefix(&mut self, prefix: Ipv4Network, owner: &EniId) {
        self.prefixes.insert(prefix.network().into(), owner.clone());
    }

    pub(super) fn release_prefix(&mut self, prefix: Ipv4Network) {
        self.prefixes.remove(&prefix.network().into());
    }

    /// `count` free addresses from anywhere in the subnet, as EC2 scatters them; none when there
    /// are fewer. Takes nothing.
    pub(super) fn pick(&self, count: u32, rng: &mut impl Rng) -> Option<Vec<Ipv4Addr>> {
        if count > self.free() {
            return None;
        }
        let mut picked = BTreeSet::new();
        let mut order = Vec::new();
        for _ in 0..count {
            let address = self.pick_one(&picked, rng)?;
            picked.insert(address);
            order.push(address.into());
        }
        Some(order)
    }

    fn pick_one(&self, without: &BTreeSet<u32>, rng: &mut impl Rng) -> Option<u32> {
        let usable = self.first + RESERVED_AT_START..self.last;
        let is_free = |address: &u32| {
            !without.contains(address)
                && self.owner((*address).into()).is_none()
                && !self.reserved.iter().any(|(first, last, _)| (first..=last).contains(&address))
        };
        let blind = (0..BLIND_PICKS).map(|_| rng.random_range(usable.clone())).find(is_free);
        blind.or_else(|| usable.filter(is_free).choose(rng))
    }

    /// `count` free, aligned prefixes from anywhere in the subnet; none when there are fewer.
    /// Takes nothing.
    pub(super) fn pick_prefixes(&self, count: u32, rng: &mut impl Rng) -> Option<Vec<Ipv4Network>> {
        if count > self.free() / PREFIX_SIZE {
            return None;
        }
        let mut picked = BTreeSet::new();
        let mut order = Vec::new();
        for _ in 0..count {
            let start = self.pick_block(&picked, rng)?;
            picked.insert(start);
            order.extend(Ipv4Network::new(start.into(), 28));
        }
        Some(order)
    }

    fn pick_block(&self, without: &BTreeSet<u32>, rng: &mut impl Rng) -> Option<u32> {
        let of = |kind| self.reserved.iter().filter(move |(_, _, it)| *it == kind);
        let is_explicit = |start: u32| {
            of(ReservationType::Explicit)
                .any(|(first, last, _)| start <= *last && *first < start + PREFIX_SIZE)
        };
        let is_free = |start: &u32| {
            !without.contains(start) && self.free_block(*start) && !is_explicit(*start)
        };
        // EC2, "Subnet CIDR reservations": prefixes come from the reserved blocks while there are
        // any, and from the rest of the subnet then.
        let prefix = of(ReservationType::Prefix);
        let reserved = prefix.flat_map(|(first, last, _)| blocks(*first, *last));
        if let Some(start) = reserved.filter(is_free).choose(rng) {
            return Some(start);
        }
        let any = |_| rng.random_range(self.first..=self.last) & !(PREFIX_SIZE - 1);
        let blind = (0..BLIND_PICKS).map(any).find(is_free);
        blind.or_else(|| blocks(self.first, self.last).filter(is_free).choose(rng))
    }

    // A block with a reserved address in it, the first and the last of the subnet, is not free.
    fn free_block(&self, start: u32) -> bool {
        let end = start + (PREFIX_SIZE - 1);
        start.is_multiple_of(PREFIX_SIZE)
            && start >= self.first + RESERVED_AT_START
            && end < self.last
            && !self.prefixes.contains_key(&start)
            && self.single.range(start..=end).next().is_none()
    }
}

fn blocks(first: u32, last: u32) -> impl Iterator<Item = u32> {
    (first..=last).step_by(PREFIX_SIZE as usize)
}

/// Whether a block is canonical and inside of another one.
pub(super) fn is_block_of(whole: Ipv4Network, block: Ipv4Network) -> bool {
    block.ip() == block.network()
        && whole.contains(block.network())
        && whole.contains(block.broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    fn space(cidr: &str) -> Space {
        Space::new(cidr.parse().unwrap())
    }

    fn eni() -> EniId {
        EniId("eni-0".into())
    }

    #[track_caller]
    fn check_prefixes(cidr: &str, want: usize) {
        let space = space(cidr);

        let blocks = (space.first..=space.last).filter(|start| space.free_block(*start)).count();

        assert_eq!(blocks, want, "{cidr}");
    }

    #[test]
    fn five_addresses_of_a_subnet_are_reserved() {
        let mut space = space("10.0.0.0/28");
        let mut rng = StdRng::seed_from_u64(1);

        let all = space.pick(11, &mut rng).unwrap();
        for address in &all {
            space.take(*address, &eni());
        }

        assert_eq!(space.free(), 0);
        assert!(all.iter().all(|address| (4..15).contains(&address.octets()[3])), "{all:?}");
        assert_eq!(space.pick(1, &mut rng), None);
    }

    #[test]
    fn addresses_are_scattered_over_the_subnet() {
        let space = space("10.0.0.0/16");

        let picked = space.pick(10, &mut StdRng::seed_from_u64(1)).unwrap();

        let blocks: BTreeSet<_> = picked.iter().map(|a| u32::from(*a) / 256).collect();
        assert!(blocks.len() > 5, "{picked:?}");
    }

    #[test]
    fn the_first_and_last_block_of_a_subnet_are_no_prefixes() {
        check_prefixes("10.0.0.0/24", 14);
        check_prefixes("10.0.0.0/26", 2);
        check_prefixes("10.0.0.0/27", 0);
        check_prefixes("10.0.0.0/28", 0);
    }

    #[test]
    fn a_reserved_block_is_for_prefixes_which_come_from_it_first() {
        let reserved = "10.0.0.64/27".parse().unwrap();
        let mut space = space("10.0.0.0/24");
        space.reserve(ReservationType::Prefix, reserved);
        let mut rng = StdRng::seed_from_u64(1);

        let prefixes = space.pick_prefixes(3, &mut rng).unwrap();
        let single = space.pick(251 - 32, &mut rng).unwrap();
        for address in &single {
            space.take(*address, &eni());
        }
        let left = space.pick(1, &mut rng);

        let inside: Vec<bool> = prefixes.iter().map(|it| reserved.contains(it.ip())).collect();
        assert_eq!(inside, [true, true, false]);
        assert!(single.iter().all(|address| !reserved.contains(*address)));
        assert_eq!((space.free(), left), (32, None));
    }

    #[test]
    fn one_address_spoils_a_block_and_a_prefix_takes_sixteen_addresses() {
        let mut space = space("10.0.0.0/26");
        let mut rng = StdRng::seed_from_u64(1);
        space.take("10.0.0.20".parse().unwrap(), &eni());

        let picked = space.pick_prefixes(1, &mut rng).unwrap();
        space.take_prefix(picked[0], &eni());

        assert_eq!(picked, ["10.0.0.32/28".parse().unwrap()]);
        assert_eq!(space.pick_prefixes(1, &mut rng), None);
        assert_eq!(space.free(), 64 - 5 - 1 - 16);
        assert_eq!(space.owner("10.0.0.40".parse().unwrap()), Some(&eni()));
    }
}
