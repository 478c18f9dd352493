//! The file that describes a world.

use super::{InterfaceRequest, kubernetes::Kubernetes, place};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    net::SocketAddrV4,
    ops::Range,
    path::{Path, PathBuf},
};
use toml::Spanned;
use vpc::{Spec, Vpc, fault::FaultSpec, policy::Policy};

/// The world that is made when nobody describes one: `conf/world.toml`.
pub const DEFAULT: &str = include_str!("../../../conf/world.toml");

/// A world before it exists.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorldFile {
    /// The VPC.
    pub vpc: Spec,
    /// Where nodes reach what the world serves.
    pub services: Services,
    /// What is launched when nothing else is said.
    pub nodes: Nodes,
    /// What is odd about Kubernetes from the beginning.
    pub kubernetes: Kubernetes,
    /// What goes wrong from the beginning.
    pub faults: Vec<Spanned<FaultSpec>>,
}

/// Addresses inside of the VPC.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Services {
    /// The Kubernetes API.
    pub kubernetes: Spanned<SocketAddrV4>,
    /// EC2.
    pub ec2: Spanned<SocketAddrV4>,
}

/// What nodes are when nothing else is said.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nodes {
    /// Instance type.
    #[serde(rename = "type")]
    pub instance_type: Spanned<String>,
    /// Names or ids of the subnets that nodes go into; empty means every subnet.
    pub subnets: Vec<Spanned<String>>,
    /// Names or ids of the security groups of their primary interface; empty means the VPC's default group.
    pub groups: Vec<Spanned<String>>,
    /// More interfaces that every node is launched with, as a launch template lists them.
    pub interfaces: Vec<Spanned<InterfaceRequest>>,
    /// Name of the role whose credentials they get; none without.
    pub role: Option<String>,
    /// The policy of that role, as IAM has it in JSON; everything is allowed without one.
    pub policy: Option<Spanned<String>>,
    /// The same in a file; beside the world's file when it is no absolute path.
    pub policy_file: Option<PathBuf>,
    /// Tags of their instances.
    pub tags: BTreeMap<String, String>,
}

impl Default for Services {
    fn default() -> Self {
        let at = |last| {
            let address = SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, last), 80);
            Spanned::new(0..0, address)
        };
        Self { kubernetes: at(10), ec2: at(11) }
    }
}

impl Default for Nodes {
    fn default() -> Self {
        Self {
            instance_type: Spanned::new(0..0, "m5.large".into()),
            subnets: Vec::new(),
            groups: Vec::new(),
            interfaces: Vec::new(),
            role: Some("eks-node".into()),
            policy: None,
            policy_file: None,
            tags: BTreeMap::new(),
        }
    }
}

impl WorldFile {
    /// Reads a file, or the default world without one.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or says something that makes no world; the message
    /// names line, column and what is legal.
    pub fn read(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Self::parse(DEFAULT) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("read world file {}", path.display()))?;
        let mut file =
            Self::parse(&text).with_context(|| format!("world file {}", path.display()))?;
        if let Some(policy) = file.nodes.policy_file.take() {
            let policy = path.parent().unwrap_or(Path::new("")).join(policy);
            let read = || format!("policy of nodes: {}", policy.display());
            let text = std::fs::read_to_string(&policy).with_context(read)?;
            text.parse::<Policy>().with_context(read)?;
            file.nodes.policy = Some(Spanned::new(0..0, text));
        }
        Ok(file)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// As [`WorldFile::read`].
    pub fn parse(text: &str) -> Result<Self> {
        let file: Self = toml::from_str(text)?;
        file.check(text)?;
        Ok(file)
    }

    /// What must agree between the parts of a file; each part by itself has been checked by its
    /// type.
    fn check(&self, text: &str) -> Result<()> {
        // Only the VPC knows what makes one.
        if let Err(error) = Vpc::new(self.vpc.clone()) {
            match place::of(text, &error) {
                Some(span) => bail!("{}: {error}", at(text, &span)),
                None => bail!(error),
            }
        }
        let Services { kubernetes, ec2 } = &self.services;
        for service in [kubernetes, ec2] {
            let address = *service.get_ref().ip();
            if !self.vpc.cidrs.iter().any(|block| block.contains(address)) {
                let blocks: Vec<String> = self.vpc.cidrs.iter().map(ToString::to_string).collect();
                let blocks = blocks.join(" or ");
                bail!(
                    "{}: {address} is not in the VPC: must be in {blocks}",
                    at(text, &service.span())
                );
            }
        }
        if kubernetes.get_ref() == ec2.get_ref() {
            bail!("{}: Kubernetes and EC2 cannot share an address and port", at(text, &ec2.span()));
        }
        for fault in &self.faults {
            if let Err(error) = fault.get_ref().check() {
                bail!("{}: {error}", at(text, &fault.span()));
            }
        }
        let types = instances::all();
        let kind = &self.nodes.instance_type;
        if !types.contains_key(kind.get_ref()) {
            let place = at(text, &kind.span());
            bail!("{place}: unknown instance type `{}`, such as m5.large", kind.get_ref());
        }
        if let Some(policy) = &self.nodes.policy {
            let place = || at(text, &policy.span());
            if self.nodes.policy_file.is_some() {
                bail!("{}: nodes have a policy or a policy_file, not both", place());
            }
            policy.get_ref().parse::<Policy>().with_context(place)?;
        }
        let subnets: Vec<_> = self.vpc.subnets.iter().map(|it| (&it.name, &it.id)).collect();
        let groups: Vec<_> = self.vpc.groups.iter().map(|it| (&it.name, &it.id)).collect();
        check_names(text, "subnet", &self.nodes.subnets, &subnets)?;
        check_names(text, "security group", &self.nodes.groups, &groups)?;
        for interface in &self.nodes.interfaces {
            let named = |name: &String| Spanned::new(interface.span(), name.clone());
            let subnet: Vec<_> = interface.get_ref().subnet.iter().map(named).collect();
            let of: Vec<_> = interface.get_ref().groups.iter().map(named).collect();
            check_names(text, "subnet", &subnet, &subnets)?;
            check_names(text, "security group", &of, &groups)?;
        }
        Ok(())
    }
}

fn check_names(
    text: &str,
    what: &str,
    given: &[Spanned<String>],
    known: &[(&String, &Option<String>)],
) -> Result<()> {
    for name in given {
        let wanted = name.get_ref();
        if !known.iter().any(|(name, id)| *name == wanted || id.as_ref() == Some(wanted)) {
            let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
            let (place, legal) = (at(text, &name.span()), names.join(", "));
            bail!("{place}: unknown {what} `{wanted}`, expected one of: {legal}");
        }
    }
    Ok(())
}

/// Where in the text a value begins, counted from 1 as editors do.
fn at(text: &str, span: &Range<usize>) -> String {
    let before = text.get(..span.start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("line {line}, column {column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_world_is_a_world() {
        let file = WorldFile::parse(DEFAULT).unwrap();

        assert_eq!(file.vpc.subnets.len(), 6);
        assert!(vpc::Vpc::new(file.vpc).is_ok());
    }

    #[test]
    fn an_entry_that_makes_no_vpc_is_named_with_its_place() {
        let subnet = |name: &str, cidr: &str, more: &str| {
            format!(
                "[[vpc.subnets]]\nname = '{name}'\nzone = 'us-west-2a'\ncidr = '{cidr}'\n{more}"
            )
        };
        let a = subnet("a", "10.0.0.0/24", "");
        let file = |more: &str| format!("[vpc]\ncidrs = ['10.0.0.0/16']\n{a}{more}");

        check(&file(&subnet("b", "10.0.0.0/25", "")), &["line 10, column 8", "overlap"]);
        check(&file(&subnet("b", "10.1.0.0/24", "")), &["line 10, column 8", "outside"]);
        check(&file(&subnet("a", "10.0.1.0/24", "")), &["line 8, column 8", "`a` names two"]);
        check(&file(&subnet("b", "10.0.1.0/29", "")), &["line 10, column 8", "/16 and /28"]);
        check(
            &file(&subnet("b", "10.0.1.0/24", "prefix_reservations = ['10.0.2.0/28']\n")),
            &["line 11, column 23", "prefix reservation 10.0.2.0/28"],
        );
        check(
            &file("explicit_reservations = ['10.0.0.0/26', '10.0.0.32/28']\n"),
            &["line 7, column 25", "10.0.0.0/26 and 10.0.0.32/28 overlap"],
        );
        check(
            &file("[[vpc.groups]]\nname = 'web'\ningress = [{ group = 'db' }]\n"),
            &["line 9, column 11", "group web permits `db`"],
        );
        check("[vpc]\ncidrs = []\n", &["line 2, column 9", "no address block"]);
    }

    #[track_caller]
    fn check(text: &str, wants: &[&str]) {
        let error = format!("{:#}", WorldFile::parse(text).unwrap_err());

        for want in wants {
            assert!(error.contains(want), "{want:?} is not in: {error}");
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_place_and_what_is_legal() {
        check("[vpcs]\n", &["line 1, column 2", "unknown field `vpcs`", "`vpc`", "`services`"]);
        check("\n[nodes]\nkind = 1\n", &["line 3, column 1", "`type`", "`subnets`"]);
        check("[services]\nec2 = \"10.0.0.11\"\n", &["line 2, column 7"]);
        check(
            "[services]\nec2 = \"192.168.0.1:80\"\n",
            &["line 2, column 7", "192.168.0.1 is not in the VPC", "10.0.0.0/16"],
        );
        check(
            "[nodes]\nsubnets = [\"nodes-a\",\n  \"nodes-z\"]\n",
            &["line 3, column 3", "unknown subnet `nodes-z`", "nodes-a, nodes-b"],
        );
        check("[nodes]\ntype = \"m5.tiny\"\n", &["line 2, column 8", "unknown instance type"]);
        check(
            "[services]\nec2 = \"10.0.0.10:80\"\n",
            &["line 2, column 7", "cannot share an address"],
        );
        check("[vpc\n", &["line 1"]);
        check(
            "[[faults]]\nkind = 'slow'\n[[faults]]\nkind = 'throttle'\nby = '3s'\n",
            &["line 3", "has no `by`", "action"],
        );
        check("[[faults]]\nkind = 'rain'\n", &["line 2, column 8", "`rain`", "`throttle`"]);
        check("[[faults]]\nkind = 'slow'\nfor = 3\n", &["line 3, column 7"]);
    }
}
