"""What instance types, network cards and quotas allow."""

from judge.aws import check, equal, is_attached, refuses


@check
def attach_refuses_more_interfaces_than_the_type_has(w):
    limit = w.network["MaximumNetworkInterfaces"]
    for _ in range(len(w.interfaces_of(w.instance_id)), limit):
        w.attach(w.new())
    refuses(
        "AttachmentLimitExceeded",
        w.attach,
        w.new(),
        message=f"Interface count {limit + 1} exceeds the limit for {w.type['InstanceType']}",
    )


@check
def attach_refuses_more_addresses_than_the_type_has(w):
    limit = w.network["Ipv4AddressesPerInterface"]
    interface_id = w.new(SecondaryPrivateIpAddressCount=limit)
    try:
        w.attach(interface_id)
    except w.ec2.exceptions.ClientError:
        equal(w.describe(interface_id)["Status"], "available")
    else:
        raise AssertionError("not refused")


@check
def assign_refuses_more_addresses_than_the_type_has(w):
    interface_id = w.attached()["NetworkInterfaceId"]
    limit = w.network["Ipv4AddressesPerInterface"]
    refuses(
        "PrivateIpAddressLimitExceeded",
        w.assign,
        interface_id,
        SecondaryPrivateIpAddressCount=limit,
        message="Number of private addresses will exceed limit.",
    )
    equal(len(w.describe(interface_id)["PrivateIpAddresses"]), 1)


@check
def the_limit_counts_the_primary_address(w):
    interface_id = w.attached()["NetworkInterfaceId"]
    limit = w.network["Ipv4AddressesPerInterface"]
    w.assign(interface_id, SecondaryPrivateIpAddressCount=limit - 1)
    refuses(
        "PrivateIpAddressLimitExceeded",
        w.assign,
        interface_id,
        SecondaryPrivateIpAddressCount=1,
    )


@check
def a_prefix_takes_one_place_of_an_address(w):
    interface_id = w.attached()["NetworkInterfaceId"]
    limit = w.network["Ipv4AddressesPerInterface"]
    w.assign(interface_id, Ipv4PrefixCount=limit - 2)
    w.assign(interface_id, SecondaryPrivateIpAddressCount=1)
    refuses("PrivateIpAddressLimitExceeded", w.assign, interface_id, Ipv4PrefixCount=1)


@check
def an_interface_that_is_attached_nowhere_has_no_limit_of_a_type(w):
    limit = w.network["Ipv4AddressesPerInterface"]
    interface = w.create(SecondaryPrivateIpAddressCount=limit + 5)
    equal(len(interface["PrivateIpAddresses"]), limit + 6)


@check
def types_before_nitro_have_no_prefixes(w):
    instance_id = w.instances["xen"]["InstanceId"]
    interface_id = w.attached(instance_id)["NetworkInterfaceId"]
    try:
        w.assign(interface_id, Ipv4PrefixCount=1)
    except w.ec2.exceptions.ClientError:
        equal(w.describe(interface_id).get("Ipv4Prefixes", []), [])
    else:
        raise AssertionError("not refused")


@check
def an_index_is_counted_on_each_network_card(w):
    instance_id = w.instances["cards"]["InstanceId"]
    for card in (0, 1):
        interface_id = w.new()
        w.attach(interface_id, InstanceId=instance_id, DeviceIndex=1, NetworkCardIndex=card)
        attachment = w.wait(interface_id, is_attached)["Attachment"]
        equal((attachment["DeviceIndex"], attachment["NetworkCardIndex"]), (1, card))
    refuses(
        "InvalidParameterValue",
        w.attach,
        w.new(),
        InstanceId=instance_id,
        DeviceIndex=1,
        NetworkCardIndex=1,
        message="already has an interface attached at device index '1'",
    )


@check
def each_network_card_has_a_limit_of_its_own(w):
    instance = w.instances["cards"]
    answer = w.ec2.describe_instance_types(InstanceTypes=[instance["InstanceType"]])
    cards = answer["InstanceTypes"][0]["NetworkInfo"]["NetworkCards"]
    place = {"InstanceId": instance["InstanceId"], "NetworkCardIndex": 1}
    limit = cards[1]["MaximumNetworkInterfaces"]
    for index in range(1, limit + 1):
        w.attach(w.new(), DeviceIndex=index, **place)
    refuses("AttachmentLimitExceeded", w.attach, w.new(), DeviceIndex=limit + 1, **place)
    w.attach(w.new(), InstanceId=instance["InstanceId"], DeviceIndex=1, NetworkCardIndex=0)


@check
def attach_refuses_a_card_that_the_type_does_not_have(w):
    refuses("InvalidParameterValue", w.attach, w.new(), NetworkCardIndex=1)


@check
def an_interface_has_at_most_five_groups(w):
    groups = [w.groups[name] for name in ("one", "two", "three", "four", "five", "six")]
    equal(len(w.create(Groups=groups[:5])["Groups"]), 5)
    refuses("SecurityGroupsPerInterfaceLimitExceeded", w.create, Groups=groups)
    interface_id = w.new()
    refuses("SecurityGroupsPerInterfaceLimitExceeded", w.modify, interface_id, Groups=groups)


@check
def a_resource_has_at_most_fifty_tags(w):
    tags = [{"Key": f"k{number}", "Value": ""} for number in range(51)]
    specification = {"ResourceType": "network-interface", "Tags": tags}
    refuses("TagLimitExceeded", w.create, TagSpecifications=[specification])
    interface_id = w.new()
    w.ec2.create_tags(Resources=[interface_id], Tags=tags[:50])
    refuses("TagLimitExceeded", w.ec2.create_tags, Resources=[interface_id], Tags=tags[50:])
    # A key that is there already is no further tag.
    w.ec2.create_tags(Resources=[interface_id], Tags=tags[:1])


@check
def instance_types_have_their_limits(w):
    answer = w.ec2.describe_instance_types(InstanceTypes=["m5.large", "p5.48xlarge", "m5.metal"])
    types = {kind["InstanceType"]: kind for kind in answer["InstanceTypes"]}
    small = types["m5.large"]["NetworkInfo"]
    equal((small["MaximumNetworkInterfaces"], small["Ipv4AddressesPerInterface"]), (3, 10))
    equal(types["m5.large"]["Hypervisor"], "nitro")
    large = types["p5.48xlarge"]["NetworkInfo"]
    equal((large["MaximumNetworkCards"], len(large["NetworkCards"])), (32, 32))
    equal(large["MaximumNetworkInterfaces"], 64)
    assert "Hypervisor" not in types["m5.metal"]
    equal(types["m5.metal"]["BareMetal"], True)
