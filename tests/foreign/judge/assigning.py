"""AssignPrivateIpAddresses and UnassignPrivateIpAddresses."""

import ipaddress

from judge.aws import (
    NO_INTERFACE,
    blocks,
    check,
    equal,
    prefixes,
    refuses,
    secondary,
)


def new_addresses(answer):
    return [ip["PrivateIpAddress"] for ip in answer.get("AssignedPrivateIpAddresses", [])]


@check
def assign_returns_only_what_is_new(w):
    interface = w.create(SecondaryPrivateIpAddressCount=2)
    interface_id = interface["NetworkInterfaceId"]
    answer = w.assign(interface_id, SecondaryPrivateIpAddressCount=2)
    new = new_addresses(answer)
    equal(answer["NetworkInterfaceId"], interface_id)
    equal(len(new), 2)
    assert not set(new) & {interface["PrivateIpAddress"], *secondary(interface)}, new
    equal(secondary(w.describe(interface_id)), secondary(interface) + new)


@check
def assigned_addresses_are_of_the_subnet_and_scattered_over_it(w):
    answer = w.assign(w.new(), SecondaryPrivateIpAddressCount=8)
    numbers = sorted(int(ipaddress.ip_address(ip)) for ip in new_addresses(answer))
    network = w.network_of()
    assert all(ipaddress.ip_address(number) in network for number in numbers), numbers
    assert numbers != list(range(numbers[0], numbers[0] + 8)), numbers


@check
def assign_is_not_idempotent(w):
    interface_id = w.new()
    for _ in range(2):
        w.assign(interface_id, SecondaryPrivateIpAddressCount=1)
    equal(len(secondary(w.describe(interface_id))), 2)


@check
def assign_gives_prefixes(w):
    interface_id = w.new()
    answer = w.assign(interface_id, Ipv4PrefixCount=2)
    given = [prefix["Ipv4Prefix"] for prefix in answer["AssignedIpv4Prefixes"]]
    equal(given, prefixes(w.describe(interface_id)))
    equal({ipaddress.ip_network(prefix).prefixlen for prefix in given}, {28})
    equal(new_addresses(answer), [])


@check
def assign_takes_named_addresses(w):
    interface = w.create(SecondaryPrivateIpAddressCount=1)
    interface_id, (address,) = interface["NetworkInterfaceId"], secondary(interface)
    w.unassign(interface_id, PrivateIpAddresses=[address])
    equal(new_addresses(w.assign(interface_id, PrivateIpAddresses=[address])), [address])


@check
def assign_takes_named_prefixes(w):
    interface = w.create(Ipv4PrefixCount=1)
    interface_id, given = interface["NetworkInterfaceId"], prefixes(interface)
    w.unassign(interface_id, Ipv4Prefixes=given)
    w.assign(interface_id, Ipv4Prefixes=given)
    equal(prefixes(w.describe(interface_id)), given)


@check
def assign_refuses_a_prefix_that_is_not_aligned(w):
    start = w.network_of()[100]
    prefix = f"{start}/28"
    assert int(start) % 16, start
    refuses(("InvalidParameterValue",), w.assign, w.new(), Ipv4Prefixes=[prefix])


@check
def assign_refuses_a_prefix_that_is_taken(w):
    given = prefixes(w.create(Ipv4PrefixCount=1))
    refuses("InvalidParameterValue", w.assign, w.new(), Ipv4Prefixes=given)


@check
def assign_refuses_a_prefix_around_an_address_that_is_taken(w):
    address = ipaddress.ip_address(w.create()["PrivateIpAddress"])
    block = next(it for it in blocks(w.network_of()) if address in ipaddress.ip_network(it))
    refuses("InvalidParameterValue", w.assign, w.new(), Ipv4Prefixes=[block])


@check
def assign_refuses_the_blocks_with_reserved_addresses_as_prefixes(w):
    first, *_, last = blocks(w.network_of())
    for block in (first, last):
        refuses("InvalidParameterValue", w.assign, w.new(), Ipv4Prefixes=[block])


@check
def an_address_inside_of_a_prefix_is_nobody_elses(w):
    (prefix,) = prefixes(w.create(Ipv4PrefixCount=1))
    inside = str(ipaddress.ip_network(prefix)[5])
    try:
        w.assign(w.new(), PrivateIpAddresses=[inside])
    except w.ec2.exceptions.ClientError:
        pass
    else:
        raise AssertionError(f"{inside} was given away")


@check
def assign_takes_one_form_only(w):
    refuses(
        "InvalidParameterCombination",
        w.assign,
        w.new(),
        SecondaryPrivateIpAddressCount=1,
        Ipv4PrefixCount=1,
    )


@check
def assign_needs_one_form(w):
    refuses("MissingParameter", w.assign, w.new())


@check
def assign_refuses_an_interface_that_does_not_exist(w):
    refuses(
        "InvalidNetworkInterfaceID.NotFound",
        w.assign,
        NO_INTERFACE,
        SecondaryPrivateIpAddressCount=1,
        message=f"The networkInterface ID '{NO_INTERFACE}' does not exist",
    )


@check
def assign_refuses_an_address_of_another_subnet(w):
    other = str(w.network_of("pods-b")[100])
    refuses("InvalidParameterValue", w.assign, w.new(), PrivateIpAddresses=[other])


@check
def an_address_of_another_interface_stays_unless_it_may_move(w):
    owner = w.create(SecondaryPrivateIpAddressCount=1)
    (address,) = secondary(owner)
    taker = w.new()
    codes = ("InvalidParameterValue", "Resource.AlreadyAssigned")
    refuses(codes, w.assign, taker, PrivateIpAddresses=[address])
    equal(secondary(w.describe(owner["NetworkInterfaceId"])), [address])


@check
def an_address_moves_when_it_may(w):
    owner = w.create(SecondaryPrivateIpAddressCount=1)
    taker = w.new()
    w.assign(taker, PrivateIpAddresses=secondary(owner), AllowReassignment=True)
    equal(secondary(w.describe(taker)), secondary(owner))
    equal(secondary(w.describe(owner["NetworkInterfaceId"])), [])


@check
def a_primary_address_never_moves(w):
    address = w.create()["PrivateIpAddress"]
    refuses(
        ("InvalidParameterValue", "Resource.AlreadyAssigned"),
        w.assign,
        w.new(),
        PrivateIpAddresses=[address],
        AllowReassignment=True,
    )


@check
def unassign_takes_addresses_away(w):
    interface = w.create(SecondaryPrivateIpAddressCount=3)
    interface_id = interface["NetworkInterfaceId"]
    first, second, third = secondary(interface)
    w.unassign(interface_id, PrivateIpAddresses=[first, third])
    equal(secondary(w.describe(interface_id)), [second])


@check
def unassign_takes_prefixes_away(w):
    interface = w.create(Ipv4PrefixCount=2)
    interface_id = interface["NetworkInterfaceId"]
    first, second = prefixes(interface)
    w.unassign(interface_id, Ipv4Prefixes=[first])
    equal(prefixes(w.describe(interface_id)), [second])


@check
def unassign_takes_all_or_nothing(w):
    interface = w.create(SecondaryPrivateIpAddressCount=2)
    interface_id = interface["NetworkInterfaceId"]
    first, second = secondary(interface)
    w.unassign(interface_id, PrivateIpAddresses=[first])
    refuses("InvalidParameterValue", w.unassign, interface_id, PrivateIpAddresses=[first, second])
    equal(secondary(w.describe(interface_id)), [second])


@check
def unassign_refuses_the_primary_address(w):
    interface = w.create()
    refuses(
        "InvalidParameterValue",
        w.unassign,
        interface["NetworkInterfaceId"],
        PrivateIpAddresses=[interface["PrivateIpAddress"]],
    )


@check
def unassign_refuses_an_interface_that_does_not_exist(w):
    refuses(
        "InvalidNetworkInterfaceID.NotFound",
        w.unassign,
        NO_INTERFACE,
        PrivateIpAddresses=[str(w.network_of()[100])],
    )


@check
def what_is_unassigned_is_free_again(w):
    interface_id = w.new()
    before = w.free()
    answer = w.assign(interface_id, SecondaryPrivateIpAddressCount=4)
    equal(before - w.free(), 4)
    w.unassign(interface_id, PrivateIpAddresses=new_addresses(answer))
    equal(w.free(), before)
