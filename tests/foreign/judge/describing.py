"""Describe…: ids, pages, and what is in an answer."""

from judge.aws import NO_INTERFACE, NO_SUBNET, check, equal, refuses


@check
def several_interfaces_are_described_by_id(w):
    ids = sorted(w.new() for _ in range(3))
    answer = w.ec2.describe_network_interfaces(NetworkInterfaceIds=ids)
    equal(sorted(eni["NetworkInterfaceId"] for eni in answer["NetworkInterfaces"]), ids)


@check
def one_unknown_id_refuses_the_whole_call_and_is_named(w):
    refuses(
        "InvalidNetworkInterfaceID.NotFound",
        w.ec2.describe_network_interfaces,
        NetworkInterfaceIds=[w.new(), NO_INTERFACE, "eni-0123456789abcdef1"],
        message=f"The networkInterface ID '{NO_INTERFACE}' does not exist",
    )


@check
def an_id_of_the_wrong_shape_is_malformed(w):
    refuses("InvalidNetworkInterfaceId.Malformed", w.describe, "eni-1")


@check
def pages_cover_everything_once(w):
    created = sorted(w.new() for _ in range(7))
    pages = w.ec2.get_paginator("describe_network_interfaces").paginate(
        Filters=[{"Name": "network-interface-id", "Values": created}],
        PaginationConfig={"PageSize": 5},
    )
    pages = [[eni["NetworkInterfaceId"] for eni in page["NetworkInterfaces"]] for page in pages]
    equal([len(page) for page in pages], [5, 2])
    equal(sorted(sum(pages, [])), created)


@check
def the_last_page_has_no_token(w):
    created = [w.new() for _ in range(5)]
    mine = [{"Name": "network-interface-id", "Values": created}]
    answer = w.ec2.describe_network_interfaces(Filters=mine, MaxResults=5)
    assert not answer.get("NextToken"), answer


@check
def what_is_made_between_two_pages_disturbs_neither(w):
    created = sorted(w.new(Description="pages") for _ in range(6))
    mine = [{"Name": "description", "Values": ["pages"]}]
    first = w.ec2.describe_network_interfaces(Filters=mine, MaxResults=5)
    seen = [eni["NetworkInterfaceId"] for eni in first["NetworkInterfaces"]]
    w.delete(seen[0])
    second = w.ec2.describe_network_interfaces(
        Filters=mine, MaxResults=5, NextToken=first["NextToken"]
    )
    seen += [eni["NetworkInterfaceId"] for eni in second["NetworkInterfaces"]]
    equal(sorted(seen), created)


@check
def a_page_has_five_to_a_thousand_interfaces(w):
    for size in (1, 4, 1001):
        codes = ("InvalidParameterValue", "InvalidMaxResults")
        refuses(codes, w.ec2.describe_network_interfaces, MaxResults=size)


@check
def pages_and_ids_exclude_each_other(w):
    refuses(
        "InvalidParameterCombination",
        w.ec2.describe_network_interfaces,
        NetworkInterfaceIds=[w.new()],
        MaxResults=5,
    )
    refuses(
        "InvalidParameterCombination",
        w.ec2.describe_instances,
        InstanceIds=[w.instance_id],
        MaxResults=5,
    )


@check
def a_token_that_was_never_given_is_refused(w):
    codes = ("InvalidNextToken", "InvalidPaginationToken")
    refuses(codes, w.ec2.describe_network_interfaces, MaxResults=5, NextToken="no token")


@check
def an_instance_has_its_type_place_and_addresses(w):
    answer = w.ec2.describe_instances(InstanceIds=[w.instance_id])
    (reservation,) = answer["Reservations"]
    (instance,) = reservation["Instances"]
    equal(instance["State"], {"Code": 16, "Name": "running"})
    equal(instance["InstanceType"], "m5.large")
    equal(instance["Placement"]["AvailabilityZone"], "us-west-2a")
    equal(instance["PrivateIpAddress"], w.primary()["PrivateIpAddress"])
    assert reservation["ReservationId"].startswith("r-")


@check
def an_instance_shows_its_interfaces(w):
    interface = w.attached(SecondaryPrivateIpAddressCount=1)
    answer = w.ec2.describe_instances(InstanceIds=[w.instance_id])
    (instance,) = answer["Reservations"][0]["Instances"]
    by_index = {eni["Attachment"]["DeviceIndex"]: eni for eni in instance["NetworkInterfaces"]}
    found = by_index[interface["Attachment"]["DeviceIndex"]]
    equal(found["NetworkInterfaceId"], interface["NetworkInterfaceId"])
    equal(found["MacAddress"], interface["MacAddress"])
    equal(len(found["PrivateIpAddresses"]), 2)


@check
def a_primary_interface_ends_with_its_instance(w):
    attachment = w.primary()["Attachment"]
    equal((attachment["DeleteOnTermination"], attachment["Status"]), (True, "attached"))


@check
def an_instance_that_does_not_exist_is_refused(w):
    instance_id = "i-0123456789abcdef0"
    refuses(
        "InvalidInstanceID.NotFound",
        w.ec2.describe_instances,
        InstanceIds=[instance_id],
        message=f"The instance ID '{instance_id}' does not exist",
    )


@check
def a_subnet_has_its_block_zone_and_state(w):
    subnet = w.subnets["smallest"]
    equal(subnet["CidrBlock"], "100.64.32.0/28")
    equal((subnet["AvailabilityZone"], subnet["State"]), ("us-west-2a", "available"))
    assert subnet["AvailabilityZoneId"].startswith("usw2-az"), subnet
    assert subnet["SubnetArn"].endswith(f":subnet/{subnet['SubnetId']}"), subnet
    equal(subnet["MapPublicIpOnLaunch"], False)


@check
def a_subnet_that_does_not_exist_is_refused(w):
    refuses(
        "InvalidSubnetID.NotFound",
        w.ec2.describe_subnets,
        SubnetIds=[NO_SUBNET],
        message=f"The subnet ID '{NO_SUBNET}' does not exist",
    )


@check
def a_vpc_shows_all_its_blocks_the_primary_one_first(w):
    (vpc,) = w.ec2.describe_vpcs(VpcIds=[w.instance["VpcId"]])["Vpcs"]
    associations = vpc["CidrBlockAssociationSet"]
    equal([it["CidrBlock"] for it in associations], ["10.0.0.0/16", "100.64.0.0/16"])
    equal(vpc["CidrBlock"], "10.0.0.0/16")
    equal({it["CidrBlockState"]["State"] for it in associations}, {"associated"})


@check
def a_group_shows_what_it_allows(w):
    answer = w.ec2.describe_security_groups(GroupIds=[w.groups["one"]])
    ((permission,), (out,)) = (
        answer["SecurityGroups"][0][which] for which in ("IpPermissions", "IpPermissionsEgress")
    )
    equal(permission["IpProtocol"], "tcp")
    equal((permission["FromPort"], permission["ToPort"]), (80, 443))
    equal(permission["IpRanges"], [{"CidrIp": "10.0.0.0/8"}])
    equal((out["IpProtocol"], out["IpRanges"]), ("-1", [{"CidrIp": "0.0.0.0/0"}]))


@check
def a_group_shows_the_group_that_it_refers_to(w):
    answer = w.ec2.describe_security_groups(GroupNames=["two"])
    (permission,) = answer["SecurityGroups"][0]["IpPermissions"]
    equal([pair["GroupId"] for pair in permission["UserIdGroupPairs"]], [w.groups["one"]])


@check
def the_default_group_allows_its_members(w):
    answer = w.ec2.describe_security_groups(GroupIds=[w.groups["default"]])
    (group,) = answer["SecurityGroups"]
    (permission,) = group["IpPermissions"]
    equal(permission["UserIdGroupPairs"][0]["GroupId"], group["GroupId"])


@check
def an_instance_type_that_does_not_exist_is_named(w):
    refuses(
        "InvalidInstanceType",
        w.ec2.describe_instance_types,
        InstanceTypes=["zz.large"],
        message="The following supplied instance types do not exist: [zz.large]",
    )


@check
def instance_types_come_in_pages(w):
    pages = list(w.ec2.get_paginator("describe_instance_types").paginate())
    assert len(pages) > 1
    names = [kind["InstanceType"] for page in pages for kind in page["InstanceTypes"]]
    assert len(names) > 1_000, len(names)
    equal(len(names), len(set(names)))
