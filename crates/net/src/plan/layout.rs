//! How packets of pods find the interface of their address: by our rules, or by the peer's.

use crate::plan::op::MAIN_TABLE;

/// Which rules a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One rule to all pods; from pods one for each interface and one for each /28. What a packet
    /// costs does not grow with the number of pods.
    Flat,
    /// One rule to each pod and one from each pod of a secondary interface, exactly as the peer
    /// makes them (`docs/references.md#peer-pod-rules`).
    Peer,
}

/// Device group of the host ends of veth pairs of pods; one that is marked for a table is in the
/// group this many above. One rule tells routes to pods from all others by their groups.
pub const POD_GROUP: u32 = 0x600;

/// Device group of host ends that are being removed: that of a table which no interface has. It is one of
/// pods, so that what still comes from them is dropped until they are gone.
pub const LEAVING_GROUP: u32 = POD_GROUP + 1;

/// Device groups of pods are all those that are [`POD_GROUP`] in these bits.
pub const POD_GROUP_MASK: u32 = !MARKED_TABLES;

/// The highest table that fits into a mark: seven bits, 126 interfaces of one network card.
const MARKED_TABLES: u32 = 0x7f;

/// The bits of a packet's mark that name a routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableMarks {
    shift: u32,
}

impl TableMarks {
    /// Seven bits that have nothing in common with the mark of traffic that leaves the VPC: the
    /// lowest, which neither kube-proxy (0x4000, 0x8000) nor Cilium (0x0f00) nor Calico
    /// (0xffff0000) use, or else the next higher that are free. `None` if that mark leaves no room.
    pub fn beside(mark: u32) -> Option<Self> {
        let fields = [0, 8, 16, 24].map(|shift| Self { shift });
        fields.into_iter().find(|field| field.mask() & mark == 0)
    }

    /// The bits.
    pub fn mask(self) -> u32 {
        MARKED_TABLES << self.shift
    }

    /// The mark of a table, if its number fits.
    pub fn of(self, table: u32) -> Option<u32> {
        (1..=MARKED_TABLES).contains(&table).then(|| table << self.shift)
    }
}

/// How a packet of one pod finds the interface of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EgressSelector {
    /// The main table: the address is one of the primary interface.
    Main,
    /// The device group of its veth names the table; filter rules turn it into a mark, and the
    /// interface has a rule for that mark.
    Marked,
    /// The interface has a rule for the /28 that the address is in, and no mark.
    Block,
    /// A rule of its own: the number of the table does not fit into a mark.
    Own,
    /// Rules of its own to it and from it, as the peer's.
    Peer,
}

impl EgressSelector {
    /// The selector of a pod whose address belongs to the interface with this table. `in_prefix`:
    /// EC2 has assigned the address as part of a prefix.
    pub fn of(layout: Layout, marks: Option<TableMarks>, table: u32, in_prefix: bool) -> Self {
        match layout {
            Layout::Peer => Self::Peer,
            Layout::Flat if table == MAIN_TABLE => Self::Main,
            Layout::Flat if marks.is_some_and(|marks| marks.of(table).is_some()) => Self::Marked,
            Layout::Flat if in_prefix => Self::Block,
            Layout::Flat => Self::Own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_tables_keep_clear_of_the_mark_of_traffic_that_leaves_the_vpc() {
        let mask = |mark| TableMarks::beside(mark).map(TableMarks::mask);

        assert_eq!(mask(0x80), Some(0x7f));
        assert_eq!(mask(0x40), Some(0x7f00));
        assert_eq!(mask(0x0001_0101), Some(0x7f00_0000));
        assert_eq!(mask(u32::MAX), None);
    }

    #[test]
    fn a_table_that_does_not_fit_into_a_mark_gets_rules_of_the_pods() {
        let marks = TableMarks::beside(0x80);
        let egress = |layout, table, in_prefix| EgressSelector::of(layout, marks, table, in_prefix);

        for in_prefix in [false, true] {
            assert_eq!(egress(Layout::Flat, 2, in_prefix), EgressSelector::Marked);
        }
        assert_eq!(egress(Layout::Flat, 127, false), EgressSelector::Marked);
        assert_eq!(egress(Layout::Flat, 10_101, false), EgressSelector::Own);
        assert_eq!(egress(Layout::Flat, 10_101, true), EgressSelector::Block);
        assert_eq!(egress(Layout::Flat, MAIN_TABLE, true), EgressSelector::Main);
        assert_eq!(egress(Layout::Peer, 2, true), EgressSelector::Peer);
        assert_eq!(
            EgressSelector::of(Layout::Flat, TableMarks::beside(u32::MAX), 2, false),
            EgressSelector::Own
        );
    }
}
