//! Interfaces as EC2 describes them, and as it is asked for them.

use net::Mac;
use pool::Block;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

/// What a new interface shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEni {
    /// Id of the subnet.
    pub subnet: String,
    /// Ids of the security groups.
    pub groups: BTreeSet<String>,
    /// Secondary addresses.
    pub addresses: usize,
    /// Prefixes.
    pub prefixes: usize,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Makes EC2 answer a repeated call with the interface that the first one made.
    pub client_token: String,
}

/// An interface as EC2 describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// `eni-…`.
    pub id: String,
    /// Its hardware address.
    pub mac: Mac,
    /// Its primary address; `None` where it has no IPv4, as in IPv6-only subnets and for `efa-only`.
    pub primary: Option<Ipv4Addr>,
    /// Its type, where that is not the plain one: `efa`, `efa-only`, `trunk`, `branch`.
    pub special_type: Option<String>,
    /// Its secondary addresses and prefixes.
    pub blocks: BTreeSet<Block>,
    /// Ids of its security groups.
    pub groups: BTreeSet<String>,
    /// `subnet-…`.
    pub subnet: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The network card that it is attached to.
    pub card: u32,
    /// `eni-attach-…` and the device index, when it is attached.
    pub attachment: Option<(String, u32)>,
    /// EC2 deletes it when its instance ends.
    pub ends_with_instance: bool,
}

/// What EC2 listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Interfaces that can be read.
    pub interfaces: Vec<Described>,
    /// The others.
    pub unreadable: Vec<Unreadable>,
}

/// An interface that EC2 lists in a way that we cannot read: it takes its place all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// `eni-…`, or what takes its place.
    pub id: String,
    /// The network card and the device index, when it is attached.
    pub place: Option<(u32, u32)>,
    /// What is wrong.
    pub why: String,
}
