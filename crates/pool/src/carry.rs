//! Which interface carries a pod's address, and which may: those that may carry one that somebody uses
//! whom nobody knows are not given back.

use crate::{EniId, adopt::Unknown};
use std::collections::BTreeSet;

/// What speaks for an interface carrying an address. The views of an interface may be late, and lack
/// an address that a pod has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// Nothing.
    Unlikely,
    /// The address lies in its subnet, as far as that is known.
    InSubnet,
    /// A rule sends what comes from the address to its table.
    Routes,
    /// It has the address, by record or metadata.
    Shows,
    /// The address is its primary one, which no pod has.
    Primary,
}

/// The interfaces that may carry an address: those for which the most speaks.
#[must_use]
pub fn may_carry(
    why: &Unknown,
    interfaces: impl IntoIterator<Item = (EniId, Fit)>,
) -> BTreeSet<EniId> {
    let is_pods = match why {
        Unknown::Link(_) | Unknown::LinkGone(_) | Unknown::Rule | Unknown::NoInterface(_) => true,
        // No pod has it: an interface carries it only where one shows it.
        Unknown::Elsewhere | Unknown::Own => false,
    };
    let interfaces: Vec<(EniId, Fit)> = interfaces.into_iter().collect();
    let best = interfaces.iter().map(|(_, fit)| *fit).max().unwrap_or(Fit::Unlikely);
    let carries = match best {
        Fit::Shows => true,
        Fit::Routes | Fit::InSubnet => is_pods,
        Fit::Unlikely | Fit::Primary => false,
    };
    let fitting = interfaces.into_iter().filter(|(_, fit)| carries && *fit == best);
    fitting.map(|(eni, _)| eni).collect()
}

/// The interface that carries a pod's address: the one that shows it, and else the one to whose table a
/// rule sends what comes from it. Without either nobody knows: that an address lies in a subnet, or that
/// no rule is about it, is no proof.
#[must_use]
pub fn carrier(interfaces: impl IntoIterator<Item = (EniId, Fit)>) -> Option<EniId> {
    let mut best: Option<(EniId, Fit)> = None;
    for (eni, fit) in interfaces {
        if best.as_ref().is_none_or(|(_, known)| *known < fit) {
            best = Some((eni, fit));
        }
    }
    let (eni, fit) = best?;
    match fit {
        Fit::Shows | Fit::Routes => Some(eni),
        Fit::Unlikely | Fit::InSubnet | Fit::Primary => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Fit::{InSubnet, Primary, Routes, Shows, Unlikely};

    #[test]
    fn those_carry_an_address_for_which_the_most_speaks() {
        let link = || Unknown::Link("eni1".into());
        let gone = || Unknown::LinkGone("default/web".into());
        for (row, why, fits, want) in [
            ("nothing is attached", link(), vec![], vec![]),
            ("one shows it", link(), vec![InSubnet, Shows, Routes], vec![1]),
            ("one routes it", link(), vec![InSubnet, Unlikely, Routes], vec![2]),
            ("any in its subnet", link(), vec![InSubnet, Unlikely, InSubnet], vec![0, 2]),
            ("in no subnet of the node", link(), vec![Unlikely, Unlikely], vec![]),
            ("the link is gone", gone(), vec![InSubnet, Unlikely], vec![0]),
            ("a rule alone", Unknown::Rule, vec![InSubnet, Routes], vec![1]),
            ("an interface's own", Unknown::Rule, vec![Primary, InSubnet, Routes], vec![]),
            ("the node's own, and shown", Unknown::Own, vec![Shows, InSubnet], vec![0]),
            ("the node's own", Unknown::Own, vec![InSubnet, Routes], vec![]),
            ("routed elsewhere", Unknown::Elsewhere, vec![InSubnet, InSubnet], vec![]),
            ("routed elsewhere, and shown", Unknown::Elsewhere, vec![InSubnet, Shows], vec![1]),
        ] {
            let interfaces = fits.into_iter().enumerate().map(|(nth, fit)| (id(nth), fit));

            let found = may_carry(&why, interfaces);

            assert_eq!(found, want.into_iter().map(id).collect(), "{row}");
        }
    }

    #[test]
    fn an_address_that_no_interface_is_known_to_carry_is_on_none() {
        for (row, fits, want) in [
            ("nothing is attached", vec![], None),
            ("one shows it", vec![InSubnet, Shows, Routes], Some(1)),
            ("one routes it", vec![InSubnet, Unlikely, Routes], Some(2)),
            ("the first of two alike", vec![InSubnet, Shows, Shows], Some(1)),
            ("in the subnet of one", vec![InSubnet, Unlikely], None),
            ("in no subnet of the node", vec![Unlikely, Unlikely], None),
            ("an interface's own", vec![Primary, Routes], None),
        ] {
            let interfaces = fits.into_iter().enumerate().map(|(nth, fit)| (id(nth), fit));

            assert_eq!(carrier(interfaces), want.map(id), "{row}");
        }
    }

    fn id(nth: usize) -> EniId {
        EniId(format!("eni-{nth}"))
    }
}
