//! Nodes and their VPC in virtual time: from event to event, with a judgement after each.

use crate::{
    cloud::{Bad, Cloud, group_id, subnet_id},
    history::{Config, NOWHERE, OTHER_ZONE, POD_SUBNETS, Setup, Step, What},
    laws::{self, Broken},
    node::Node,
    tagging::{all_are_tagged, retag},
};
use pool::{HOLD, Source, Time};
use std::{collections::BTreeMap, time::Duration};
use vpc::Time as At;

/// After so long without faults every pause of the pool has ended (the longest is half an hour),
/// and what was wanted then has been done.
const CALM: Duration = Duration::from_secs(45 * 60);

/// Moments that one run may take: more is a loop.
const MOMENTS: usize = 200_000;

/// What a run was like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) moments: usize,
    pub(crate) calls: usize,
    /// Pods that had an address when all was calm, and pods that found none.
    pub(crate) served: usize,
    pub(crate) unserved: usize,
    /// How often what can go wrong was met.
    pub(crate) met: BTreeMap<&'static str, usize>,
    /// How often daemons died.
    pub(crate) deaths: usize,
    /// How often calls were answered badly.
    pub(crate) answers: BTreeMap<Bad, usize>,
    /// When the run ended.
    pub(crate) end: Time,
}

/// Lets a history happen, and judges it.
pub(crate) fn run(setup: &Setup, steps: &[Step]) -> Result<Summary, Broken> {
    let mut world = World::new(setup);
    for step in steps {
        world.until(step.at)?;
        world.take(step)?;
    }
    world.calm_down()?;
    laws::demand_is_met(&world.nodes, &world.cloud, world.now)?;
    all_are_tagged(&world.nodes, &world.cloud)?;
    let served = world.nodes.iter().map(|node| node.live.len()).sum();
    let unserved = world.nodes.iter().map(Node::waiting).sum();
    world.end_pods()?;
    laws::nothing_leaks(&world.nodes, &world.cloud, world.now)?;
    Ok(Summary {
        moments: world.moments,
        calls: world.cloud.calls.values().sum(),
        served,
        unserved,
        met: world.cloud.met.clone(),
        deaths: world.nodes.iter().map(|node| node.deaths).sum(),
        answers: world.cloud.answers.clone(),
        end: world.now,
    })
}

struct World {
    cloud: Cloud,
    nodes: Vec<Node>,
    now: Time,
    moments: usize,
}

impl World {
    fn new(setup: &Setup) -> Self {
        let now = Time::default();
        let mut cloud = Cloud::new(setup);
        let nodes =
            (0..setup.nodes).map(|number| Node::new(number, setup, &mut cloud, now)).collect();
        Self { cloud, nodes, now, moments: 0 }
    }

    /// Lets everything happen up to a time.
    fn until(&mut self, end: Time) -> Result<(), Broken> {
        loop {
            let nodes = self.nodes.iter().filter_map(Node::next);
            let cloud = self.cloud.vpc.next_event().map(|at| Time(at.0));
            let Some(next) = nodes.chain(cloud).min().filter(|at| *at <= end) else {
                self.now = self.now.max(end);
                return Ok(());
            };
            self.now = self.now.max(next);
            let events = cloud.is_some_and(|at| at <= self.now);
            self.cloud.vpc.advance(At(self.now.0));
            for node in 0..self.nodes.len() {
                // What EC2 does by itself is seen by all.
                if events || self.nodes[node].next().is_some_and(|at| at <= self.now) {
                    self.turn(node)?;
                }
            }
            self.judge()?;
        }
    }

    fn turn(&mut self, node: usize) -> Result<(), Broken> {
        self.nodes[node].turn(&mut self.cloud, self.now)
    }

    fn judge(&mut self) -> Result<(), Broken> {
        self.moments += 1;
        Broken::check(self.moments < MOMENTS, "no hot loop", || format!("{MOMENTS} moments"))?;
        laws::everywhere(&self.nodes, &self.cloud)
    }

    fn take(&mut self, step: &Step) -> Result<(), Broken> {
        let now = self.now;
        let node = &mut self.nodes[step.node];
        match &step.what {
            What::Add { pod, patience } => node.add(*pod, *patience, now)?,
            What::AddAgain { pod } => node.add_again(*pod, now)?,
            What::Del { pod } => node.del(*pod, now),
            What::DelUnknown => node.del(u32::MAX, now),
            What::Restart { down } => node.kill(*down, now),
            What::DieAtWrite { after } => node.writes_left = Some(*after),
            What::RecordFull { lasts } => {
                self.cloud.meet("record full");
                node.record_full_until = Some(now + *lasts);
            }
            What::LoseRecord { left, down } => {
                node.kill(*down, now);
                node.lose_record(*left, &mut self.cloud, now);
            }
            What::Retag { teams, down } => retag(node, *teams, *down, &mut self.cloud, now),
            What::ServeByAnother { ends, starts, down } => {
                node.end(*down, now);
                node.serve_by_another(ends, *starts, &mut self.cloud, now);
            }
            What::Fault { fault, lasts, all } => {
                self.cloud.fault((!all).then_some(step.node), *fault, *lasts, now);
            }
            What::Config(config) => node.configure(config),
            What::Occupy { subnet, addresses } => self.cloud.occupy(*subnet, *addresses, now),
            What::Fragment { subnet } => self.cloud.fragment(*subnet, now),
            What::Vacate => drop(self.cloud.vacate(now)),
            What::Stale { lack, lasts } => node.see_less(*lack, now + *lasts),
            What::LateDevices { by } => node.late_by = *by,
            What::Quarantine { lasts } => node.quarantine(now + *lasts, now),
        }
        self.turn(step.node)?;
        self.judge()
    }

    /// Ends all faults and waits.
    fn calm_down(&mut self) -> Result<(), Broken> {
        self.cloud.end_faults(self.now);
        let tenants_stay = self.nodes[0].setup.tenants_stay;
        while !tenants_stay && self.cloud.vacate(self.now) {}
        for node in &mut self.nodes {
            (node.writes_left, node.record_full_until) = (None, None);
            node.see_all();
            node.patient = true;
            if !is_sound(node.source()) {
                let subnets = (0..POD_SUBNETS).collect();
                node.configure(&Config::Supply { subnets, groups: vec![0] });
            }
        }
        for node in 0..self.nodes.len() {
            self.turn(node)?;
        }
        self.until(self.now + CALM)
    }

    /// Ends all pods and waits until what they used is spare.
    fn end_pods(&mut self) -> Result<(), Broken> {
        for node in &mut self.nodes {
            for pod in node.pods.keys().copied().collect::<Vec<_>>() {
                node.del(pod, self.now);
            }
        }
        for node in 0..self.nodes.len() {
            self.turn(node)?;
        }
        self.until(self.now + HOLD + CALM)
    }
}

/// Whether interfaces can be made of what the source says.
fn is_sound(source: &Source) -> bool {
    let bad = [subnet_id(NOWHERE), subnet_id(OTHER_ZONE)];
    source.supply().is_some_and(|supply| {
        !supply.subnets.iter().any(|subnet| bad.contains(subnet))
            && supply.groups.contains(&group_id(0))
    })
}
