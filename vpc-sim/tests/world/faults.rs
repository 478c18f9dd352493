//! Bad days in a running world, and what its log says about them.

use crate::{
    program::{Program, succeed, vpc_sim},
    setup::{Name, add_node, default_world, ec2, http},
};
use serde_json::Value;
use vpc::fault::{FaultSpec, Kind};
use vpc_sim::{
    fabric::Place,
    world::{World, WorldFile, file},
};

const IMDS: &str = "169.254.169.254:80";
const TOKEN: &str = "PUT /latest/api/token\nx-aws-ec2-metadata-token-ttl-seconds: 60";
const DESCRIBE_VPCS: &str = "Action=DescribeVpcs";

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_and_a_silent_metadata_service_close_the_connection() {
    let name = Name::new();
    let world = World::up(&name.0, default_world()).await.unwrap();
    add_node(&world, "n1", "us-west-2a").await;
    let node = world.namespace(Place::Node("n1")).await.unwrap();
    for kind in [Kind::LostReply, Kind::ImdsUnavailable] {
        world.add_fault(FaultSpec { calls: Some(1), ..FaultSpec::new(kind) }).unwrap();
    }

    let calls = [(); 2].map(|()| ec2(&node, DESCRIBE_VPCS));
    let imds = [(); 2].map(|()| http(&node, IMDS, TOKEN));

    for (who, [lost, answered]) in [("EC2", calls), ("metadata", imds)] {
        let lost = lost.unwrap_err().to_string();
        assert!(lost.ends_with("no answer: \"\""), "{who}: {lost}");
        assert_eq!(answered.unwrap().0, 200, "{who}");
    }
    assert_eq!(world.faults(), []);
    let outcomes: Vec<_> = world.calls().into_iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes, ["LostReply", "OK"]);
    world.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_world_file_can_begin_with_faults() {
    let name = Name::new();
    let text = format!("{}\n[[faults]]\nkind = 'throttle'\nfor = '1h'\n", file::DEFAULT);
    let world = World::up(&name.0, WorldFile::parse(&text).unwrap()).await.unwrap();
    let services = world.namespace(Place::Services).await.unwrap();

    let (status, body) = ec2(&services, DESCRIBE_VPCS).unwrap();

    assert_eq!(status, 503, "{body}");
    assert!(body.contains("RequestLimitExceeded"), "{body}");
    world.down().await.unwrap();
}

#[test]
fn the_program_adds_lists_and_clears_faults_and_counts_calls() {
    let name = Name::new();
    let mut program = Program::up(&name);
    succeed(&name, &["node", "add", "n1", "--zone", "us-west-2a"]);
    let list = || -> Vec<Value> {
        serde_json::from_str(&succeed(&name, &["fault", "list", "--json"])).unwrap()
    };
    let ask = |want: &str| {
        let namespace = format!("/run/netns/{}.services", name.0);
        let reply = ec2(std::path::Path::new(&namespace), DESCRIBE_VPCS);
        assert!(format!("{reply:?}").contains(want), "{reply:?}");
    };

    let added = succeed(
        &name,
        &["fault", "add", "deny", "--action", "DescribeVpcs", "--calls", "2", "--for", "30s"],
    );
    let faults = list();
    ask("UnauthorizedOperation");
    succeed(&name, &["fault", "clear", "1"]);
    ask("vpcSet");

    assert!(added.contains("1  deny action DescribeVpcs: acted 0 times, 2 times more"), "{added}");
    assert_eq!((&faults[0]["kind"], &faults[0]["calls_left"]), (&"deny".into(), &2.into()));
    assert_eq!(list(), Vec::<Value>::new());
    let table = succeed(&name, &["calls"]);
    let words: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(words, ["DescribeVpcs", "2", "0", "1", "outside", "2"], "{table}");
    let log = succeed(&name, &["calls", "--log", "--action", "DescribeVpcs", "--node", "outside"]);
    assert_eq!(log.lines().count(), 2, "{log}");
    succeed(&name, &["down"]);
    program.child.wait().unwrap();
}

#[test]
fn what_does_not_exist_is_refused_with_what_does() {
    let name = Name::new();
    let mut program = Program::up(&name);
    succeed(&name, &["node", "add", "n1", "--zone", "us-west-2a"]);

    for (arguments, wants) in [
        (&["fault", "add", "rain"][..], ["invalid value 'rain'", "lost-reply"]),
        (&["fault", "add", "deny", "--action", "Fly"], ["invalid value 'Fly'", "CreateTags"]),
        (&["fault", "add", "deny", "--node", "n2"], ["no node n2", "there are n1"]),
        (&["fault", "add", "deny", "--by", "3s"], ["has no `by`", "action"]),
        (&["fault", "add", "deny", "--for", "long"], ["`long` is not a span of time", "30s"]),
        (&["fault", "clear", "7"], ["no fault 7", "there is none"]),
        (&["calls", "--node", "n2"], ["no node n2", "there are n1"]),
    ] {
        let output = vpc_sim(&name, arguments);
        let error = String::from_utf8_lossy(&output.stderr);

        assert!(!output.status.success(), "{arguments:?}");
        assert!(wants.iter().all(|want| error.contains(want)), "{arguments:?}: {error}");
    }
    succeed(&name, &["down"]);
    program.child.wait().unwrap();
}
