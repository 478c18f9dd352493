//! `group`: security groups that change while nodes run.

use super::{examples, print};
use crate::world::{
    Folder, PermissionChange, PermissionRequest,
    control::{self, Request},
};
use anyhow::{Context, Result, anyhow};
use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use ipnetwork::Ipv4Network;
use vpc::{
    Direction,
    spec::{PermissionSpec, ProtocolName},
};

#[derive(Debug, Subcommand)]
pub(super) enum GroupCommand {
    /// Permit something to a group
    #[command(after_help = examples::GROUP_AUTHORIZE)]
    Authorize(PermissionArgs),
    /// Take a permission from a group
    #[command(after_help = examples::GROUP_REVOKE)]
    Revoke(PermissionArgs),
    /// Put an interface into these groups, and no others
    #[command(after_help = examples::GROUP_SET)]
    Set {
        /// Id of the interface, or name of a node, whose primary interface is meant
        place: String,
        /// Names or ids of the groups
        #[arg(required = true)]
        groups: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct PermissionArgs {
    /// Name or id of the group
    group: String,
    /// Which way the packets go: `ingress` or `egress`
    #[arg(value_parser = directions())]
    direction: Direction,
    /// `any`, `icmp`, `tcp` or `udp`
    #[arg(long, default_value = "any", value_parser = protocols())]
    protocol: ProtocolName,
    /// Destination port, or first and last one; otherwise all
    #[arg(long, value_name = "FIRST-LAST", value_parser = ports)]
    ports: Option<(u16, u16)>,
    /// Addresses at the other end
    #[arg(long, required_unless_present = "peer")]
    cidr: Option<Ipv4Network>,
    /// Name or id of the group at the other end
    #[arg(long = "group", value_name = "GROUP", conflicts_with = "cidr", id = "peer")]
    peer: Option<String>,
}

/// Does what the arguments say.
pub(super) fn run(folder: &Folder, command: GroupCommand) -> Result<()> {
    let request = match command {
        GroupCommand::Authorize(permission) => permission.request(PermissionChange::Authorize),
        GroupCommand::Revoke(permission) => permission.request(PermissionChange::Revoke),
        GroupCommand::Set { place, groups } => Request::GroupSet { place, groups },
    };
    print::answer(&control::ask(folder, &request)?)
}

impl PermissionArgs {
    fn request(self, change: PermissionChange) -> Request {
        let Self { group, direction, protocol, ports, cidr, peer } = self;
        let permission = PermissionSpec { protocol, ports, cidr, group: peer };
        Request::GroupPermission(PermissionRequest { change, group, direction, permission })
    }
}

fn ports(text: &str) -> Result<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.parse().with_context(|| format!("`{text}` is no port"));
    let (first, last) = (port(first)?, port(last)?);
    if first <= last { Ok((first, last)) } else { Err(anyhow!("{first} is behind {last}")) }
}

fn directions() -> impl TypedValueParser<Value = Direction> {
    PossibleValuesParser::new(["ingress", "egress"]).map(|name| match name.as_str() {
        "ingress" => Direction::Ingress,
        _ => Direction::Egress,
    })
}

fn protocols() -> impl TypedValueParser<Value = ProtocolName> {
    PossibleValuesParser::new(["any", "icmp", "tcp", "udp"]).map(|name| match name.as_str() {
        "icmp" => ProtocolName::Icmp,
        "tcp" => ProtocolName::Tcp,
        "udp" => ProtocolName::Udp,
        _ => ProtocolName::Any,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_one_or_a_range() {
        assert_eq!(ports("80").unwrap(), (80, 80));
        assert_eq!(ports("80-443").unwrap(), (80, 443));
        assert!(ports("443-80").is_err());
        assert!(ports("http").is_err());
    }
}
