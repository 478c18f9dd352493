//! What a node needs once, whatever its pods and interfaces, as changes.

use crate::{
    op::{LinkChange, MAIN_TABLE, Object, Op, Rule, rp_filter},
    pod::POD_GROUP,
};

/// Priority of the one rule to all pods (`facts/peer-datapath.md` §2.1: the peer's to-pod rules).
pub const TO_POD: u32 = 512;

/// Priority of the rule that sends marked traffic out by the primary interface (same source).
pub const MARKED: u32 = 1024;

/// The device group of every link that nobody put into another.
const DEFAULT_GROUP: u32 = 0;

const _: () = assert!(POD_GROUP != DEFAULT_GROUP, "the rule to pods suppresses the default group");

/// The node's own part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Index of the primary interface's link.
    pub primary: u32,
    /// Its MTU.
    pub mtu: u32,
    /// The mark of traffic that must leave by the primary interface, as value and mask.
    pub mark: u32,
}

impl Host {
    /// Rules for all pods, and the primary interface's settings.
    pub fn ops(&self) -> Vec<Op> {
        // Loose reverse path: replies to NodePort traffic come in for addresses of other interfaces.
        let primary = LinkChange {
            link: self.primary,
            mtu: Some(self.mtu),
            ipv4: vec![rp_filter(2)],
            ..LinkChange::default()
        };
        let to_pods =
            Rule { suppress_group: Some(DEFAULT_GROUP), ..Rule::lookup(TO_POD, MAIN_TABLE) };
        let marked =
            Rule { mark: Some((self.mark, self.mark)), ..Rule::lookup(MARKED, MAIN_TABLE) };
        vec![Op::Change(primary), Op::Add(Object::Rule(to_pods)), Op::Add(Object::Rule(marked))]
    }
}
