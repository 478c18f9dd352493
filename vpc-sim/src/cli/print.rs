//! What the commands print.

use crate::api::kube::Asked;
use crate::world::{
    calls::{Call, Counts},
    status::{InterfaceStatus, NodeStatus, Status},
};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write as _, io::Write as _};
use vpc::{InterfaceKind, calls::CallCount, fault::FaultStatus};

/// Words as they are.
pub(super) fn text(text: &str) -> Result<()> {
    write(text)
}

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
    for Call { at_ms, who, action, outcome, status, latency_ms, parameters } in calls {
        let (seconds, millis) = (at_ms / 1000, at_ms % 1000);
        writeln!(
            text,
            "{seconds:>6}.{millis:03}  {who:<12} {action:<32} {status:>3} {outcome:<24} \
             {latency_ms:>5} ms  {parameters}"
        )?;
    }
    write(&text)
}

/// How often who called what, as a table.
pub(super) fn counts(counts: &Counts) -> Result<()> {
    write(&table(counts).context("describe the calls")?)
}

/// Faults for people, one a line.
pub(super) fn faults(faults: &[FaultStatus]) -> Result<()> {
    let lines = faults.iter().map(|fault| describe_fault(fault) + "\n");
    write(&lines.collect::<String>())
}

/// An action in the table of calls.
#[derive(Default)]
struct Row {
    total: u64,
    throttled: u64,
    failed: u64,
    by: Vec<String>,
}

fn table(counts: &Counts) -> Result<String, std::fmt::Error> {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for CallCount { action, who, total, throttled, failed } in &counts.ec2 {
        let row = rows.entry(action).or_default();
        row.total += total;
        row.throttled += throttled;
        row.failed += failed;
        row.by.push(format!("{who} {total}"));
    }
    let mut text =
        format!("{:<32} {:>8} {:>10} {:>8}  BY NODE\n", "ACTION", "TOTAL", "THROTTLED", "FAILED");
    for (action, Row { total, throttled, failed, by }) in rows {
        let by = by.join(", ");
        writeln!(text, "{action:<32} {total:>8} {throttled:>10} {failed:>8}  {by}")?;
    }
    if !counts.imds.is_empty() {
        let by: Vec<_> = counts.imds.iter().map(|(who, count)| format!("{who} {count}")).collect();
        let (total, by) = (counts.imds.values().sum::<u64>(), by.join(", "));
        writeln!(text, "{:<32} {total:>8} {:>10} {:>8}  {by}", "(instance metadata)", "", "")?;
    }
    for Asked { verb, resource, status, total } in &counts.kubernetes {
        let name = format!("({} {resource})", verb.word());
        let failed = if *status < 400 { 0 } else { *total };
        writeln!(text, "{name:<32} {total:>8} {:>10} {failed:>8}  nodes, {status}", "")?;
    }
    Ok(text)
}

fn describe_fault(fault: &FaultStatus) -> String {
    let FaultStatus { id, spec, acted, calls_left, time_left } = fault;
    let said = |name: &str, value: Option<String>| value.map(|value| format!(" {name} {value}"));
    let text = |value: &Option<String>| value.clone();
    let settings = [
        said("node", text(&spec.node)),
        said("action", spec.action.map(|it| it.to_string())),
        said("code", text(&spec.code)),
        said("status", spec.status.map(|it| it.to_string())),
        said("by", spec.by.map(|it| it.to_string())),
        said("factor", spec.factor.map(|it| it.to_string())),
        said("probability", spec.probability.map(|it| it.to_string())),
        said("seed", spec.seed.map(|it| it.to_string())),
    ];
    let settings: String = settings.into_iter().flatten().collect();
    let left = [
        calls_left.map(|left| format!(", {left} times more")),
        time_left.map(|left| format!(", for {left} more")),
    ];
    let left: String = left.into_iter().flatten().collect();
    format!("{id:>3}  {}{settings}: acted {acted} times{left}", spec.kind)
}

fn write(text: &str) -> Result<()> {
    bytes(text.as_bytes())
}

/// What is made elsewhere.
pub(super) fn bytes(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).context("write to standard output")
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
    let said = match (&node.condition, node.daemon) {
        _ if node.state != "running" => node.state.clone(),
        (Some(condition), _) => condition.clone(),
        (None, Some(pid)) => format!("daemon {pid}"),
        (None, None) => "no daemon".into(),
    };
    writeln!(
        text,
        "node        {name:<16} {instance_id}  {instance_type}  {zone}  {address}  {said}"
    )?;
    for interface in &node.interfaces {
        describe_interface(text, interface)?;
    }
    for pod in &node.pods {
        let address = pod.address.map_or_else(|| "no address yet".into(), |it| it.to_string());
        writeln!(text, "  pod       {}/{}  {address}", pod.namespace, pod.name)?;
    }
    Ok(())
}

fn describe_interface(text: &mut String, interface: &InterfaceStatus) -> std::fmt::Result {
    let InterfaceStatus { id, state, kind, device_index, card_index, subnet, .. } = interface;
    let InterfaceStatus { primary, secondary, prefixes, ipv6, .. } = interface;
    let place = match card_index {
        0 => device_index.to_string(),
        card => format!("{card}.{device_index}"),
    };
    let kind = if *kind == InterfaceKind::Interface {
        String::new()
    } else {
        format!(" ({})", kind.as_str())
    };
    let first = primary.map(|it| it.to_string()).or(ipv6.map(|it| it.to_string()));
    let first = first.unwrap_or_else(|| "no address".into());
    let (addresses, prefixes) = (secondary.len(), prefixes.len());
    writeln!(
        text,
        "  interface {place} {id}{kind} {state} in {subnet}: {first}, {addresses} more, {prefixes} prefixes"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kube::Verb;
    use std::time::Duration;
    use vpc::fault::{FaultSpec, Kind, Span};

    #[test]
    fn calls_are_a_line_for_each_action_with_who_made_them() {
        let count = |who: &str, total, throttled, failed| CallCount {
            action: "CreateTags".into(),
            who: who.into(),
            total,
            throttled,
            failed,
        };
        let counts = Counts {
            ec2: vec![count("n1", 5, 2, 1), count("n2", 7, 0, 0)],
            imds: BTreeMap::from([("n1".into(), 40), ("n2".into(), 2)]),
            kubernetes: vec![Asked {
                verb: Verb::List,
                resource: "pods".into(),
                status: 403,
                total: 9,
            }],
            kubernetes_agents: BTreeMap::new(),
        };

        let table = table(&counts).unwrap();

        let lines: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["ACTION", "TOTAL", "THROTTLED", "FAILED", "BY", "NODE"]);
        assert_eq!(lines[1], ["CreateTags", "12", "2", "1", "n1", "5,", "n2", "7"]);
        assert_eq!(lines[2], ["(instance", "metadata)", "42", "n1", "40,", "n2", "2"]);
        assert_eq!(lines[3], ["(list", "pods)", "9", "9", "nodes,", "403"]);
    }

    #[test]
    fn a_fault_says_what_it_is_and_what_is_left_of_it() {
        let spec = FaultSpec { node: Some("n1".into()), ..FaultSpec::new(Kind::Throttle) };
        let fault = FaultStatus {
            id: 3,
            spec,
            acted: 2,
            calls_left: Some(1),
            time_left: Some(Span(Duration::from_secs(9))),
        };

        let line = describe_fault(&fault);

        assert_eq!(line, "  3  throttle node n1: acted 2 times, 1 times more, for 9s more");
    }
}
