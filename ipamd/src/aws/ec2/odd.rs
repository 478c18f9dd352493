//! Odd answers of EC2 and of the metadata service, through the same clients as any other.

use super::{Ec2, NewEni, Refused};
use crate::random::{INPUTS, Random};
use aws_sdk_ec2::config::{BehaviorVersion, Region};
use aws_smithy_runtime_api::client::{
    http::{
        HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector, http_client_fn,
    },
    orchestrator::{HttpRequest, HttpResponse},
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use pool::Amount;
use record::Identity;
use std::sync::{Arc, Mutex};

/// An interface as EC2 describes it.
const INTERFACES: &str = "<DescribeNetworkInterfacesResponse><networkInterfaceSet><item>\
    <networkInterfaceId>eni-1</networkInterfaceId><subnetId>subnet-1</subnetId>\
    <macAddress>02:00:00:00:00:01</macAddress><privateIpAddress>10.0.0.4</privateIpAddress>\
    <interfaceType>interface</interfaceType><groupSet><item><groupId>sg-1</groupId></item></groupSet>\
    <attachment><attachmentId>eni-attach-1</attachmentId><deviceIndex>1</deviceIndex>\
    <networkCardIndex>0</networkCardIndex><status>attached</status>\
    <deleteOnTermination>true</deleteOnTermination></attachment>\
    <tagSet><item><key>a</key><value>b</value></item></tagSet>\
    <privateIpAddressesSet><item><privateIpAddress>10.0.0.4</privateIpAddress><primary>true</primary></item>\
    <item><privateIpAddress>10.0.0.5</privateIpAddress><primary>false</primary></item></privateIpAddressesSet>\
    <ipv4PrefixSet><item><ipv4Prefix>10.0.0.16/28</ipv4Prefix></item></ipv4PrefixSet>\
    </item></networkInterfaceSet></DescribeNetworkInterfacesResponse>";

const ASSIGNED: &str = "<AssignPrivateIpAddressesResponse><assignedPrivateIpAddressesSet><item>\
    <privateIpAddress>10.0.0.6</privateIpAddress></item></assignedPrivateIpAddressesSet>\
    <assignedIpv4PrefixSet><item><ipv4Prefix>10.0.0.32/28</ipv4Prefix></item></assignedIpv4PrefixSet>\
    </AssignPrivateIpAddressesResponse>";

const TYPES: &str = "<DescribeInstanceTypesResponse><instanceTypeSet><item><hypervisor>nitro</hypervisor>\
    <networkInfo><maximumNetworkInterfaces>3</maximumNetworkInterfaces>\
    <ipv4AddressesPerInterface>10</ipv4AddressesPerInterface><networkCards><item>\
    <maximumNetworkInterfaces>3</maximumNetworkInterfaces></item></networkCards></networkInfo></item>\
    </instanceTypeSet></DescribeInstanceTypesResponse>";

const INSTANCES: &str = "<DescribeInstancesResponse><reservationSet><item><ownerId>1</ownerId><instancesSet>\
    <item><instanceId>i-1</instanceId><instanceState><code>16</code><name>running</name></instanceState>\
    <vpcId>vpc-1</vpcId></item><item><instanceId>i-2</instanceId><instanceState><code>48</code>\
    <name>terminated</name></instanceState></item></instancesSet></item></reservationSet>\
    </DescribeInstancesResponse>";

const ERROR: &str = "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You may not.\
    </Message></Error></Errors><RequestID>1</RequestID></Response>";

/// How many kinds of answers there are.
const CASES: u64 = 6;

#[tokio::test]
async fn no_answer_of_ec2_is_a_panic_and_every_refusal_is_short() {
    let server = Server::default();
    let ec2 = ec2(&server);
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..INPUTS / 10 {
        let mut random = Random::of(seed);
        let (status, text) = [
            (200, INTERFACES),
            (200, ASSIGNED),
            (200, TYPES),
            (400, ERROR),
            (200, INTERFACES),
            (200, INSTANCES),
        ][usize::try_from(seed % CASES).unwrap_or(0)];
        let text = if seed < CASES { text.into() } else { random.text(text) };
        server.answer(status, text.clone());

        let ended = match seed % CASES {
            0 => ec2.attached().await.map(drop),
            1 => ec2.assign("eni-1", Amount::Addresses(1)).await.map(drop),
            2 => ec2.limits("m5.large").await.map(drop),
            4 => ec2.loose("c1").await.map(drop),
            5 => ec2.instances(&["i-1".into()].into()).await.map(drop),
            _ => ec2.create(&new()).await.map(drop),
        };

        assert!(seed >= CASES || ended.is_ok() == (status == 200), "{seed}: {ended:?}");
        match ended {
            Ok(()) => taken += 1,
            Err(error) => {
                refused += 1;
                is_short(&error, seed);
            }
        }
    }
    assert!(taken > 100 && refused > 100, "{taken} taken, {refused} refused");
}

#[tokio::test]
async fn pages_without_end_are_read_so_far_and_instances_on_them_are_not_taken_for_gone() {
    let server = Server::default();
    let ec2 = ec2(&server);
    let more = |text: &str, end: &str| text.replace(end, &format!("<nextToken>a</nextToken>{end}"));

    server.answer(200, more(INTERFACES, "</DescribeNetworkInterfacesResponse>").into());
    let loose = ec2.loose("c1").await.unwrap();
    server.answer(200, more(INSTANCES, "</DescribeInstancesResponse>").into());
    let instances = ec2.instances(&["i-1".into()].into()).await;

    assert_eq!(loose.len(), super::loose::MOST_PAGES);
    assert!(instances.is_err(), "{instances:?}");
}

#[tokio::test]
async fn an_instance_is_gone_when_ec2_calls_it_terminated_and_in_no_other_state() {
    let server = Server::default();
    let ec2 = ec2(&server);

    for (state, gone) in [
        ("terminated", true),
        ("shutting-down", false),
        ("stopped", false),
        ("pending", false),
        ("hibernated", false),
    ] {
        server.answer(200, INSTANCES.replace("terminated", state).into());
        let instances = ec2.instances(&["i-1".into()].into()).await.unwrap();
        assert_eq!(instances["i-2"].terminated, gone, "{state}");
        assert!(!instances["i-1"].terminated && instances["i-1"].account == "1");
    }
}

fn is_short(refused: &Refused, seed: u64) {
    let Refused { code, message, .. } = refused;
    let text = refused.to_string();
    // Each may have the count of what was left out behind it.
    assert!(code.chars().count() < 200 && message.chars().count() < 1100, "{seed}: {text}");
    assert!(!text.chars().any(char::is_control), "{seed}: {text:?}");
}

fn new() -> NewEni {
    NewEni {
        subnet: "subnet-1".into(),
        groups: ["sg-1".into()].into(),
        addresses: 1,
        prefixes: 0,
        tags: [].into(),
        client_token: "token".into(),
    }
}

fn ec2(server: &Server) -> Ec2 {
    let config = aws_sdk_ec2::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-west-2"))
        .allow_no_auth()
        .http_client(server.client())
        .build();
    let identity = Identity {
        instance: "i-1".into(),
        instance_type: "m5.large".into(),
        region: "us-west-2".into(),
        mac: net::Mac([2; 6]),
        vpc_cidrs: vec![],
    };
    Ec2::new(aws_sdk_ec2::Client::from_conf(config), &identity)
}

/// A server that answers what it is told.
#[derive(Clone, Debug, Default)]
struct Server(Arc<Mutex<(u16, Vec<u8>)>>);

impl Server {
    fn answer(&self, status: u16, text: Vec<u8>) {
        *self.0.lock().unwrap() = (status, text);
    }

    fn client(&self) -> SharedHttpClient {
        let server = self.clone();
        http_client_fn(move |_: &HttpConnectorSettings, _: &RuntimeComponents| {
            SharedHttpConnector::new(server.clone())
        })
    }
}

impl HttpConnector for Server {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let (status, text) = self.0.lock().unwrap().clone();
        let status = status.try_into().expect("a status");
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(text))))
    }
}
