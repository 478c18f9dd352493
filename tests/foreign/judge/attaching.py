"""AttachNetworkInterface and DetachNetworkInterface: states over time, and who may be attached."""

import datetime

from judge.aws import (
    NO_ATTACHMENT,
    NO_INSTANCE,
    NO_INTERFACE,
    check,
    equal,
    is_attached,
    refuses,
)


@check
def an_attachment_is_attaching_before_it_is_attached(w):
    def attaching(interface_id):
        attachment_id = w.attach(interface_id)
        equal(w.describe(interface_id)["Attachment"]["Status"], "attaching")
        return interface_id, attachment_id

    interface_id, attachment_id = w.in_time(w.new, attaching)
    assert attachment_id.startswith("eni-attach-"), attachment_id
    attachment = w.wait(interface_id, is_attached)["Attachment"]
    equal(attachment["AttachmentId"], attachment_id)
    equal(attachment["InstanceId"], w.instance_id)


@check
def an_attached_interface_is_in_use(w):
    equal(w.attached()["Status"], "in-use")


@check
def an_attachment_survives_its_instance_unless_that_is_changed(w):
    equal(w.attached()["Attachment"]["DeleteOnTermination"], False)


@check
def an_attachment_knows_when_it_was_made_and_by_whom(w):
    interface = w.attached()
    age = datetime.datetime.now(datetime.timezone.utc) - interface["Attachment"]["AttachTime"]
    assert abs(age) < datetime.timedelta(minutes=5), age
    equal(interface["Attachment"]["InstanceOwnerId"], interface["OwnerId"])


@check
def an_attachment_has_the_index_and_the_card_that_were_named(w):
    interface_id = w.new()
    w.attach(interface_id, DeviceIndex=7)
    attachment = w.wait(interface_id, is_attached)["Attachment"]
    equal((attachment["DeviceIndex"], attachment["NetworkCardIndex"]), (7, 0))


@check
def attach_answers_with_the_card(w):
    answer = w.ec2.attach_network_interface(
        NetworkInterfaceId=w.new(), InstanceId=w.instance_id, DeviceIndex=5, NetworkCardIndex=0
    )
    equal(answer["NetworkCardIndex"], 0)


@check
def attach_refuses_an_index_in_use(w):
    refuses(
        "InvalidParameterValue",
        w.attach,
        w.new(),
        DeviceIndex=0,
        message=f"Instance '{w.instance_id}' already has an interface attached at device index '0'.",
    )


@check
def attach_refuses_an_interface_that_is_attached(w):
    interface_id = w.attached()["NetworkInterfaceId"]
    # Seen with two codes: AWS documents the first, the second is in logs.
    codes = ("InvalidNetworkInterface.InUse", "InvalidParameterValue")
    refuses(codes, w.attach, interface_id)


@check
def attach_refuses_an_interface_of_another_zone(w):
    interface_id = w.new(SubnetId=w.subnets["pods-b"]["SubnetId"])
    refuses(("InvalidParameterValue", "InvalidParameterCombination"), w.attach, interface_id)
    equal(w.describe(interface_id)["Status"], "available")


@check
def attach_takes_an_interface_of_another_subnet_of_the_zone(w):
    assert w.instance["SubnetId"] != w.subnet["SubnetId"]
    equal(w.attached()["SubnetId"], w.subnet["SubnetId"])


@check
def attach_refuses_an_instance_that_does_not_exist(w):
    refuses(
        "InvalidInstanceID.NotFound",
        w.attach,
        w.new(),
        InstanceId=NO_INSTANCE,
        DeviceIndex=1,
        message=f"The instance ID '{NO_INSTANCE}' does not exist",
    )


@check
def attach_refuses_an_instance_whose_id_is_malformed(w):
    refuses("InvalidInstanceID.Malformed", w.attach, w.new(), InstanceId="i-1", DeviceIndex=1)


@check
def attach_refuses_an_interface_that_does_not_exist(w):
    refuses("InvalidNetworkInterfaceID.NotFound", w.attach, NO_INTERFACE)


@check
def a_dry_run_of_attach_attaches_nothing(w):
    interface_id = w.new()
    refuses("DryRunOperation", w.attach, interface_id, status=412, DryRun=True)
    equal(w.describe(interface_id)["Status"], "available")


@check
def detach_makes_the_interface_available_later(w):
    def detaching(interface):
        w.begin_to_detach(interface)
        during = w.describe(interface["NetworkInterfaceId"])
        assert during["Status"] != "available", during
        equal(during["Attachment"]["Status"], "detaching")
        return interface["NetworkInterfaceId"]

    interface_id = w.in_time(w.attached, detaching)
    after = w.wait(interface_id, lambda eni: eni["Status"] == "available")
    assert "Attachment" not in after, after


@check
def a_detached_attachment_is_not_found(w):
    interface = w.attached()
    w.detach(interface)
    refuses("InvalidAttachmentID.NotFound", w.begin_to_detach, interface)


@check
def detach_refuses_an_attachment_that_never_existed(w):
    detach = w.ec2.detach_network_interface
    refuses("InvalidAttachmentID.NotFound", detach, AttachmentId=NO_ATTACHMENT)


@check
def detach_refuses_an_attachment_whose_id_is_malformed(w):
    detach = w.ec2.detach_network_interface
    refuses("InvalidNetworkInterfaceAttachmentId.Malformed", detach, AttachmentId="attachment-1")


@check
def detach_refuses_the_primary_interface(w):
    refuses("OperationNotPermitted", w.begin_to_detach, w.primary())


@check
def detach_by_force_is_accepted(w):
    interface = w.attached()
    w.ec2.detach_network_interface(
        AttachmentId=interface["Attachment"]["AttachmentId"], Force=True
    )
    w.wait(interface["NetworkInterfaceId"], lambda eni: eni["Status"] == "available")


@check
def a_detached_interface_can_be_attached_again_as_another_attachment(w):
    interface = w.attached()
    w.detach(interface)
    again = w.attach(interface["NetworkInterfaceId"])
    assert again != interface["Attachment"]["AttachmentId"], again
    w.wait(interface["NetworkInterfaceId"], is_attached)


@check
def an_index_is_free_again_after_detach(w):
    interface = w.attached()
    index = interface["Attachment"]["DeviceIndex"]
    w.detach(interface)
    w.attach(w.new(), DeviceIndex=index)


@check
def delete_refuses_an_attached_interface(w):
    interface_id = w.attached()["NetworkInterfaceId"]
    message = f"Network interface '{interface_id}' is currently in use."
    refuses("InvalidParameterValue", w.delete, interface_id, message=message)


@check
def delete_refuses_an_interface_on_its_way_in_or_out(w):
    def attaching(interface_id):
        w.attach(interface_id)
        refuses_to_delete(interface_id)

    def detaching(interface):
        w.begin_to_detach(interface)
        refuses_to_delete(interface["NetworkInterfaceId"])

    def refuses_to_delete(interface_id):
        message = f"Network interface '{interface_id}' is currently in use."
        refuses("InvalidParameterValue", w.delete, interface_id, message=message)

    w.in_time(w.new, attaching)
    w.in_time(w.attached, detaching)
