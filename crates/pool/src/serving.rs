//! Which interfaces serve new pods, and why the others do not.

use crate::{Action, Eni, EniId, Limits, Ownership, Pool, Source, Supply};
use std::fmt;

/// Why new pods get no address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotServing {
    /// It is the primary interface, which carries no new pods with custom networking.
    Primary,
    /// Its tags say that it is not to be touched.
    Unmanaged,
    /// It has no IPv4 address, or is of a type for something else.
    NotForPods,
    /// Its subnet is none of those that new pods' addresses come from.
    OtherSubnet,
    /// Somebody else attached it, and its security groups are not those that new pods are to have: the
    /// ENIConfig's, or the primary interface's.
    OtherGroups,
    /// Nobody has looked at its tags yet.
    OriginUnknown,
    /// It is being given back.
    Leaving,
    /// It is not known where new pods' addresses come from.
    NoSource,
}

impl fmt::Display for NotServing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "the primary one, which serves no pods with custom networking",
            Self::Unmanaged => "tagged as not to be managed",
            Self::NotForPods => "without IPv4 or of a type that carries no pods",
            Self::OtherSubnet => "in a subnet that new pods do not use",
            Self::OtherGroups => "attached by somebody else, with other security groups",
            Self::OriginUnknown => "of unknown origin",
            Self::Leaving => "being given back",
            Self::NoSource => "without a source of addresses",
        })
    }
}

impl Source {
    /// Whether new pods may get addresses of this interface.
    pub fn serves(&self, eni: &Eni) -> bool {
        self.not_serving(eni).is_none()
    }

    /// Why new pods may not get addresses of this interface.
    pub fn not_serving(&self, eni: &Eni) -> Option<NotServing> {
        let groups_fit = |supply: &Supply| supply.groups.is_empty() || supply.groups == eni.groups;
        match eni.ownership {
            Ownership::Unmanaged => Some(NotServing::Unmanaged),
            Ownership::NotForPods => Some(NotServing::NotForPods),
            // Other groups of ours are being changed; those of others we leave alone.
            Ownership::Ours => self.out_of_place(eni),
            Ownership::Foreign => self.out_of_place(eni).or_else(|| {
                let fits = self.supply().is_some_and(groups_fit);
                (!fits).then_some(NotServing::OtherGroups)
            }),
            // Its user may have said in tags that it is not for us, whatever else it looks like.
            Ownership::Unknown => self.out_of_place(eni).or(Some(NotServing::OriginUnknown)),
        }
    }

    /// Why this interface would not serve pods, even if it were for us to use.
    pub(crate) fn out_of_place(&self, eni: &Eni) -> Option<NotServing> {
        match self {
            Self::Node(_) => None,
            Self::EniConfig { .. } if eni.device_index == 0 => Some(NotServing::Primary),
            Self::EniConfig { supply, .. } => {
                let fits = supply.subnets.contains(&eni.subnet);
                (!fits).then_some(NotServing::OtherSubnet)
            }
            Self::Missing { .. } => Some(NotServing::NoSource),
        }
    }
}

impl Pool {
    /// Interfaces whose addresses new pods may get, without those that are being given back.
    pub(crate) fn serving(&self) -> impl Iterator<Item = (&EniId, &Eni)> {
        self.enis.iter().filter(|(id, eni)| self.not_serving(id, eni).is_none())
    }

    /// Why new pods get no address of an interface.
    pub(crate) fn not_serving(&self, id: &EniId, eni: &Eni) -> Option<NotServing> {
        self.source.not_serving(eni).or_else(|| {
            let leaves = matches!(self.underway.on_eni(id), Some(Action::DeleteEni { .. }));
            leaves.then_some(NotServing::Leaving)
        })
    }

    /// How many pods have addresses of interfaces that serve no new ones.
    pub(crate) fn in_use_elsewhere(&self) -> usize {
        let here: usize = self.serving().map(|(id, _)| self.ledger.in_use_on(id)).sum();
        self.ledger.in_use().saturating_sub(here)
    }
}

/// What takes up the places for interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Interfaces that are attached.
    pub attached: usize,
    /// What may be attached.
    pub limits: Limits,
    /// Those among the attached that serve no new pods, and why.
    pub not_serving: Box<[NotServing]>,
    /// Those among the attached that somebody else attached.
    pub of_others: usize,
}

impl Slots {
    pub(crate) fn of(pool: &Pool) -> Self {
        let mut not_serving: Vec<NotServing> =
            pool.enis.iter().filter_map(|(id, eni)| pool.not_serving(id, eni)).collect();
        not_serving.sort_unstable();
        let of_others = pool.enis.values().filter(|eni| eni.ownership.is_of_others()).count();
        let not_serving = not_serving.into();
        Self { attached: pool.enis.len(), limits: pool.limits, not_serving, of_others }
    }
}

impl fmt::Display for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attached, limits, not_serving, of_others } = self;
        let (allowed, capped) = (limits.allowed_enis(), limits.allowed_enis() < limits.enis);
        if !capped && *attached == allowed && not_serving.is_empty() && *of_others == 0 {
            return match attached {
                1 => f.write_str("the one interface of this instance type is full"),
                _ => write!(f, "all {attached} interfaces of this instance type are full"),
            };
        }
        if capped {
            write!(f, "MAX_ENI={allowed} allows no further interface: ")?;
        } else {
            write!(f, "this instance type allows {allowed} interfaces: ")?;
        }
        write!(f, "{attached} attached, {} full", attached.saturating_sub(not_serving.len()))?;
        for alike in not_serving.chunk_by(|a, b| a == b) {
            write!(f, ", {} {}", alike.len(), alike[0])?;
        }
        match of_others {
            0 => {}
            1 => f.write_str("; 1 interface of others takes a slot")?,
            _ => write!(f, "; {of_others} interfaces of others take slots")?,
        }
        if capped {
            write!(f, "; the instance type allows {}", limits.enis)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NotServing::{NotForPods, OriginUnknown, OtherSubnet, Primary, Unmanaged};

    const LIMITS: Limits = Limits { enis: 3, max_enis: None, blocks_per_eni: 9, max_pods: None };

    #[test]
    fn a_full_node_is_told_what_takes_up_its_places() {
        check(3, None, &[], 0, "all 3 interfaces of this instance type are full");
        let one = Limits { enis: 1, ..LIMITS };
        let slots = Slots { attached: 1, limits: one, not_serving: [].into(), of_others: 0 };
        assert_eq!(slots.to_string(), "the one interface of this instance type is full");
        check(
            2,
            Some(2),
            &[Primary],
            0,
            "MAX_ENI=2 allows no further interface: 2 attached, 1 full, 1 the primary one, which \
             serves no pods with custom networking; the instance type allows 3",
        );
        check(
            3,
            Some(2),
            &[OtherSubnet],
            0,
            "MAX_ENI=2 allows no further interface: 3 attached, 2 full, 1 in a subnet that new \
             pods do not use; the instance type allows 3",
        );
        check(4, None, &[], 0, "this instance type allows 3 interfaces: 4 attached, 4 full");
    }

    #[test]
    fn a_node_with_interfaces_of_others_or_max_eni_is_not_told_that_its_type_is_full() {
        check(
            1,
            Some(1),
            &[],
            0,
            "MAX_ENI=1 allows no further interface: 1 attached, 1 full; the instance type allows 3",
        );
        check(
            2,
            Some(1),
            &[],
            1,
            "MAX_ENI=1 allows no further interface: 2 attached, 2 full; 1 interface of others \
             takes a slot; the instance type allows 3",
        );
        check(
            3,
            Some(8),
            &[Unmanaged, NotForPods, OriginUnknown],
            2,
            "this instance type allows 3 interfaces: 3 attached, 0 full, 1 tagged as not to be \
             managed, 1 without IPv4 or of a type that carries no pods, 1 of unknown origin; \
             2 interfaces of others take slots",
        );
        check(
            3,
            None,
            &[],
            1,
            "this instance type allows 3 interfaces: 3 attached, 3 full; 1 interface of others \
             takes a slot",
        );
    }

    #[track_caller]
    fn check(
        attached: usize,
        max_enis: Option<usize>,
        not_serving: &[NotServing],
        of_others: usize,
        want: &str,
    ) {
        let limits = Limits { max_enis, ..LIMITS };
        let slots = Slots { attached, limits, not_serving: not_serving.into(), of_others };

        assert_eq!(slots.to_string(), want);
    }
}
