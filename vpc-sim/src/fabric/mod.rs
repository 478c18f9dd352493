//! Namespaces, devices, the router and its filters: makes the kernel match a [`Topology`].
//!
//! A world is a router namespace with one veth per interface into the nodes' namespaces, and two
//! more places behind it: the internet, and the services that the world runs itself. As in a real
//! VPC the router knows which interface has which address and sends to that interface's hardware
//! address; it asks no node. Nothing is made in the host's own network namespace.

mod change;
mod delivery;
mod devices;
mod drops;
mod filter;
mod names;
mod plug;
mod router;
mod space;

use anyhow::{Context, Result, bail};
use plug::Plug;
use router::Router;
use space::{Forwarding, Space};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::PathBuf,
    thread,
    time::Instant,
};
use vpc::topology::Topology;

pub use devices::METADATA_SERVICE;
pub use drops::{Dropped, Reason};
pub use names::Place;
pub use plug::RENAME_DELAY;
pub use router::INTERNET_HOST;

/// The wires of one world, from creation to [`Fabric::destroy`].
#[derive(Debug)]
pub struct Fabric {
    world: String,
    router: Router,
    nodes: BTreeMap<String, Node>,
    /// By interface id.
    plugs: BTreeMap<String, Plug>,
    /// Router ends that ever were, and their interfaces: drop counters outlive the devices.
    known_ends: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Node {
    space: Space,
    pods: BTreeSet<String>,
}

impl Fabric {
    /// Makes a world without nodes: a router, the internet, a place for the world's services.
    ///
    /// # Errors
    /// The name is not usable, a world with it exists, or the kernel refuses.
    pub fn create(world: &str) -> Result<Self> {
        names::check(names::Kind::World, world)?;
        let left = space::existing(world)?;
        if !left.is_empty() {
            bail!(
                "create world {world}: {} network namespaces of a world with this name exist; \
                 remove them with `vpc-sim down --name {world}`, or choose another name",
                left.len()
            );
        }
        match Router::create(world) {
            Ok(router) => Ok(Self {
                world: world.into(),
                router,
                nodes: BTreeMap::new(),
                plugs: BTreeMap::new(),
                known_ends: BTreeMap::new(),
            }),
            Err(error) => {
                // The first error is the one worth telling.
                let _ = Self::clean_up(world);
                Err(error.context(format!("create world {world}")))
            }
        }
    }

    /// Makes a machine as its image leaves it after boot: loopback up, forwarding on, no device.
    ///
    /// # Errors
    /// The name is not usable or taken, or the kernel refuses.
    pub fn add_node(&mut self, node: &str) -> Result<()> {
        names::check(names::Kind::Node, node)?;
        let name = names::namespace(&self.world, Place::Node(node));
        let space =
            Space::create(&name, Forwarding::On).with_context(|| format!("add node {node}"))?;
        self.nodes.insert(node.into(), Node { space, pods: BTreeSet::new() });
        Ok(())
    }

    /// Removes a machine with its pods and interfaces. One that does not exist is already removed.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove_node(&mut self, node: &str) -> Result<()> {
        // What cannot be removed keeps nothing else from going.
        let ids: Vec<String> = self.plugs_of(node).map(String::from).collect();
        let mut removed: Vec<Result<()>> = ids.iter().map(|id| self.detach(id)).collect();
        if let Some(machine) = self.nodes.remove(node) {
            let pods = machine.pods.iter().map(|pod| Place::Pod(node, pod));
            let places = pods.chain([Place::Node(node)]);
            let world = &self.world;
            removed.extend(places.map(|place| space::remove(&names::namespace(world, place))));
        }
        removed.into_iter().collect()
    }

    /// Makes an empty pod sandbox on a node and returns the path of its network namespace.
    ///
    /// # Errors
    /// The node does not exist, the name is not usable or taken, or the kernel refuses.
    pub fn add_pod(&mut self, node: &str, pod: &str) -> Result<PathBuf> {
        names::check(names::Kind::Pod, pod)?;
        let name = names::namespace(&self.world, Place::Pod(node, pod));
        let Some(machine) = self.nodes.get_mut(node) else {
            bail!("add pod {pod}: node {node} is not in world {}", self.world);
        };
        Space::create(&name, Forwarding::Off)
            .with_context(|| format!("add pod {pod} on {node}"))?;
        machine.pods.insert(pod.into());
        Ok(net::netns::path(&name))
    }

    /// Removes a pod sandbox. One that does not exist is already removed.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove_pod(&mut self, node: &str, pod: &str) -> Result<()> {
        let Some(machine) = self.nodes.get_mut(node) else { return Ok(()) };
        if machine.pods.contains(pod) {
            space::remove(&names::namespace(&self.world, Place::Pod(node, pod)))?;
            // One that could not be removed is known, so that another attempt finds it.
            machine.pods.remove(pod);
        }
        Ok(())
    }

    /// Makes the kernel match a topology: devices, routes, neighbours, filters, public addresses.
    ///
    /// What is so already is not touched. After an error, applying again resumes where it stopped.
    /// A new device takes [`RENAME_DELAY`], once for all that are new.
    ///
    /// # Errors
    /// An interface is on a node that does not exist, its id cannot name a device, or the kernel
    /// refuses.
    pub fn apply(&mut self, topology: &Topology) -> Result<()> {
        let ends = names::router_ends(topology.enis.keys())?;
        let stale: Vec<String> = self
            .plugs
            .iter()
            .filter(|(id, plug)| topology.enis.get(*id).is_none_or(|eni| !plug.fits(eni)))
            .map(|(id, _)| id.clone())
            .collect();
        for id in stale {
            self.detach(&id)?;
        }
        for (id, eni) in &topology.enis {
            if self.plugs.contains_key(id) {
                continue;
            }
            let Some(node) = self.nodes.get_mut(&eni.node) else {
                bail!("attach {id}: node {} is not in world {}", eni.node, self.world);
            };
            let end = &ends[id];
            let plug = Plug::attach(&mut self.router, &mut node.space, end, eni)
                .with_context(|| format!("attach {id} to {}", eni.node))?;
            self.known_ends.insert(end.clone(), id.clone());
            self.plugs.insert(id.clone(), plug);
        }
        self.router.deliver(delivery::delivery(topology, &self.indexes()))?;
        self.router.filter(filter::tables(topology, &ends))?;
        self.sync()
    }

    /// Where a place of this world is; also of one that does not exist yet.
    pub fn namespace(&self, place: Place<'_>) -> PathBuf {
        net::netns::path(&names::namespace(&self.world, place))
    }

    /// Gives the services' namespace these addresses, and no others.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn serve_at(&mut self, addresses: &[Ipv4Addr]) -> Result<()> {
        self.router.serve_at(addresses.iter().copied().collect())
    }

    /// What the fabric has dropped since it was created, and why.
    ///
    /// # Errors
    /// `nft` is missing or its answer is not understood.
    pub fn dropped(&self) -> Result<Vec<Dropped>> {
        drops::read(&self.router.space, &self.known_ends)
    }

    /// Removes the world.
    ///
    /// # Errors
    /// The kernel refuses to remove a namespace.
    pub fn destroy(self) -> Result<()> {
        let world = self.world.clone();
        // Our own sockets in the namespaces would keep their devices alive.
        drop(self);
        Self::clean_up(&world).map(drop)
    }

    /// Removes what a world left, also when its process was killed; returns how many namespaces.
    ///
    /// # Errors
    /// The name is no name of a world, or the kernel refuses to remove a namespace.
    pub fn clean_up(world: &str) -> Result<usize> {
        names::check(names::Kind::World, world)?;
        let left = space::existing(world)?;
        // What cannot be removed keeps nothing else from going.
        let removed: Vec<Result<()>> = left.iter().map(|name| space::remove(name)).collect();
        removed.into_iter().collect::<Result<()>>()?;
        Ok(left.len())
    }

    fn plugs_of<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a str> {
        self.plugs.iter().filter(move |(_, plug)| plug.is_at(node)).map(|(id, _)| id.as_str())
    }

    fn indexes(&self) -> BTreeMap<String, u32> {
        self.plugs.iter().map(|(id, plug)| (id.clone(), plug.index())).collect()
    }

    fn detach(&mut self, id: &str) -> Result<()> {
        if let Some(plug) = self.plugs.get(id) {
            plug.detach(&mut self.router).with_context(|| format!("detach {id}"))?;
            self.plugs.remove(id);
        }
        Ok(())
    }

    /// Gives new devices their final names when their time has come, and boots primary ones.
    fn sync(&mut self) -> Result<()> {
        for (id, plug) in &mut self.plugs {
            let Some(due) = plug.rename_due() else { continue };
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let Some(node) = self.nodes.get_mut(plug.node()) else { continue };
            plug.sync(&mut self.router, &mut node.space)
                .with_context(|| format!("name the device of {id}"))?;
        }
        Ok(())
    }
}
