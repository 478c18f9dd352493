//! What the commands print.

use crate::world::{
    control::Call,
    status::{InterfaceStatus, NodeStatus, Status},
};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{fmt::Write as _, io::Write as _};

/// A document on one line.
pub(super) fn line(value: &Value) -> Result<()> {
    write(&format!("{value}\n"))
}

/// A document for people and programs.
pub(super) fn json(value: &Value) -> Result<()> {
    write(&format!("{value:#}\n"))
}

/// What a command answered, if it has anything to say.
pub(super) fn answer(value: &Value) -> Result<()> {
    if value.is_null() { Ok(()) } else { json(value) }
}

/// A world for people.
pub(super) fn status(status: &Status) -> Result<()> {
    write(&describe(status).context("describe the world")?)
}

/// Calls of EC2 for people, one a line.
pub(super) fn calls(calls: &[Call]) -> Result<()> {
    let mut text = String::new();
    for Call { at_ms, who, action, outcome, status, .. } in calls {
        let (seconds, millis) = (at_ms / 1000, at_ms % 1000);
        writeln!(text, "{seconds:>6}.{millis:03}  {who:<20} {action:<34} {status} {outcome}")?;
    }
    write(&text)
}

fn write(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("write to standard output")
}

fn describe(status: &Status) -> Result<String, std::fmt::Error> {
    let Status { summary, subnets, groups, nodes, dropped } = status;
    let mut text = String::new();
    writeln!(
        text,
        "world {} in process {}, {}",
        summary.name,
        summary.process.pid,
        summary.folder.display()
    )?;
    writeln!(
        text,
        "kubernetes  {}  (on nodes {})",
        summary.outside.kubernetes, summary.inside.kubernetes
    )?;
    writeln!(text, "ec2         {}  (on nodes {})", summary.outside.ec2, summary.inside.ec2)?;
    writeln!(text, "kubeconfig  {}", summary.kubeconfig.display())?;
    for (name, subnet) in subnets {
        let (id, cidr, zone, free) = (&subnet.id, &subnet.cidr, &subnet.zone, subnet.free);
        writeln!(text, "subnet      {name:<16} {id}  {cidr:<16} {zone}  {free} free")?;
    }
    for (name, id) in groups {
        writeln!(text, "group       {name:<16} {id}")?;
    }
    for node in nodes {
        describe_node(&mut text, node)?;
    }
    for it in dropped {
        writeln!(
            text,
            "dropped     {} packets of {} at {}: {}",
            it.packets, it.source, it.eni, it.reason
        )?;
    }
    Ok(text)
}

fn describe_node(text: &mut String, node: &NodeStatus) -> std::fmt::Result {
    let NodeStatus { name, instance_id, instance_type, zone, address, .. } = node;
    let daemon = match node.daemon {
        Some(pid) => format!("daemon {pid}"),
        None => "no daemon".into(),
    };
    writeln!(
        text,
        "node        {name:<16} {instance_id}  {instance_type}  {zone}  {address}  {daemon}"
    )?;
    for InterfaceStatus { id, state, device_index, subnet, primary, secondary, prefixes, .. } in
        &node.interfaces
    {
        let (addresses, prefixes) = (secondary.len(), prefixes.len());
        writeln!(
            text,
            "  interface {device_index} {id} {state} in {subnet}: {primary}, {addresses} more, {prefixes} prefixes"
        )?;
    }
    for pod in &node.pods {
        let address = pod.address.map_or_else(|| "no address yet".into(), |it| it.to_string());
        writeln!(text, "  pod       {}/{}  {address}", pod.namespace, pod.name)?;
    }
    Ok(())
}
