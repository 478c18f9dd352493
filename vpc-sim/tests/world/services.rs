//! What nodes find: instance metadata, EC2, Kubernetes, the internet.

use crate::setup::{EC2, Name, add_node, ec2, http, up};
use vpc_sim::fabric::Place;

const IMDS: &str = "169.254.169.254:80";
const TOKEN: &str = "PUT /latest/api/token\nx-aws-ec2-metadata-token-ttl-seconds: 60";

#[tokio::test(flavor = "multi_thread")]
async fn each_node_finds_its_own_identity() {
    let name = Name::new();
    let world = up(&name).await;
    let mut found = Vec::new();

    for (node, zone) in [("n1", "us-west-2a"), ("n2", "us-west-2b")] {
        let status = add_node(&world, node, zone).await;
        let place = world.namespace(Place::Node(node)).await.unwrap();
        let (_, token) = http(&place, IMDS, TOKEN).unwrap();
        let read = format!(
            "GET /latest/dynamic/instance-identity/document\nx-aws-ec2-metadata-token: {token}"
        );
        let (_, document) = http(&place, IMDS, &read).unwrap();
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        found.push((document["instanceId"].clone(), document["availabilityZone"].clone()));
        assert_eq!(document["instanceId"], status.instance_id, "{node}");
        assert_eq!(document["availabilityZone"], zone, "{node}");
    }

    assert_ne!(found[0], found[1]);
    world.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_reaches_kubernetes_ec2_and_the_internet() {
    let name = Name::new();
    let world = up(&name).await;
    let status = add_node(&world, "n1", "us-west-2a").await;
    let node = world.namespace(Place::Node("n1")).await.unwrap();

    let (_, object) = http(&node, "10.0.0.10:80", "GET /api/v1/nodes/n1").unwrap();
    let (code, vpcs) = ec2(&node, "Action=DescribeVpcs").unwrap();
    let (refused, _) = http(&node, EC2, "GET /?Action=DescribeVpcs&Version=2016-11-15").unwrap();
    let (_, caller) = http(&node, "198.18.0.1:80", "GET /").unwrap();

    let object: serde_json::Value = serde_json::from_str(&object).unwrap();
    let id = format!("aws:///us-west-2a/{}", status.instance_id);
    assert_eq!(object["spec"]["providerID"], id);
    assert_eq!(object["metadata"]["labels"]["topology.kubernetes.io/zone"], "us-west-2a");
    assert_eq!(object["status"]["capacity"]["pods"], "29");
    assert_eq!((code, refused), (200, 403));
    assert!(vpcs.contains("<cidrBlock>10.0.0.0/16</cidrBlock>"), "{vpcs}");
    assert_eq!(caller.trim(), status.public_address.unwrap().to_string());
    assert!(world.calls().iter().any(|call| call.action == "DescribeVpcs"));
    world.down().await.unwrap();
}
