//! What the peer makes in iptables and nftables at its start, made before it starts: its pods and ours
//! are translated and marked from the moment on when our own rules go.

use super::PEER_TABLE;
use crate::plan::firewall::{Firewall, NodePort, Snat};
use std::fmt::{Result, Write};

impl Firewall {
    /// The peer's rules that do the work of these, for `iptables-restore --noflush`.
    /// `prefix`: begin of the names of pods' links.
    pub fn as_peers_iptables(&self, prefix: &str) -> String {
        let mut text = String::new();
        self.write_iptables(&mut text, prefix).expect("writing to a string does not fail");
        text
    }

    /// The peer's table of nftables, in place of the one that may be there.
    pub fn as_peers_table(&self, prefix: &str) -> String {
        let mut text = String::new();
        self.write_table(&mut text, prefix).expect("writing to a string does not fail");
        text
    }

    fn write_iptables(&self, text: &mut String, prefix: &str) -> Result {
        let Self { primary_link, primary, mark, .. } = self;
        let rule = "-A PREROUTING -i";
        let comment = "-m comment --comment \"AWS, primary ENI\"";
        writeln!(text, "*mangle")?;
        if self.node_port == NodePort::Supported {
            writeln!(
                text,
                "{rule} {primary_link} {comment} -m addrtype --dst-type LOCAL --limit-iface-in -j CONNMARK --set-xmark {mark:#x}/{mark:#x}"
            )?;
        }
        let pods = self.marks().then_some(prefix);
        let branches = (self.node_port == NodePort::Supported).then_some("vlan");
        for links in pods.into_iter().chain(branches) {
            writeln!(
                text,
                "{rule} {links}+ {comment} -j CONNMARK --restore-mark --nfmask {mark:#x} --ctmask {mark:#x}"
            )?;
        }
        writeln!(text, "COMMIT")?;
        let how = match self.snat {
            Snat::FullyRandom => " --random-fully",
            Snat::Random => " --random",
            Snat::Sequential => "",
            Snat::External => return Ok(()),
        };
        let (chain, comment) = ("AWS-SNAT-CHAIN-0", "-m comment --comment");
        writeln!(text, "*nat\n:{chain} - [0:0]")?;
        writeln!(text, "-A POSTROUTING {comment} \"AWS SNAT CHAIN\" -j {chain}")?;
        for cidr in &self.direct {
            writeln!(text, "-A {chain} -d {cidr} {comment} \"AWS SNAT CHAIN\" -j RETURN")?;
        }
        writeln!(
            text,
            "-A {chain} ! -o vlan+ {comment} \"AWS, SNAT\" -m addrtype ! --dst-type LOCAL -j SNAT --to-source {primary}{how}\nCOMMIT"
        )
    }

    fn write_table(&self, text: &mut String, prefix: &str) -> Result {
        let (table, mark) = (PEER_TABLE, self.mark);
        writeln!(text, "table ip {table}\ndelete table ip {table}")?;
        if self.snat == Snat::External {
            return Ok(());
        }
        writeln!(text, "table ip {table} {{\n  chain snat-mark {{")?;
        for cidr in &self.direct {
            writeln!(text, "    counter ip daddr {cidr} return")?;
        }
        writeln!(
            text,
            "    counter ct mark set ct mark or {mark:#x}\n  }}\n  chain nat-prerouting {{\n    \
               type nat hook prerouting priority dstnat + 10; policy accept;\n    \
               fib daddr type local return\n    iifname \"{prefix}*\" counter jump snat-mark\n    \
               counter meta mark set ct mark and {mark:#x}\n  }}\n}}"
        )
    }
}
