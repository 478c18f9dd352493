//! ADD: an address, a veth pair, and what routes between them.

use super::{
    LOCK_WAIT, account::Account, busy, internal, no_address, owner, result::result, teardown,
};
use crate::{
    clock::now,
    node::{AllocateError, Node, Patience},
};
use cni::{AddResult, Code, Error};
use net::{
    ApplyError, EgressSelector, Link, Netlink, Op, beside,
    pod::{Ends, FIRST_INTERFACE, Pod, Role},
};
use nix::errno::Errno;
use record::{Attachment, Maker};
use std::{
    os::fd::{AsFd, AsRawFd, RawFd},
    thread,
    time::{Duration, Instant},
};

/// How long an ADD waits for the pair of a DEL right before it to go: the kernel takes twenty milliseconds
/// for each, and a node's worth may end at once.
const OLD_PAIR: Duration = Duration::from_secs(10);

/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Gives a container its interface.
///
/// Asked twice for the same container it answers the same: a runtime that crashed asks again.
pub(super) fn add(
    node: &Node,
    request: &cni::Request,
    carried: rpc::Request,
    caller_gone: &dyn Fn() -> bool,
    account: &mut Account,
) -> Result<AddResult, Error> {
    let (Some(netns), Some(socket)) = (carried.netns, carried.pod_netlink) else {
        return Err(internal(
            "wire the pod",
            "the plugin sent no descriptors of the pod's namespace",
        ));
    };
    let mut inside = Netlink::over(socket, netns.as_fd())
        .map_err(|error| internal("use the pod's netlink socket", error))?;
    let owner = owner(request);
    let _lock = node.store.lock_attachment(&owner, Instant::now() + LOCK_WAIT).ok_or_else(busy)?;
    let known = node.store.attachment(&owner).is_some();
    let role = role(request, &mut inside)?;
    let patience = Patience { wait: node.settings.add_wait, caller_gone };
    let (allocated, waited) = node.allocate(&owner, patience, |allocation, table, egress| {
        Attachment { role, ..attachment(node, request, allocation, (table, egress)) }
    });
    account.waited = waited;
    account.is_for_the_next = matches!(allocated, Err(AllocateError::Ending));
    let attachment = account.attachment.insert(allocated.map_err(no_address)?);
    let mut wired = wire(node, &mut inside, (&attachment.pod(), known), netns.as_raw_fd());
    if matches!(wired, Err(WireError::NameTaken)) {
        rename(node, request, attachment)?;
        wired = wire(node, &mut inside, (&attachment.pod(), known), netns.as_raw_fd());
    }
    let pod = attachment.pod();
    if let Err(error) = wired {
        // What was there before this request is left to the DEL that follows.
        if known {
            node.orphans.suspect(&owner);
        } else {
            teardown::release(node, &owner, None).map_err(|error| {
                node.orphans.suspect(&owner);
                internal("note the released address", error)
            })?;
        }
        return Err(error.told(&pod));
    }
    Ok(result(request, &pod))
}

/// Why a pod was not wired.
#[derive(Debug)]
enum WireError {
    /// The host end's name is that of another pod's, which is there or may be.
    NameTaken,
    /// The kernel refused something.
    Failed(Error),
}

impl From<Error> for WireError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl WireError {
    fn told(self, pod: &Pod) -> Error {
        match self {
            Self::NameTaken => {
                internal("make the pod's veth pair", format!("{} is taken", pod.host_name))
            }
            Self::Failed(error) => error,
        }
    }
}

/// What a new attachment is to be: whoever brought the pod's default route keeps it.
fn role(request: &cni::Request, inside: &mut Netlink) -> Result<Role, Error> {
    if request.ifname == FIRST_INTERFACE {
        return Ok(Role::First);
    }
    let has_default = inside.has_default_route();
    let has_default =
        has_default.map_err(|error| internal("look for the pod's default route", error))?;
    Ok(if has_default { Role::Additional } else { Role::First })
}

/// Gives the host end another name, and puts that on record: names have 44 bits of a hash, and two pods
/// may have the same, or two of one name live side by side; and a pod may have more attachments.
fn rename(node: &Node, request: &cni::Request, attachment: &mut Attachment) -> Result<(), Error> {
    let prefix = &request.config.veth_prefix;
    let Attachment { network, container, interface, pod_namespace, pod_name, .. } = &*attachment;
    let key = [network.as_str(), container.as_str(), interface.as_str()];
    let name = cni::names::other_host_veth(prefix, pod_namespace, pod_name, key);
    tracing::warn!(
        pod = pod_name,
        from = attachment.host_name,
        to = name,
        "another attachment has a link of this name"
    );
    attachment.host_name = name;
    let noted = node.store.state().journal.allocated(attachment.clone());
    noted.map_err(|error| internal("note the name of a pod's link", error))
}

fn attachment(
    node: &Node,
    request: &cni::Request,
    allocation: &pool::Allocation,
    (table, egress): (u32, EgressSelector),
) -> Attachment {
    let pod_namespace = request.args.namespace.clone().unwrap_or_default();
    let pod_name = request.args.name.clone().unwrap_or_else(|| request.container_id.clone());
    let prefix = &request.config.veth_prefix;
    Attachment {
        network: request.config.name.clone(),
        container: request.container_id.clone(),
        interface: request.ifname.clone(),
        netns: request.netns.clone().unwrap_or_default(),
        host_name: cni::names::host_veth(prefix, &pod_namespace, &pod_name),
        pod_namespace,
        pod_name,
        address: allocation.address,
        eni: allocation.eni.0.clone(),
        table,
        egress,
        mtu: request.config.mtu.unwrap_or(node.settings.pod_mtu),
        made_by: Maker::Ours,
        host_mac: None,
        role: Role::First,
        since_ms: u64::try_from(now().0.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Makes the kernel match, or leaves it as it was.
fn wire(
    node: &Node,
    inside: &mut Netlink,
    (pod, known): (&Pod, bool),
    netns: RawFd,
) -> Result<(), WireError> {
    let ends = link(node, inside, (pod, known), netns)?;
    beside::apply(inside, &pod.in_pod(ends.pod)).map_err(|error| {
        unwire(node, pod, ends.host);
        match in_the_way(&error) {
            Some(msg) => Error::new(Code::InvalidEnvironment, msg).into(),
            None => internal("set up the pod's interface", error).into(),
        }
    })
}

/// What others made in the pod in whose place ours would have come.
fn in_the_way(error: &ApplyError) -> Option<String> {
    let ApplyError::Refused(failed) = error else { return None };
    let Op::Add(net::Object::Route(route)) = &*failed.op else { return None };
    (failed.errno == Errno::EEXIST).then(|| {
        let to = route.to;
        format!(
            "the pod has another route to {to} already, which is not replaced: have this plugin be \
             the first that runs for the pod, or give its interface another name than \
             {FIRST_INTERFACE}"
        )
    })
}

/// The pair and the host's routes. The first attempt needs no question to the kernel. `known`: the pod was
/// on record before this request.
fn link(
    node: &Node,
    inside: &mut Netlink,
    (pod, known): (&Pod, bool),
    netns: RawFd,
) -> Result<Ends, WireError> {
    let ends = pod.preferred_ends();
    let on_host = |host| {
        let ops = Pod::bring_up(host).into_iter();
        ops.chain(pod.on_host(host, node.host.pods_see())).collect::<Vec<_>>()
    };
    match node.kernel().apply(&[vec![pod.link(Some(ends), netns)], on_host(ends.host)].concat()) {
        Ok(()) => return Ok(ends),
        Err(error) if taken(&error) => {}
        Err(error) => return Err(internal("make the pod's veth pair", error).into()),
    }
    // A name or an index is taken: by this very pair, by one of a former pod, or by something else.
    let within = within(node, inside, &pod.pod_name)?;
    let mut kernel = node.kernel();
    let outside = kernel
        .link_by_name(&pod.host_name)
        .map_err(|error| internal("look for the veth", error))?;
    match (outside, within) {
        (Some(outside), Some(within)) if is_the_pair(pod, &outside, &within) => {
            let ends = Ends { host: outside.index, pod: within.index };
            kernel
                .apply(&on_host(ends.host))
                .map_err(|error| internal("route to the pod", error))?;
            return Ok(ends);
        }
        // CNI 1.1.0, "ADD": if an interface of the requested name already exists in the container,
        // the CNI plugin MUST return with an error.
        (_, Some(_)) => {
            return Err(WireError::Failed(Error {
                code: Code::InvalidEnvironment,
                msg: format!("interface {} exists already in the container", pod.pod_name),
                details: String::new(),
            }));
        }
        // Its other end is in a namespace, under a name that it has not got from us.
        (Some(outside), None) if known && outside.mac == Some(pod.host_mac()) => {
            return Err(internal(
                "find the pod's interface",
                format!("{} has another name or namespace by now; delete the pod", pod.pod_name),
            )
            .into());
        }
        (Some(outside), None) if outside.veth && has_ended(node, &outside) => {
            kernel
                .apply(&[pod.unlink(outside.index)])
                .map_err(|error| internal("remove the veth of a former pod of this name", error))?;
        }
        (Some(_), None) => return Err(WireError::NameTaken),
        (None, None) => {}
    }
    kernel
        .apply(&[pod.link(None, netns)])
        .map_err(|error| internal("make the pod's veth pair", error))?;
    let host = kernel
        .link_by_name(&pod.host_name)
        .map_err(|error| internal("look for the veth", error))?;
    let within =
        inside.link_by_name(&pod.pod_name).map_err(|error| internal("look into the pod", error))?;
    let (Some(host), Some(within)) = (host, within) else {
        return Err(internal("make the pod's veth pair", "it is gone again").into());
    };
    kernel.apply(&on_host(host.index)).map_err(|error| internal("route to the pod", error))?;
    Ok(Ends { host: host.index, pod: within.index })
}

/// What is in a pod under a name, once a pair that is being removed is gone: a DEL answers before that.
fn within(node: &Node, inside: &mut Netlink, name: &str) -> Result<Option<Link>, Error> {
    let deadline = Instant::now() + OLD_PAIR;
    loop {
        let there =
            inside.link_by_name(name).map_err(|error| internal("look into the pod", error))?;
        let goes = there.as_ref().is_some_and(|link| is_being_removed(node, link));
        if !goes || Instant::now() >= deadline {
            return Ok(there);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Whether a pod's end was made for an address that has nobody, and whose link is on its way out.
fn is_being_removed(node: &Node, within: &Link) -> bool {
    let Some(address) = within.mac.and_then(Pod::address_of_pod_mac) else { return false };
    let state = node.store.state();
    let goes = state.pool.quarantined().any(|(it, _)| it == address);
    goes && !state.held.contains_key(&address)
}

/// Whether a host end is known to be one of ours whose pod has ended: the address that it was made for
/// has nobody. Any other may be a pod's that runs.
fn has_ended(node: &Node, outside: &Link) -> bool {
    let Some(address) = outside.mac.and_then(Pod::address_of_host_mac) else { return false };
    node.store.holder(address).is_none() && !node.store.state().held.contains_key(&address)
}

/// Whether two ends are those of this pod. Of a pair that somebody else made only the host end's
/// address is known.
fn is_the_pair(pod: &Pod, outside: &Link, within: &Link) -> bool {
    match pod.host_mac {
        Some(mac) => outside.mac == Some(mac),
        None => within.mac == Some(pod.pod_mac()),
    }
}

/// Links, the one change that does not tolerate what is there already.
fn taken(error: &ApplyError) -> bool {
    let link = matches!(error, ApplyError::Refused(failed) if matches!(*failed.op, Op::Add(net::Object::Veth(_))));
    link && matches!(error.errno(), Some(Errno::EEXIST | Errno::EBUSY))
}

fn unwire(node: &Node, pod: &Pod, host: u32) {
    let mut ops = pod.unroute(Some(host));
    ops.push(pod.unlink(host));
    match node.kernel().apply_each(&ops) {
        Ok(failures) => {
            for failure in failures {
                tracing::warn!(error = %failure, "failed to undo a failed ADD");
            }
        }
        Err(error) => tracing::warn!(error = %error, "failed to undo a failed ADD"),
    }
}
