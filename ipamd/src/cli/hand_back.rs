//! `ipamd hand-back`: prepares a node for the peer while pods run. What the peer needs is there before
//! what only we need goes, so that a pod finds its way at every step.

use super::{capabilities, daemon, environment, install, start, starting::Starting, stay_down};
use crate::{
    kernel::sync,
    node::Node,
    pods::{checkpoint, restore, teardown},
    settings::{LogFile, Settings},
    tell::log,
};
use anyhow::{Context, Result, bail};
use net::{
    EgressSelector, Layout, LinkChange, Object, Op, Rule, firewall, iptables,
    layout::{POD_GROUP, POD_GROUP_MASK},
    leftover,
    op::MAIN_TABLE,
    peer_filters::{PeerFilters, Work},
    pod::{Pod, Role},
};
use nix::{sys::signal::kill, unistd::Pid};
use pool::adopt::Unknown;
use rpc::{GuardError, Listener};
use std::{
    collections::BTreeSet,
    fs, io,
    net::Ipv4Addr,
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

/// The socket of the peer's daemon in the run folder.
const PEERS_SOCKET: &str = "ipamd.sock";

/// How long a daemon may take to let go: it does so at once, but may be about to start.
const LETS_GO: Duration = Duration::from_secs(30);

/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Hands this node back, and says what it did, line by line.
pub(super) fn run() -> Result<()> {
    let mut settings = daemon::settings(&environment::variables())?;
    settings.layout = Layout::Peer;
    if settings.log_file == LogFile::Stdout {
        // That one is for what was done.
        settings.log_file = LogFile::Stderr;
    }
    log::start(&settings);
    capabilities::check()?;
    if UnixStream::connect(settings.run_dir.join(PEERS_SOCKET)).is_ok() {
        bail!(
            "amazon-vpc-cni-k8s serves this node: its daemon listens on {PEERS_SOCKET} in {}",
            settings.run_dir.display()
        );
    }
    let runtime = daemon::runtime()?;
    // Another hand-back takes this one for the daemon, and asks it: without a listener that would end it.
    let asked = {
        let _within = runtime.enter();
        signal(SignalKind::from_raw(daemon::LET_GO as i32))?
    };
    let alone = serve_no_more(&settings.run_dir)?;
    let ended = runtime.block_on(hand_back(settings));
    drop(asked);
    std::mem::forget(runtime);
    drop(alone);
    ended.context(
        "this node is served by nobody and not handed back yet: run this again, or `ipamd take-over`",
    )
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn say(line: &str) {
    println!("{line}");
}

/// Has the daemon serve nothing, now and after its next start. Nobody else works on this node while
/// what is returned exists.
fn serve_no_more(run_dir: &Path) -> Result<Listener> {
    let was_told = stay_down::is_told(run_dir);
    stay_down::tell(run_dir)?;
    match alone(&run_dir.join(rpc::SOCKET_NAME)) {
        Ok(listener) => {
            say(if was_told {
                "already so: the daemon serves nothing"
            } else {
                "the daemon serves nothing from now on, also after a restart"
            });
            Ok(listener)
        }
        Err(error) => {
            if !was_told {
                stay_down::end(run_dir)?;
            }
            Err(error)
        }
    }
}

/// Waits until no daemon works on this node, and keeps every other from it.
fn alone(socket: &Path) -> Result<Listener> {
    let deadline = Instant::now() + LETS_GO;
    let mut asked = false;
    loop {
        match rpc::guard(rpc::GUARD_NAME) {
            Err(GuardError::Taken { pid }) if Instant::now() < deadline => {
                if !asked {
                    ask(pid)?;
                    asked = true;
                }
                thread::sleep(LOOK_EVERY);
            }
            Err(error @ GuardError::Taken { .. }) => {
                return Err(error).context("have the daemon of this node serve no more");
            }
            // The daemon did without the name as well. If there is one, it has the lock.
            Err(error @ (GuardError::Squatted { .. } | GuardError::Io(_))) => {
                warn!(error = %error, "failed to ask who serves this node");
                break;
            }
            Ok(()) => break,
        }
    }
    let listener = Listener::bind(socket).context("stop the daemon of this node first")?;
    // The lock is what is wanted. A plugin learns at once that nobody serves: DELs wait in the spool,
    // ADDs are repeated.
    fs::remove_file(socket).context("remove the socket")?;
    Ok(listener)
}

/// Asks the daemon to serve no more.
fn ask(process: i32) -> Result<()> {
    if process == 0 {
        bail!(
            "the daemon of this node runs in another container: run this there, such as `kubectl exec --namespace kube-system POD -- /app/ipamd hand-back`"
        );
    }
    kill(Pid::from_raw(process), daemon::LET_GO)
        .with_context(|| format!("ask the daemon, process {process}, to serve no more"))
}

async fn hand_back(settings: Settings) -> Result<()> {
    let found = net::Netlink::open()?.rules().context("list the rules")?;
    let prepared = start::prepare(settings, &Starting::new()).await?;
    let node = prepared.executor.node.clone();
    teardown::start(&node, prepared.ended_links)?;
    node.store.state().held =
        prepared.held.into_iter().map(|(address, held)| (address, held.unclear)).collect();
    restore::restore(&node)?;
    if prepared.executor.make_ready().await {
        say("an interface is not there yet: the log says which, and the peer sets it up");
    }
    let pods = route_as_peer(&node)?;
    make_peers_filters(&node)?;
    sync::finish(&node)?;
    remove_ours_alone(&node)?;
    tell_rules(&node, &found, pods)?;
    remove_tables()?;
    ungroup(&node)?;
    checkpoint::write(&node)?;
    say(&format!(
        "wrote {}: every pod is in it, and the peer gives none of their addresses away",
        node.settings.backing_store.display()
    ));
    install::conflist(&node.settings)?;
    say(&format!(
        "the network list in {} has the peer's name and form; the peer replaces it and the plugin",
        node.settings.cni_conf.display()
    ));
    say(NEXT);
    Ok(())
}

/// What is to be done, and what does not work until it is.
const NEXT: &str = "\
stays, because the peer has the same: routes to pods, tables and rules of interfaces, the rule for marks
start amazon-vpc-cni-k8s on this node now. Until it serves, no pod starts here, and pods that end wait
to go back: `ipamd take-over`";

/// Gives every pod the rules that the peer would have made, and makes sure that they are there. How
/// many pods these are.
fn route_as_peer(node: &Node) -> Result<usize> {
    let held = held_pods(node);
    let mut kernel = node.kernel();
    let of_held = held.iter().flat_map(Pod::rules);
    kernel
        .apply(&of_held.map(Object::Rule).map(Op::Add).collect::<Vec<_>>())
        .context("route pods that nobody knows")?;
    let links: BTreeSet<String> =
        kernel.links().context("list the links")?.into_iter().map(|link| link.name).collect();
    let rules: BTreeSet<Rule> = kernel.rules().context("list the rules")?.into_iter().collect();
    drop(kernel);
    let known = node.store.attachments();
    let known = known.iter().filter(|it| links.contains(&it.host_name));
    let mut count = held.len();
    for attachment in known {
        if let Some(rule) = attachment.pod().rules().iter().find(|rule| !rules.contains(*rule)) {
            let (namespace, name) = (&attachment.pod_namespace, &attachment.pod_name);
            bail!("route pod {namespace}/{name} as the peer does: no rule {rule:?}");
        }
        count += 1;
    }
    Ok(count)
}

/// Pods that run and that nobody knows, as far as routing needs to know them.
fn held_pods(node: &Node) -> Vec<Pod> {
    let state = node.store.state();
    let table = |address: Ipv4Addr| {
        let mut enis = state.attached.values().map(|eni| &eni.record);
        let has = |eni: &&record::Interface| {
            eni.addresses.contains(&address) || eni.is_in_prefix(address)
        };
        enis.find(has).map_or(MAIN_TABLE, record::Interface::table)
    };
    let pods = state.held.iter().filter_map(|(address, held)| {
        if let Some(pod) = &held.pod {
            return Some(Pod { egress: EgressSelector::Peer, ..pod.pod() });
        }
        let Unknown::Link(link) = &held.why else { return None };
        Some(Pod {
            host_name: link.clone(),
            pod_name: String::new(),
            address: *address,
            table: table(*address),
            egress: EgressSelector::Peer,
            mtu: 0,
            host_mac: None,
            role: Role::First,
        })
    });
    pods.collect()
}

/// Also rules of interfaces whose devices are not there, which a start would keep.
fn remove_ours_alone(node: &Node) -> Result<()> {
    let mut kernel = node.kernel();
    let found = kernel.rules().context("list the rules")?.into_iter();
    let ours = found.filter(leftover::is_ours_alone).map(Object::Rule).map(Op::Remove);
    kernel.apply(&ours.collect::<Vec<_>>()).context("remove rules that only we have")
}

fn tell_rules(node: &Node, before: &[Rule], pods: usize) -> Result<()> {
    let after: BTreeSet<Rule> =
        node.kernel().rules().context("list the rules")?.into_iter().collect();
    let before: BTreeSet<Rule> = before.iter().cloned().collect();
    let (made, removed) = (after.difference(&before).count(), before.difference(&after).count());
    say(&match (made, removed) {
        (0, 0) => format!("already so: {pods} pods are routed by the peer's rules alone"),
        _ => format!(
            "{pods} pods are routed by the peer's rules: added {made} rules, then removed {removed}"
        ),
    });
    Ok(())
}

/// Translates and marks as the peer will. The peer's rules of before go first, so that each is there
/// once. Ours do the same work until this is done; without it they stay.
fn make_peers_filters(node: &Node) -> Result<()> {
    let firewall = node.host_network().firewall;
    let prefix = &node.settings.veth_prefix;
    let before = PeerFilters {
        marks: [node.settings.mark].into(),
        done: [Work::Translation, Work::OutboundMarks, Work::Answers].into(),
    };
    let removed: io::Result<Vec<_>> = iptables::remove(&before).into_iter().collect();
    let removed = removed.context("remove the peer's filter rules of before")?;
    if let Some(kept) = removed.iter().find_map(|it| it.kept.first()) {
        // To make the chain anew would take away what somebody else has in it.
        bail!(
            "make the peer's filter rules: {kept}; remove that first. Ours stay, and pods with them"
        );
    }
    iptables::make(&firewall.as_peers_iptables(prefix))
        .and_then(|()| net::nft::apply(&firewall.as_peers_table(prefix)))
        .context("make the peer's filter rules; ours stay, and pods with them")?;
    say("made the peer's rules of iptables and nftables: translation and marks go on");
    Ok(())
}

fn remove_tables() -> Result<()> {
    net::nft::apply(&firewall::removal()).context("remove the filter rules")?;
    say(&format!("removed the nftables tables {} of IPv4 and IPv6", firewall::TABLE));
    Ok(())
}

/// Puts links of pods out of our groups, which nothing relies on any more.
fn ungroup(node: &Node) -> Result<()> {
    let mut kernel = node.kernel();
    let links = kernel.links().context("list the links")?;
    let grouped = links.iter().filter(|it| it.veth && it.group & POD_GROUP_MASK == POD_GROUP);
    let none = |link: &net::Link| {
        Op::Change(LinkChange { link: link.index, group: Some(0), ..LinkChange::default() })
    };
    let ops: Vec<Op> = grouped.map(none).collect();
    for failure in kernel.apply_each(&ops)? {
        // A pod that ended just now has no link any more.
        warn!(error = %failure, "failed to put a link out of its group");
    }
    say(&format!("put the links of {} pods out of our device groups", ops.len()));
    Ok(())
}
