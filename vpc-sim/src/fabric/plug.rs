//! An interface plugged into a node: its veth, and how the device looks to the machine.

use super::{
    delivery::gateway,
    router::{ROUTER_MAC, Router},
    space::{Space, up},
};
use anyhow::{Context, Result, bail};
use ipnetwork::{IpNetwork, Ipv4Network};
use net::{LinkChange, Object, Op, Route, Veth, VethPeer};
use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};
use vpc::topology::Eni;

/// How long a new device bears the kernel's name before udev gives it its own: 16 ms were seen on
/// an EC2 instance (cilium#43203).
pub const RENAME_DELAY: Duration = Duration::from_millis(16);

/// MTU inside a VPC ("Network maximum transmission unit (MTU) for your EC2 instance").
const VPC_MTU: u32 = 9001;

/// Where a new device is looked for a free `ethN`: more than any instance type has interfaces.
const MOST_DEVICES: usize = 256;

/// A plugged interface.
#[derive(Debug)]
pub(super) struct Plug {
    /// The interface as it was plugged.
    eni: Eni,
    /// The router's end.
    veth: Veth,
    index: u32,
    /// The device in the node, and when it gets its final name; `None` when it has it.
    unnamed: Option<(String, Instant)>,
}

impl Plug {
    /// Makes the veth: the router's end is up, answers for the gateway and for every other address
    /// of the subnet; the node's end is down and bears the kernel's name.
    pub(super) fn attach(
        router: &mut Router,
        node: &mut Space,
        end: &str,
        eni: &Eni,
    ) -> Result<Self> {
        let taken: Vec<String> = node.netlink.links()?.into_iter().map(|link| link.name).collect();
        let Some(device) =
            (0..MOST_DEVICES).map(|n| format!("eth{n}")).find(|name| !taken.contains(name))
        else {
            bail!("the node has {MOST_DEVICES} devices: no name is free");
        };
        let index = router.next_index();
        let veth = Veth {
            name: end.into(),
            index: Some(index),
            mac: ROUTER_MAC,
            mtu: VPC_MTU,
            group: 0,
            up: true,
            peer: VethPeer {
                name: device.clone(),
                index: None,
                mac: eni.mac,
                netns: Some(node.descriptor()),
            },
        };
        let gateway = IpNetwork::V4(Ipv4Network::from(gateway(eni.subnet)));
        router.space.netlink.apply(&[
            Op::Add(Object::Veth(veth.clone())),
            Op::Add(Object::Address { link: index, address: gateway }),
        ])?;
        let plug = Self {
            eni: eni.clone(),
            veth,
            index,
            unnamed: Some((device, Instant::now() + RENAME_DELAY)),
        };
        // Without this the kernel lets a broadcast request wait for up to 0.8 s (`arp(7)`).
        let answered = router.space.set(&[(&format!("ipv4/neigh/{end}/proxy_delay"), "0")]);
        if let Err(error) = answered {
            // The first error is the one worth telling.
            let _ = plug.detach(router);
            return Err(error);
        }
        Ok(plug)
    }

    /// Removes the device from the node and the router.
    pub(super) fn detach(&self, router: &mut Router) -> Result<()> {
        Ok(router.space.netlink.apply(&[Op::Remove(Object::Veth(self.veth.clone()))])?)
    }

    /// Whether this is how the interface would be plugged now; what else an interface has is not
    /// in the device.
    pub(super) fn fits(&self, eni: &Eni) -> bool {
        let device = |eni: &Eni| {
            (eni.node.clone(), eni.device.clone(), eni.mac, eni.subnet, eni.primary, eni.boot)
        };
        device(&self.eni) == device(eni)
    }

    pub(super) fn is_at(&self, node: &str) -> bool {
        self.eni.node == node
    }

    pub(super) fn node(&self) -> &str {
        &self.eni.node
    }

    /// Index of the router's end.
    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// When the device gets its final name; `None` when it has it.
    pub(super) fn rename_due(&self) -> Option<Instant> {
        self.unnamed.as_ref().map(|(_, due)| *due)
    }

    /// Gives the device its final name, as udev does, and boots a primary one, as DHCP does.
    pub(super) fn sync(&mut self, router: &mut Router, node: &mut Space) -> Result<()> {
        let Some((device, _)) = &self.unnamed else { return Ok(()) };
        // By its final name when an earlier attempt got no further.
        let link = match node.netlink.link_by_name(device)? {
            Some(link) => Some(link),
            None => node.netlink.link_by_name(&self.eni.device)?,
        };
        let link = link.with_context(|| format!("device {device} is gone from the node"))?.index;
        let name = Some(self.eni.device.clone());
        let mut ops = vec![Op::Change(LinkChange { link, name, ..LinkChange::default() })];
        if let (true, Some(primary)) = (self.eni.boot, self.eni.primary) {
            let address = Ipv4Network::new(primary, self.eni.subnet.prefix())?;
            let anywhere = Ipv4Network::new(Ipv4Addr::UNSPECIFIED, 0)?;
            ops.extend([
                up(link),
                Op::Add(Object::Address { link, address: address.into() }),
                Op::Add(Object::Route(Route::via(anywhere, gateway(self.eni.subnet), link))),
            ]);
        }
        node.netlink.apply(&ops)?;
        if self.eni.boot {
            router.wait_until_running(&self.veth.name)?;
        }
        self.unnamed = None;
        Ok(())
    }
}
