//! Changes in the words of `ip`, for the log.

use crate::plan::op::{AutomaticIpv6, LinkChange, Mac, Object, Op, Route, RouteKind, Rule};
use std::fmt::{self, Display, Formatter};

impl Display for Op {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(object) => object.fmt(f),
            Self::Remove(object) => write!(f, "no {object}"),
            Self::Change(change) => change.fmt(f),
        }
    }
}

impl Display for Object {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Veth(veth) => write!(f, "veth {}", veth.name),
            Self::Address { link, address } | Self::BareAddress { link, address } => {
                write!(f, "address {address} on link {link}")
            }
            Self::Route(route) => route.fmt(f),
            Self::Rule(rule) => rule.fmt(f),
            Self::Neighbour { link, address, mac } => {
                write!(f, "neighbour {address} at {mac} on link {link}")
            }
        }
    }
}

impl Display for Route {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let blackhole = if self.kind == RouteKind::Blackhole { "blackhole " } else { "" };
        write!(f, "route {blackhole}{}", self.to)?;
        part(f, " via ", self.via)?;
        part(f, " on link ", self.link)?;
        write!(f, " in table {}", self.table)
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}:", self.priority)?;
        part(f, " from ", self.from)?;
        part(f, " to ", self.to)?;
        if let Some((mark, mask)) = self.mark {
            write!(f, " fwmark {mark:#x}/{mask:#x}")?;
        }
        write!(f, " lookup {}", self.table)?;
        part(f, " suppress_ifgroup ", self.suppress_group)
    }
}

impl Display for LinkChange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "link {}:", self.link)?;
        part(f, " name ", self.name.as_ref())?;
        part(f, " ", self.up.map(|up| if up { "up" } else { "down" }))?;
        part(f, " mtu ", self.mtu)?;
        part::<Mac>(f, " address ", self.mac)?;
        part(f, " group ", self.group)?;
        part(f, " addrgenmode ", self.ipv6.map(|AutomaticIpv6::None| "none"))?;
        for (number, value) in &self.ipv4 {
            match number {
                3 => write!(f, " proxy_arp {value}")?,
                6 => write!(f, " send_redirects {value}")?,
                8 => write!(f, " rp_filter {value}")?,
                _ => write!(f, " ipv4 setting {number} {value}")?,
            }
        }
        Ok(())
    }
}

fn part<T: Display>(f: &mut Formatter<'_>, before: &str, value: Option<T>) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, "{before}{value}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::op::{MAIN_TABLE, rp_filter};

    #[test]
    fn changes_read_like_what_ip_prints() {
        let from = Some("100.64.0.9/32".parse().unwrap());
        let rules = [
            Rule { from, ..Rule::lookup(1536, 2) },
            Rule { mark: Some((0x80, 0x80)), ..Rule::lookup(1024, MAIN_TABLE) },
            Rule { suppress_group: Some(0), ..Rule::lookup(512, MAIN_TABLE) },
        ];
        let route = Route::via("0.0.0.0/0".parse().unwrap(), [100, 64, 0, 1].into(), 7);
        let change = LinkChange {
            link: 7,
            up: Some(true),
            mac: Some(Mac([2; 6])),
            ipv4: vec![rp_filter(1)],
            ..LinkChange::default()
        };

        let said = rules.map(|rule| Op::Add(Object::Rule(rule)).to_string());

        assert_eq!(
            said,
            [
                "rule 1536: from 100.64.0.9/32 lookup 2",
                "rule 1024: fwmark 0x80/0x80 lookup 254",
                "rule 512: lookup 254 suppress_ifgroup 0",
            ]
        );
        assert_eq!(
            Op::Remove(Object::Route(route.in_table(2))).to_string(),
            "no route 0.0.0.0/0 via 100.64.0.1 on link 7 in table 2"
        );
        assert_eq!(
            Op::Change(change).to_string(),
            "link 7: up address 02:02:02:02:02:02 rp_filter 1"
        );
    }
}
