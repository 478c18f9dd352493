"""ModifyNetworkInterfaceAttribute and CreateTags."""

import os

from judge.aws import NO_ATTACHMENT, NO_GROUP, NO_INTERFACE, check, equal, refuses


@check
def an_interface_can_be_made_to_end_with_its_instance(w):
    interface = w.attached()
    attachment_id = interface["Attachment"]["AttachmentId"]
    changes = {"AttachmentId": attachment_id, "DeleteOnTermination": True}
    w.modify(interface["NetworkInterfaceId"], Attachment=changes)
    after = w.describe(interface["NetworkInterfaceId"])["Attachment"]
    equal((after["AttachmentId"], after["DeleteOnTermination"]), (attachment_id, True))


@check
def an_attachment_of_another_interface_cannot_be_changed_through_this_one(w):
    changes = {
        "AttachmentId": w.primary()["Attachment"]["AttachmentId"],
        "DeleteOnTermination": False,
    }
    interface_id = w.attached()["NetworkInterfaceId"]
    try:
        w.modify(interface_id, Attachment=changes)
    except w.ec2.exceptions.ClientError:
        equal(w.primary()["Attachment"]["DeleteOnTermination"], True)
    else:
        raise AssertionError("not refused")


@check
def an_attachment_that_does_not_exist_cannot_be_changed(w):
    changes = {"AttachmentId": NO_ATTACHMENT, "DeleteOnTermination": True}
    refuses("InvalidAttachmentID.NotFound", w.modify, w.new(), Attachment=changes)


@check
def source_check_can_be_switched_off_and_on(w):
    interface_id = w.new()
    for value in (False, True):
        w.modify(interface_id, SourceDestCheck={"Value": value})
        equal(w.describe(interface_id)["SourceDestCheck"], value)


@check
def a_description_can_be_changed(w):
    interface_id = w.new(Description="old")
    w.modify(interface_id, Description={"Value": "new"})
    equal(w.describe(interface_id)["Description"], "new")


@check
def groups_are_replaced_as_a_set(w):
    interface_id = w.new(Groups=[w.groups["one"], w.groups["two"]])
    w.modify(interface_id, Groups=[w.groups["three"]])
    equal([it["GroupName"] for it in w.describe(interface_id)["Groups"]], ["three"])


@check
def groups_that_do_not_exist_are_refused_and_nothing_changes(w):
    interface_id = w.new(Groups=[w.groups["one"]])
    refuses("InvalidGroup.NotFound", w.modify, interface_id, Groups=[NO_GROUP])
    equal([it["GroupName"] for it in w.describe(interface_id)["Groups"]], ["one"])


@check
def one_attribute_is_changed_at_a_time(w):
    refuses(
        "InvalidParameterCombination",
        w.modify,
        w.new(),
        SourceDestCheck={"Value": False},
        Description={"Value": "both"},
    )


@check
def modify_needs_an_attribute(w):
    refuses(("MissingParameter", "InvalidParameterCombination"), w.modify, w.new())


@check
def modify_refuses_an_interface_that_does_not_exist(w):
    refuses(
        "InvalidNetworkInterfaceID.NotFound",
        w.modify,
        NO_INTERFACE,
        Description={"Value": "new"},
    )


def tags_of(w, interface_id):
    return {tag["Key"]: tag["Value"] for tag in w.describe(interface_id)["TagSet"]}


@check
def permissions_of_a_group_come_and_go(w):
    group = w.groups["six"]
    ports = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 443}
    permission = {**ports, "IpRanges": [{"CidrIp": "10.1.0.0/16"}]}
    member = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": w.groups["one"]}]}

    def permitted(direction):
        (found,) = w.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
        listed = found[{"ingress": "IpPermissions", "egress": "IpPermissionsEgress"}[direction]]
        return [(it["IpProtocol"], it.get("FromPort"), it.get("ToPort")) for it in listed]

    for direction in ("ingress", "egress"):
        before = permitted(direction)
        authorize = getattr(w.ec2, f"authorize_security_group_{direction}")
        revoke = getattr(w.ec2, f"revoke_security_group_{direction}")
        authorize(GroupId=group, IpPermissions=[permission, member])
        equal(permitted(direction), before + [("tcp", 80, 443), ("-1", None, None)])
        refuses(
            "InvalidPermission.Duplicate", authorize, GroupId=group, IpPermissions=[permission]
        )
        revoke(GroupId=group, IpPermissions=[permission, member])
        equal(permitted(direction), before)
        refuses("InvalidPermission.NotFound", revoke, GroupId=group, IpPermissions=[member])


@check
def groups_of_an_instance_with_one_interface_can_be_changed(w):
    xen = w.instances["xen"]
    before = [group["GroupId"] for group in xen["SecurityGroups"]]
    change = lambda groups: w.ec2.modify_instance_attribute(
        InstanceId=xen["InstanceId"], Groups=groups
    )
    change([w.groups["two"], w.groups["three"]])
    (interface,) = xen["NetworkInterfaces"]
    groups = w.describe(interface["NetworkInterfaceId"])["Groups"]
    equal([group["GroupName"] for group in groups], ["two", "three"])
    change(before)
    refuses("InvalidGroup.NotFound", change, ["sg-0123456789abcdef0"])
    w.attached(instance=xen["InstanceId"])
    refuses("InvalidInstanceID", change, before)


@check
def the_type_of_an_instance_that_runs_cannot_be_changed(w):
    refuses(
        "IncorrectInstanceState",
        w.ec2.modify_instance_attribute,
        InstanceId=w.instance_id,
        InstanceType={"Value": "m5.xlarge"},
    )


@check
def create_keeps_tags(w):
    tags = [{"Key": "k/1", "Value": "v"}, {"Key": "empty", "Value": ""}]
    specification = {"ResourceType": "network-interface", "Tags": tags}
    interface = w.create(TagSpecifications=[specification])
    equal({tag["Key"]: tag["Value"] for tag in interface["TagSet"]}, {"k/1": "v", "empty": ""})
    equal(tags_of(w, interface["NetworkInterfaceId"]), {"k/1": "v", "empty": ""})


@check
def create_refuses_tags_of_aws(w):
    tags = [{"Key": "aws:reserved", "Value": "v"}]
    specification = {"ResourceType": "network-interface", "Tags": tags}
    codes = ("InvalidParameterValue", "InvalidTagKey.Malformed")
    refuses(codes, w.create, TagSpecifications=[specification])


@check
def tags_are_added_and_overwritten(w):
    interface_id = w.new()
    tag = w.ec2.create_tags
    tag(Resources=[interface_id], Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "1"}])
    tag(Resources=[interface_id], Tags=[{"Key": "b", "Value": "2"}])
    equal(tags_of(w, interface_id), {"a": "1", "b": "2"})


@check
def keys_of_tags_know_case(w):
    interface_id = w.new()
    tags = [{"Key": "key", "Value": "1"}, {"Key": "Key", "Value": "2"}]
    w.ec2.create_tags(Resources=[interface_id], Tags=tags)
    equal(tags_of(w, interface_id), {"key": "1", "Key": "2"})


@check
def several_resources_are_tagged_together_or_not_at_all(w):
    one, two = w.new(), w.new()
    value = os.urandom(8).hex()
    tags = [{"Key": "probe", "Value": value}]
    refuses(
        "InvalidNetworkInterfaceID.NotFound",
        w.ec2.create_tags,
        Resources=[one, NO_INTERFACE],
        Tags=tags,
    )
    equal(w.found(("tag:probe", [value])), [])
    w.ec2.create_tags(Resources=[one, two, w.instance_id], Tags=tags)
    equal(w.found(("tag:probe", [value])), sorted([one, two]))


@check
def tags_of_aws_cannot_be_made(w):
    codes = ("InvalidParameterValue", "InvalidTagKey.Malformed")
    tags = [{"Key": "aws:name", "Value": "v"}]
    refuses(codes, w.ec2.create_tags, Resources=[w.new()], Tags=tags)
