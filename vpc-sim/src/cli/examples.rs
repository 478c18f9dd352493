//! What `--help` says at its end: for each command, lines that can be typed.

pub(super) const PROGRAM: &str = "\
First steps, as root:
  vpc-sim up --wait                              a world: VPC, EC2, metadata, Kubernetes
  vpc-sim node add n1 --zone us-west-2a          a machine in it
  vpc-sim daemon start n1 --wait                 the daemon of its CNI plugin
  vpc-sim pod add n1 web --serve                 a pod, as kubelet and containerd start it
  vpc-sim exec n1/web -- ip addr                 what the pod has
  vpc-sim calls                                  what that asked of EC2
  vpc-sim fault add throttle --calls 5           a bad day
  vpc-sim down                                   all of it is gone";

pub(super) const UP: &str = "\
Examples:
  vpc-sim up
  vpc-sim up --world world.toml --name second
  vpc-sim up --wait          in the background: returns when it is ready
  vpc-sim up --wait=10s      or fails after 10 seconds, and nothing is left
  vpc-sim up --kubernetes target/kubernetes --kube-proxy nftables --wait

A real Kubernetes runs on a node `control-plane`; `vpc-sim node add` starts containerd, kubelet and
kube-proxy on a node of its own files, and `vpc-sim exec NODE` runs commands there. `scripts/kubernetes`
of the sources builds the programs.

In the background a world logs to /run/vpc-sim/NAME.log, which `vpc-sim down` removes.
A commented file with everything that can be said about a world is conf/world.toml of the sources.
The line that is printed names the folder with kubeconfig and sockets, and the endpoints.";

pub(super) const DOWN: &str = "\
Examples:
  vpc-sim down
  vpc-sim down --name second    also what a killed world of this name left";

pub(super) const BLOCK_ADD: &str = "\
Examples:
  vpc-sim block add 100.65.0.0/16    routed in the VPC, and told by the metadata service";

pub(super) const STATUS: &str = "\
Examples:
  vpc-sim status
  vpc-sim status --json | jq .outside.ec2";

pub(super) const NODE_ADD: &str = "\
Examples:
  vpc-sim node add n1 --zone us-west-2a
  vpc-sim node add n2 --subnet nodes-b --type c5.xlarge --label team=a --tag owner=me
  vpc-sim node add n3 --zone us-west-2a --interface type=efa-only,device_index=1,tag=owner=me
  vpc-sim node add n4 --zone us-west-2a --max-pods 44    for a real kubelet";

pub(super) const NODE_REBOOT: &str = "\
Examples:
  vpc-sim node reboot n1

Objects of pods stay; `vpc-sim pod add` starts a pod of such a name anew.";

pub(super) const NODE_STOP: &str = "\
Examples:
  vpc-sim node stop n1    the public address is lost, all others stay";

pub(super) const NODE_START: &str = "\
Examples:
  vpc-sim node start n1
  vpc-sim node start n1 --type m5.xlarge";

pub(super) const GROUP_AUTHORIZE: &str = "\
Examples:
  vpc-sim group authorize nodes ingress --protocol tcp --ports 80-443 --cidr 198.18.0.0/15
  vpc-sim group authorize pods ingress --group nodes";

pub(super) const GROUP_REVOKE: &str = "\
Examples:
  vpc-sim group revoke pods egress --cidr 0.0.0.0/0

What is allowed already and on its way stays so, as in a VPC: connections are tracked.";

pub(super) const GROUP_SET: &str = "\
Examples:
  vpc-sim group set n1 nodes pods                  of its primary interface
  vpc-sim group set eni-0123456789abcdef0 pods";

pub(super) const POLICY_SET: &str = "\
Examples:
  vpc-sim policy set conf/iam-policy.json

Calls of nodes are judged as IAM does: actions and resources with wildcards, Deny before Allow,
conditions on tags of the request and of the resource, on the VPC, and on what is tagged when it is
created. From the beginning: `policy_file` under `[nodes]` in the world's file.";

pub(super) const POLICY_CLEAR: &str = "\
Examples:
  vpc-sim policy clear";

pub(super) const INTERFACE_ATTACH: &str = "\
Examples:
  vpc-sim interface attach n1 --tag node.k8s.amazonaws.com/no_manage=true --secondary 3
  vpc-sim interface attach n1 --type efa-only --card 1
  vpc-sim interface attach n1 --ipv6-only --subnet pods-a --group pods

It bears no tag but those that are given, and its device is there when this returns. Before boot:
`vpc-sim node add --interface`, or `[[nodes.interfaces]]` in the world's file.";

pub(super) const INTERFACE_RM: &str = "\
Examples:
  vpc-sim interface rm eni-0123456789abcdef0";

pub(super) const NODE_RM: &str = "\
Examples:
  vpc-sim node rm n1    as EC2 terminates it: nobody on it is asked

An interface that was made for it and is not attached, or is not to end with it, stays in EC2 with its
tags: `vpc-sim fault add throttle --action AttachNetworkInterface` keeps a daemon between both calls.";

pub(super) const DAEMON_START: &str = "\
Examples:
  vpc-sim daemon start n1
  vpc-sim daemon start n1 --bin ./ipamd --env ENABLE_PREFIX_DELEGATION=true
  vpc-sim daemon start n1 --unset MY_NODE_NAME
  vpc-sim daemon start n1 --wait         returns when pods can be started
  vpc-sim daemon start n1 --wait=5m      at the latest after five minutes

Until its network list is installed and STATUS succeeds, `vpc-sim pod add` fails as kubelet does. A
plugin that does not know STATUS is taken to be ready. A daemon that is not ready in time goes on.";

pub(super) const DAEMON_STOP: &str = "\
Examples:
  vpc-sim daemon stop n1    as SIGTERM does";

pub(super) const DAEMON_KILL: &str = "\
Examples:
  vpc-sim daemon kill n1    as the kernel does when memory is short";

pub(super) const POD_ADD: &str = "\
Examples:
  vpc-sim pod add n1 web
  vpc-sim pod add n1 web --namespace shop --serve
  vpc-sim pod add n1 web --serve --host-port 8080:80 --annotation team=a";

pub(super) const POD_RM: &str = "\
Examples:
  vpc-sim pod rm n1 web
  vpc-sim pod rm n1 web --namespace shop";

pub(super) const EXEC: &str = "\
Examples:
  vpc-sim exec n1 -- ip rule
  vpc-sim exec n1/web -- ping -c 1 10.0.0.2
  vpc-sim exec n1/shop/web -- curl -s http://198.18.0.1/";

pub(super) const CALLS: &str = "\
Examples:
  vpc-sim calls                                     how often, by action and node
  vpc-sim calls --node n1 --since 30s
  vpc-sim calls --log --action CreateNetworkInterface
  vpc-sim calls --json | jq .ec2

The latest 10000 calls are kept one by one; without --since all are counted. Of instance metadata
and Kubernetes only the number of requests is known, of Kubernetes only that of nodes.";

pub(super) const COMPLETION: &str = "\
Examples:
  vpc-sim completion bash > /etc/bash_completion.d/vpc-sim
  vpc-sim completion zsh > /usr/local/share/zsh/site-functions/_vpc-sim
  vpc-sim completion fish > /etc/fish/completions/vpc-sim.fish";

pub(super) const FAULT_ADD: &str = "\
Examples:
  The next three attachments are throttled, whichever node makes them:
    vpc-sim fault add throttle --action AttachNetworkInterface --calls 3
  For a minute, half of what node n1 asks of EC2 fails:
    vpc-sim fault add error --code InternalError --node n1 --for 1m --probability 0.5
  The role may not create interfaces:
    vpc-sim fault add deny --action CreateNetworkInterface
  An assignment takes effect, and its answer is lost:
    vpc-sim fault add lost-reply --action AssignPrivateIpAddresses --calls 1
  Metadata is a minute behind, and lists what was detached for five:
    vpc-sim fault add imds-lag --by 1m
    vpc-sim fault add imds-ghosts --by 5m
  Whatever AWS does on bad days, at random, but the same for the same seed:
    vpc-sim fault add chaos --probability 0.05 --seed 7";

pub(super) const KUBE_REFUSE: &str = "\
Examples:
  vpc-sim kube refuse eniconfigs
  vpc-sim kube refuse pods --verb watch    lists are answered";

pub(super) const KUBE_ALLOW: &str = "\
Examples:
  vpc-sim kube allow eniconfigs
  vpc-sim kube allow";

pub(super) const KUBE_CRD: &str = "\
Examples:
  vpc-sim kube crd rm     as kubectl delete crd eniconfigs.crd.k8s.amazonaws.com
  vpc-sim kube crd add";

pub(super) const KUBE_STORE: &str = "\
Examples:
  vpc-sim kube store eniconfig.json
  vpc-sim kube store    an object of standard input, to the end of it";

pub(super) const FAULT_LIST: &str = "\
Examples:
  vpc-sim fault list
  vpc-sim fault list --json | jq '.[] | {id, kind, acted}'";

pub(super) const FAULT_CLEAR: &str = "\
Examples:
  vpc-sim fault clear      a good day again
  vpc-sim fault clear 2    only without fault 2";
