#!/usr/bin/env python3
"""Plays amazon-vpc-cni-k8s on a node: its plugin, and of its daemon what gives addresses to pods.

ADD and DEL as v1.23.1 does them, with programs that everybody has, so that nothing here is shared
with what it judges. The pool is what `PeerNode` wrote; the checkpoint is the peer's own.
"""

import fcntl
import hashlib
import ipaddress
import json
import os
import random
import subprocess
import sys
import tempfile
import time

RUN = os.environ["ENI_CNI_RUN_DIR"]
CHECKPOINT = os.path.join(RUN, "ipam.json")
OWN = os.path.join(os.path.dirname(RUN), "peer")
POOL = os.path.join(OWN, "pool.json")
MAIN = 254
COOLDOWN_SECONDS = 30


def main():
    conf = json.load(sys.stdin)
    args = dict(pair.split("=", 1) for pair in os.environ.get("CNI_ARGS", "").split(";") if pair)
    verbs = {"ADD": add, "DEL": delete}
    verb = verbs.get(os.environ["CNI_COMMAND"])
    if verb is not None:
        verb(conf, args)


def add(conf, args):
    namespace, name = args["K8S_POD_NAMESPACE"], args["K8S_POD_NAME"]
    address, interface = allocate(conf["name"], namespace, name)
    step("recorded")
    digest = suffix(namespace, name)
    host = conf.get("vethPrefix", "eni") + digest
    mtu = conf.get("mtu", "9001")
    netns, ifname = os.environ["CNI_NETNS"], os.environ["CNI_IFNAME"]
    if host in links():
        ip("link", "del", host)
    mac = local_mac()
    ip("link", "add", ifname, "up", "mtu", mtu, "txqueuelen", "0", "type", "veth",
       "peer", "name", host, "address", mac, "mtu", mtu, "txqueuelen", "0",
       "netns", str(os.getpid()), within=netns)
    step("linked")
    for setting, value in [("accept_ra", 0), ("accept_redirects", 1), ("forwarding", 0)]:
        try:
            with open(f"/proc/sys/net/ipv6/conf/{host}/{setting}", "w") as file:
                file.write(str(value))
        except FileNotFoundError:
            pass
    ip("link", "set", host, "up")
    gateway = "169.254.1.1"
    ip("route", "replace", gateway + "/32", "dev", ifname, "scope", "link", within=netns)
    ip("route", "add", "default", "via", gateway, "dev", ifname, within=netns)
    ip("address", "add", address + "/32", "dev", ifname, within=netns)
    ip("neigh", "add", gateway, "dev", ifname, "lladdr", mac, "nud", "permanent", within=netns)
    step("in the pod")
    ip("route", "replace", address, "dev", host, "scope", "link")
    step("routed")
    ip("rule", "add", "to", address, "lookup", "main", "pref", "512", already="File exists")
    if interface["table"] != MAIN:
        table = str(interface["table"])
        ip("rule", "add", "from", address, "lookup", table, "pref", "1536", already="File exists")
    result = {
        "cniVersion": conf["cniVersion"],
        "dns": {},
        "interfaces": [
            {"name": host},
            {"mac": str(interface["table"]), "name": ifname, "sandbox": netns},
            {"mac": "0", "name": "dummy" + digest, "sandbox": str(interface["device"])},
        ],
        "ips": [{"address": address + "/32", "interface": 1, "version": "4"}],
    }
    print(json.dumps(result))


def delete(conf, args):
    released = release(conf["name"])
    # What the daemon does not know is a success, and nothing of it is removed.
    if released is None:
        return
    address, table = released
    step("released")
    gone = "No such file or directory"
    ip("rule", "del", "to", address, "lookup", "main", "pref", "512", already=gone)
    if table != MAIN:
        rule = ["rule", "del", "from", address, "lookup", str(table), "pref", "1536"]
        while ip(*rule, already=gone):
            pass
    # The link goes with the namespace; a route that is gone is none of the peer's concern.
    ip("route", "del", address, "scope", "link", already="")


class Locked:
    """The pool and the checkpoint, for one at a time."""

    def __enter__(self):
        self.lock = open(os.path.join(OWN, "lock"), "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        with open(POOL) as file:
            self.pool = json.load(file)
        with open(CHECKPOINT) as file:
            self.checkpoint = json.load(file)
        return self

    def __exit__(self, kind, _value, _trace):
        if kind is None:
            write(POOL, self.pool)
        self.lock.close()

    def record(self):
        write(CHECKPOINT, self.checkpoint)

    def mine(self, network):
        key = (network, os.environ["CNI_CONTAINERID"], os.environ["CNI_IFNAME"])
        for entry in self.checkpoint["allocations"]:
            if (entry["networkName"], entry["containerID"], entry["ifName"]) == key:
                return entry
        return None

    def interface_of(self, address):
        for interface in self.pool["interfaces"]:
            for cidr in interface["cidrs"]:
                if ipaddress.ip_address(address) in ipaddress.ip_network(cidr):
                    return interface
        raise LookupError(f"{address} is in no block of the pool")


def allocate(network, namespace, name):
    with Locked() as store:
        entry = store.mine(network)
        if entry is None:
            address = choose(store)
            entry = {
                "networkName": network,
                "containerID": os.environ["CNI_CONTAINERID"],
                "ifName": os.environ["CNI_IFNAME"],
                "ipv4": address,
                "allocationTimestamp": time.time_ns(),
                "metadata": {
                    "k8sPodNamespace": namespace,
                    "k8sPodName": name,
                    "interfacesCount": 1,
                },
            }
            store.checkpoint["allocations"].append(entry)
            store.record()
        return entry["ipv4"], store.interface_of(entry["ipv4"])


def choose(store):
    """The interfaces take turns, where the peer takes them in the order of a map of Go."""
    used = {entry["ipv4"] for entry in store.checkpoint["allocations"]}
    now = time.time()
    cooling = {a for a, since in store.pool["cooling"].items() if now < since + COOLDOWN_SECONDS}
    interfaces = store.pool["interfaces"]
    for turn in range(len(interfaces)):
        interface = interfaces[(store.pool["turn"] + turn) % len(interfaces)]
        for cidr in interface["cidrs"]:
            for address in map(str, ipaddress.ip_network(cidr)):
                if address not in used and address not in cooling:
                    store.pool["turn"] += turn + 1
                    return address
    fail("add cmd: failed to assign an IP address to container")


def release(network):
    with Locked() as store:
        entry = store.mine(network)
        if entry is None:
            return None
        store.checkpoint["allocations"].remove(entry)
        store.record()
        store.pool["cooling"][entry["ipv4"]] = time.time()
        return entry["ipv4"], store.interface_of(entry["ipv4"])["table"]


def step(name):
    """Dies here, as if killed, when a test wants that."""
    path = os.path.join(OWN, "dies-when")
    if os.path.exists(path):
        with open(path) as file:
            wanted = file.read()
        if wanted == name:
            os.remove(path)
            os.kill(os.getpid(), 9)


def write(path, value):
    """Beside its place, then renamed; in one line, as the peer writes."""
    folder, name = os.path.split(path)
    handle, fresh = tempfile.mkstemp(prefix=name + ".tmp", dir=folder)
    with os.fdopen(handle, "w") as file:
        json.dump(value, file, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    os.rename(fresh, path)


def suffix(namespace, name):
    return hashlib.sha1(f"{namespace}.{name}".encode()).hexdigest()[:11]


def links():
    shown = subprocess.run(["ip", "-json", "link"], capture_output=True, text=True, check=True)
    return [link["ifname"] for link in json.loads(shown.stdout)]


def local_mac():
    octets = [random.randrange(256) for _ in range(6)]
    octets[0] = octets[0] & ~1 | 2
    return ":".join(f"{octet:02x}" for octet in octets)


def ip(*arguments, within=None, already=None):
    """Runs `ip`; whether it did something. `already` is the failure that is none."""
    enter = ["nsenter", "--net=" + within] if within else []
    done = subprocess.run([*enter, "ip", *arguments], capture_output=True, text=True)
    if done.returncode != 0 and (already is None or already not in done.stderr):
        fail(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.returncode == 0


def fail(message):
    print(json.dumps({"code": 999, "msg": message}))
    sys.exit(1)


main()
