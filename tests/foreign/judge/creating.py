"""CreateNetworkInterface and DeleteNetworkInterface."""

import ipaddress
import os
import re

from judge.aws import (
    NO_GROUP,
    NO_INTERFACE,
    NO_SUBNET,
    blocks,
    check,
    equal,
    prefixes,
    refuses,
    secondary,
)


@check
def a_new_interface_is_available_with_an_address_of_its_subnet(w):
    interface = w.create()
    equal(interface["Status"], "available")
    assert ipaddress.ip_address(interface["PrivateIpAddress"]) in w.network_of()
    equal(interface["SubnetId"], w.subnet["SubnetId"])
    equal(interface["VpcId"], w.subnet["VpcId"])
    equal(interface["AvailabilityZone"], w.subnet["AvailabilityZone"])
    assert "Attachment" not in interface
    equal(w.describe(interface["NetworkInterfaceId"])["Status"], "available")


@check
def a_new_interface_has_one_address_which_is_primary(w):
    (address,) = w.create()["PrivateIpAddresses"]
    equal(address["Primary"], True)


@check
def a_new_interface_checks_sources_and_destinations(w):
    equal(w.create()["SourceDestCheck"], True)


@check
def an_interface_has_the_type_that_was_asked_for(w):
    equal(w.create()["InterfaceType"], "interface")
    equal(w.create(InterfaceType="efa")["InterfaceType"], "efa")
    refuses("InvalidParameterValue", w.create, InterfaceType="fast")


@check
def an_adapter_alone_has_no_address_and_cannot_get_one(w):
    interface = w.create(InterfaceType="efa-only")
    interface_id = interface["NetworkInterfaceId"]
    assert "PrivateIpAddress" not in interface, interface
    described = w.describe(interface_id)
    equal(described["InterfaceType"], "efa-only")
    equal([described[key] for key in ("PrivateIpAddresses", "Ipv6Addresses")], [[], []])
    assert "PrivateIpAddress" not in described and "PrivateDnsName" not in described, described
    refuses("UnsupportedOperation", w.assign, interface_id, SecondaryPrivateIpAddressCount=1)
    attached = w.attached(InterfaceType="efa-only")["NetworkInterfaceId"]
    answer = w.ec2.describe_instances(InstanceIds=[w.instance_id])
    interfaces = answer["Reservations"][0]["Instances"][0]["NetworkInterfaces"]
    (listed,) = [it for it in interfaces if it["NetworkInterfaceId"] == attached]
    equal(listed["InterfaceType"], "efa-only")
    assert "PrivateIpAddress" not in listed, listed


@check
def an_id_has_seventeen_hexadecimal_digits(w):
    assert re.fullmatch("eni-0[0-9a-f]{16}", w.new())


@check
def a_hardware_address_is_unicast_and_locally_administered(w):
    macs = [w.create()["MacAddress"] for _ in range(4)]
    assert all(re.fullmatch("([0-9a-f]{2}:){5}[0-9a-f]{2}", mac) for mac in macs), macs
    equal([int(mac[:2], 16) & 3 for mac in macs], [2] * 4)
    equal(len(set(macs)), 4)


@check
def a_private_name_is_made_of_the_address_and_the_region(w):
    interface = w.create()
    host = interface["PrivateIpAddress"].replace(".", "-")
    equal(interface["PrivateDnsName"], f"ip-{host}.us-west-2.compute.internal")


@check
def an_interface_belongs_to_the_account_of_its_subnet(w):
    owner = w.create()["OwnerId"]
    assert re.fullmatch(r"\d{12}", owner), owner
    equal(owner, w.subnet["OwnerId"])


@check
def a_description_survives_xml(w):
    description = "a <b> & \"c\" 'd' é"
    interface = w.create(Description=description)
    equal(interface["Description"], description)
    equal(w.describe(interface["NetworkInterfaceId"])["Description"], description)


@check
def an_interface_gets_the_default_group_when_none_is_named(w):
    equal([group["GroupName"] for group in w.create()["Groups"]], ["default"])


@check
def an_interface_gets_the_groups_that_are_named(w):
    groups = w.create(Groups=[w.groups["one"], w.groups["two"]])["Groups"]
    found = sorted((group["GroupName"], group["GroupId"]) for group in groups)
    equal(found, [("one", w.groups["one"]), ("two", w.groups["two"])])


@check
def create_gives_secondary_addresses_behind_the_primary_one(w):
    interface = w.create(SecondaryPrivateIpAddressCount=3)
    equal(len(secondary(interface)), 3)
    equal(interface["PrivateIpAddresses"][0]["PrivateIpAddress"], interface["PrivateIpAddress"])
    equal(len({interface["PrivateIpAddress"], *secondary(interface)}), 4)


@check
def create_gives_aligned_prefixes_of_the_subnet(w):
    interface = w.create(Ipv4PrefixCount=2)
    given = prefixes(interface)
    equal(len(set(given)), 2)
    # A network of which bits are set behind the prefix is no network.
    assert all(ipaddress.ip_network(prefix).prefixlen == 28 for prefix in given), given
    assert all(ipaddress.ip_network(it).subnet_of(w.network_of()) for it in given), given
    equal(secondary(interface), [])


@check
def create_takes_a_named_primary_address(w):
    free = w.create()["PrivateIpAddress"]
    w.clean_up()
    equal(w.create(PrivateIpAddress=free)["PrivateIpAddress"], free)


@check
def create_refuses_a_primary_address_in_use(w):
    taken = w.create()["PrivateIpAddress"]
    refuses("InvalidIPAddress.InUse", w.create, PrivateIpAddress=taken)


@check
def create_takes_named_addresses_one_of_them_primary(w):
    first, second = (w.create()["PrivateIpAddress"] for _ in range(2))
    w.clean_up()
    interface = w.create(
        PrivateIpAddresses=[
            {"PrivateIpAddress": first, "Primary": False},
            {"PrivateIpAddress": second, "Primary": True},
        ]
    )
    equal((interface["PrivateIpAddress"], secondary(interface)), (second, [first]))


@check
def create_takes_named_prefixes(w):
    (prefix,) = prefixes(w.create(Ipv4PrefixCount=1))
    w.clean_up()
    equal(prefixes(w.create(Ipv4Prefixes=[{"Ipv4Prefix": prefix}])), [prefix])


@check
def create_refuses_the_five_reserved_addresses_of_a_subnet(w):
    network = w.network_of()
    for address in [network[0], network[1], network[2], network[3], network[-1]]:
        refuses("InvalidParameterValue", w.create, PrivateIpAddress=str(address))


@check
def create_refuses_an_address_outside_of_the_subnet(w):
    refuses("InvalidParameterValue", w.create, PrivateIpAddress="192.0.2.1")


@check
def create_refuses_addresses_and_prefixes_together(w):
    refuses(
        "InvalidParameterCombination",
        w.create,
        SecondaryPrivateIpAddressCount=1,
        Ipv4PrefixCount=1,
    )
    refuses(
        "InvalidParameterCombination",
        w.create,
        Ipv4PrefixCount=1,
        Ipv4Prefixes=[{"Ipv4Prefix": blocks(w.network_of())[5]}],
    )


@check
def create_refuses_a_subnet_that_does_not_exist(w):
    refuses(
        "InvalidSubnetID.NotFound",
        w.create,
        SubnetId=NO_SUBNET,
        message=f"The subnet ID '{NO_SUBNET}' does not exist",
    )


@check
def create_refuses_a_subnet_whose_id_is_malformed(w):
    refuses("InvalidSubnetID.Malformed", w.create, SubnetId="subnet-1")


@check
def create_refuses_a_group_that_does_not_exist(w):
    refuses(
        "InvalidGroup.NotFound",
        w.create,
        Groups=[w.groups["one"], NO_GROUP],
        message=f"The security group '{NO_GROUP}' does not exist",
    )


@check
def a_refused_create_takes_no_address(w):
    before = w.free()
    refuses("InvalidGroup.NotFound", w.create, Groups=[NO_GROUP])
    equal(w.free(), before)


@check
def a_client_token_creates_once(w):
    token = os.urandom(8).hex()
    first = w.create(ClientToken=token, Description="once")
    before = w.free()
    again = w.create(ClientToken=token, Description="once")
    equal(again["NetworkInterfaceId"], first["NetworkInterfaceId"])
    equal(w.free(), before)


@check
def a_client_token_is_for_the_same_parameters_only(w):
    token = os.urandom(8).hex()
    w.create(ClientToken=token, Description="once")
    refuses("IdempotentParameterMismatch", w.create, ClientToken=token, Description="twice")


@check
def another_client_token_creates_another_interface(w):
    one, other = (w.create(ClientToken=os.urandom(8).hex()) for _ in range(2))
    assert one["NetworkInterfaceId"] != other["NetworkInterfaceId"]


@check
def the_client_token_comes_back(w):
    token = os.urandom(8).hex()
    answer = w.ec2.create_network_interface(SubnetId=w.subnet["SubnetId"], ClientToken=token)
    w.created.append(answer["NetworkInterface"]["NetworkInterfaceId"])
    equal(answer["ClientToken"], token)


@check
def a_dry_run_is_answered_and_changes_nothing(w):
    before = w.free()
    refuses(
        "DryRunOperation",
        w.create,
        status=412,
        DryRun=True,
        message="Request would have succeeded, but DryRun flag is set.",
    )
    equal(w.free(), before)


@check
def a_dry_run_of_delete_deletes_nothing(w):
    interface_id = w.new()
    delete = w.ec2.delete_network_interface
    refuses(
        "DryRunOperation", delete, status=412, NetworkInterfaceId=interface_id, DryRun=True
    )
    equal(w.describe(interface_id)["Status"], "available")


@check
def a_deleted_interface_is_not_found(w):
    interface_id = w.new()
    w.delete(interface_id)
    message = f"The networkInterface ID '{interface_id}' does not exist"
    for call in (w.describe, w.delete):
        refuses("InvalidNetworkInterfaceID.NotFound", call, interface_id, message=message)


@check
def delete_refuses_what_never_existed(w):
    refuses("InvalidNetworkInterfaceID.NotFound", w.delete, NO_INTERFACE)


@check
def delete_frees_all_addresses(w):
    before = w.free()
    interface_id = w.new(SecondaryPrivateIpAddressCount=2)
    w.assign(interface_id, Ipv4PrefixCount=1)
    equal(before - w.free(), 3 + 16)
    w.delete(interface_id)
    equal(w.free(), before)
