//! What is measured: how packets go, what else is in the kernel, and who began the connection.

/// How packets of pods go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// No rule at all: the least that forwarding costs.
    Floor,
    /// Pods of the primary interface.
    Primary,
    /// Single addresses of a secondary interface.
    Single,
    /// Addresses of prefixes of a secondary interface.
    Prefix,
    /// `ENI_CNI_RULE_LAYOUT=aws`.
    Peer,
    /// One rule to all pods, and one from each /28: what prefixes would cost without marks.
    RulePerBlock,
    /// One rule to all pods, and one from each: what single addresses would cost without marks.
    RulePerPod,
}

/// What else of the kernel's filter is on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    /// Nothing.
    Nothing,
    /// Connections are followed, as by any rule that asks for their state.
    Conntrack,
    /// The same, and addresses of new connections may be translated, as on every node of Kubernetes.
    Nat,
    /// The same, with what kube-proxy asks of each packet.
    KubeProxy,
}

/// Who began the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    ByPod,
    Outside,
}

/// A row of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) mode: Mode,
    pub(crate) beside: Beside,
    pub(crate) begun: Begun,
    pub(crate) name: &'static str,
}

const fn row(mode: Mode, beside: Beside, begun: Begun, name: &'static str) -> Row {
    Row { mode, beside, begun, name }
}

pub(crate) const ROWS: [Row; 14] = {
    use {Begun::*, Beside::*, Mode::*};
    [
        row(Floor, Nothing, ByPod, "no rules, no filter"),
        row(Floor, Conntrack, ByPod, "no rules, conntrack"),
        row(Floor, Nat, ByPod, "no rules, conntrack and NAT hooks"),
        row(Floor, KubeProxy, ByPod, "no rules, chains like kube-proxy's"),
        row(Primary, Nothing, ByPod, "primary interface"),
        row(Single, Nothing, ByPod, "single addresses"),
        row(Prefix, Nothing, ByPod, "prefixes"),
        row(Primary, KubeProxy, ByPod, "primary interface, chains like kube-proxy's"),
        row(Single, KubeProxy, ByPod, "single addresses, chains like kube-proxy's"),
        row(Prefix, KubeProxy, ByPod, "prefixes, chains like kube-proxy's"),
        row(Single, KubeProxy, Outside, "single addresses, the same, begun outside"),
        row(Peer, Nothing, ByPod, "`aws` layout"),
        row(RulePerBlock, Nothing, ByPod, "one rule from each /28"),
        row(RulePerPod, Nothing, ByPod, "one rule from each pod"),
    ]
};

impl Beside {
    /// What `nft` is told. What a packet of an established connection meets is as in kube-proxy's iptables
    /// mode: the state is asked for when it is forwarded, and nothing where addresses are translated.
    pub(crate) fn script(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Conntrack => {
                "table ip beside {\nchain forward { type filter hook forward priority 0; ct state invalid drop; }\n}\n"
            }
            Self::Nat => {
                "table ip beside {\nchain forward { type filter hook forward priority 0; ct state invalid drop; }\n\
                 chain before { type nat hook prerouting priority -100; }\n\
                 chain after { type nat hook postrouting priority 100; }\n}\n"
            }
            Self::KubeProxy => {
                "table ip beside {\n\
                 chain kube-services { ip daddr 172.20.0.1 tcp dport 443 accept; }\n\
                 chain kube-firewall { ip daddr 192.0.2.1 tcp dport 443 drop; }\n\
                 chain kube-masquerade { meta mark and 0x4000 != 0x4000 return; meta mark set meta mark xor 0x4000; masquerade; }\n\
                 chain kube-established { ct state invalid drop; meta mark and 0x4000 == 0x4000 accept; ct state related,established accept; }\n\
                 chain forward { type filter hook forward priority 0; ct state new jump kube-firewall; jump kube-established; ct state new jump kube-services; }\n\
                 chain before { type nat hook prerouting priority -100; jump kube-services; }\n\
                 chain after { type nat hook postrouting priority 100; jump kube-masquerade; }\n}\n"
            }
        }
    }
}
