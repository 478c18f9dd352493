//! What each instance type can carry.

use std::{collections::BTreeMap, sync::LazyLock};

/// 1,418 types, one a line; made from `DescribeInstanceTypes` of 17 regions.
static TABLE: &str = include_str!("../instance-types.tsv");

/// An instance type and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceType {
    /// Its name: `m5.large`.
    pub name: String,
    /// Interfaces over all network cards.
    pub interfaces: u32,
    /// IPv4 addresses per interface, the primary included; a prefix counts as one.
    pub ipv4_per_interface: u32,
    /// IPv6 addresses per interface; 0 also when not known.
    pub ipv6_per_interface: u32,
    /// Interfaces on each network card.
    pub cards: Vec<u32>,
    /// The card that is used when the caller names none.
    pub default_card: u32,
    /// What runs virtual machines of this type; bare metal has none.
    pub hypervisor: Option<Hypervisor>,
    /// It is a whole machine.
    pub bare_metal: bool,
}

/// What runs the virtual machines of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hypervisor {
    /// AWS's own; the only one with prefixes.
    Nitro,
    /// The older one.
    Xen,
}

impl Hypervisor {
    /// Its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nitro => "nitro",
            Self::Xen => "xen",
        }
    }
}

impl InstanceType {
    /// Interfaces on the card that is used when the caller names none.
    #[must_use]
    pub fn on_default_card(&self) -> u32 {
        let card = usize::try_from(self.default_card).ok();
        card.and_then(|card| self.cards.get(card)).copied().unwrap_or(self.interfaces)
    }

    /// Whether its interfaces can have prefixes: on Nitro and on bare metal.
    #[must_use]
    pub fn has_prefixes(&self) -> bool {
        self.bare_metal || self.hypervisor == Some(Hypervisor::Nitro)
    }
}

/// Every type that is known, by name.
#[must_use]
pub fn all() -> &'static BTreeMap<String, InstanceType> {
    static TYPES: LazyLock<BTreeMap<String, InstanceType>> = LazyLock::new(|| {
        TABLE
            .lines()
            .skip(1)
            .filter_map(parse)
            .map(|instance_type| (instance_type.name.clone(), instance_type))
            .collect()
    });
    &TYPES
}

/// The limits of one type, if it is known. Reads its line alone: a node has one type.
#[must_use]
pub fn find(name: &str) -> Option<InstanceType> {
    let mut lines = TABLE.lines().skip(1);
    let line = lines.find(|line| line.split_once('\t').is_some_and(|(first, _)| first == name))?;
    parse(line)
}

fn parse(line: &str) -> Option<InstanceType> {
    let mut columns = line.split('\t');
    let mut column = || columns.next();
    let name = column()?.into();
    let interfaces = column()?.parse().ok()?;
    let _on_default_card = column()?;
    let ipv4_per_interface = column()?.parse().ok()?;
    // Empty for types that are no longer offered: nobody has asked EC2.
    let ipv6_per_interface = column()?.parse().unwrap_or_default();
    let _number_of_cards = column()?;
    let cards = column()?.split(',').map(|card| card.parse().ok()).collect::<Option<_>>()?;
    let default_card = column()?.parse().ok()?;
    let hypervisor = match column()? {
        "nitro" => Some(Hypervisor::Nitro),
        "xen" => Some(Hypervisor::Xen),
        _ => None,
    };
    let bare_metal = column()? == "1";
    Some(InstanceType {
        name,
        interfaces,
        ipv4_per_interface,
        ipv6_per_interface,
        cards,
        default_card,
        hypervisor,
        bare_metal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_understood() {
        let lines = TABLE.lines().count() - 1;

        assert_eq!(all().len(), lines);
        assert_eq!(lines, 1_418);
    }

    #[test]
    fn one_type_is_found_as_it_is_in_the_whole_table() {
        for (name, instance_type) in all() {
            assert_eq!(find(name).as_ref(), Some(instance_type), "{name}");
        }
        for name in ["", "m5", "zz.large", "instance_type"] {
            assert_eq!(find(name), None, "{name}");
        }
    }

    #[test]
    fn cards_add_up_to_the_number_of_interfaces() {
        let p5 = &all()["p5.48xlarge"];

        assert_eq!(p5.cards.len(), 32);
        assert_eq!(p5.cards.iter().sum::<u32>(), p5.interfaces);
    }

    #[test]
    fn prefixes_need_nitro_or_bare_metal() {
        assert!(all()["m5.large"].has_prefixes());
        assert!(all()["m5.metal"].has_prefixes());
        assert!(!all()["m4.large"].has_prefixes());
    }
}
