#!/usr/bin/env python3
"""Checks that an EC2 endpoint behaves as AWS's does, through AWS's own Python client.

Needs AWS_ENDPOINT_URL_EC2, and a VPC with one running instance (not of a type with more than
one network card) and a subnet in another zone:

    cargo run -p vpc-sim --example ec2_only 127.0.0.1:8080 &
    python3 -m venv venv && venv/bin/pip install -r tests/foreign/requirements.txt
    AWS_ENDPOINT_URL_EC2=http://127.0.0.1:8080 venv/bin/python tests/foreign/ec2_boto3.py

Prints a line per failed check and closes with `N passed, N failed`.
"""

import ipaddress
import os
import sys
import time
import traceback
import xml.etree.ElementTree as ElementTree

import boto3
import botocore.config
import botocore.exceptions

os.environ.setdefault("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
os.environ.setdefault("AWS_DEFAULT_REGION", "us-west-2")

# Enough for a transition of a world with AWS's own latencies.
PATIENCE_SECONDS = 30

CHECKS = []


def check(function):
    """Registers a check. Its name is a sentence; it fails by raising."""
    CHECKS.append(function)
    return function


class World:
    """The client, what the endpoint has, and what the checks must clean up."""

    def __init__(self):
        config = botocore.config.Config(retries={"total_max_attempts": 1})
        self.ec2 = boto3.client("ec2", config=config)
        self.strangers = []
        self.ec2.meta.events.register("after-call.ec2.*", self.compare_with_model)
        instances = [
            instance
            for page in self.ec2.get_paginator("describe_instances").paginate()
            for reservation in page["Reservations"]
            for instance in reservation["Instances"]
            if instance["State"]["Name"] == "running"
        ]
        assert instances, "the endpoint has no running instance"
        self.instance = instances[0]
        self.instance_id = self.instance["InstanceId"]
        self.zone = self.instance["Placement"]["AvailabilityZone"]
        self.subnets = self.ec2.describe_subnets()["Subnets"]
        self.subnet = self.subnet_where(lambda subnet: subnet["AvailabilityZone"] == self.zone)
        (self.type,) = self.ec2.describe_instance_types(
            InstanceTypes=[self.instance["InstanceType"]]
        )["InstanceTypes"]
        self.network = self.type["NetworkInfo"]
        self.created = []

    def subnet_where(self, condition):
        return next(subnet for subnet in self.subnets if condition(subnet))

    def compare_with_model(self, http_response, model, **_):
        """Notes elements that the model does not know: the client drops those silently."""
        if http_response.status_code != 200:
            return
        root = ElementTree.fromstring(http_response.content)
        for element in root:
            if local(element) not in ("requestId", "return"):
                self.compare(model.output_shape, element, model.name)

    def compare(self, shape, element, path):
        members = getattr(shape, "members", {})
        name = local(element)
        for member_name, member in members.items():
            if member.serialization.get("name", member_name) == name:
                self.compare_inside(member, element, f"{path}/{name}")
                return
        self.strangers.append(f"{path}/{name}")

    def compare_inside(self, shape, element, path):
        if shape.type_name == "structure":
            for inner in element:
                self.compare(shape, inner, path)
        elif shape.type_name == "list":
            for item in element:
                self.compare_inside(shape.member, item, path)

    def create(self, **parameters):
        parameters.setdefault("SubnetId", self.subnet["SubnetId"])
        interface = self.ec2.create_network_interface(**parameters)["NetworkInterface"]
        self.created.append(interface["NetworkInterfaceId"])
        return interface

    def describe(self, interface_id):
        answer = self.ec2.describe_network_interfaces(NetworkInterfaceIds=[interface_id])
        (interface,) = answer["NetworkInterfaces"]
        return interface

    def free_index(self):
        answer = self.ec2.describe_network_interfaces(
            Filters=[{"Name": "attachment.instance-id", "Values": [self.instance_id]}]
        )
        taken = {eni["Attachment"]["DeviceIndex"] for eni in answer["NetworkInterfaces"]}
        return next(index for index in range(32) if index not in taken)

    def attach(self, interface_id, **parameters):
        parameters.setdefault("DeviceIndex", self.free_index())
        parameters.setdefault("InstanceId", self.instance_id)
        return self.ec2.attach_network_interface(
            NetworkInterfaceId=interface_id, NetworkCardIndex=0, **parameters
        )["AttachmentId"]

    def wait(self, interface_id, condition):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            interface = self.describe(interface_id)
            if condition(interface):
                return interface
            assert time.monotonic() < deadline, f"{interface_id} stays {interface}"
            time.sleep(0.05)

    def attached(self, **parameters):
        """A new interface that is attached."""
        interface_id = self.create(**parameters)["NetworkInterfaceId"]
        self.attach(interface_id)
        return self.wait(interface_id, is_attached)

    def detach(self, interface):
        self.ec2.detach_network_interface(AttachmentId=interface["Attachment"]["AttachmentId"])
        return self.wait(
            interface["NetworkInterfaceId"], lambda eni: eni["Status"] == "available"
        )

    def clean_up(self):
        for interface_id in self.created:
            try:
                interface = self.describe(interface_id)
                if "Attachment" in interface:
                    self.detach(self.wait(interface_id, is_settled))
                self.ec2.delete_network_interface(NetworkInterfaceId=interface_id)
            except botocore.exceptions.ClientError as error:
                if code_of(error) != "InvalidNetworkInterfaceID.NotFound":
                    raise
        self.created = []


def local(element):
    return element.tag.rsplit("}", 1)[-1]


def is_attached(interface):
    return interface.get("Attachment", {}).get("Status") == "attached"


def is_settled(interface):
    return interface.get("Attachment", {}).get("Status") != "attaching"


def code_of(error):
    return error.response["Error"]["Code"]


def secondary(interface):
    return [ip["PrivateIpAddress"] for ip in interface["PrivateIpAddresses"] if not ip["Primary"]]


def refuses(code, call, *, status=400, message=None, **parameters):
    try:
        call(**parameters)
    except botocore.exceptions.ClientError as error:
        found = (code_of(error), error.response["ResponseMetadata"]["HTTPStatusCode"])
        assert found == (code, status), f"refused with {found}: {error}"
        text = error.response["Error"]["Message"]
        assert message is None or message in text, f"refused with the text {text!r}"
    else:
        raise AssertionError(f"not refused, expected {code}")


def equal(found, wanted):
    assert found == wanted, f"found {found!r}, wanted {wanted!r}"


# ---- creating ----------------------------------------------------------------------------------


@check
def a_new_interface_is_available_with_an_address_of_its_subnet(w):
    interface = w.create(Description="a <b> & \"c\"")
    equal(interface["Status"], "available")
    equal(interface["Description"], "a <b> & \"c\"")
    address = ipaddress.ip_address(interface["PrivateIpAddress"])
    assert address in ipaddress.ip_network(w.subnet["CidrBlock"])
    equal(interface["AvailabilityZone"], w.zone)
    equal(int(interface["MacAddress"][:2], 16) & 3, 2)
    equal([ip["Primary"] for ip in interface["PrivateIpAddresses"]], [True])
    equal(interface["SourceDestCheck"], True)
    assert "Attachment" not in interface


@check
def an_interface_gets_the_default_group_when_none_is_named(w):
    equal([group["GroupName"] for group in w.create()["Groups"]], ["default"])


@check
def create_gives_secondary_addresses(w):
    interface = w.create(SecondaryPrivateIpAddressCount=3)
    equal(len(secondary(interface)), 3)
    equal(interface["PrivateIpAddresses"][0]["PrivateIpAddress"], interface["PrivateIpAddress"])


@check
def create_gives_aligned_prefixes(w):
    interface = w.create(Ipv4PrefixCount=2)
    prefixes = [ipaddress.ip_network(p["Ipv4Prefix"]) for p in interface["Ipv4Prefixes"]]
    equal([prefix.prefixlen for prefix in prefixes], [28, 28])
    assert len(set(prefixes)) == 2


@check
def create_keeps_tags(w):
    tags = [{"Key": "k/1", "Value": "v"}, {"Key": "empty", "Value": ""}]
    interface = w.create(
        TagSpecifications=[{"ResourceType": "network-interface", "Tags": tags}]
    )
    key = lambda tag: tag["Key"]
    equal(sorted(interface["TagSet"], key=key), sorted(tags, key=key))


@check
def create_takes_a_named_primary_address(w):
    free = w.create()["PrivateIpAddress"]
    w.clean_up()
    equal(w.create(PrivateIpAddress=free)["PrivateIpAddress"], free)
    refuses("InvalidIPAddress.InUse", w.create, PrivateIpAddress=free)


@check
def create_refuses_reserved_and_foreign_addresses(w):
    network = ipaddress.ip_network(w.subnet["CidrBlock"])
    for address in [network[0], network[1], network[2], network[3], network[-1], "192.0.2.1"]:
        refuses("InvalidParameterValue", w.create, PrivateIpAddress=str(address))


@check
def create_refuses_addresses_and_prefixes_together(w):
    refuses(
        "InvalidParameterCombination",
        w.create,
        SecondaryPrivateIpAddressCount=1,
        Ipv4PrefixCount=1,
    )


@check
def create_refuses_subnets_and_groups_that_do_not_exist(w):
    subnet = "subnet-0123456789abcdef0"
    refuses(
        "InvalidSubnetID.NotFound",
        w.create,
        SubnetId=subnet,
        message=f"The subnet ID '{subnet}' does not exist",
    )
    refuses("InvalidGroup.NotFound", w.create, Groups=["sg-0123456789abcdef0"])


@check
def a_client_token_creates_once(w):
    token = os.urandom(8).hex()
    first = w.create(ClientToken=token, Description="once")
    again = w.create(ClientToken=token, Description="once")
    equal(again["NetworkInterfaceId"], first["NetworkInterfaceId"])
    refuses("IdempotentParameterMismatch", w.create, ClientToken=token, Description="twice")


@check
def a_dry_run_changes_nothing(w):
    refuses("DryRunOperation", w.create, status=412, DryRun=True)


@check
def more_addresses_than_the_subnet_has_are_refused(w):
    refuses(
        "InsufficientFreeAddressesInSubnet", w.create, SecondaryPrivateIpAddressCount=100_000
    )
    refuses(
        "InvalidParameterValue",
        w.create,
        Ipv4PrefixCount=10_000,
        message="There aren't sufficient free Ipv4 addresses or prefixes",
    )


# ---- attaching ---------------------------------------------------------------------------------


@check
def an_attachment_becomes_attached_and_survives_termination_by_default(w):
    interface_id = w.create()["NetworkInterfaceId"]
    attachment_id = w.attach(interface_id)
    assert attachment_id.startswith("eni-attach-")
    interface = w.wait(interface_id, is_attached)
    equal(interface["Status"], "in-use")
    attachment = interface["Attachment"]
    equal(attachment["AttachmentId"], attachment_id)
    equal(attachment["InstanceId"], w.instance_id)
    equal(attachment["DeleteOnTermination"], False)
    equal(attachment["NetworkCardIndex"], 0)


@check
def attach_refuses_an_index_in_use(w):
    interface_id = w.create()["NetworkInterfaceId"]
    refuses(
        "InvalidParameterValue",
        w.attach,
        interface_id=interface_id,
        DeviceIndex=0,
        message="already has an interface attached at device index '0'",
    )


@check
def attach_refuses_an_interface_in_use(w):
    interface = w.attached()
    refuses(
        "InvalidNetworkInterface.InUse",
        w.attach,
        interface_id=interface["NetworkInterfaceId"],
        message=f"Interface: [{interface['NetworkInterfaceId']}] in use.",
    )


@check
def attach_refuses_another_zone(w):
    other = w.subnet_where(lambda subnet: subnet["AvailabilityZone"] != w.zone)
    interface_id = w.create(SubnetId=other["SubnetId"])["NetworkInterfaceId"]
    refuses("InvalidParameterValue", w.attach, interface_id=interface_id)


@check
def attach_takes_an_interface_of_another_subnet_of_the_zone(w):
    used = w.instance["SubnetId"]
    other = w.subnet_where(
        lambda subnet: subnet["AvailabilityZone"] == w.zone and subnet["SubnetId"] != used
    )
    interface = w.attached(SubnetId=other["SubnetId"])
    equal(interface["SubnetId"], other["SubnetId"])


@check
def attach_refuses_more_interfaces_than_the_type_has(w):
    limit = w.network["MaximumNetworkInterfaces"]
    for _ in range(w.free_index(), limit):
        w.attached()
    interface_id = w.create()["NetworkInterfaceId"]
    refuses(
        "AttachmentLimitExceeded",
        w.attach,
        interface_id=interface_id,
        message=f"Interface count {limit + 1} exceeds the limit for {w.type['InstanceType']}",
    )


@check
def attach_refuses_instances_and_interfaces_that_do_not_exist(w):
    interface_id = w.create()["NetworkInterfaceId"]
    refuses(
        "InvalidInstanceID.NotFound",
        w.attach,
        interface_id=interface_id,
        InstanceId="i-0123456789abcdef0",
    )
    refuses(
        "InvalidNetworkInterfaceID.NotFound", w.attach, interface_id="eni-0123456789abcdef0"
    )


@check
def attach_refuses_more_addresses_than_the_type_has(w):
    limit = w.network["Ipv4AddressesPerInterface"]
    interface_id = w.create(SecondaryPrivateIpAddressCount=limit)["NetworkInterfaceId"]
    refuses("PrivateIpAddressLimitExceeded", w.attach, interface_id=interface_id)


@check
def detach_makes_the_interface_available_later(w):
    interface = w.attached()
    attachment_id = interface["Attachment"]["AttachmentId"]
    w.ec2.detach_network_interface(AttachmentId=attachment_id)
    during = w.describe(interface["NetworkInterfaceId"])
    assert during["Status"] != "available", during
    equal(during["Attachment"]["Status"], "detaching")
    after = w.wait(interface["NetworkInterfaceId"], lambda eni: eni["Status"] == "available")
    assert "Attachment" not in after
    refuses(
        "InvalidAttachmentID.NotFound",
        w.ec2.detach_network_interface,
        AttachmentId=attachment_id,
    )


@check
def detach_refuses_the_primary_interface(w):
    (primary,) = [
        eni for eni in w.instance["NetworkInterfaces"] if eni["Attachment"]["DeviceIndex"] == 0
    ]
    refuses(
        "OperationNotPermitted",
        w.ec2.detach_network_interface,
        AttachmentId=primary["Attachment"]["AttachmentId"],
    )


@check
def delete_refuses_an_attached_interface(w):
    interface = w.attached()
    interface_id = interface["NetworkInterfaceId"]
    refuses(
        "InvalidParameterValue",
        w.ec2.delete_network_interface,
        NetworkInterfaceId=interface_id,
        message=f"Network interface '{interface_id}' is currently in use.",
    )


@check
def a_deleted_interface_is_not_found(w):
    interface_id = w.create()["NetworkInterfaceId"]
    w.ec2.delete_network_interface(NetworkInterfaceId=interface_id)
    message = f"The networkInterface ID '{interface_id}' does not exist"
    refuses(
        "InvalidNetworkInterfaceID.NotFound", w.describe, interface_id=interface_id, message=message
    )
    refuses(
        "InvalidNetworkInterfaceID.NotFound",
        w.ec2.delete_network_interface,
        NetworkInterfaceId=interface_id,
    )


# ---- assigning ---------------------------------------------------------------------------------


@check
def assign_returns_only_what_is_new(w):
    interface = w.create(SecondaryPrivateIpAddressCount=2)
    answer = w.ec2.assign_private_ip_addresses(
        NetworkInterfaceId=interface["NetworkInterfaceId"], SecondaryPrivateIpAddressCount=2
    )
    new = [ip["PrivateIpAddress"] for ip in answer["AssignedPrivateIpAddresses"]]
    equal(len(new), 2)
    assert not set(new) & set(secondary(interface)), new
    equal(secondary(w.describe(interface["NetworkInterfaceId"])), secondary(interface) + new)


@check
def assigned_addresses_are_scattered_over_the_subnet(w):
    interface = w.create(SecondaryPrivateIpAddressCount=8)
    numbers = sorted(int(ipaddress.ip_address(ip)) for ip in secondary(interface))
    assert numbers != list(range(numbers[0], numbers[0] + 8)), numbers


@check
def assign_gives_prefixes(w):
    interface_id = w.create()["NetworkInterfaceId"]
    answer = w.ec2.assign_private_ip_addresses(
        NetworkInterfaceId=interface_id, Ipv4PrefixCount=1
    )
    equal(answer["AssignedIpv4Prefixes"], w.describe(interface_id)["Ipv4Prefixes"])
    equal(answer.get("AssignedPrivateIpAddresses", []), [])


@check
def assign_refuses_more_than_the_type_has(w):
    interface_id = w.attached()["NetworkInterfaceId"]
    limit = w.network["Ipv4AddressesPerInterface"]
    refuses(
        "PrivateIpAddressLimitExceeded",
        w.ec2.assign_private_ip_addresses,
        NetworkInterfaceId=interface_id,
        SecondaryPrivateIpAddressCount=limit,
        message="Number of private addresses will exceed limit.",
    )
    w.ec2.assign_private_ip_addresses(
        NetworkInterfaceId=interface_id, SecondaryPrivateIpAddressCount=limit - 1
    )
    refuses(
        "PrivateIpAddressLimitExceeded",
        w.ec2.assign_private_ip_addresses,
        NetworkInterfaceId=interface_id,
        Ipv4PrefixCount=1,
    )


@check
def a_named_address_moves_only_when_allowed(w):
    owner = w.create(SecondaryPrivateIpAddressCount=1)
    (address,) = secondary(owner)
    taker = w.create()["NetworkInterfaceId"]
    parameters = {"NetworkInterfaceId": taker, "PrivateIpAddresses": [address]}
    refuses("InvalidParameterValue", w.ec2.assign_private_ip_addresses, **parameters)
    w.ec2.assign_private_ip_addresses(AllowReassignment=True, **parameters)
    equal(secondary(w.describe(taker)), [address])
    equal(secondary(w.describe(owner["NetworkInterfaceId"])), [])


@check
def unassign_takes_all_or_nothing(w):
    interface = w.create(SecondaryPrivateIpAddressCount=2)
    interface_id = interface["NetworkInterfaceId"]
    first, second = secondary(interface)
    unassign = w.ec2.unassign_private_ip_addresses
    unassign(NetworkInterfaceId=interface_id, PrivateIpAddresses=[first])
    refuses(
        "InvalidParameterValue",
        unassign,
        NetworkInterfaceId=interface_id,
        PrivateIpAddresses=[first, second],
    )
    equal(secondary(w.describe(interface_id)), [second])


@check
def unassign_refuses_the_primary_address(w):
    interface = w.create()
    refuses(
        "InvalidParameterValue",
        w.ec2.unassign_private_ip_addresses,
        NetworkInterfaceId=interface["NetworkInterfaceId"],
        PrivateIpAddresses=[interface["PrivateIpAddress"]],
    )


@check
def unassign_takes_prefixes(w):
    interface = w.create(Ipv4PrefixCount=1)
    interface_id = interface["NetworkInterfaceId"]
    w.ec2.unassign_private_ip_addresses(
        NetworkInterfaceId=interface_id,
        Ipv4Prefixes=[prefix["Ipv4Prefix"] for prefix in interface["Ipv4Prefixes"]],
    )
    equal(w.describe(interface_id).get("Ipv4Prefixes", []), [])


@check
def a_subnet_counts_its_free_addresses(w):
    def free():
        (subnet,) = w.ec2.describe_subnets(SubnetIds=[w.subnet["SubnetId"]])["Subnets"]
        return subnet["AvailableIpAddressCount"]

    before = free()
    w.create(SecondaryPrivateIpAddressCount=2)
    w.create(Ipv4PrefixCount=1)
    equal(before - free(), 3 + 17)


# ---- changing ----------------------------------------------------------------------------------


@check
def attributes_of_an_interface_can_be_changed_one_at_a_time(w):
    interface = w.attached()
    interface_id = interface["NetworkInterfaceId"]
    group = interface["Groups"][0]["GroupId"]
    modify = w.ec2.modify_network_interface_attribute
    attachment_id = interface["Attachment"]["AttachmentId"]
    modify(
        NetworkInterfaceId=interface_id,
        Attachment={"AttachmentId": attachment_id, "DeleteOnTermination": True},
    )
    modify(NetworkInterfaceId=interface_id, SourceDestCheck={"Value": False})
    modify(NetworkInterfaceId=interface_id, Description={"Value": "new"})
    modify(NetworkInterfaceId=interface_id, Groups=[group])
    after = w.describe(interface_id)
    equal(after["Attachment"]["DeleteOnTermination"], True)
    equal(after["SourceDestCheck"], False)
    equal(after["Description"], "new")
    refuses(
        "InvalidParameterCombination",
        modify,
        NetworkInterfaceId=interface_id,
        SourceDestCheck={"Value": False},
        Description={"Value": "both"},
    )
    refuses(
        "InvalidGroup.NotFound",
        modify,
        NetworkInterfaceId=interface_id,
        Groups=["sg-0123456789abcdef0"],
    )


@check
def tags_can_be_added_and_are_found(w):
    interface_id = w.create()["NetworkInterfaceId"]
    value = os.urandom(8).hex()
    w.ec2.create_tags(Resources=[interface_id], Tags=[{"Key": "probe", "Value": value}])
    answer = w.ec2.describe_network_interfaces(
        Filters=[{"Name": "tag:probe", "Values": [value]}]
    )
    equal([eni["NetworkInterfaceId"] for eni in answer["NetworkInterfaces"]], [interface_id])
    refuses(
        "InvalidNetworkInterfaceID.NotFound",
        w.ec2.create_tags,
        Resources=["eni-0123456789abcdef0"],
        Tags=[{"Key": "probe", "Value": value}],
    )


# ---- describing --------------------------------------------------------------------------------


@check
def filters_are_anded_and_their_values_ored_with_wildcards(w):
    mark = os.urandom(4).hex()
    one = w.create(Description=f"{mark}-one")["NetworkInterfaceId"]
    two = w.create(Description=f"{mark}-two")["NetworkInterfaceId"]

    def found(*filters):
        answer = w.ec2.describe_network_interfaces(
            Filters=[{"Name": name, "Values": values} for name, values in filters]
        )
        return sorted(eni["NetworkInterfaceId"] for eni in answer["NetworkInterfaces"])

    equal(found(("description", [f"{mark}-*"])), sorted([one, two]))
    equal(found(("description", [f"{mark}-one", f"{mark}-two"])), sorted([one, two]))
    equal(found(("description", [f"{mark}-*"]), ("network-interface-id", [one])), [one])
    equal(found(("description", [f"{mark}-*"]), ("status", ["in-use"])), [])
    equal(found(("description", [f"{mark}-t?o"]), ("subnet-id", [w.subnet["SubnetId"]])), [two])


@check
def filters_find_the_interfaces_of_an_instance(w):
    interface = w.attached()
    index = str(interface["Attachment"]["DeviceIndex"])
    for name, value in [
        ("attachment.device-index", index),
        ("mac-address", interface["MacAddress"]),
        ("private-ip-address", interface["PrivateIpAddress"]),
        ("addresses.private-ip-address", interface["PrivateIpAddress"]),
        ("attachment.attachment-id", interface["Attachment"]["AttachmentId"]),
    ]:
        answer = w.ec2.describe_network_interfaces(
            Filters=[
                {"Name": "attachment.instance-id", "Values": [w.instance_id]},
                {"Name": name, "Values": [value]},
            ]
        )
        ids = [eni["NetworkInterfaceId"] for eni in answer["NetworkInterfaces"]]
        equal((name, ids), (name, [interface["NetworkInterfaceId"]]))


@check
def an_unknown_filter_is_refused(w):
    refuses(
        "InvalidParameterValue",
        w.ec2.describe_network_interfaces,
        Filters=[{"Name": "no-such-filter", "Values": ["x"]}],
    )


@check
def pages_cover_everything_once(w):
    created = {w.create()["NetworkInterfaceId"] for _ in range(7)}
    seen = []
    pages = w.ec2.get_paginator("describe_network_interfaces").paginate(
        Filters=[{"Name": "network-interface-id", "Values": sorted(created)}],
        PaginationConfig={"PageSize": 5},
    )
    sizes = []
    for page in pages:
        sizes.append(len(page["NetworkInterfaces"]))
        seen += [eni["NetworkInterfaceId"] for eni in page["NetworkInterfaces"]]
    equal(sizes, [5, 2])
    equal(sorted(seen), sorted(created))


@check
def pages_and_ids_exclude_each_other(w):
    interface_id = w.create()["NetworkInterfaceId"]
    refuses(
        "InvalidParameterCombination",
        w.ec2.describe_network_interfaces,
        NetworkInterfaceIds=[interface_id],
        MaxResults=5,
    )


@check
def an_id_of_the_wrong_shape_is_malformed(w):
    refuses("InvalidNetworkInterfaceId.Malformed", w.describe, interface_id="eni-1")


@check
def an_instance_shows_its_interfaces(w):
    interface = w.attached(SecondaryPrivateIpAddressCount=1)
    answer = w.ec2.describe_instances(InstanceIds=[w.instance_id])
    (instance,) = answer["Reservations"][0]["Instances"]
    by_index = {eni["Attachment"]["DeviceIndex"]: eni for eni in instance["NetworkInterfaces"]}
    equal(by_index[0]["PrivateIpAddress"], instance["PrivateIpAddress"])
    equal(by_index[0]["Attachment"]["DeleteOnTermination"], True)
    found = by_index[interface["Attachment"]["DeviceIndex"]]
    equal(found["NetworkInterfaceId"], interface["NetworkInterfaceId"])
    equal(len(found["PrivateIpAddresses"]), 2)


@check
def instance_types_have_their_limits(w):
    answer = w.ec2.describe_instance_types(InstanceTypes=["m5.large", "p5.48xlarge", "m5.metal"])
    types = {kind["InstanceType"]: kind for kind in answer["InstanceTypes"]}
    small = types["m5.large"]["NetworkInfo"]
    equal((small["MaximumNetworkInterfaces"], small["Ipv4AddressesPerInterface"]), (3, 10))
    equal(types["m5.large"]["Hypervisor"], "nitro")
    equal(types["p5.48xlarge"]["NetworkInfo"]["MaximumNetworkCards"], 32)
    equal(types["p5.48xlarge"]["NetworkInfo"]["MaximumNetworkInterfaces"], 64)
    assert "Hypervisor" not in types["m5.metal"]
    refuses(
        "InvalidInstanceType",
        w.ec2.describe_instance_types,
        InstanceTypes=["zz.large"],
        message="The following supplied instance types do not exist: [zz.large]",
    )


@check
def instance_types_come_in_pages(w):
    pages = w.ec2.get_paginator("describe_instance_types").paginate()
    names = [kind["InstanceType"] for page in pages for kind in page["InstanceTypes"]]
    assert len(names) > 1_000, len(names)
    equal(len(names), len(set(names)))


@check
def vpcs_and_groups_are_described(w):
    (vpc,) = w.ec2.describe_vpcs(VpcIds=[w.instance["VpcId"]])["Vpcs"]
    blocks = [block["CidrBlock"] for block in vpc["CidrBlockAssociationSet"]]
    equal(blocks[0], vpc["CidrBlock"])
    groups = w.ec2.describe_security_groups(
        Filters=[{"Name": "group-name", "Values": ["default"]}]
    )["SecurityGroups"]
    (group,) = [group for group in groups if group["VpcId"] == vpc["VpcId"]]
    equal(group["IpPermissionsEgress"][0]["IpRanges"], [{"CidrIp": "0.0.0.0/0"}])
    equal(group["IpPermissions"][0]["UserIdGroupPairs"][0]["GroupId"], group["GroupId"])


@check
def every_element_that_was_answered_is_in_the_model(w):
    # Last: it looks at the answers to all checks before it.
    equal(sorted(set(w.strangers)), [])


def main():
    world = World()
    passed, failed = 0, 0
    for function in CHECKS:
        sentence = function.__name__.replace("_", " ")
        try:
            function(world)
            passed += 1
        except Exception as error:  # A check fails by whatever it raises.
            failed += 1
            where = traceback.extract_tb(error.__traceback__)[-1]
            print(f"FAILED: {sentence}: {error!r} (line {where.lineno})")
        world.clean_up()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
