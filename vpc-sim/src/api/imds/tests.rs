//! IMDS over HTTP, as the instance sees it.

use super::*;
use axum::{body::to_bytes, http::Request};
use std::net::Ipv4Addr;
use tower::ServiceExt as _;
use vpc::{
    InterfaceKind, Launch, Spec, Vpc,
    assign::{Reassignment, Wanted},
    attach::{Attach, Detach},
    create::{CreateInterface, Family},
    fault::{FaultSpec, Kind},
    spec::ImdsSpec,
};

const SECONDS: &str = "X-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "X-aws-ec2-metadata-token";
const MACS: &str = "/latest/meta-data/network/interfaces/macs/";

struct World {
    cloud: Arc<Cloud>,
    router: Router,
    address: Ipv4Addr,
    mac: String,
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    body: String,
}

fn world(v1: bool) -> World {
    world_with(ImdsSpec { v1, ..ImdsSpec::default() })
}

fn world_with(imds: ImdsSpec) -> World {
    let imds = ImdsSpec { lag: Duration::ZERO, ..imds };
    let cloud = Cloud::new(Vpc::new(Spec { imds, ..Spec::default() }).unwrap());
    let (address, mac) = cloud.with(|vpc, now| {
        let subnet = vpc.subnets().values().find(|subnet| subnet.name == "nodes-a").unwrap();
        let launch = Launch {
            node: "a".into(),
            instance_type: "m5.large".into(),
            subnet_id: subnet.id.clone(),
            groups: Vec::new(),
            role: Some("node-role".into()),
        };
        vpc.run_instance(now, &launch).unwrap();
        let primary = vpc.interfaces().values().next().unwrap();
        (primary.primary.unwrap(), primary.mac.to_string())
    });
    World { router: router(Arc::clone(&cloud)), cloud, address, mac }
}

impl World {
    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Reply {
        let from = SocketAddr::from((self.address, 40_000));
        let request = Request::builder().method(method).uri(path).extension(ConnectInfo(from));
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Reply { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    async fn token(&self) -> String {
        self.send(Method::PUT, TOKEN_PATH, &[(SECONDS, "60")]).await.body
    }

    async fn read(&self, path: &str) -> Reply {
        let token = self.token().await;
        self.send(Method::GET, path, &[(TOKEN, &token)]).await
    }
}

#[tokio::test]
async fn a_token_needs_a_put_with_a_time_and_no_proxy() {
    let world = world(false);

    let good = world.send(Method::PUT, TOKEN_PATH, &[(SECONDS, "21600")]).await;
    let cases = [
        (world.send(Method::PUT, TOKEN_PATH, &[]).await, 400),
        (world.send(Method::PUT, TOKEN_PATH, &[(SECONDS, "0")]).await, 400),
        (world.send(Method::PUT, TOKEN_PATH, &[(SECONDS, "21601")]).await, 400),
        (world.send(Method::PUT, TOKEN_PATH, &[(SECONDS, "x")]).await, 400),
        (
            world
                .send(Method::PUT, TOKEN_PATH, &[(SECONDS, "60"), ("X-Forwarded-For", "10.0.0.1")])
                .await,
            403,
        ),
        (world.send(Method::GET, TOKEN_PATH, &[]).await, 405),
    ];

    assert_eq!((good.status, good.body.len()), (200, 56));
    assert_eq!(good.headers[SECONDS], "21600");
    let statuses: Vec<_> = cases.iter().map(|(reply, _)| reply.status).collect();
    assert_eq!(statuses, cases.iter().map(|(_, want)| *want).collect::<Vec<_>>());
    assert_eq!(cases[5].0.headers[header::ALLOW], "OPTIONS, PUT");
}

#[tokio::test]
async fn a_service_that_is_off_refuses_everything() {
    let world = world_with(ImdsSpec { enabled: false, ..ImdsSpec::default() });

    let token = world.send(Method::PUT, TOKEN_PATH, &[(SECONDS, "60")]).await;
    let read = world.send(Method::GET, MACS, &[]).await;

    assert_eq!((token.status, read.status), (403, 403));
}

#[tokio::test]
async fn nothing_is_read_without_a_token_unless_version_1_is_on() {
    let path = "/latest/meta-data/instance-id";
    let (strict, lax) = (world(false), world(true));

    let without = strict.send(Method::GET, path, &[]).await;
    let bad = lax.send(Method::GET, path, &[(TOKEN, "bad")]).await;
    let version_1 = lax.send(Method::GET, path, &[]).await;

    assert_eq!((without.status, bad.status, version_1.status), (401, 401, 200));
}

#[tokio::test]
async fn a_scalar_has_no_line_end_and_the_connection_closes() {
    let world = world(false);

    let reply = world.read("/latest/meta-data/placement/availability-zone").await;

    assert_eq!((reply.status, reply.body.as_str()), (200, "us-west-2a"));
    assert_eq!(reply.headers[header::SERVER], "EC2ws");
    assert_eq!(reply.headers[header::CONNECTION], "close");
    assert_eq!(reply.headers[header::CONTENT_TYPE], "text/plain");
}

#[tokio::test]
async fn interfaces_are_listed_as_folders_with_or_without_the_slash() {
    let world = world(false);

    let with = world.read(MACS).await;
    let without = world.read(MACS.trim_end_matches('/')).await;

    assert_eq!(with.body, format!("{}/", world.mac));
    assert_eq!(without.body, with.body);
}

#[tokio::test]
async fn the_primary_address_is_the_first_line() {
    let world = world(false);
    world.cloud.with(|vpc, now| {
        let eni = vpc.interfaces().keys().next().unwrap().0.clone();
        vpc.assign_private_ip_addresses(now, &eni, &Wanted::Count(3), Reassignment::Refused)
            .unwrap();
    });

    let reply = world.read(&format!("{MACS}{}/local-ipv4s", world.mac)).await;

    let lines: Vec<&str> = reply.body.split('\n').collect();
    assert_eq!((lines.len(), lines[0]), (4, world.address.to_string().as_str()));
}

#[tokio::test]
async fn a_key_without_a_value_is_not_found_and_not_listed() {
    let world = world(false);
    let folder = format!("{MACS}{}/", world.mac);

    let before = world.read(&format!("{folder}ipv4-prefix")).await;
    let listing = world.read(&folder).await.body;
    world.cloud.with(|vpc, now| {
        let eni = vpc.interfaces().keys().next().unwrap().0.clone();
        vpc.assign_private_ip_addresses(now, &eni, &Wanted::PrefixCount(1), Reassignment::Refused)
            .unwrap();
    });
    let after = world.read(&format!("{folder}ipv4-prefix")).await;

    assert_eq!((before.status, after.status), (404, 200));
    assert!(before.body.contains("<title>404 - Not Found</title>"), "{}", before.body);
    assert!(after.body.ends_with("/28"), "{}", after.body);
    let entries: Vec<&str> = listing.split('\n').collect();
    assert!(entries.contains(&"interface-id") && entries.contains(&"ipv4-associations/"));
    assert!(!entries.contains(&"ipv4-prefix"), "{listing}");
}

#[tokio::test]
async fn the_credentials_of_the_role_name_the_instance() {
    let world = world(false);
    let folder = "/latest/meta-data/iam/security-credentials/";

    let role = world.read(folder).await.body;
    let text = world.read(&format!("{folder}{role}")).await.body;

    let credentials: serde_json::Value = serde_json::from_str(&text).unwrap();
    let key = credentials["AccessKeyId"].as_str().unwrap();
    let owner = world.cloud.with(|vpc, _| vpc.instance_by_access_key(key).unwrap().node.clone());
    assert_eq!((role.as_str(), owner.as_str()), ("node-role", "a"));
    assert_eq!(
        (&credentials["Code"], &credentials["Type"]),
        (&"Success".into(), &"AWS-HMAC".into())
    );
    let expiration: jiff::Timestamp = credentials["Expiration"].as_str().unwrap().parse().unwrap();
    assert!(expiration > jiff::Timestamp::now());
}

#[tokio::test]
async fn the_identity_document_names_region_and_instance() {
    let world = world(false);

    let text = world.read("/latest/dynamic/instance-identity/document").await.body;

    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["region"], "us-west-2");
    assert_eq!(document["instanceType"], "m5.large");
    assert_eq!(document["privateIp"], world.address.to_string());
    assert_eq!(document["version"], "2017-09-30");
}

#[tokio::test]
async fn an_address_that_no_instance_has_reads_nothing() {
    let mut world = world(true);
    world.address = Ipv4Addr::new(192, 0, 2, 1);

    let reply = world.send(Method::GET, "/latest/meta-data/instance-id", &[]).await;

    assert_eq!(reply.status, 404);
}

impl World {
    fn fault(&self, spec: FaultSpec) {
        self.cloud.with(|vpc, now| vpc.add_fault(now, spec)).unwrap();
    }

    /// Attaches an interface and, when its device is there, takes it away; its hardware address.
    fn come_and_go(&self) -> String {
        self.cloud.with(|vpc, now| {
            let instance = vpc.instances().values().next().unwrap();
            let (instance_id, subnet_id) = (instance.id.0.clone(), instance.subnet_id.clone());
            let create = CreateInterface { subnet_id, ..CreateInterface::default() };
            let eni = vpc.create_network_interface(now, &create).unwrap().clone();
            let interface_id = eni.id.0.clone();
            let attach = Attach { interface_id, instance_id, device_index: 1, card_index: None };
            let attachment = vpc.attach_network_interface(now, &attach).unwrap().id.0.clone();
            vpc.detach_network_interface(now, &attachment, Detach::Forced).unwrap();
            eni.mac.to_string()
        })
    }
}

#[tokio::test]
async fn a_ghost_is_listed_and_there_is_nothing_below_it() {
    let world = world(false);
    world.fault(FaultSpec::new(Kind::ImdsGhosts));

    let ghost = world.come_and_go();

    let list = world.read(MACS).await.body;
    assert!(list.lines().any(|line| line == format!("{ghost}/")), "{list}");
    for child in ["", "/", "/device-number", "/interface-id"] {
        assert_eq!(world.read(&format!("{MACS}{ghost}{child}")).await.status, 404, "{child}");
    }
}

#[tokio::test]
async fn the_list_of_interfaces_can_be_short_or_empty_while_the_rest_is_there() {
    let world = world(false);
    let device = format!("{MACS}{}/device-number", world.mac);

    world.fault(FaultSpec { calls: Some(1), ..FaultSpec::new(Kind::ImdsEmpty) });
    let (number, empty) = (world.read(&device).await, world.read(MACS).await);
    let whole = world.read(MACS).await;
    world.fault(FaultSpec { calls: Some(1), ..FaultSpec::new(Kind::ImdsShort) });
    let short = world.read(MACS).await;

    assert_eq!((number.status, number.body.as_str()), (200, "0"));
    assert_eq!((empty.status, empty.body.as_str()), (200, ""));
    assert_eq!(whole.body, format!("{}/", world.mac));
    assert_eq!((short.status, short.body.as_str()), (200, ""));
}

#[tokio::test]
async fn requests_are_counted_by_node_and_may_go_without_an_answer() {
    let world = world(true);
    world.fault(FaultSpec { calls: Some(1), ..FaultSpec::new(Kind::ImdsUnavailable) });
    let request = || {
        let from = SocketAddr::from((world.address, 40_000));
        let request = Request::get("/latest/meta-data/mac").extension(ConnectInfo(from));
        world.router.clone().oneshot(request.body(Body::empty()).unwrap())
    };

    let (lost, answered) = (request().await.unwrap(), request().await.unwrap());

    assert!(crate::api::hangup::is_no_answer(&lost));
    assert_eq!(answered.status(), StatusCode::OK);
    let counts = world.cloud.with_calls(|log, _| log.metadata_reads().clone());
    assert_eq!(counts["a"], 2);
}

#[tokio::test]
async fn an_interface_without_ipv4_has_no_path_of_it() {
    let world = world(false);
    let of = |kind, family| {
        world.cloud.with(|vpc, now| {
            let instance = vpc.instances().values().next().unwrap().clone();
            let subnet_id = instance.subnet_id.clone();
            let create = CreateInterface { subnet_id, kind, family, ..CreateInterface::default() };
            let attach = Attach {
                interface_id: String::new(),
                instance_id: String::new(),
                device_index: vpc.free_device_index(&instance, 0),
                card_index: None,
            };
            let id = vpc.launch_interface(now, &instance.id, &create, &attach).unwrap();
            vpc.interface(id.as_str()).unwrap().mac.to_string()
        })
    };
    let efa_only = of(InterfaceKind::EfaOnly, Family::Ipv4);
    let ipv6_only = of(InterfaceKind::Interface, Family::Ipv6Only);

    for (mac, has_ipv6) in [(&efa_only, 404), (&ipv6_only, 200)] {
        let status = async |name: &str| world.read(&format!("{MACS}{mac}/{name}")).await.status;
        assert_eq!(status("local-ipv4s").await, 404);
        assert_eq!(status("interface-id").await, 200);
        assert_eq!(status("security-group-ids").await, 200);
        assert_eq!(status("ipv6s").await, has_ipv6);
        assert_eq!(status("subnet-ipv6-cidr-blocks").await, has_ipv6);
    }
    let block = world.read(&format!("{MACS}{ipv6_only}/subnet-ipv4-cidr-block")).await;
    assert_eq!(block.status, 404);
    assert_eq!(world.read(MACS).await.body.lines().count(), 3);
}
