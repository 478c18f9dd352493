"""Filters: their values are alternatives, they must all match, `*` and `?` stand in."""

import os

from judge.aws import check, equal, refuses


@check
def filters_must_all_match(w):
    mark = os.urandom(4).hex()
    one, two = w.new(Description=mark), w.new(Description=mark)
    equal(w.found(("description", [mark])), sorted([one, two]))
    equal(w.found(("description", [mark]), ("network-interface-id", [one])), [one])
    equal(w.found(("description", [mark]), ("status", ["in-use"])), [])


@check
def values_of_a_filter_are_alternatives(w):
    mark = os.urandom(4).hex()
    one, two = w.new(Description=f"{mark}-1"), w.new(Description=f"{mark}-2")
    w.new(Description=f"{mark}-3")
    equal(w.found(("description", [f"{mark}-1", f"{mark}-2"])), sorted([one, two]))


@check
def a_star_is_any_text_and_a_question_mark_any_character(w):
    mark = os.urandom(4).hex()
    one, none = w.new(Description=f"{mark}-1"), w.new(Description=f"{mark}-")
    equal(w.found(("description", [f"{mark}*"])), sorted([one, none]))
    equal(w.found(("description", [f"{mark}-?"])), [one])
    equal(w.found(("description", [f"*{mark}-"])), [none])


@check
def a_backslash_takes_the_meaning_from_a_star(w):
    mark = os.urandom(4).hex()
    star = w.new(Description=f"{mark}*")
    w.new(Description=f"{mark}-1")
    equal(w.found(("description", [f"{mark}\\*"])), [star])


@check
def values_know_case(w):
    mark = os.urandom(4).hex()
    w.new(Description=f"{mark}-abc")
    equal(w.found(("description", [f"{mark}-ABC"])), [])


@check
def interfaces_are_found_by_tag_and_by_key_of_a_tag(w):
    mark = os.urandom(4).hex()
    tags = [{"Key": f"key-{mark}", "Value": "one"}]
    interface_id = w.new(
        TagSpecifications=[{"ResourceType": "network-interface", "Tags": tags}]
    )
    equal(w.found(("tag-key", [f"key-{mark}"])), [interface_id])
    equal(w.found((f"tag:key-{mark}", ["one"])), [interface_id])
    equal(w.found((f"tag:key-{mark}", ["o*"])), [interface_id])
    equal(w.found((f"tag:key-{mark}", ["two"])), [])
    # The value of a tag is no key.
    equal(w.found(("tag-key", ["one"]), ("network-interface-id", [interface_id])), [])


@check
def interfaces_that_were_left_over_are_found_by_description_and_status(w):
    mark = f"aws-K8S-{w.instance_id}-{os.urandom(4).hex()}"
    left = w.new(Description=mark)
    attached = w.attached(Description=mark)["NetworkInterfaceId"]
    mine = ("description", [mark])
    equal(w.found(mine, ("status", ["available"])), [left])
    equal(w.found(mine, ("status", ["in-use"])), [attached])
    equal(w.found(mine, ("vpc-id", [w.subnet["VpcId"]])), sorted([left, attached]))


@check
def an_attached_interface_is_found_by_what_it_has(w):
    interface = w.attached(SecondaryPrivateIpAddressCount=1, Groups=[w.groups["one"]])
    attachment = interface["Attachment"]
    for name, value in [
        ("attachment.device-index", str(attachment["DeviceIndex"])),
        ("attachment.attachment-id", attachment["AttachmentId"]),
        ("mac-address", interface["MacAddress"]),
        ("private-ip-address", interface["PrivateIpAddress"]),
        ("addresses.private-ip-address", interface["PrivateIpAddresses"][1]["PrivateIpAddress"]),
        ("subnet-id", interface["SubnetId"]),
        ("network-interface-id", interface["NetworkInterfaceId"]),
    ]:
        found = w.found(("attachment.instance-id", [w.instance_id]), (name, [value]))
        equal((name, found), (name, [interface["NetworkInterfaceId"]]))


@check
def interfaces_are_found_by_group_and_zone(w):
    mark = os.urandom(4).hex()
    here = w.new(Description=mark, Groups=[w.groups["three"]])
    there = w.new(Description=mark, SubnetId=w.subnets["pods-b"]["SubnetId"])
    mine = ("description", [mark])
    equal(w.found(mine, ("group-id", [w.groups["three"]])), [here])
    equal(w.found(mine, ("availability-zone", ["us-west-2b"])), [there])


@check
def a_filter_that_nothing_matches_answers_an_empty_list(w):
    answer = w.ec2.describe_network_interfaces(
        Filters=[{"Name": "description", "Values": ["of nothing"]}]
    )
    equal(answer.get("NetworkInterfaces", []), [])


@check
def an_unknown_filter_is_refused(w):
    codes = ("InvalidParameterValue", "InvalidFilter")
    refuses(codes, w.found, ("no-such-filter", ["x"]))


@check
def more_than_two_hundred_values_are_refused(w):
    interface_id = w.new()
    names = [f"none-{number}" for number in range(200)]
    equal(w.found(("network-interface-id", [*names[1:], interface_id])), [interface_id])
    refuses("FilterLimitExceeded", w.found, ("description", [*names, "one more"]))


@check
def subnets_are_found_by_vpc_and_zone(w):
    answer = w.ec2.describe_subnets(
        Filters=[
            {"Name": "vpc-id", "Values": [w.subnet["VpcId"]]},
            {"Name": "availability-zone", "Values": ["us-west-2b"]},
        ]
    )
    equal([it["SubnetId"] for it in answer["Subnets"]], [w.subnets["pods-b"]["SubnetId"]])


@check
def instances_are_found_by_state_and_by_tag(w):
    answer = w.ec2.describe_instances(
        Filters=[
            {"Name": "instance-state-name", "Values": ["running"]},
            {"Name": "tag:Name", "Values": ["judged"]},
        ]
    )
    found = [it["InstanceId"] for each in answer["Reservations"] for it in each["Instances"]]
    equal(found, [w.instance_id])
