"""The protocol itself, without a client between: forms, XML, status and texts of refusals."""

import http.client
import os
import urllib.parse
import xml.etree.ElementTree as ElementTree

import botocore.auth
import botocore.awsrequest
import botocore.credentials

from judge.aws import NO_INTERFACE, check, equal, secondary
from model import NAMESPACE

SPACE = {"ec2": NAMESPACE}


def call(method="POST", **parameters):
    """Status, headers and root of an answer. `_1` in a parameter's name is `.1`."""
    parameters = {name.replace("_", "."): value for name, value in parameters.items()}
    form = urllib.parse.urlencode({"Version": "2016-11-15", **parameters})
    endpoint = os.environ["AWS_ENDPOINT_URL_EC2"]
    if method == "POST":
        kind = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        request = botocore.awsrequest.AWSRequest("POST", f"{endpoint}/", kind, form)
        signer = botocore.auth.SigV4Auth
    else:
        request = botocore.awsrequest.AWSRequest("GET", f"{endpoint}/?{form}")
        signer = botocore.auth.SigV4QueryAuth
    key = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    credentials = botocore.credentials.Credentials(*key)
    signer(credentials, "ec2", os.environ["AWS_DEFAULT_REGION"]).add_auth(request)
    return send(request.prepare())


def send(request):
    url = urllib.parse.urlsplit(request.url)
    connection = http.client.HTTPConnection(url.netloc, timeout=30)
    path = urllib.parse.urlunsplit(("", "", url.path, url.query, ""))
    connection.request(request.method, path, request.body, dict(request.headers))
    answer = connection.getresponse()
    root = ElementTree.fromstring(answer.read())
    connection.close()
    return answer.status, answer.headers, root


def refused(code, **parameters):
    """The text of a refusal."""
    status, _, root = call(**parameters)
    equal((status, root.findtext("Errors/Error/Code")), (400, code))
    return root.findtext("Errors/Error/Message")


@check
def an_answer_is_xml_in_the_namespace_of_the_api_with_its_request_id(w):
    status, headers, root = call(Action="DescribeVpcs")
    equal((status, headers["Content-Type"]), (200, "text/xml;charset=UTF-8"))
    equal(root.tag, f"{{{NAMESPACE}}}DescribeVpcsResponse")
    equal(root.findtext("ec2:requestId", namespaces=SPACE), headers["x-amzn-requestid"])


@check
def a_request_by_get_is_answered_like_one_by_post(w):
    of_post, of_get = call(Action="DescribeVpcs")[2], call("GET", Action="DescribeVpcs")[2]
    vpcs = [root.findtext(".//ec2:vpcId", namespaces=SPACE) for root in (of_post, of_get)]
    assert vpcs[0], "no VPC"
    equal(vpcs[0], vpcs[1])


@check
def every_request_has_an_id_of_its_own(w):
    ids = {call(Action="DescribeVpcs")[1]["x-amzn-requestid"] for _ in range(5)}
    equal(len(ids), 5)


@check
def a_refusal_has_the_documented_form(w):
    status, _, root = call(Action="DeleteNetworkInterface", NetworkInterfaceId=NO_INTERFACE)
    equal((status, root.tag), (400, "Response"))
    equal([child.tag for child in root], ["Errors", "RequestID"])
    equal([child.tag for child in root.find("Errors/Error")], ["Code", "Message"])
    assert root.findtext("RequestID")


@check
def a_call_without_a_result_returns_true(w):
    interface_id = w.new()
    _, _, root = call(Action="DeleteNetworkInterface", NetworkInterfaceId=interface_id)
    equal(root.findtext("ec2:return", namespaces=SPACE), "true")


@check
def an_unknown_action_is_refused(w):
    refused("InvalidAction", Action="CreateNetworkInterfaces")


@check
def a_missing_parameter_is_named(w):
    text = refused("MissingParameter", Action="CreateNetworkInterface")
    equal(text, "The request must contain the parameter SubnetId")
    refused("MissingParameter", Action="AttachNetworkInterface", NetworkInterfaceId=NO_INTERFACE)
    refused("MissingParameter", Action="DetachNetworkInterface")


@check
def plurals_of_the_clients_are_unknown_on_the_wire(w):
    subnet = w.subnet["SubnetId"]
    refused("UnknownParameter", Action="CreateNetworkInterface", SubnetId=subnet, Groups_1="sg-1")
    refused("UnknownParameter", Action="DescribeNetworkInterfaces", Filters_1_Name="status")


@check
def lists_of_create_and_of_assign_have_different_names(w):
    interface_id = w.new()
    (address,) = secondary(w.create(SecondaryPrivateIpAddressCount=1))
    w.unassign(w.created[-1], PrivateIpAddresses=[address])
    refused(
        "UnknownParameter",
        Action="AssignPrivateIpAddresses",
        NetworkInterfaceId=interface_id,
        SecondaryPrivateIpAddressCount="1",
        PrivateIpAddresses_1_PrivateIpAddress=address,
    )
    status, _, root = call(
        Action="AssignPrivateIpAddresses",
        NetworkInterfaceId=interface_id,
        PrivateIpAddress_1=address,
    )
    equal((status, root.findtext(".//ec2:privateIpAddress", namespaces=SPACE)), (200, address))


@check
def a_value_of_the_wrong_type_is_refused(w):
    refused(
        "InvalidParameterValue",
        Action="CreateNetworkInterface",
        SubnetId=w.subnet["SubnetId"],
        SecondaryPrivateIpAddressCount="many",
    )
