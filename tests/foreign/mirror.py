"""The same VPC in moto: what our simulator accepted is asked of moto, and the two are compared.

moto's ids and addresses are its own. Each is paired with ours when it is first seen, and exchanged
for it in every request and every answer after that.
"""

import logging
import re
import urllib.parse

import boto3
import botocore.config
import botocore.parsers
import botocore.session
from moto.server import ThreadedMotoServer

REGION = "us-west-2"

# Credentials that open nothing; moto asks for none.
NOBODY = {
    "aws_access_key_id": "testing",
    "aws_secret_access_key": "testing",
    "region_name": REGION,
}

# The key that our simulator takes.
SOMEBODY = {
    "aws_access_key_id": "AKIAIOSFODNN7EXAMPLE",
    "aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "region_name": REGION,
}

# One of the images that moto knows from the start.
IMAGE = "ami-12c6146b"

# Ids, addresses and hardware addresses.
WORDS = re.compile(
    r"\b(?:(?:eni-attach|eni|i|subnet|sg|vpc)-[0-9a-f]{8,17}"
    r"|(?:[0-9]{1,3}\.){3}[0-9]{1,3}"
    r"|(?:[0-9a-f]{2}:){5}[0-9a-f]{2})\b"
)


class Mirror:
    """moto, and what is called how on which side."""

    def __init__(self, ec2, forward):
        self.forward = forward
        # Its first call takes seconds: better now than while a daemon waits.
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        host, port = self.server.get_host_and_port()
        self.address = f"{host}:{port}"
        config = botocore.config.Config(read_timeout=60)
        self.moto = boto3.client(
            "ec2", endpoint_url=f"http://{self.address}", config=config, **NOBODY
        )
        self.ours = boto3.client("ec2", endpoint_url=ec2, config=config, **SOMEBODY)
        self.service = botocore.session.get_session().get_service_model("ec2")
        self.parser = botocore.parsers.create_parser("ec2")
        self.to_moto, self.from_moto = {}, {}
        self.build()

    def pair(self, ours, motos):
        self.to_moto[ours], self.from_moto[motos] = motos, ours

    def build(self):
        """Makes the VPC of the simulator in moto, and pairs what is in both."""
        (vpc,) = self.ours.describe_vpcs()["Vpcs"]
        made = self.moto.create_vpc(CidrBlock=vpc["CidrBlock"])["Vpc"]["VpcId"]
        self.pair(vpc["VpcId"], made)
        for block in vpc["CidrBlockAssociationSet"][1:]:
            self.moto.associate_vpc_cidr_block(VpcId=made, CidrBlock=block["CidrBlock"])
        for subnet in self.ours.describe_subnets()["Subnets"]:
            motos = self.moto.create_subnet(
                VpcId=made,
                CidrBlock=subnet["CidrBlock"],
                AvailabilityZone=subnet["AvailabilityZone"],
            )
            self.pair(subnet["SubnetId"], motos["Subnet"]["SubnetId"])
        for group in self.ours.describe_security_groups()["SecurityGroups"]:
            self.pair(group["GroupId"], self.group(made, group["GroupName"]))
        for reservation in self.ours.describe_instances()["Reservations"]:
            for instance in reservation["Instances"]:
                self.instance(instance)

    def group(self, vpc, name):
        if name != "default":
            made = self.moto.create_security_group(GroupName=name, Description=name, VpcId=vpc)
            return made["GroupId"]
        mine = {"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": [name]}
        (default,) = self.moto.describe_security_groups(Filters=mine)["SecurityGroups"]
        return default["GroupId"]

    def instance(self, ours):
        made = self.moto.run_instances(
            ImageId=IMAGE,
            InstanceType=ours["InstanceType"],
            SubnetId=self.to_moto[ours["SubnetId"]],
            MinCount=1,
            MaxCount=1,
        )
        (motos,) = made["Instances"]
        self.pair(ours["InstanceId"], motos["InstanceId"])
        (primary,), (motos_primary,) = ours["NetworkInterfaces"], motos["NetworkInterfaces"]
        self.pair_interfaces(primary, motos_primary)
        attachments = primary["Attachment"], motos_primary["Attachment"]
        self.pair(*(it["AttachmentId"] for it in attachments))

    def pair_interfaces(self, ours, motos):
        for key in ("NetworkInterfaceId", "MacAddress"):
            self.pair(ours[key], motos[key])
        sides = ours, motos
        for one, other in zip(*(addresses(side["PrivateIpAddresses"]) for side in sides)):
            self.pair(one, other)

    def ask(self, headers, request, our_answer, line):
        """moto's answer, as if it were ours. What both made of the request is put on record."""
        fields = urllib.parse.parse_qsl(request, keep_blank_values=True)
        action = dict(fields)["Action"]
        translated = [(name, exchange(value, self.to_moto)) for name, value in fields]
        asked = urllib.parse.urlencode(translated)
        status, answer = self.forward(self.address, headers, asked)
        line["moto"] = {"status": status, "request": asked, "answer": answer}
        if status == 200:
            ours, motos = self.parsed(action, our_answer), self.parsed(action, answer)
            self.learn(action, ours, motos)
            answer = exchange(answer, self.from_moto)
            line["differs"] = list(self.differences(action, ours, dict(translated)))
            return answer
        return our_answer

    def parsed(self, action, answer):
        response = {"body": answer.encode(), "headers": {}, "status_code": 200}
        return self.parser.parse(response, self.service.operation_model(action).output_shape)

    def learn(self, action, ours, motos):
        """Pairs what this call has made."""
        if action == "CreateNetworkInterface":
            self.pair_interfaces(ours["NetworkInterface"], motos["NetworkInterface"])
        elif action == "AttachNetworkInterface":
            self.pair(ours["AttachmentId"], motos["AttachmentId"])
        elif action == "AssignPrivateIpAddresses":
            # moto answers with all that the interface has: what is new comes last.
            new = [
                it["PrivateIpAddress"]
                for it in motos["AssignedPrivateIpAddresses"]
                if it["PrivateIpAddress"] not in self.from_moto
            ]
            for one, other in zip(addresses(ours["AssignedPrivateIpAddresses"]), new):
                self.pair(one, other)

    def differences(self, action, ours, asked):
        """What moto understood otherwise than our simulator did."""
        interface_id = asked.get("NetworkInterfaceId")
        if action == "CreateNetworkInterface":
            interface_id = self.to_moto[ours["NetworkInterface"]["NetworkInterfaceId"]]
        if action == "DeleteNetworkInterface":
            mine = [{"Name": "network-interface-id", "Values": [interface_id]}]
            if self.moto.describe_network_interfaces(Filters=mine)["NetworkInterfaces"]:
                yield f"{interface_id} was not deleted"
        elif interface_id:
            yield from self.compare(interface_id)

    def compare(self, motos_id):
        ours_id = self.from_moto[motos_id]
        (ours,), (motos,) = (
            client.describe_network_interfaces(NetworkInterfaceIds=[each])["NetworkInterfaces"]
            for client, each in ((self.ours, ours_id), (self.moto, motos_id))
        )
        for what, of in COMPARED.items():
            one, other = (of(side) for side in (ours, motos))
            if exchange(repr(other), self.from_moto) != repr(one):
                yield f"{ours_id}: {what} is {one!r}, in moto {other!r}"


def attached_at(interface):
    """moto forgets the card, and whether it ends with its instance."""
    attachment = interface.get("Attachment") or {}
    return attachment.get("InstanceId"), attachment.get("DeviceIndex")


# What must be the same on both sides.
COMPARED = {
    "subnet": lambda eni: eni["SubnetId"],
    "description": lambda eni: eni["Description"],
    "groups": lambda eni: sorted(group["GroupName"] for group in eni["Groups"]),
    "tags": lambda eni: sorted((tag["Key"], tag["Value"]) for tag in eni["TagSet"]),
    "number of addresses": lambda eni: len(eni["PrivateIpAddresses"]),
    "attachment": attached_at,
}


def addresses(listed):
    """Addresses of an interface, the primary one first."""
    listed = sorted(listed, key=lambda it: not it.get("Primary"))
    return [it["PrivateIpAddress"] for it in listed]


def exchange(text, words):
    return WORDS.sub(lambda found: words.get(found[0], found[0]), text)
