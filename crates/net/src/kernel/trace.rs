//! What the kernel shows of pods, whoever made them: their links, what is routed to them, which rules
//! are about their addresses, and in which namespace the other end of a link is.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's lists are open: what we do not know we skip"
)]

use crate::{
    kernel::{
        apply::Netlink,
        netns,
        query::{Link, every_link},
    },
    plan::op::{MAIN_TABLE, Mac},
};
use netlink_packet_route::{
    RouteNetlinkMessage as Message,
    link::LinkAttribute,
    nsid::{NsidAttribute, NsidMessage},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    net::Ipv4Addr,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

/// Length of a prefix that is one address.
const ONE_ADDRESS: u8 = 32;

/// Files of namespaces that are looked at; a full node has some hundreds.
const MOST_NAMESPACES: usize = 8192;

/// The host end of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLink {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// Its MTU.
    pub mtu: u32,
    /// Its device group.
    pub group: u32,
    /// The number that this namespace has for that of the other end, where they differ.
    pub netns_id: Option<i32>,
}

/// All that the kernel shows of pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// One end of every veth pair, by index.
    pub links: BTreeMap<u32, PodLink>,
    /// Single addresses that the main table routes to a link, by address; 0 where there is none.
    pub routes: BTreeMap<Ipv4Addr, u32>,
    /// Single addresses that rules are about, with the table of the rule that is about what they send.
    pub rules: BTreeMap<Ipv4Addr, Option<u32>>,
    /// The node's own addresses.
    pub own: BTreeSet<Ipv4Addr>,
}

impl Netlink {
    /// Looks at all that the kernel has of pods. Four lists: for a start and for people, not for an ADD.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn traces(&mut self) -> io::Result<Traces> {
        let links = self.channel.dump(every_link(), pod_link)?;
        let links = links.into_iter().map(|link| (link.index, link)).collect();
        let routes = self.routes(MAIN_TABLE)?.into_iter();
        let routes = routes
            .filter(|route| route.to.prefix() == ONE_ADDRESS)
            .map(|route| (route.to.ip(), route.link.filter(|_| route.via.is_none()).unwrap_or(0)));
        let mut rules: BTreeMap<Ipv4Addr, Option<u32>> = BTreeMap::new();
        for rule in self.rules()? {
            let single = |cidr: Option<ipnetwork::Ipv4Network>| {
                cidr.filter(|cidr| cidr.prefix() == ONE_ADDRESS).map(|cidr| cidr.ip())
            };
            if let Some(to) = single(rule.to) {
                rules.entry(to).or_default();
            }
            if let Some(from) = single(rule.from) {
                rules.insert(from, Some(rule.table));
            }
        }
        let own = self.all_addresses()?.into_iter().map(|(_, address)| address.ip()).collect();
        Ok(Traces { links, routes: routes.collect(), rules, own })
    }

    /// The files of namespaces by the numbers that this namespace has for them. What cannot be looked
    /// at is left out: it may be going.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn netns_paths(&mut self) -> io::Result<BTreeMap<i32, PathBuf>> {
        let entries = match fs::read_dir(netns::FOLDER) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(error),
        };
        let mut paths = BTreeMap::new();
        for entry in entries.take(MOST_NAMESPACES).flatten() {
            let path = entry.path();
            if let Ok(Some(id)) = self.netns_id(&path) {
                paths.insert(id, path);
            }
        }
        Ok(paths)
    }

    /// The number that this namespace has for another one; `None` when it has none, or when the file
    /// is no namespace's.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn netns_id(&mut self, path: &Path) -> io::Result<Option<i32>> {
        if netns::Namespace::at(path) != netns::Namespace::There {
            return Ok(None);
        }
        let file = File::open(path)?;
        let descriptor = u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
        let mut request = NsidMessage::default();
        request.attributes.push(NsidAttribute::Fd(descriptor));
        let Some(Message::NewNsId(answer)) = self.channel.one(Message::GetNsId(request))? else {
            return Ok(None);
        };
        let id = answer.attributes.iter().find_map(|attribute| match attribute {
            NsidAttribute::Id(id) => Some(*id),
            _ => None,
        });
        // `NETNSA_NSID_NOT_ASSIGNED` of `linux/net_namespace.h` is -1.
        Ok(id.filter(|id| *id >= 0))
    }
}

fn pod_link(message: Message) -> Option<PodLink> {
    let Message::NewLink(message) = message else { return None };
    let Link { index, name, mac, mtu, group, veth, .. } = Link::of(&message);
    let netns_id = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkNetNsId(id) => Some(*id),
        _ => None,
    });
    veth.then_some(PodLink { index, name, mac, mtu, group, netns_id })
}
