//! The VPC's router, and the two places behind it: the internet and the world's services.

use super::{
    delivery::Delivery,
    devices::{INTERNET_NAME, METADATA_SERVICE, SERVICES_NAME, VOID, VOID_NAME},
    drops,
    filter::Table,
    names::{Place, namespace},
    space::{Forwarding, LOOPBACK, Space, up},
};
use anyhow::{Context, Result, bail};
use ipnetwork::Ipv4Network;
use net::{Mac, Object, Op, Route, Veth, VethPeer, nft};
use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    os::fd::RawFd,
    thread,
    time::{Duration, Instant},
};

/// A host on the internet, in the range that is set aside for tests (RFC 2544).
pub const INTERNET_HOST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// Hardware address of every end that the router has.
pub(super) const ROUTER_MAC: Mac = Mac([0x02, 0x76, 0x70, 0x63, 0x00, 0x01]);

/// Hardware address of the internet's and the services' ends.
const PLACE_MAC: Mac = Mac([0x02, 0x76, 0x70, 0x63, 0x00, 0x02]);

/// Indexes of its other devices.
const VOID_END: u32 = 11;
const INTERNET: u32 = 12;
const SERVICES: u32 = 13;
/// Index of the first interface's end.
const FIRST_END: u32 = 100;
/// Index of the only device in the internet's and the services' namespaces.
const PLACE_LINK: u32 = 2;

/// Next hops between the router and a place. Both are known without ARP, and nothing bears them.
const ROUTER_HOP: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 1);
const PLACE_HOP: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 2);

/// How long a device may take until it sends: the kernel does it at once, unless it is stuck behind
/// the removal of many namespaces.
const CARRIER_PATIENCE: Duration = Duration::from_secs(5);
/// How often that is looked at: a look costs some microseconds.
const CARRIER_POLL: Duration = Duration::from_millis(1);

/// MTU towards the internet gateway, and of ordinary networks.
const INTERNET_MTU: u32 = 1500;
/// MTU inside a VPC.
const VPC_MTU: u32 = 9001;

/// The router with what it has been told.
#[derive(Debug)]
pub(super) struct Router {
    pub(super) space: Space,
    internet: Space,
    services: Space,
    next_index: u32,
    delivery: Delivery,
    tables: Vec<Table>,
    served: BTreeSet<Ipv4Addr>,
}

impl Router {
    /// Makes the router, the internet and the place of the services, and wires them.
    pub(super) fn create(world: &str) -> Result<Self> {
        let mut router = Self {
            space: Space::create(&namespace(world, Place::Router), Forwarding::On)?,
            internet: Space::create(&namespace(world, Place::Internet), Forwarding::On)?,
            services: Space::create(&namespace(world, Place::Services), Forwarding::Off)?,
            next_index: FIRST_END,
            delivery: Delivery::default(),
            tables: vec![],
            served: BTreeSet::new(),
        };
        router.set_up()?;
        router.wire_places()?;
        router
            .space
            .within(|| nft::apply(&drops::table()))
            .context("create the router's counters of drops")?;
        router.wait_until_running(INTERNET_NAME)?;
        router.wait_until_running(SERVICES_NAME)?;
        Ok(router)
    }

    fn set_up(&self) -> Result<()> {
        for space in [&self.space, &self.internet] {
            space.set(&[
                ("ipv4/conf/all/send_redirects", "0"),
                ("ipv4/conf/default/send_redirects", "0"),
            ])?;
        }
        self.space.set(&[
            // Answers for every address that it would send to another device.
            ("ipv4/conf/all/proxy_arp", "1"),
            // No router advertisements, no solicitations: this VPC has no IPv6.
            ("ipv6/conf/all/disable_ipv6", "1"),
            ("ipv6/conf/default/disable_ipv6", "1"),
        ])
    }

    fn wire_places(&mut self) -> Result<()> {
        let void = end(VOID_NAME, VOID, VPC_MTU, ("void-end", VOID_END, None));
        let internet = self.internet.descriptor();
        let internet =
            end(INTERNET_NAME, INTERNET, INTERNET_MTU, ("eth0", PLACE_LINK, Some(internet)));
        let services = self.services.descriptor();
        let services = end(SERVICES_NAME, SERVICES, VPC_MTU, ("eth0", PLACE_LINK, Some(services)));
        let link_local = Ipv4Network::new(Ipv4Addr::new(169, 254, 0, 0), 16)?;
        let anywhere = Ipv4Network::new(Ipv4Addr::UNSPECIFIED, 0)?;
        self.space.netlink.apply(&[
            Op::Add(void),
            up(VOID_END),
            Op::Add(internet),
            Op::Add(services),
            Op::Add(address(LOOPBACK, METADATA_SERVICE)),
            // Link-local services that nobody serves do not answer.
            Op::Add(Object::Route(Route::on_link(link_local, VOID))),
            neighbour(INTERNET, PLACE_HOP, PLACE_MAC),
            neighbour(SERVICES, PLACE_HOP, PLACE_MAC),
            Op::Add(Object::Route(Route::via(anywhere, PLACE_HOP, INTERNET))),
        ])?;
        let home = [
            up(PLACE_LINK),
            neighbour(PLACE_LINK, ROUTER_HOP, ROUTER_MAC),
            Op::Add(Object::Route(Route::via(anywhere, ROUTER_HOP, PLACE_LINK))),
        ];
        // The route takes the address that is there as its source.
        self.internet.netlink.apply(&[Op::Add(address(PLACE_LINK, INTERNET_HOST))])?;
        self.internet.netlink.apply(&home)?;
        self.services.netlink.apply(&home)?;
        Ok(())
    }

    /// An index that no device of the router has had.
    pub(super) fn next_index(&mut self) -> u32 {
        let index = self.next_index;
        self.next_index += 1;
        index
    }

    /// Waits until the router sends through a device whose other end has just come up. Until the
    /// kernel has noticed, it drops what it is given (measured: up to some ms on a busy machine).
    pub(super) fn wait_until_running(&mut self, name: &str) -> Result<()> {
        let end = Instant::now() + CARRIER_PATIENCE;
        loop {
            let link = self.space.netlink.link_by_name(name)?;
            if link.with_context(|| format!("device {name} is gone from the router"))?.running {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("device {name} of the router has no carrier after {CARRIER_PATIENCE:?}");
            }
            thread::sleep(CARRIER_POLL);
        }
    }

    /// Changes who gets what.
    pub(super) fn deliver(&mut self, next: Delivery) -> Result<()> {
        let changes = self.delivery.changes(&next);
        self.space.netlink.apply(&changes).context("change the router's routes")?;
        self.delivery = next;
        Ok(())
    }

    /// Changes the tables, all in one transaction.
    pub(super) fn filter(&mut self, tables: Vec<Table>) -> Result<()> {
        let script = Table::changes(&self.tables, &tables);
        if !script.is_empty() {
            self.space.within(|| nft::apply(&script)).context("change the router's filters")?;
            self.tables = tables;
        }
        Ok(())
    }

    /// Gives the services these addresses, and no others.
    pub(super) fn serve_at(&mut self, addresses: BTreeSet<Ipv4Addr>) -> Result<()> {
        let route = |to: &Ipv4Addr| Object::Route(Route::via((*to).into(), PLACE_HOP, SERVICES));
        // On the loopback device: with its last address another device loses its routes.
        let (mut here, mut there) = (vec![], vec![]);
        for gone in self.served.difference(&addresses) {
            here.push(Op::Remove(route(gone)));
            there.push(Op::Remove(address(LOOPBACK, *gone)));
        }
        for new in addresses.difference(&self.served) {
            here.push(Op::Add(route(new)));
            there.push(Op::Add(address(LOOPBACK, *new)));
        }
        self.services.netlink.apply(&there).context("change the services' addresses")?;
        self.space.netlink.apply(&here).context("change the routes to the services")?;
        self.served = addresses;
        Ok(())
    }
}

/// A veth between the router and a place: the place's end has a name, an index and a namespace.
fn end(name: &str, index: u32, mtu: u32, peer: (&str, u32, Option<RawFd>)) -> Object {
    Object::Veth(Veth {
        name: name.into(),
        index: Some(index),
        mac: ROUTER_MAC,
        mtu,
        group: 0,
        up: true,
        peer: VethPeer { name: peer.0.into(), index: Some(peer.1), mac: PLACE_MAC, netns: peer.2 },
    })
}

fn address(link: u32, address: Ipv4Addr) -> Object {
    Object::Address { link, address: Ipv4Network::from(address).into() }
}

fn neighbour(link: u32, address: Ipv4Addr, mac: Mac) -> Op {
    Op::Add(Object::Neighbour { link, address, mac })
}
