//! Environments of the daemon's containers, out of a manifest or a plain file of variables.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;

/// Containers that run the daemon, or prepare its node for it, by the peer's names.
const CONTAINERS: &[&str] = &["aws-node", "aws-vpc-cni-init"];

/// The environment of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// The container's name; none in a plain file.
    pub container: Option<String>,
    /// Values, and the lines that have them.
    pub set: BTreeMap<String, (String, u64)>,
    /// What cannot be judged here, with its line.
    pub unknown: Vec<(u64, String)>,
    /// What Kubernetes refuses, with its line.
    pub wrong: Vec<(u64, String)>,
}

/// The environments in a text: objects of Kubernetes in YAML or JSON, or lines of `NAME=value`.
///
/// # Errors
/// The text is neither, or has no container of the daemon.
pub(crate) fn environments(text: &str) -> Result<Vec<Environment>> {
    if is_plain(text) {
        return Ok(vec![plain(text)]);
    }
    let objects: Vec<Object> =
        serde_saphyr::from_multiple(text).context("read it as YAML or JSON of Kubernetes")?;
    let pods: Vec<PodSpec> = objects.into_iter().flat_map(Object::pods).collect();
    let all = || pods.iter().flat_map(|pod| pod.init_containers.iter().chain(&pod.containers));
    let found: Vec<_> = all().filter(|it| CONTAINERS.contains(&it.name.as_str())).collect();
    ensure!(
        found.iter().any(|it| it.name == CONTAINERS[0]),
        "no container has the name {}: it has {:?}",
        CONTAINERS[0],
        all().map(|it| it.name.as_str()).collect::<Vec<_>>()
    );
    Ok(found.into_iter().map(Container::environment).collect())
}

/// Whether every line is a variable, a comment, or empty.
fn is_plain(text: &str) -> bool {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines().next().is_some()
        && lines().all(|line| line.starts_with('#') || variable(line).is_some())
}

/// A line such as `NAME=value` or `export NAME="value"`.
fn variable(line: &str) -> Option<(&str, &str)> {
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let (name, value) = line.split_once('=')?;
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let value = value.trim();
    let quoted = ['"', '\''].iter().find_map(|it| value.strip_prefix(*it)?.strip_suffix(*it));
    (!name.is_empty() && name.bytes().all(of_name)).then_some((name, quoted.unwrap_or(value)))
}

fn plain(text: &str) -> Environment {
    let mut environment = Environment::default();
    for (line, number) in text.lines().zip(1..) {
        if let Some((name, value)) = variable(line.trim()) {
            environment.put(number, name, value);
        }
    }
    environment
}

impl Environment {
    fn put(&mut self, line: u64, name: &str, value: &str) {
        if let Some((_, before)) = self.set.insert(name.into(), (value.into(), line)) {
            self.unknown
                .push((line, format!("{name} is set in line {before}, too: the last one counts")));
        }
    }
}

/// An object of Kubernetes, as far as it says what runs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Object {
    items: Option<Vec<Self>>,
    spec: Option<Spec>,
}

/// Of a pod, or of what makes pods.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    template: Option<Template>,
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    spec: Option<PodSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    name: String,
    env: Vec<Variable>,
    env_from: Vec<Spanned<serde_json::Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Variable {
    name: Spanned<String>,
    value: Option<serde_json::Value>,
    value_from: Option<serde_json::Value>,
}

impl Object {
    fn pods(self) -> Vec<PodSpec> {
        let items = self.items.into_iter().flatten().flat_map(Self::pods);
        let own = self.spec.and_then(|spec| match (spec.template, spec.containers) {
            (Some(template), _) => template.spec,
            (None, Some(containers)) => Some(PodSpec {
                containers,
                init_containers: spec.init_containers.unwrap_or_default(),
            }),
            (None, None) => None,
        });
        items.chain(own).collect()
    }
}

impl Container {
    fn environment(&self) -> Environment {
        let mut found =
            Environment { container: Some(self.name.clone()), ..Environment::default() };
        for variable in &self.env {
            let (name, line) = (&variable.name.value, variable.name.defined.line());
            match (&variable.value, &variable.value_from) {
                (Some(serde_json::Value::String(value)), _) => {
                    if value.contains("$(") {
                        found
                            .unknown
                            .push((line, format!("{name}=`{value}` is known on the node only")));
                    } else {
                        found.put(line, name, value);
                    }
                }
                (Some(serde_json::Value::Null), None) | (None, None) => found.put(line, name, ""),
                (None | Some(serde_json::Value::Null), Some(_)) => {
                    found.unknown.push((line, format!("{name} has a value from elsewhere")));
                }
                (Some(other), _) => found.wrong.push((
                    line,
                    format!(
                        "{name}={other} is no text, and Kubernetes refuses it: put it in quotes"
                    ),
                )),
            }
        }
        for from in &self.env_from {
            let what = format!("envFrom {} is not in this file", from.value);
            found.unknown.push((from.defined.line(), what));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_daemonset_is_read_with_the_lines_of_its_variables() {
        let text = include_str!("../../../conf/daemonset.yaml");

        let environments = environments(text).unwrap();

        assert_eq!(environments.len(), 1);
        let set = &environments[0].set;
        let (value, line) = &set["AWS_VPC_ENI_MTU"];
        assert_eq!(value, "9001");
        let named = text.lines().nth(usize::try_from(*line).unwrap() - 1).unwrap();
        assert!(named.contains("AWS_VPC_ENI_MTU"), "line {line}: {named}");
        assert_eq!(environments[0].unknown.len(), 1, "MY_NODE_NAME");
    }

    #[test]
    fn documents_lists_pods_and_init_containers_are_looked_through() {
        let text = "kind: ServiceAccount\n---\nkind: List\nitems:\n- kind: DaemonSet\n  spec:\n    template:\n      spec:\n        initContainers:\n        - name: aws-vpc-cni-init\n          env: [{name: ENABLE_IPv6, value: 'true'}]\n        containers:\n        - name: aws-node\n          envFrom: [{configMapRef: {name: more}}]\n          env:\n          - {name: A, value: true}\n          - {name: B, value: one}\n          - {name: B, value: two}\n          - {name: C}\n          - {name: D, value: $(B)/z}\n        - name: aws-eks-nodeagent\n          env: [{name: ENABLE_X, value: '1'}]\n";

        let found = environments(text).unwrap();

        let names: Vec<_> = found.iter().filter_map(|it| it.container.as_deref()).collect();
        assert_eq!(names, ["aws-vpc-cni-init", "aws-node"]);
        assert_eq!(found[1].set["B"], ("two".into(), 18));
        assert_eq!(found[1].set["C"], (String::new(), 19));
        assert_eq!((found[1].unknown.len(), found[1].wrong.len()), (3, 1), "{:?}", found[1]);
    }

    #[test]
    fn json_of_kubectl_is_read() {
        let text = "{\n    \"kind\": \"DaemonSet\",\n    \"spec\": {\"template\": {\"spec\": {\"containers\": [{\n        \"name\": \"aws-node\",\n        \"env\": [\n            {\n                \"name\": \"MAX_ENI\",\n                \"value\": \"2\"\n            }\n        ]}]}}}\n}\n";

        let found = environments(text).unwrap();

        assert_eq!(found[0].set["MAX_ENI"], ("2".into(), 7));
    }

    #[test]
    fn a_plain_file_has_a_variable_in_each_line() {
        let found = environments("# ours\nexport MAX_ENI=\"2\"\n\nCLUSTER_NAME=a b\n").unwrap();

        assert_eq!(found[0].set["MAX_ENI"], ("2".into(), 2));
        assert_eq!(found[0].set["CLUSTER_NAME"], ("a b".into(), 4));
    }

    #[test]
    fn a_file_without_the_daemon_is_an_error() {
        for text in ["", "kind: Service\nspec: {type: ClusterIP}\n", "}", "a: [1"] {
            assert!(environments(text).is_err(), "{text}");
        }
    }
}
