"""The client, the VPC that it finds, and what checks are made of."""

import ipaddress
import os
import time

import boto3
import botocore.config
import botocore.exceptions

import model

os.environ.setdefault("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
os.environ.setdefault("AWS_DEFAULT_REGION", "us-west-2")

# Enough for a transition of a world with AWS's own latencies.
PATIENCE_SECONDS = 30

# Enough for a bucket of EC2's to have a token again, with the client's pauses.
ATTEMPTS = 10

# How long an interface attaches and detaches, by world.toml (attach_ms, detach_ms).
ON_THE_WAY_SECONDS = 0.3

# Ids of the right shape that name nothing.
NO_INTERFACE = "eni-0123456789abcdef0"
NO_INSTANCE = "i-0123456789abcdef0"
NO_SUBNET = "subnet-0123456789abcdef0"
NO_GROUP = "sg-0123456789abcdef0"
NO_ATTACHMENT = "eni-attach-0123456789abcdef0"

CHECKS = []


def check(function):
    """Registers a check. It fails by raising."""
    CHECKS.append(function)
    return function


class World:
    """The client, what the endpoint has, and what the checks must clean up."""

    def __init__(self):
        self.mistakes = []
        self.answers = 0
        self.created = []
        # Ranges are the server's to check, too: the client's own check would hide that.
        retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
        config = botocore.config.Config(retries=retries, parameter_validation=False)
        self.ec2 = boto3.client("ec2", config=config)
        self.ec2.meta.events.register("response-received.ec2.*", self.compare_with_model)
        self.instances = {
            name_of(instance): instance
            for page in self.ec2.get_paginator("describe_instances").paginate()
            for reservation in page["Reservations"]
            for instance in reservation["Instances"]
            if instance["State"]["Name"] == "running"
        }
        self.subnets = {name_of(it): it for it in self.ec2.describe_subnets()["Subnets"]}
        groups = self.ec2.describe_security_groups()["SecurityGroups"]
        self.groups = {group["GroupName"]: group["GroupId"] for group in groups}
        self.instance = self.instances["judged"]
        self.instance_id = self.instance["InstanceId"]
        self.zone = self.instance["Placement"]["AvailabilityZone"]
        self.subnet = self.subnets["pods-a"]
        kinds = self.ec2.describe_instance_types(InstanceTypes=[self.instance["InstanceType"]])
        (self.type,) = kinds["InstanceTypes"]
        self.network = self.type["NetworkInfo"]

    def compare_with_model(self, response_dict, event_name, **_):
        """Every answer that the client sees, before it drops what it does not know."""
        operation = self.ec2.meta.service_model.operation_model(event_name.rsplit(".", 1)[-1])
        self.answers += 1
        self.mistakes += model.answer_mistakes(
            operation, response_dict["status_code"], response_dict["body"]
        )

    # ---- what checks do to the world

    def create(self, **parameters):
        parameters.setdefault("SubnetId", self.subnet["SubnetId"])
        interface = self.ec2.create_network_interface(**parameters)["NetworkInterface"]
        self.created.append(interface["NetworkInterfaceId"])
        return interface

    def new(self, **parameters):
        """The id of a new interface."""
        return self.create(**parameters)["NetworkInterfaceId"]

    def assign(self, interface_id, **parameters):
        return self.ec2.assign_private_ip_addresses(
            NetworkInterfaceId=interface_id, **parameters
        )

    def unassign(self, interface_id, **parameters):
        return self.ec2.unassign_private_ip_addresses(
            NetworkInterfaceId=interface_id, **parameters
        )

    def modify(self, interface_id, **parameters):
        return self.ec2.modify_network_interface_attribute(
            NetworkInterfaceId=interface_id, **parameters
        )

    def attach(self, interface_id, **parameters):
        parameters.setdefault("InstanceId", self.instance_id)
        parameters.setdefault("NetworkCardIndex", 0)
        if "DeviceIndex" not in parameters:
            parameters["DeviceIndex"] = self.free_index(parameters["InstanceId"])
        answer = self.ec2.attach_network_interface(NetworkInterfaceId=interface_id, **parameters)
        return answer["AttachmentId"]

    def attached(self, instance=None, **parameters):
        """A new interface that is attached."""
        interface_id = self.new(**parameters)
        self.attach(interface_id, InstanceId=instance or self.instance_id)
        return self.wait(interface_id, is_attached)

    def begin_to_detach(self, interface):
        attachment_id = interface["Attachment"]["AttachmentId"]
        self.ec2.detach_network_interface(AttachmentId=attachment_id)
        return attachment_id

    def detach(self, interface):
        if interface["Attachment"]["Status"] != "detaching":
            self.begin_to_detach(interface)
        return self.wait(
            interface["NetworkInterfaceId"], lambda eni: eni["Status"] == "available"
        )

    def delete(self, interface_id):
        return self.ec2.delete_network_interface(NetworkInterfaceId=interface_id)

    def clean_up(self):
        """Deletes what a check has created: all is on its way out before the first is waited for."""
        created = self.found(("network-interface-id", self.created)) if self.created else []
        for interface_id in created:
            interface = self.wait(interface_id, is_settled)
            if is_attached(interface):
                self.begin_to_detach(interface)
        for interface_id in created:
            self.wait(interface_id, lambda eni: eni["Status"] == "available")
            self.delete(interface_id)
        self.created = []

    # ---- what checks look at

    def describe(self, interface_id):
        answer = self.ec2.describe_network_interfaces(NetworkInterfaceIds=[interface_id])
        (interface,) = answer["NetworkInterfaces"]
        return interface

    def found(self, *filters, **parameters):
        """Sorted ids of the interfaces that match filters: pairs of a name and values."""
        answer = self.ec2.describe_network_interfaces(
            Filters=[{"Name": name, "Values": values} for name, values in filters], **parameters
        )
        return sorted(eni["NetworkInterfaceId"] for eni in answer["NetworkInterfaces"])

    def interfaces_of(self, instance_id):
        answer = self.ec2.describe_network_interfaces(
            Filters=[{"Name": "attachment.instance-id", "Values": [instance_id]}]
        )
        return answer["NetworkInterfaces"]

    def free_index(self, instance_id):
        taken = {eni["Attachment"]["DeviceIndex"] for eni in self.interfaces_of(instance_id)}
        return next(index for index in range(32) if index not in taken)

    def primary(self):
        """The primary interface of the judged instance."""
        interfaces = self.interfaces_of(self.instance_id)
        return next(eni for eni in interfaces if eni["Attachment"]["DeviceIndex"] == 0)

    def free(self, name="pods-a"):
        """Addresses that a subnet says are free."""
        subnet_id = self.subnets[name]["SubnetId"]
        (subnet,) = self.ec2.describe_subnets(SubnetIds=[subnet_id])["Subnets"]
        return subnet["AvailableIpAddressCount"]

    def network_of(self, name="pods-a"):
        return ipaddress.ip_network(self.subnets[name]["CidrBlock"])

    def wait(self, interface_id, condition):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            interface = self.describe(interface_id)
            if condition(interface):
                return interface
            assert time.monotonic() < deadline, f"{interface_id} stays {interface}"
            time.sleep(0.05)

    def in_time(self, make, attempt):
        """What `attempt` returns for the interface that `make` returns. It sends it on its way and looks
        at it, and is repeated with another when that had arrived before the look: a client that is
        throttled sees it too late."""
        for _ in range(ATTEMPTS):
            interface = make()
            begun = time.monotonic()
            try:
                return attempt(interface)
            except Exception:
                if time.monotonic() - begun < ON_THE_WAY_SECONDS:
                    raise
                self.clean_up()
        raise AssertionError(f"{ATTEMPTS} looks came more than {ON_THE_WAY_SECONDS} s too late")


def name_of(resource):
    return next((tag["Value"] for tag in resource.get("Tags", []) if tag["Key"] == "Name"), "")


def is_attached(interface):
    return interface.get("Attachment", {}).get("Status") == "attached"


def is_settled(interface):
    return interface.get("Attachment", {}).get("Status") != "attaching"


def code_of(error):
    return error.response["Error"]["Code"]


def secondary(interface):
    return [ip["PrivateIpAddress"] for ip in interface["PrivateIpAddresses"] if not ip["Primary"]]


def prefixes(interface):
    return [prefix["Ipv4Prefix"] for prefix in interface.get("Ipv4Prefixes", [])]


def blocks(network):
    """All /28 of a network, as text."""
    return [str(block) for block in network.subnets(new_prefix=28)]


def refuses(code, call, *arguments, status=400, message=None, **parameters):
    """A call is refused with a code, or one of several, and a text where one is known."""
    codes = (code,) if isinstance(code, str) else code
    try:
        call(*arguments, **parameters)
    except botocore.exceptions.ClientError as error:
        found = (code_of(error), error.response["ResponseMetadata"]["HTTPStatusCode"])
        assert found[0] in codes and found[1] == status, f"refused with {found}: {error}"
        text = error.response["Error"]["Message"]
        assert message is None or message in text, f"refused with the text {text!r}"
    else:
        raise AssertionError(f"not refused, expected {code}")


def equal(found, wanted):
    assert found == wanted, f"found {found!r}, wanted {wanted!r}"
