//! What faults do, and to whom, and for how long.

use super::*;
use crate::{
    EniId, InstanceId, Launch, Spec, Vpc,
    admit::Course,
    attach::{Attach, Detach},
    create::CreateInterface,
    lookup::{Breadth, Lookup},
    throttle::ThrottleSpec,
};

struct World {
    vpc: Vpc,
    subnet_id: String,
    instance: InstanceId,
}

/// A VPC with the node `a`, in which nothing is throttled but by faults.
fn world() -> World {
    let spec = Spec { throttle: ThrottleSpec::off(), ..Spec::default() };
    let mut vpc = Vpc::new(spec).unwrap();
    let subnet_id = vpc.subnets().values().find(|it| it.name == "nodes-a").unwrap().id.clone();
    let launch = Launch {
        node: "a".into(),
        instance_type: "m5.large".into(),
        subnet_id: subnet_id.clone(),
        groups: Vec::new(),
        role: Some("eks-node".into()),
    };
    let instance = vpc.run_instance(Time::ZERO, &launch).unwrap();
    World { vpc, subnet_id, instance }
}

fn world_with(kind: Kind, change: impl FnOnce(&mut FaultSpec)) -> World {
    let mut world = world();
    let mut spec = FaultSpec::new(kind);
    change(&mut spec);
    world.vpc.add_fault(Time::ZERO, spec).unwrap();
    world
}

fn at(seconds: u64) -> Time {
    Time(Duration::from_secs(seconds))
}

fn span(seconds: u64) -> Option<Span> {
    Some(Span(Duration::from_secs(seconds)))
}

const CREATE: Action = Action::CREATE_NETWORK_INTERFACE;
const DESCRIBE: Action = Action::DESCRIBE_NETWORK_INTERFACES;

impl World {
    /// What comes of a call of the node `a` at the world's beginning.
    fn admit(&mut self, action: Action) -> Result<Course, Ec2Error> {
        self.vpc.admit(Time::ZERO, "a", action, Breadth::Everything)
    }

    fn call(&mut self, now: Time, who: &str, action: Action) -> Result<(), String> {
        let result = self.vpc.admit(now, who, action, Breadth::Everything);
        result.map(|_| ()).map_err(|error| error.code.into_owned())
    }

    /// What so many calls of a node end with.
    fn calls(&mut self, count: usize) -> Vec<bool> {
        (0..count).map(|_| self.admit(CREATE).is_ok()).collect()
    }

    fn create(&mut self, now: Time) -> EniId {
        let request =
            CreateInterface { subnet_id: self.subnet_id.clone(), ..CreateInterface::default() };
        self.vpc.create_network_interface(now, &request).unwrap().id.clone()
    }

    fn attach(&mut self, now: Time, interface: &EniId) -> String {
        let request = Attach {
            interface_id: interface.0.clone(),
            instance_id: self.instance.0.clone(),
            device_index: 1,
            card_index: Some(0),
        };
        self.vpc.attach_network_interface(now, &request).unwrap().id.0.clone()
    }

    fn described(&self, now: Time, lag: Duration) -> usize {
        let past = self.vpc.interfaces_as_of(now, lag).unwrap();
        self.vpc.describe_interfaces_among(&past, &Lookup::default()).unwrap().items.len()
    }

    fn shown(&self, now: Time) -> usize {
        self.vpc.metadata(now, &self.instance).unwrap().interfaces.len()
    }
}

#[test]
fn a_fault_acts_for_a_number_of_calls_and_is_over() {
    let mut world = world_with(Kind::Throttle, |spec| spec.calls = Some(2));

    let outcomes = world.calls(4);

    assert_eq!(outcomes, [false, false, true, true]);
    assert_eq!(world.vpc.faults(Time::ZERO), []);
}

#[test]
fn a_fault_acts_for_a_time_and_is_over() {
    let mut world = world_with(Kind::Throttle, |spec| spec.lasts = span(30));

    let before = world.call(at(29), "a", DESCRIBE);
    let left = world.vpc.faults(Time(Duration::from_millis(28_700)))[0].time_left;
    let after = world.call(at(30), "a", DESCRIBE);

    assert_eq!((before, after), (Err("RequestLimitExceeded".into()), Ok(())));
    assert_eq!(left, span(2));
}

#[test]
fn a_fault_is_for_one_node_and_one_action_when_it_says_so() {
    let mut world = world_with(Kind::Throttle, |spec| {
        spec.node = Some("a".into());
        spec.action = Some(Action::CREATE_NETWORK_INTERFACE);
    });

    let hit = world.call(Time::ZERO, "a", CREATE);
    let other_node = world.call(Time::ZERO, "b", CREATE);
    let other_action = world.call(Time::ZERO, "a", DESCRIBE);

    assert_eq!(
        (hit, other_node, other_action),
        (Err("RequestLimitExceeded".into()), Ok(()), Ok(()))
    );
}

#[test]
fn a_probability_is_drawn_the_same_way_from_the_same_seed() {
    let outcomes = |seed| {
        let mut faults = Faults::new(seed);
        let spec = FaultSpec { probability: Some(0.5), ..FaultSpec::new(Kind::Throttle) };
        faults.add(Time::ZERO, spec).unwrap();
        let mut call = || faults.on_call(Time::ZERO, "a", Action::CREATE_TAGS).is_ok();
        (0..64).map(|_| call()).collect::<Vec<_>>()
    };
    let (one, same, other) = (outcomes(1), outcomes(1), outcomes(2));

    assert_eq!(one, same);
    assert_ne!(one, other);
    let taken = one.iter().filter(|taken| **taken).count();
    assert!((16..48).contains(&taken), "{taken} of 64");
}

#[test]
fn a_denied_call_is_refused_with_iams_words() {
    let mut world = world_with(Kind::Deny, |spec| spec.action = Some(Action::CREATE_TAGS));

    let error = world.admit(Action::CREATE_TAGS).unwrap_err();

    assert_eq!((error.code.as_ref(), error.status), ("UnauthorizedOperation", 403));
    let user = format!("arn:aws:sts::123456789012:assumed-role/eks-node/{}", world.instance);
    assert!(error.message.starts_with("You are not authorized to perform this operation. User: "));
    assert!(error.message.contains(&user), "{error}");
    assert!(error.message.contains("not authorized to perform: ec2:CreateTags because"), "{error}");
    assert!(error.message.contains("Encoded authorization failure message: "), "{error}");
}

#[test]
fn an_error_can_be_any() {
    let mut world = world_with(Kind::Error, |spec| {
        spec.code = Some("InsufficientInstanceCapacity".into());
        spec.status = Some(500);
        spec.message = Some("none left".into());
    });

    let error = world.admit(DESCRIBE).unwrap_err();

    assert_eq!(error.to_string(), "InsufficientInstanceCapacity: none left");
    assert_eq!(error.status, 500);
}

#[test]
fn a_slow_call_takes_several_times_as_long_and_a_lost_one_is_not_answered() {
    let mut world = world_with(Kind::Slow, |spec| spec.factor = Some(4));
    world.vpc.add_fault(Time::ZERO, FaultSpec::new(Kind::LostReply)).unwrap();

    let course = world.admit(DESCRIBE).unwrap();

    assert_eq!(course.latency, world.vpc.latency().read * 4);
    assert_eq!(course.reply, Reply::Lost);
}

#[test]
fn a_description_that_lags_does_not_know_what_was_just_made_and_knows_what_is_gone() {
    let mut world = world_with(Kind::DescribeLag, |spec| spec.by = span(2));
    let lag = world.admit(DESCRIBE).unwrap().lag;

    let interface = world.create(at(10));
    let ids = vec![interface.0.clone()];
    let past = world.vpc.interfaces_as_of(at(11), lag).unwrap();
    let unknown = Lookup { ids, ..Lookup::default() };
    let error = world.vpc.describe_interfaces_among(&past, &unknown).unwrap_err();
    let counts = [world.described(at(11), lag), world.described(at(12), lag)];
    world.vpc.delete_network_interface(at(20), &interface.0).unwrap();
    let after = [world.described(at(21), lag), world.described(at(22), lag)];

    assert_eq!(lag, Duration::from_secs(2));
    assert_eq!(error.code, "InvalidNetworkInterfaceID.NotFound");
    assert_eq!((counts, after), ([1, 2], [2, 1]));
}

#[test]
fn only_descriptions_that_tell_about_interfaces_lag() {
    let mut world = world_with(Kind::DescribeLag, |_| {});

    let course = world.admit(Action::DESCRIBE_VPCS).unwrap();

    assert_eq!(course.lag, Duration::ZERO);
    assert_eq!(world.vpc.faults(Time::ZERO)[0].acted, 0);
}

#[test]
fn nothing_lags_any_more_when_the_fault_is_cleared() {
    let mut world = world_with(Kind::DescribeLag, |_| {});

    let cleared = world.vpc.clear_faults(Time::ZERO, Some(1));

    assert_eq!(cleared, 1);
    assert_eq!(world.vpc.interfaces_as_of(at(1), Duration::from_secs(2)), None);
}

#[test]
fn the_metadata_can_be_later_than_the_device() {
    let mut world = world_with(Kind::ImdsLag, |spec| spec.by = span(10));

    let interface = world.create(Time::ZERO);
    world.attach(Time::ZERO, &interface);
    world.vpc.advance(at(5));

    let has_device = world.vpc.topology().enis.contains_key(&interface.0);
    assert_eq!((has_device, world.shown(at(5)), world.shown(at(11))), (true, 1, 2));
}

#[test]
fn a_device_can_be_later_than_the_metadata() {
    let mut world = world_with(Kind::DeviceLate, |spec| spec.by = span(10));

    let interface = world.create(Time::ZERO);
    world.attach(Time::ZERO, &interface);
    world.vpc.advance(at(5));
    let early = world.vpc.topology().enis.contains_key(&interface.0);
    let shown = world.shown(at(5));
    world.vpc.advance(at(11));

    assert_eq!((early, shown), (false, 2));
    assert!(world.vpc.topology().enis.contains_key(&interface.0));
}

#[test]
fn an_attachment_that_hangs_has_no_device_and_can_be_detached() {
    let mut world = world_with(Kind::AttachHangs, |_| {});

    let interface = world.create(Time::ZERO);
    let attachment = world.attach(Time::ZERO, &interface);
    world.vpc.advance(at(3600));
    let state = world.vpc.interface(&interface.0).unwrap().attachment.as_ref().unwrap().state;
    let wired = world.vpc.topology().enis.contains_key(&interface.0);
    world.vpc.detach_network_interface(at(3600), &attachment, Detach::Orderly).unwrap();
    world.vpc.advance(at(3700));

    assert_eq!((state.as_str(), wired), ("attaching", false));
    assert_eq!(world.vpc.interface(&interface.0).unwrap().status(), "available");
}

#[test]
fn a_detached_interface_stays_listed_as_a_ghost_for_a_time() {
    let mut world = world_with(Kind::ImdsGhosts, |spec| spec.by = span(60));
    let interface = world.create(Time::ZERO);
    let mac = world.vpc.interface(&interface.0).unwrap().mac;
    let attachment = world.attach(Time::ZERO, &interface);
    world.vpc.advance(at(10));

    world.vpc.detach_network_interface(at(10), &attachment, Detach::Forced).unwrap();
    world.vpc.advance(at(10));

    assert_eq!(world.shown(at(20)), 1);
    assert_eq!(world.vpc.ghosts(at(20), &world.instance), [mac]);
    assert_eq!(world.vpc.ghosts(at(71), &world.instance), []);
}

#[test]
fn metadata_can_be_unavailable_short_or_empty() {
    let mut unavailable = world_with(Kind::ImdsUnavailable, |spec| spec.calls = Some(1));
    let mut short = world_with(Kind::ImdsShort, |_| {});
    let mut empty = world_with(Kind::ImdsEmpty, |spec| spec.node = Some("b".into()));

    let reads = [(); 2].map(|()| unavailable.vpc.metadata_read(Time::ZERO, "a"));

    assert_eq!(reads, [Reply::Lost, Reply::Sent]);
    assert!(matches!(short.vpc.metadata_listing(Time::ZERO, "a"), Listing::Short(_)));
    assert_eq!(empty.vpc.metadata_listing(Time::ZERO, "a"), Listing::Whole);
    assert_eq!(empty.vpc.metadata_listing(Time::ZERO, "b"), Listing::Empty);
}

#[test]
fn chaos_does_many_things_sometimes_and_the_same_for_the_same_seed() {
    let run = |seed| {
        let mut world = world_with(Kind::Chaos, |spec| spec.seed = Some(seed));
        let calls: Vec<_> = (0..300)
            .map(|_| match world.admit(DESCRIBE) {
                Ok(course) if course.reply == Reply::Lost => "lost".to_owned(),
                Ok(course) if !course.lag.is_zero() => "lag".to_owned(),
                Ok(course) => format!("{:?}", course.latency),
                Err(error) => error.code.into_owned(),
            })
            .collect();
        let listings: Vec<_> =
            (0..300).map(|_| world.vpc.metadata_listing(Time::ZERO, "a")).collect();
        (calls, listings)
    };
    let (one, same, other) = (run(1), run(1), run(2));

    assert_eq!(one, same);
    assert_ne!(one, other);
    let kinds: std::collections::BTreeSet<_> = one.0.iter().collect();
    assert_eq!(kinds.len(), 7, "as usual, slow, lost, lagging and three errors: {kinds:?}");
    let usual = one.0.iter().filter(|it| *it == "17ms").count();
    assert!((240..300).contains(&usual), "{usual}");
    assert!(one.1.contains(&Listing::Empty) && one.1.contains(&Listing::Whole));
}

#[test]
fn faults_change_nothing_that_is_drawn_for_the_vpc() {
    let (mut plain, mut faulty) = (world(), world_with(Kind::Chaos, |_| {}));
    faulty.calls(20);

    let (one, other) = (plain.create(Time::ZERO), faulty.create(Time::ZERO));

    assert_eq!(one, other);
}

#[test]
fn a_fault_is_listed_with_what_it_has_done() {
    let mut world = world_with(Kind::Throttle, |spec| spec.calls = Some(3));
    world.calls(2);

    let listed = world.vpc.faults(Time::ZERO);

    let json = serde_json::to_value(&listed[0]).unwrap();
    assert_eq!(json["kind"], "throttle");
    assert_eq!(
        (&json["id"], &json["acted"], &json["calls_left"]),
        (&1.into(), &2.into(), &1.into())
    );
    assert_eq!(serde_json::from_value::<FaultStatus>(json).unwrap(), listed[0]);
}
