//! The APIs of a world, as a client outside of the VPC uses them.

use crate::{http, world::World};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::SystemTime};
use vpc::access::{AccessKey, AccessSpec};
use vpc_sim::{api::sigv4::sign_form, world::calls::Call};

/// Where ENIConfigs are.
const ENICONFIGS: &str = "/apis/crd.k8s.amazonaws.com/v1alpha1/eniconfigs";

impl World {
    /// The calls of EC2 with a node's credentials: action and outcome.
    pub fn calls(&self, node: &str) -> Vec<Call> {
        let calls: Vec<Call> =
            serde_json::from_str(&self.sim(&["calls", "--log", "--json"])).unwrap();
        calls.into_iter().filter(|call| call.who == node).collect()
    }

    /// What EC2 answers somebody outside of the VPC.
    pub fn ec2(&self, query: &str) -> String {
        let at = host(&self.status().summary.outside.ec2);
        let form = format!("Version=2016-11-15&{query}");
        let AccessKey { id, secret } = AccessSpec::default().keys.remove(0);
        let now = SystemTime::now();
        let signed = sign_form((&id, &secret, None), "us-west-2", now, &at.to_string(), &form);
        let (status, body) =
            http::send_with(at, "POST /", "application/x-www-form-urlencoded", &signed, &form)
                .unwrap();
        assert_eq!(status, 200, "{body}");
        body
    }

    /// A request to the Kubernetes API.
    #[track_caller]
    pub fn kubernetes(&self, line: &str, object: &Value) -> String {
        let at = host(&self.status().summary.outside.kubernetes);
        let kind = if line.starts_with("PATCH") {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let body = if object.is_null() { String::new() } else { object.to_string() };
        let (status, answer) = http::send(at, line, kind, &body).unwrap();
        assert!((200..300).contains(&status), "{line}: {status} {answer}");
        answer
    }

    /// Creates an ENIConfig. `subnet` is the name of one, or an id that does not exist.
    pub fn eniconfig_create(&self, name: &str, subnet: &str, groups: &[&str]) {
        let status = self.status();
        let mut spec = json!({ "subnet": self.subnet_id(subnet) });
        if !groups.is_empty() {
            spec["securityGroups"] = groups.iter().map(|it| status.groups[*it].clone()).collect();
        }
        let object = json!({
            "apiVersion": "crd.k8s.amazonaws.com/v1alpha1",
            "kind": "ENIConfig",
            "metadata": { "name": name },
            "spec": spec,
        });
        self.kubernetes(&format!("POST {ENICONFIGS}"), &object);
    }

    /// Lets an ENIConfig name another subnet.
    pub fn eniconfig_change(&self, name: &str, subnet: &str) {
        let change = json!({ "spec": { "subnet": self.subnet_id(subnet) } });
        self.kubernetes(&format!("PATCH {ENICONFIGS}/{name}"), &change);
    }

    /// Deletes an ENIConfig.
    pub fn eniconfig_delete(&self, name: &str) {
        self.kubernetes(&format!("DELETE {ENICONFIGS}/{name}"), &Value::Null);
    }

    /// The id of a subnet.
    pub fn subnet_id(&self, name: &str) -> String {
        self.status().subnets.get(name).map_or(name.to_owned(), |subnet| subnet.id.clone())
    }
}

fn host(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().unwrap()
}
