//! EC2 over HTTP: what is on the wire, byte by byte where clients look at bytes.

use super::*;
use crate::api::sigv4::{self, sign_form};
use axum::{body::to_bytes, http};
use tower::ServiceExt as _;
use vpc::{
    Launch, Role, Spec, Vpc,
    access::AccessKey,
    attach::Attach,
    create::CreateInterface,
    fault::{FaultSpec, Kind},
    spec::{Latency, SubnetSpec},
};

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// What clients that are handed a request call the service.
const HOST: &str = "ec2";

struct World {
    cloud: Arc<Cloud>,
    role: Role,
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    body: String,
}

fn world() -> World {
    let subnet = SubnetSpec {
        name: "only".into(),
        id: Some("subnet-1".into()),
        cidr: "10.0.0.0/24".parse().unwrap(),
        zone: "us-west-2a".into(),
        public_ips: true,
        prefix_reservations: Vec::new(),
        explicit_reservations: Vec::new(),
    };
    let spec = Spec { subnets: vec![subnet], latency: Latency::NONE, ..Spec::default() };
    let cloud = Cloud::new(Vpc::new(spec).unwrap());
    let role = cloud.with(|vpc, now| {
        let launch = Launch {
            node: "node-a".into(),
            instance_type: "m5.large".into(),
            subnet_id: "subnet-1".into(),
            groups: Vec::new(),
            role: Some("node".into()),
        };
        vpc.run_instance(now, &launch).unwrap();
        vpc.instance_by_node("node-a").unwrap().role.clone().unwrap()
    });
    World { cloud, role }
}

impl World {
    async fn send(&self, request: http::Request<Body>) -> Reply {
        let response = router(Arc::clone(&self.cloud)).oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Reply { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    async fn post(&self, form: &str) -> Reply {
        let AccessKey { id, secret } = self.cloud.with(|vpc, _| vpc.access().keys[0].clone());
        self.post_as((&id, &secret, None), form).await
    }

    async fn post_as(&self, key: (&str, &str, Option<&str>), form: &str) -> Reply {
        let form = format!("{form}&Version={VERSION}");
        let mut request = http::Request::post("/");
        for (name, value) in sign_form(key, "us-west-2", SystemTime::now(), HOST, &form) {
            request = request.header(name, value);
        }
        let request = request.header(header::HOST, HOST).header(header::CONTENT_TYPE, FORM);
        self.send(request.body(Body::from(form)).unwrap()).await
    }

    #[track_caller]
    fn refused(&self, form: &str, status: u16, code: &str, message: &str) -> impl Future {
        let caller = std::panic::Location::caller();
        async move {
            let reply = self.post(form).await;
            let text = format!("<Code>{code}</Code><Message>{message}</Message>");
            assert!(reply.body.contains(&text), "{caller}: {}", reply.body);
            assert_eq!(reply.status, status, "{caller}: {}", reply.body);
        }
    }
}

#[tokio::test]
async fn an_answer_is_named_after_its_action_and_carries_its_request_id() {
    let world = world();

    let reply = world.post("Action=DescribeSubnets").await;

    let id = reply.headers["x-amzn-requestid"].to_str().unwrap();
    let start = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeSubnetsResponse \
         xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>{id}</requestId>\
         <subnetSet><item><subnetId>subnet-1</subnetId>"
    );
    assert_eq!(reply.status, 200);
    assert!(reply.body.starts_with(&start), "{}", reply.body);
    assert!(reply.body.contains("<availableIpAddressCount>250</availableIpAddressCount>"));
    assert_eq!(reply.headers[header::CONTENT_TYPE], "text/xml;charset=UTF-8");
    assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
}

#[tokio::test]
async fn an_error_has_the_shape_that_clients_parse() {
    let world = world();

    let reply =
        world.post("Action=DeleteNetworkInterface&NetworkInterfaceId=eni-0123456789abcdef0").await;

    let id = reply.headers["x-amzn-requestid"].to_str().unwrap();
    let want = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>\
         <Code>InvalidNetworkInterfaceID.NotFound</Code><Message>The networkInterface ID \
         &apos;eni-0123456789abcdef0&apos; does not exist</Message></Error></Errors>\
         <RequestID>{id}</RequestID></Response>"
    );
    assert_eq!((reply.status, reply.body), (400, want));
}

#[tokio::test]
async fn a_get_with_a_query_is_as_good_as_a_post() {
    let world = world();
    let time = sigv4::basic_time(SystemTime::now());
    let date = &time[..8];
    let AccessKey { id, secret } = world.cloud.with(|vpc, _| vpc.access().keys[0].clone());
    let query = format!(
        "Action=DescribeVpcs&Version=2016-11-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=\
         {id}%2F{date}%2Fus-west-2%2Fec2%2Faws4_request&X-Amz-Date={time}&X-Amz-Expires=60&\
         X-Amz-SignedHeaders=host"
    );
    let headers = HeaderMap::from_iter([(header::HOST, HOST.parse().unwrap())]);
    let signed = Signed { method: "GET", query: &query, headers: &headers, body: b"" };
    let claim = sigv4::Claim {
        access_key_id: id,
        date: date.into(),
        region: "us-west-2".into(),
        service: "ec2".into(),
        headers: vec!["host".into()],
        time: time.clone(),
    };
    let signature = claim.signature(&secret, &signed);
    let request = http::Request::get(format!("/?{query}&X-Amz-Signature={signature}"));
    let request = request.header(header::HOST, HOST).body(Body::empty()).unwrap();

    let reply = world.send(request).await;

    assert_eq!(reply.status, 200, "{}", reply.body);
    assert!(reply.body.contains("<cidrBlock>10.0.0.0/16</cidrBlock>"), "{}", reply.body);
}

#[tokio::test]
async fn a_request_of_the_wrong_form_is_refused() {
    let world = world();
    let missing = "The request must contain the parameter";

    world.refused("", 400, "MissingParameter", &format!("{missing} Action")).await;
    world
        .refused(
            "Action=Fly",
            400,
            "InvalidAction",
            "The action Fly is not valid for this web service.",
        )
        .await;
    world
        .refused(
            "Action=CreateNetworkInterface",
            400,
            "MissingParameter",
            &format!("{missing} SubnetId"),
        )
        .await;
    // The SDK's name of the list, which is not the wire's.
    world
        .refused(
            "Action=DescribeSubnets&SubnetIds.1=subnet-1",
            400,
            "UnknownParameter",
            "The parameter SubnetIds.1 is not recognized",
        )
        .await;
    world
        .refused(
            "Action=CreateNetworkInterface&SubnetId=subnet-1&Ipv6AddressCount=1",
            400,
            "UnsupportedOperation",
            "vpc-sim does not simulate the parameter Ipv6AddressCount of CreateNetworkInterface",
        )
        .await;
}

#[tokio::test]
async fn assign_has_no_dry_run_but_delete_has() {
    let world = world();
    let eni = "NetworkInterfaceId=eni-0123456789abcdef0&DryRun=true";

    world
        .refused(
            &format!("Action=DeleteNetworkInterface&{eni}"),
            412,
            "DryRunOperation",
            "Request would have succeeded, but DryRun flag is set.",
        )
        .await;
    world
        .refused(
            &format!("Action=AssignPrivateIpAddresses&SecondaryPrivateIpAddressCount=1&{eni}"),
            400,
            "UnknownParameter",
            "The parameter DryRun is not recognized",
        )
        .await;
}

#[tokio::test]
async fn lists_have_another_form_in_create_than_in_assign() {
    let world = world();

    let created = world
        .post(
            "Action=CreateNetworkInterface&SubnetId=subnet-1&Ipv4Prefix.1.Ipv4Prefix=10.0.0.32%2F28",
        )
        .await;
    let id = created.body.split("<networkInterfaceId>").nth(1).unwrap().split('<').next().unwrap();
    let assigned = world
        .post(&format!(
            "Action=AssignPrivateIpAddresses&NetworkInterfaceId={id}&Ipv4Prefix.1=10.0.0.48%2F28"
        ))
        .await;

    // The instance's address, which is random, could be in either block; the seed says it is not.
    assert!(created.body.contains("<ipv4PrefixSet><item><ipv4Prefix>10.0.0.32/28</ipv4Prefix>"));
    let want = "<assignedPrivateIpAddressesSet/><assignedIpv4PrefixSet><item>\
                <ipv4Prefix>10.0.0.48/28</ipv4Prefix></item></assignedIpv4PrefixSet>";
    assert!(assigned.body.contains(want), "{}", assigned.body);
}

#[tokio::test]
async fn a_call_is_remembered_with_the_node_whose_credentials_it_came_with() {
    let world = world();
    let Role { access_key_id, secret_access_key, token, .. } = &world.role;

    world.post_as((access_key_id, secret_access_key, Some(token)), "Action=DescribeVpcs").await;
    world.post("Action=DeleteNetworkInterface&NetworkInterfaceId=eni-1").await;

    let calls = world.cloud.calls();
    let seen: Vec<_> = calls
        .iter()
        .map(|call| (call.who.as_str(), call.action.as_str(), call.outcome.as_str(), call.status))
        .collect();
    let malformed = "InvalidNetworkInterfaceId.Malformed";
    assert_eq!(
        seen,
        [
            ("node-a", "DescribeVpcs", "OK", 200),
            ("outside", "DeleteNetworkInterface", malformed, 400),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_changes_the_wires_waits_for_them() {
    let world = world();
    let mut topologies = world.cloud.topologies();
    let eni = topologies.borrow_and_update().1.enis.keys().next().unwrap().clone();
    let builder = tokio::spawn({
        let cloud = Arc::clone(&world.cloud);
        async move {
            topologies.changed().await.unwrap();
            let generation = topologies.borrow().0;
            cloud.applied(generation);
            generation
        }
    });
    let before = tokio::time::Instant::now();
    let initial = world.cloud.topologies().borrow().0;
    world.cloud.applied(initial);

    let form = "Action=AssignPrivateIpAddresses&SecondaryPrivateIpAddressCount=1";
    let reply = world.post(&format!("{form}&NetworkInterfaceId={eni}")).await;

    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(builder.await.unwrap(), initial + 1);
    // Time stands still while anything can run: nobody waited for a limit.
    assert_eq!(tokio::time::Instant::now(), before);
}

impl World {
    fn fault(&self, spec: FaultSpec) {
        self.cloud.with(|vpc, now| vpc.add_fault(now, spec)).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_calls_are_throttled_with_the_status_that_clients_retry() {
    let world = world();
    for _ in 0..50 {
        world.post("Action=DescribeNetworkInterfaces").await;
    }

    let reply = world.post("Action=DescribeNetworkInterfaces").await;

    let text = "<Code>RequestLimitExceeded</Code><Message>Request limit exceeded.</Message>";
    assert_eq!(reply.status, 503);
    assert!(reply.body.contains(text), "{}", reply.body);
}

#[tokio::test]
async fn a_lost_reply_leaves_the_effect_and_the_client_in_the_dark() {
    let world = world();
    world.fault(FaultSpec { calls: Some(1), ..FaultSpec::new(Kind::LostReply) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(hangup::serve(listener, router(Arc::clone(&world.cloud))));
    let form = "Action=CreateNetworkInterface&SubnetId=subnet-1&Version=2016-11-15";
    let Role { access_key_id, secret_access_key, token, .. } = &world.role;
    let key = (access_key_id.as_str(), secret_access_key.as_str(), Some(token.as_str()));
    let signed = sign_form(key, "us-west-2", SystemTime::now(), HOST, form);
    let signed: String =
        signed.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = form.len();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();

    tokio::io::AsyncWriteExt::write_all(
        &mut stream,
        format!(
            "POST / HTTP/1.1\r\nhost: {HOST}\r\n{signed}content-length: {length}\r\n\r\n{form}"
        )
        .as_bytes(),
    )
    .await
    .unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await.unwrap();

    assert_eq!(answer, b"");
    assert_eq!(world.cloud.with(|vpc, _| vpc.interfaces().len()), 2);
    let call = world.cloud.calls().pop().unwrap();
    assert_eq!((call.outcome.as_str(), call.status), ("LostReply", 0));
    assert_eq!(call.parameters, "SubnetId=subnet-1");
}

#[tokio::test]
async fn a_denied_action_is_refused_also_when_the_run_is_dry() {
    let world = world();
    let action = Some(vpc::Action::DELETE_NETWORK_INTERFACE);
    world.fault(FaultSpec { action, ..FaultSpec::new(Kind::Deny) });

    let form = "Action=DeleteNetworkInterface&NetworkInterfaceId=eni-1&DryRun=true";
    let reply = world.post(form).await;

    assert_eq!(reply.status, 403, "{}", reply.body);
    assert!(reply.body.contains("<Code>UnauthorizedOperation</Code>"), "{}", reply.body);
}

#[tokio::test]
async fn an_interface_is_not_found_right_after_it_was_made_when_reads_lag() {
    let world = world();
    world.fault(FaultSpec::new(Kind::DescribeLag));

    let created = world.post("Action=CreateNetworkInterface&SubnetId=subnet-1").await;
    let id = created.body.split("<networkInterfaceId>").nth(1).unwrap().split('<').next().unwrap();
    let by_id = format!("Action=DescribeNetworkInterfaces&NetworkInterfaceId.1={id}");
    let lagging = world.post(&by_id).await;
    world.cloud.with(|vpc, now| vpc.clear_faults(now, None));
    let fresh = world.post(&by_id).await;

    assert_eq!((lagging.status, fresh.status), (400, 200));
    let code = "<Code>InvalidNetworkInterfaceID.NotFound</Code>";
    assert!(lagging.body.contains(code), "{}", lagging.body);
}

#[tokio::test]
async fn a_subnet_shows_what_was_free_when_reads_lag() {
    let world = world();
    world.fault(FaultSpec::new(Kind::DescribeLag));
    let free = |reply: &Reply| {
        let after = reply.body.split("<availableIpAddressCount>").nth(1).unwrap();
        after.split('<').next().unwrap().parse::<u32>().unwrap()
    };

    world.post("Action=CreateNetworkInterface&SubnetId=subnet-1&Ipv4PrefixCount=1").await;
    let lagging = world.post("Action=DescribeSubnets").await;
    world.cloud.with(|vpc, now| vpc.clear_faults(now, None));
    let fresh = world.post("Action=DescribeSubnets").await;

    assert_eq!((free(&lagging), free(&fresh)), (250, 250 - 17));
}

#[tokio::test]
async fn an_instance_does_not_show_an_interface_right_after_it_was_attached_when_reads_lag() {
    let world = world();
    world.fault(FaultSpec::new(Kind::DescribeLag));
    let count = |reply: &Reply| reply.body.matches("<networkInterfaceId>").count();

    world.cloud.with(|vpc, now| {
        let instance_id = vpc.instances().keys().next().unwrap().0.clone();
        let subnet_id = "subnet-1".into();
        let create = CreateInterface { subnet_id, ..CreateInterface::default() };
        let interface_id = vpc.create_network_interface(now, &create).unwrap().id.0.clone();
        let attach = Attach { interface_id, instance_id, device_index: 1, card_index: None };
        vpc.attach_network_interface(now, &attach).unwrap();
    });
    let lagging = world.post("Action=DescribeInstances").await;
    world.cloud.with(|vpc, now| vpc.clear_faults(now, None));
    let fresh = world.post("Action=DescribeInstances").await;

    assert_eq!((count(&lagging), count(&fresh)), (1, 2), "{}", lagging.body);
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_takes_its_time_and_the_log_says_so() {
    let spec = Spec { latency: Latency::default(), ..Spec::default() };
    let cloud = Cloud::new(Vpc::new(spec).unwrap());
    let role = Role {
        name: String::new(),
        access_key_id: String::new(),
        secret_access_key: String::new(),
        token: String::new(),
    };
    let world = World { cloud, role };
    world.post("Action=DescribeVpcs").await;
    world.fault(FaultSpec { factor: Some(100), ..FaultSpec::new(Kind::Slow) });

    world.post("Action=DescribeVpcs").await;

    let latencies: Vec<_> = world.cloud.calls().iter().map(|call| call.latency).collect();
    let usual = Latency::default().read;
    assert!(latencies[0] < usual * 2 && latencies[1] >= usual * 100, "{latencies:?}");
}
