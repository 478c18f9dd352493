//! A VPC made from its specification, and the blocks that an operator adds.

use super::{
    check::SpecError,
    fault::Faults,
    groups,
    ids::Kind,
    reservation::CreateReservation,
    spec::{Spec, SubnetSpec},
    state::{Index, Vpc},
    subnet::{Space, Subnet},
    throttle::Throttle,
};
use ipnetwork::Ipv4Network;
use rand::{SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;

impl Vpc {
    /// Makes the VPC that a specification describes.
    ///
    /// # Errors
    /// When EC2 would not make it.
    pub fn new(spec: Spec) -> Result<Self, SpecError> {
        spec.check()?;
        let mut rng = StdRng::seed_from_u64(spec.seed);
        let id = Kind::Vpc.random(&mut rng);
        let groups = groups::build(&spec.groups, &mut rng)?;
        let mut vpc = Self {
            id,
            subnets: BTreeMap::new(),
            groups,
            interfaces: BTreeMap::new(),
            instances: BTreeMap::new(),
            tags: BTreeMap::new(),
            created: BTreeMap::new(),
            reservations: BTreeMap::new(),
            policies: BTreeMap::new(),
            index: Index::default(),
            throttle: Throttle::default(),
            faults: Faults::new(spec.seed),
            lagging: None,
            due: BTreeMap::new(),
            queued: 0,
            revision: 0,
            rng,
            spec,
        };
        for subnet in vpc.spec.subnets.clone() {
            add_subnet(&mut vpc, subnet);
        }
        Ok(vpc)
    }

    /// Adds an address block, as an operator does while instances run.
    ///
    /// # Errors
    /// A VPC cannot have it beside the others.
    pub fn add_block(&mut self, block: Ipv4Network) -> Result<(), SpecError> {
        let mut spec = self.spec.clone();
        spec.cidrs.push(block);
        spec.check()?;
        self.spec = spec;
        self.changed();
        Ok(())
    }
}

fn add_subnet(vpc: &mut Vpc, spec: SubnetSpec) {
    let id = spec.id.clone().unwrap_or_else(|| Kind::Subnet.random(&mut vpc.rng));
    vpc.tag(&id, "Name", &spec.name);
    let reservations: Vec<_> = spec.reservations().collect();
    let subnet = Subnet {
        id: id.clone(),
        name: spec.name,
        cidr: spec.cidr,
        zone: spec.zone,
        public_ips: spec.public_ips,
        space: Space::new(spec.cidr),
    };
    vpc.subnets.insert(id.clone(), subnet);
    for (kind, cidr) in reservations {
        let request = CreateReservation {
            subnet_id: id.clone(),
            cidr,
            kind,
            description: String::new(),
            tags: BTreeMap::new(),
        };
        let made = vpc.create_subnet_cidr_reservation(&request);
        made.expect("the specification was checked");
    }
}
