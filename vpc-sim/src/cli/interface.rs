//! `interface`: interfaces that a user attaches to nodes.

use super::{examples, pair, print};
use crate::world::{
    Folder, InterfaceRequest,
    control::{self, Request},
};
use anyhow::{Context, Result, anyhow, bail};
use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use vpc::InterfaceKind;

#[derive(Debug, Subcommand)]
pub(super) enum InterfaceCommand {
    /// Make an interface, attach it to a node, wait for it, and print it
    #[command(after_help = examples::INTERFACE_ATTACH)]
    Attach {
        /// Name of the node
        node: String,
        #[command(flatten)]
        interface: InterfaceArgs,
    },
    /// Detach an interface and delete it
    #[command(after_help = examples::INTERFACE_RM)]
    Rm {
        /// Its id
        id: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct InterfaceArgs {
    /// What it is for
    #[arg(long = "type", default_value = "interface", value_parser = kinds())]
    kind: InterfaceKind,
    /// With an IPv6 address and none of IPv4
    #[arg(long)]
    ipv6_only: bool,
    /// Name or id of the subnet; otherwise that of the node
    #[arg(long)]
    subnet: Option<String>,
    /// Names or ids of the security groups; otherwise those of the primary interface
    #[arg(long = "group", num_args = 1..)]
    groups: Vec<String>,
    /// Tags
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair, num_args = 1..)]
    tags: Vec<(String, String)>,
    /// Words for people
    #[arg(long, default_value = "")]
    description: String,
    /// How many secondary addresses
    #[arg(long, value_name = "COUNT", default_value_t = 0, conflicts_with = "prefixes")]
    secondary: u32,
    /// How many prefixes
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    prefixes: u32,
    /// Network card; otherwise the default one
    #[arg(long)]
    card: Option<u32>,
    /// Place on the card; otherwise the first free one
    #[arg(long)]
    device_index: Option<u32>,
}

/// Does what the arguments say.
pub(super) fn run(folder: &Folder, command: InterfaceCommand) -> Result<()> {
    let request = match command {
        InterfaceCommand::Attach { node, interface } => {
            Request::InterfaceAttach { node, interface: interface.into() }
        }
        InterfaceCommand::Rm { id } => Request::InterfaceRemove { id },
    };
    print::answer(&control::ask(folder, &request)?)
}

impl From<InterfaceArgs> for InterfaceRequest {
    fn from(args: InterfaceArgs) -> Self {
        let InterfaceArgs { kind, ipv6_only, subnet, groups, tags, description, .. } = args;
        let InterfaceArgs { secondary, prefixes, card, device_index, .. } = args;
        Self {
            kind,
            ipv6_only,
            subnet,
            groups,
            tags: tags.into_iter().collect(),
            description,
            secondary,
            prefixes,
            card,
            device_index,
        }
    }
}

/// An interface in one word, `KEY=VALUE` separated by commas, with the keys of the world's file;
/// several groups and tags are several times their key.
pub(super) fn in_one_word(text: &str) -> Result<InterfaceRequest> {
    let mut request = InterfaceRequest::default();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (key, value) = pair(part)?;
        let number = || value.parse().with_context(|| format!("`{value}` is no {key}"));
        match key.as_str() {
            "type" => {
                request.kind = value.parse().map_err(|()| anyhow!("`{value}` is no type"))?;
            }
            "ipv6_only" => request.ipv6_only = value.parse()?,
            "subnet" => request.subnet = Some(value),
            "group" => request.groups.push(value),
            "tag" => request.tags.extend([pair(&value)?]),
            "description" => request.description = value,
            "secondary" => request.secondary = number()?,
            "prefixes" => request.prefixes = number()?,
            "card" => request.card = Some(number()?),
            "device_index" => request.device_index = Some(number()?),
            _ => bail!(
                "`{key}` is not one of type, ipv6_only, subnet, group, tag, description, \
                 secondary, prefixes, card, device_index"
            ),
        }
    }
    Ok(request)
}

fn kinds() -> impl TypedValueParser<Value = InterfaceKind> {
    PossibleValuesParser::new(InterfaceKind::ALL.map(InterfaceKind::as_str)).map(|name| {
        name.parse::<InterfaceKind>().expect("the parser lets only names of kinds through")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_can_be_said_in_one_word() {
        let said = in_one_word("type=efa-only,card=1,device_index=1,tag=a/b=c=d,tag=e=").unwrap();

        let tags = [("a/b", "c=d"), ("e", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let want = InterfaceRequest {
            kind: InterfaceKind::EfaOnly,
            card: Some(1),
            device_index: Some(1),
            tags: tags.into(),
            ..InterfaceRequest::default()
        };
        assert_eq!(said, want);
        assert!(in_one_word("kind=efa").unwrap_err().to_string().contains("device_index"));
        assert!(in_one_word("type=fast").is_err());
    }
}
