"""Subnet CIDR reservations."""

import contextlib
import ipaddress

from judge.aws import check, equal, prefixes, refuses, secondary

NO_RESERVATION = "scr-0123456789abcdef0"


@contextlib.contextmanager
def reserved(w, name, cidr, kind, **parameters):
    reservation = w.ec2.create_subnet_cidr_reservation(
        SubnetId=w.subnets[name]["SubnetId"], Cidr=cidr, ReservationType=kind, **parameters
    )["SubnetCidrReservation"]
    try:
        yield reservation
    finally:
        w.ec2.delete_subnet_cidr_reservation(
            SubnetCidrReservationId=reservation["SubnetCidrReservationId"]
        )


def reservations(w, name, **parameters):
    answer = w.ec2.get_subnet_cidr_reservations(
        SubnetId=w.subnets[name]["SubnetId"], **parameters
    )
    equal(answer.get("SubnetIpv6CidrReservations", []), [])
    return answer["SubnetIpv4CidrReservations"]


@check
def a_reservation_is_told_as_it_was_made(w):
    tags = [{"Key": "k", "Value": "v"}]
    specification = {"ResourceType": "subnet-cidr-reservation", "Tags": tags}
    with reserved(
        w,
        "four-blocks",
        "100.64.32.80/28",
        "explicit",
        Description="by hand",
        TagSpecifications=[specification],
    ) as made:
        assert made["SubnetCidrReservationId"].startswith("scr-")
        equal((made["Cidr"], made["ReservationType"]), ("100.64.32.80/28", "explicit"))
        equal((made["Description"], made["Tags"]), ("by hand", tags))
        equal(reservations(w, "four-blocks"), [made])
        of_type = {"Name": "reservationType", "Values": ["prefix"]}
        equal(reservations(w, "four-blocks", Filters=[of_type]), [])
    equal(reservations(w, "four-blocks"), [])


@check
def nobody_gets_what_is_reserved_explicitly_but_by_name(w):
    with reserved(w, "four-blocks", "100.64.32.80/28", "explicit"):
        interface = w.create(
            SubnetId=w.subnets["four-blocks"]["SubnetId"], Ipv4PrefixCount=1
        )
        equal(prefixes(interface), ["100.64.32.96/28"])
        block = ipaddress.ip_network("100.64.32.80/28")
        address = str(block[3])
        interface_id = interface["NetworkInterfaceId"]
        w.assign(interface_id, PrivateIpAddresses=[address])
        equal(secondary(w.describe(interface_id)), [address])


@check
def prefixes_come_from_what_is_reserved_for_them(w):
    with reserved(w, "pods-a", "100.64.7.16/28", "prefix"):
        equal(prefixes(w.create(Ipv4PrefixCount=1)), ["100.64.7.16/28"])


@check
def a_reservation_that_makes_no_sense_is_refused(w):
    subnet = w.subnets["four-blocks"]["SubnetId"]
    create, delete = w.ec2.create_subnet_cidr_reservation, w.ec2.delete_subnet_cidr_reservation
    for cidr, kind in [("10.0.0.0/28", "prefix"), ("100.64.32.80/28", "any")]:
        refuses(
            "InvalidParameterValue", create, SubnetId=subnet, Cidr=cidr, ReservationType=kind
        )
    code = "InvalidSubnetCidrReservationID.NotFound"
    refuses(code, delete, SubnetCidrReservationId=NO_RESERVATION)
