//! Addresses of running pods about which EC2, the instance metadata, the records and the kernel
//! disagree: one line each, with what everybody says.

use pool::{
    EniId,
    adopt::{Entry, Holder, Seen, Trace, Witness},
};
use record::Interface;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::Ipv4Addr,
};

/// What everybody shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Views<'a> {
    /// Interfaces as EC2 lists them.
    pub ec2: &'a BTreeMap<EniId, Interface>,
    /// Interfaces as the instance metadata shows them.
    pub imds: &'a BTreeMap<EniId, Interface>,
    /// What the checkpoint and our record say.
    pub entries: &'a [Entry],
    /// What the kernel shows.
    pub seen: &'a Seen,
    /// Single addresses that rules are about, with the table of what they send.
    pub tables: &'a BTreeMap<Ipv4Addr, Option<u32>>,
}

/// Somebody who does not say of an address what its pod needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Odd {
    /// EC2 lists it on no interface of this instance: what the pod sends is dropped.
    Ec2,
    /// The instance metadata shows it nowhere, or on another interface than EC2.
    Imds,
    /// The checkpoint has it with nobody, or with another pod.
    Checkpoint,
    /// Our record has it with another pod.
    Journal,
    /// It is not routed to the pod, or what the pod sends leaves by another interface.
    Kernel,
}

impl Odd {
    /// For people and for a label.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Imds => "imds",
            Self::Checkpoint => "checkpoint",
            Self::Journal => "journal",
            Self::Kernel => "kernel",
        }
    }
}

/// An address of a running pod about which not all say the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disagreement {
    /// The address.
    pub address: Ipv4Addr,
    /// Who says something else than what the pod needs.
    pub odd: BTreeSet<Odd>,
    /// Who says what.
    pub says: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let odd: Vec<_> = self.odd.iter().map(|odd| odd.word()).collect();
        write!(f, "{} (odd: {}): {}", self.address, odd.join(", "), self.says)
    }
}

/// All disagreements, by address.
pub(crate) fn disagreements(views: &Views<'_>) -> Vec<Disagreement> {
    let routed: BTreeSet<&str> =
        views.seen.traces.values().filter_map(|trace| trace.link.as_deref()).collect();
    let mut addresses: BTreeMap<Ipv4Addr, Vec<&Entry>> =
        views.seen.traces.keys().map(|address| (*address, vec![])).collect();
    for entry in views.entries {
        addresses.entry(entry.address).or_default().push(entry);
    }
    let nothing = Trace::default();
    let mut all = vec![];
    for (address, said) in addresses {
        let trace = views.seen.traces.get(&address).unwrap_or(&nothing);
        // A link that another address is routed to is a newer pod's of the same name.
        let lives = |link: &&str| views.seen.links.contains(*link) && !routed.contains(link);
        let recorded = || said.iter().filter_map(|entry| pod(entry)).map(|(link, _)| link);
        let link = trace.link.as_deref().or_else(|| recorded().find(lives));
        // What has no link is no running pod.
        let Some(link) = link.filter(|_| !trace.own) else { continue };
        let one = One { views, address, said: &said, trace, link };
        let odd = one.odd();
        if !odd.is_empty() {
            all.push(Disagreement { address, odd, says: one.says() });
        }
    }
    all
}

/// The link and the name of an entry's pod.
fn pod(entry: &Entry) -> Option<(&str, &str)> {
    match &entry.holder {
        Holder::Pod { link, pod, .. } => Some((link, pod)),
        Holder::Released => None,
    }
}

/// The interface that has an address.
fn carrier(
    interfaces: &BTreeMap<EniId, Interface>,
    address: Ipv4Addr,
) -> Option<(&EniId, &Interface)> {
    interfaces.iter().find(|(_, eni)| eni.addresses.contains(&address) || eni.is_in_prefix(address))
}

/// One running pod's address.
struct One<'a> {
    views: &'a Views<'a>,
    address: Ipv4Addr,
    said: &'a [&'a Entry],
    trace: &'a Trace,
    /// The pod's.
    link: &'a str,
}

impl One<'_> {
    fn odd(&self) -> BTreeSet<Odd> {
        let mut odd = BTreeSet::new();
        let ec2 = carrier(self.views.ec2, self.address).map(|(id, _)| id);
        let imds = carrier(self.views.imds, self.address).map(|(id, _)| id);
        if ec2.is_none() {
            odd.insert(Odd::Ec2);
        }
        if imds.is_none() || ec2.is_some_and(|ec2| imds != Some(ec2)) {
            odd.insert(Odd::Imds);
        }
        // An old entry that knows its container alone names no link: it contradicts nobody.
        let others = |(link, _): &(&str, &str)| !link.is_empty() && *link != self.link;
        for (witness, name) in
            [(Witness::Checkpoint, Odd::Checkpoint), (Witness::Journal, Odd::Journal)]
        {
            let mut said = self.said.iter().filter(|entry| entry.witness == witness);
            if said.any(|entry| pod(entry).as_ref().is_some_and(others)) {
                odd.insert(name);
            }
        }
        if !self.said.iter().any(|entry| pod(entry).is_some()) {
            odd.insert(Odd::Checkpoint);
        }
        if self.trace.link.is_none() || self.leaves_by_another() {
            odd.insert(Odd::Kernel);
        }
        odd
    }

    /// Whether a rule sends what the pod sends to the table of another interface than EC2's.
    fn leaves_by_another(&self) -> bool {
        let Some((_, carrier)) = carrier(self.views.ec2, self.address) else { return false };
        match self.views.tables.get(&self.address).copied().flatten() {
            Some(table) => table != carrier.table(),
            // The peer gives each pod of another interface than the primary one such a rule; pods of
            // ours may find their table without.
            None => {
                let ours = self.said.iter().any(|entry| entry.witness == Witness::Journal);
                !ours && !carrier.is_primary()
            }
        }
    }

    fn says(&self) -> String {
        let on = |interfaces| match carrier(interfaces, self.address) {
            Some((id, _)) => format!("on {id}"),
            None => "on no interface".to_owned(),
        };
        let mut words = vec![
            format!("EC2: {}", on(self.views.ec2)),
            format!("instance metadata: {}", on(self.views.imds)),
        ];
        words.extend(self.said.iter().map(|entry| match pod(entry) {
            Some((link, pod)) => format!("{}: {pod} ({link})", entry.witness),
            None => format!("{}: released", entry.witness),
        }));
        if self.said.is_empty() {
            words.push("checkpoint: nobody".into());
        }
        let table = self.views.tables.get(&self.address).copied().flatten();
        let table =
            table.map_or_else(String::new, |table| format!(", from there by table {table}"));
        words.push(match self.trace {
            Trace { link: Some(link), .. } => format!("kernel: routed to {link}{table}"),
            Trace { elsewhere: true, .. } => {
                format!("kernel: {} is there, and the address is routed elsewhere", self.link)
            }
            _ => format!("kernel: {} is there, and no route leads to it", self.link),
        });
        words.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::Mac;
    use pool::{Owner, Time};
    use record::Origin;

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
    const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 6);

    #[test]
    fn who_says_of_a_running_pods_address_what_others_do_not_is_named() {
        use Odd::{Checkpoint, Ec2, Imds, Journal, Kernel};
        let on = |device| shown(&[(device, &[A]), (3, &[])]);
        let peers = |link| vec![entry(Witness::Checkpoint, link)];
        let ours = |link| vec![entry(Witness::Journal, link)];
        let both = |link, of_ours| {
            vec![entry(Witness::Checkpoint, link), entry(Witness::Journal, of_ours)]
        };
        let routed = || kernel(&[(A, Some("eniweb"))], &["eniweb"]);
        let no_route = || kernel(&[], &["eniweb"]);
        let (none, second) = (None, Some(shown(&[(1, &[])])[&EniId("eni-1".into())].table()));
        for (row, ec2, imds, entries, seen, table, want) in [
            ("all agree", on(1), on(1), peers("eniweb"), routed(), second, vec![]),
            ("the primary one has no rule", on(0), on(0), peers("eniweb"), routed(), none, vec![]),
            ("EC2 lost it", on(3), on(1), peers("eniweb"), routed(), second, vec![Ec2]),
            ("IMDS is behind", on(1), on(3), peers("eniweb"), routed(), second, vec![Imds]),
            ("both lost it", on(3), on(3), peers("eniweb"), routed(), second, vec![Ec2, Imds]),
            ("not the same interface", on(1), on(2), peers("eniweb"), routed(), second, vec![Imds]),
            ("it moved", on(2), on(2), peers("eniweb"), routed(), second, vec![Kernel]),
            ("no rule", on(1), on(1), peers("eniweb"), routed(), none, vec![Kernel]),
            ("ours need none", on(1), on(1), ours("eniweb"), routed(), none, vec![]),
            ("no record", on(1), on(1), vec![], routed(), second, vec![Checkpoint]),
            ("another pod's", on(1), on(1), peers("enidb"), routed(), second, vec![Checkpoint]),
            ("no name", on(1), on(1), peers(""), routed(), second, vec![]),
            ("records", on(1), on(1), both("eniweb", "enidb"), routed(), second, vec![Journal]),
            ("no route", on(1), on(1), peers("eniweb"), no_route(), second, vec![Kernel]),
            (
                "routed elsewhere",
                on(1),
                on(1),
                peers("eniweb"),
                kernel(&[(A, None)], &["eniweb"]),
                second,
                vec![Kernel],
            ),
            ("it ended", on(3), on(3), peers("eniweb"), kernel(&[], &[]), none, vec![]),
            (
                "a newer pod has its name",
                on(3),
                on(3),
                peers("eniweb"),
                kernel(&[(B, Some("eniweb"))], &["eniweb"]),
                none,
                vec![],
            ),
        ] {
            let tables = [(A, table)].into();
            let views =
                Views { ec2: &ec2, imds: &imds, entries: &entries, seen: &seen, tables: &tables };

            let all = disagreements(&views);

            let of_a: Vec<Odd> =
                all.iter().filter(|it| it.address == A).flat_map(|it| it.odd.clone()).collect();
            assert_eq!(of_a, want, "{row}: {all:?}");
        }
    }

    #[test]
    fn a_line_says_who_says_what() {
        let (ec2, imds) = (shown(&[(1, &[])]), shown(&[(1, &[A])]));
        let (entries, seen) =
            ([entry(Witness::Checkpoint, "eniweb")], kernel(&[(A, Some("eniweb"))], &["eniweb"]));
        let tables = [(A, Some(2))].into();
        let views =
            Views { ec2: &ec2, imds: &imds, entries: &entries, seen: &seen, tables: &tables };

        let lines: Vec<_> = disagreements(&views).iter().map(ToString::to_string).collect();

        assert_eq!(
            lines,
            ["10.0.0.5 (odd: ec2): EC2: on no interface; instance metadata: on eni-1; \
              checkpoint: default/web (eniweb); kernel: routed to eniweb, from there by table 2"]
        );
    }

    #[test]
    fn the_nodes_own_addresses_are_no_pods() {
        let mut seen = kernel(&[(A, Some("eniweb"))], &["eniweb"]);
        seen.traces.get_mut(&A).unwrap().own = true;
        let (none, tables) = (shown(&[]), BTreeMap::new());
        let views = Views { ec2: &none, imds: &none, entries: &[], seen: &seen, tables: &tables };

        assert_eq!(disagreements(&views), []);
    }

    fn shown(interfaces: &[(u32, &[Ipv4Addr])]) -> BTreeMap<EniId, Interface> {
        let interface = |(device_index, addresses): &(u32, &[Ipv4Addr])| {
            let eni = Interface {
                mac: Mac([2, 0, 0, 0, 0, 1]),
                card: 0,
                device_index: *device_index,
                subnet: "subnet-1".into(),
                subnet_cidr: None,
                primary: [10, 0, 0, 200].into(),
                groups: [].into(),
                addresses: addresses.iter().copied().collect(),
                prefixes: [].into(),
                attachment: None,
                origin: Origin::Ours,
                outlives_instance: false,
                special_type: None,
                tags: BTreeMap::new(),
            };
            (EniId(format!("eni-{device_index}")), eni)
        };
        interfaces.iter().map(interface).collect()
    }

    fn entry(witness: Witness, link: &str) -> Entry {
        let owner =
            Owner { network: "aws-cni".into(), container: link.into(), interface: "eth0".into() };
        let pod = format!("default/{}", link.trim_start_matches("eni"));
        let holder = Holder::Pod { owner, link: link.into(), pod };
        Entry { witness, address: A, holder, at: Time(std::time::Duration::from_secs(1)) }
    }

    fn kernel(routes: &[(Ipv4Addr, Option<&str>)], links: &[&str]) -> Seen {
        let trace = |link: Option<&str>| Trace {
            link: link.map(Into::into),
            elsewhere: link.is_none(),
            ..Trace::default()
        };
        Seen {
            traces: routes.iter().map(|(address, link)| (*address, trace(*link))).collect(),
            links: links.iter().map(|link| (*link).to_owned()).collect(),
        }
    }
}
