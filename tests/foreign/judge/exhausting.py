"""Subnets that have nothing left: three codes, and what a prefix needs."""

import ipaddress

from judge.aws import blocks, check, equal, prefixes, refuses, secondary

NO_ADDRESSES = (
    "InsufficientFreeAddressesInSubnet",
    "The specified subnet does not have enough free addresses to satisfy the request.",
)
NO_BLOCKS = (
    "InsufficientCidrBlocks",
    "The specified subnet does not have enough free cidr blocks to satisfy the request.",
)
NEITHER = (
    "InvalidParameterValue",
    "There aren't sufficient free Ipv4 addresses or prefixes",
)


def exhausted(words, call, *arguments, **parameters):
    code, message = words
    refuses(code, call, *arguments, message=message, **parameters)


def within(w, subnet, **parameters):
    """A new interface in a subnet."""
    return w.create(SubnetId=w.subnets[subnet]["SubnetId"], **parameters)


@check
def a_subnet_of_sixteen_addresses_has_eleven(w):
    equal(w.free("smallest"), 11)
    interface = within(w, "smallest", SecondaryPrivateIpAddressCount=10)
    taken = {interface["PrivateIpAddress"], *secondary(interface)}
    equal(taken, {str(address) for address in list(w.network_of("smallest"))[4:15]})
    equal(w.free("smallest"), 0)


@check
def create_in_a_full_subnet_is_refused(w):
    within(w, "smallest", SecondaryPrivateIpAddressCount=10)
    exhausted(NO_ADDRESSES, within, w, "smallest")


@check
def create_with_more_addresses_than_are_free_is_refused_and_takes_none(w):
    exhausted(NO_ADDRESSES, within, w, "smallest", SecondaryPrivateIpAddressCount=11)
    equal(w.free("smallest"), 11)


@check
def assign_of_more_addresses_than_are_free_is_refused_and_takes_none(w):
    interface_id = within(w, "smallest")["NetworkInterfaceId"]
    exhausted(NO_ADDRESSES, w.assign, interface_id, SecondaryPrivateIpAddressCount=11)
    equal(w.free("smallest"), 10)
    w.assign(interface_id, SecondaryPrivateIpAddressCount=10)
    exhausted(NO_ADDRESSES, w.assign, interface_id, SecondaryPrivateIpAddressCount=1)


@check
def an_address_that_is_given_back_ends_the_exhaustion(w):
    interface = within(w, "smallest", SecondaryPrivateIpAddressCount=10)
    (address, *_) = secondary(interface)
    w.unassign(interface["NetworkInterfaceId"], PrivateIpAddresses=[address])
    equal(within(w, "smallest")["PrivateIpAddress"], address)


@check
def create_with_a_prefix_where_none_can_be_is_refused(w):
    for subnet in ("smallest", "two-blocks"):
        exhausted(NEITHER, within, w, subnet, Ipv4PrefixCount=1)


@check
def a_subnet_of_four_blocks_has_two_prefixes(w):
    four = blocks(w.network_of("four-blocks"))
    owner = w.create()["NetworkInterfaceId"]
    before = w.free("four-blocks")
    first = within(w, "four-blocks", PrivateIpAddress=str(w.network_of("four-blocks")[4]))
    given = w.assign(first["NetworkInterfaceId"], Ipv4PrefixCount=2)["AssignedIpv4Prefixes"]
    equal(sorted(it["Ipv4Prefix"] for it in given), sorted(four[1:3]))
    equal(before - w.free("four-blocks"), 1 + 32)
    codes = (NO_BLOCKS[0], NEITHER[0])
    refuses(codes, w.assign, first["NetworkInterfaceId"], Ipv4PrefixCount=1)
    equal(prefixes(w.describe(owner)), [])


def fragmented(w):
    """An interface of a subnet where every block that could be a prefix has one address."""
    network = w.network_of("four-blocks")
    interface = within(w, "four-blocks", PrivateIpAddress=str(network[20]))
    w.assign(interface["NetworkInterfaceId"], PrivateIpAddresses=[str(network[40])])
    return interface["NetworkInterfaceId"]


@check
def one_address_in_each_block_leaves_no_prefix(w):
    interface_id = fragmented(w)
    assert w.free("four-blocks") > 16
    exhausted(NO_BLOCKS, w.assign, interface_id, Ipv4PrefixCount=1)
    w.assign(interface_id, SecondaryPrivateIpAddressCount=8)


@check
def create_in_a_fragmented_subnet_has_a_code_of_its_own(w):
    fragmented(w)
    exhausted(NEITHER, within, w, "four-blocks", Ipv4PrefixCount=1)


@check
def an_address_that_leaves_its_block_makes_a_prefix_possible(w):
    interface_id = fragmented(w)
    address = w.network_of("four-blocks")[40]
    w.unassign(interface_id, PrivateIpAddresses=[str(address)])
    w.assign(interface_id, Ipv4PrefixCount=1)
    (prefix,) = prefixes(w.describe(interface_id))
    assert address in ipaddress.ip_network(prefix), prefix


@check
def far_more_than_a_subnet_has_is_refused_at_once(w):
    exhausted(NO_ADDRESSES, w.create, SecondaryPrivateIpAddressCount=100_000)
    exhausted(NEITHER, w.create, Ipv4PrefixCount=10_000)


@check
def a_subnet_counts_its_free_addresses(w):
    before = w.free()
    w.create(SecondaryPrivateIpAddressCount=2)
    w.create(Ipv4PrefixCount=1)
    equal(before - w.free(), 3 + 17)
