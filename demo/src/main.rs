//! The demo: custom networking is switched on in a running cluster, and no pod loses its network.

mod cluster;
mod look;
mod show;
mod story;
mod traffic;

use anyhow::{Context, Result, bail};
use cluster::Cluster;
use std::{sync::Arc, time::Instant};
use story::{Story, say};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use vpc_sim::world::{World, WorldFile};

/// Switches custom networking on, as the operator of a cluster does in the DaemonSet.
const CUSTOM: [(&str, &str); 2] = [
    ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "true"),
    ("ENI_CONFIG_LABEL_DEF", "topology.kubernetes.io/zone"),
];

/// Zone, node that is there from the beginning, node that joins later, the zone's pod subnet.
const ZONES: [Zone; 2] = [
    Zone { name: "us-west-2a", old: "node1-1", new: "node1-2", nodes: "nodes-a", pods: "pods-a" },
    Zone { name: "us-west-2b", old: "node2-1", new: "node2-2", nodes: "nodes-b", pods: "pods-b" },
];

/// One availability zone of the story. Subnets by their names in the world's file.
#[derive(Clone, Copy, Debug)]
struct Zone {
    name: &'static str,
    old: &'static str,
    new: &'static str,
    nodes: &'static str,
    pods: &'static str,
}

/// Pods that run on each old node before anything changes.
const BEFORE: usize = 3;

/// Pods that are deployed over all nodes after the switch.
const DEPLOYED: usize = 20;

/// The demo has a world of its own, beside one that runs under the default name.
const WORLD: &str = "demo";

/// Runs the demo in a world of its own, and removes it.
fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::WARN)
        .init();
    Runtime::new().context("start a runtime")?.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("wait for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
        let began = Instant::now();
        let world = World::up(WORLD, WorldFile::read(None)?).await?;
        let told = tokio::select! {
            told = tell(&world) => told,
            _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
            _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
        };
        let removed = world.down().await.context("remove the world");
        say(&format!("The world is removed; it was there for {} s.\n", began.elapsed().as_secs()))?;
        told.and(removed)
    })
}

async fn tell(world: &Arc<World>) -> Result<()> {
    say("eni-cni: pods move to subnets of their own, and none loses its network on the way\n")?;
    let mut story = Story::default();
    let mut cluster = Cluster::new(Arc::clone(world));
    let told = async {
        two_zones(&mut story, &mut cluster).await?;
        switch_on(&mut story, &mut cluster).await?;
        more_nodes(&mut story, &mut cluster).await?;
        old_nodes_go(&mut story, &mut cluster).await?;
        traffic_proves_it(&mut story, &cluster).await
    };
    if let Err(error) = told.await {
        story.check("the story comes to its end", &[format!("{error:#}")])?;
        cluster.show_logs().await?;
    }
    story.close()
}

async fn two_zones(story: &mut Story, cluster: &mut Cluster) -> Result<()> {
    story.chapter(
        "A VPC with two zones, one node in each",
        "Pods get their addresses from the nodes' own subnets. There are 123 in each, and they run out.",
    )?;
    cluster.show_subnets(story).await?;
    for zone in ZONES {
        cluster.boot(story, zone.old, zone.name).await?;
        cluster.start_daemon(zone.old, &[]).await?;
    }
    for (number, zone) in (0..BEFORE).flat_map(|_| ZONES).enumerate() {
        cluster.add_pod(&format!("before-{:02}", number + 1), zone.old).await?;
    }
    cluster.show_nodes(story).await?;
    cluster.show_pods(story)?;
    for zone in ZONES {
        let wrong = cluster.outside_of(zone.old, zone.nodes).await?;
        story
            .check(format!("every pod on {} has an address of {}", zone.old, zone.nodes), &wrong)?;
    }
    Ok(())
}

async fn switch_on(story: &mut Story, cluster: &mut Cluster) -> Result<()> {
    story.chapter(
        "Custom networking is switched on",
        "The DaemonSet gets two variables and is rolled out, node by node, while clients use every pod.",
    )?;
    for (name, value) in CUSTOM {
        story.tell(format!("{name}={value}"))?;
    }
    let clients = cluster.start_clients();
    for zone in ZONES {
        cluster.stop_daemon(zone.old).await?;
        cluster.start_daemon(zone.old, &CUSTOM).await?;
        story.tell(format!("ipamd on {} restarted", zone.old))?;
    }
    for zone in ZONES {
        let subnet = cluster.create_eniconfig(zone.name, zone.pods).await?;
        story.tell(format!(
            "ENIConfig {} created: subnet {subnet}, security group pods",
            zone.name
        ))?;
    }
    for zone in ZONES {
        cluster.wait_for_interface(story, zone.old, zone.pods).await?;
    }
    let (asked, failed) = clients.stop().await?;
    if asked == 0 {
        bail!("the clients sent no request while the daemons were rolled out");
    }
    cluster.show_nodes(story).await?;
    story.check(format!("all {asked} requests during the rollout were answered"), &failed)
}

async fn more_nodes(story: &mut Story, cluster: &mut Cluster) -> Result<()> {
    story.chapter(
        "Two more nodes join, and 20 pods are deployed over all four",
        "The old nodes now have pods of both kinds: those from before stay as they are.",
    )?;
    let before = cluster.addresses();
    for zone in ZONES {
        cluster.boot(story, zone.new, zone.name).await?;
        cluster.start_daemon(zone.new, &CUSTOM).await?;
        cluster.wait_for_interface(story, zone.new, zone.pods).await?;
    }
    let nodes = ZONES.map(|zone| zone.old).into_iter().chain(ZONES.map(|zone| zone.new));
    for (number, node) in nodes.cycle().take(DEPLOYED).enumerate() {
        cluster.add_pod(&format!("web-{:02}", number + 1), node).await?;
    }
    cluster.show_nodes(story).await?;
    cluster.show_pods(story)?;
    for zone in ZONES {
        let wrong = cluster.outside_of(zone.new, zone.pods).await?;
        story
            .check(format!("every pod on {} has an address of {}", zone.new, zone.pods), &wrong)?;
        let secondary = cluster.secondary_of_primary(zone.new).await?;
        story.check(
            format!("the primary interface of {} has no secondary address", zone.new),
            &secondary,
        )?;
        let wrong = cluster.new_pods_outside_of(zone.old, zone.pods, &before).await?;
        story.check(
            format!("every new pod on {} has an address of {}", zone.old, zone.pods),
            &wrong,
        )?;
    }
    let moved = cluster.moved(&before);
    story.check("every pod from before has the address it had", &moved)?;
    let lost = cluster.unreachable(before.into_keys()).await?;
    story.check("every pod from before answers its neighbours on every node", &lost)
}

async fn old_nodes_go(story: &mut Story, cluster: &mut Cluster) -> Result<()> {
    story.chapter(
        "The old nodes are removed, their pods come back on the new ones",
        "From now on nodes and pods have subnets of their own.",
    )?;
    // An instance that ends between two calls of its daemon leaves an interface behind, on AWS too.
    cluster.wait_for_daemons(story).await?;
    for zone in ZONES {
        let pods = cluster.remove_node(zone.old).await?;
        story.tell(format!(
            "{} is terminated; {} of its pods are started on {}",
            zone.old,
            pods.len(),
            zone.new
        ))?;
        for pod in pods {
            cluster.add_pod(&pod, zone.new).await?;
        }
    }
    cluster.show_nodes(story).await?;
    cluster.show_pods(story)?;
    for zone in ZONES {
        let wrong = cluster.outside_of(zone.new, zone.pods).await?;
        story
            .check(format!("every pod on {} has an address of {}", zone.new, zone.pods), &wrong)?;
        let wrong = cluster.node_outside_of(zone.new, zone.nodes).await?;
        story.check(format!("{} has an address of {}", zone.new, zone.nodes), &wrong)?;
    }
    let left = cluster.interfaces_left_over();
    story.check("EC2 has no network interface that belongs to no node", &left)
}

async fn traffic_proves_it(story: &mut Story, cluster: &Cluster) -> Result<()> {
    story.chapter(
        "Real traffic proves it",
        "The VPC delivers and drops as a real one does: by what EC2 knows, not by what nodes say.",
    )?;
    let (pairs, wrong) = cluster.everybody_asks_everybody().await?;
    story.check(
        format!("{pairs} pairs of pods speak over HTTP, each seen with its own address"),
        &wrong,
    )?;
    let wrong = cluster.everybody_asks_the_internet(story).await?;
    story.check("on the internet every pod is seen as its node's primary address", &wrong)?;
    let wrong = cluster.spoof(story, ZONES[0].new, ZONES[1].new).await?;
    story.check("the VPC drops what a node sends with an address it does not have", &wrong)?;
    cluster.show_calls(story)
}
