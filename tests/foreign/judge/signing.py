"""Signatures: whose calls are taken, and with which code others are refused."""

import datetime
import http.client
import urllib.parse

import boto3
import botocore.auth
import botocore.config

from judge.aws import check, equal, refuses

KEY = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")


def client(key=KEY[0], secret=KEY[1], token=None, region="us-west-2", **config):
    return boto3.client(
        "ec2",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        region_name=region,
        config=botocore.config.Config(retries={"total_max_attempts": 1}, **config),
    )


def get(url):
    url = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(url.netloc, timeout=30)
    connection.request("GET", f"/?{url.query}")
    status = connection.getresponse().status
    connection.close()
    return status


@check
def the_right_key_is_taken(w):
    assert client().describe_vpcs()["Vpcs"]


@check
def a_wrong_secret_is_refused(w):
    wrong = client(secret=KEY[1][::-1])
    refuses("SignatureDoesNotMatch", wrong.describe_vpcs, status=403)


@check
def an_unknown_key_is_refused(w):
    stranger = client(key="AKIAI44QH8DHBEXAMPLE")
    text = "AWS was not able to validate the provided access credentials"
    refuses("AuthFailure", stranger.describe_vpcs, status=401, message=text)


@check
def a_call_without_a_signature_is_refused(w):
    unsigned = client(signature_version=botocore.UNSIGNED)
    refuses("MissingAuthenticationToken", unsigned.describe_vpcs, status=403)


@check
def a_signature_for_another_region_is_refused(w):
    elsewhere = client(region="eu-west-1")
    refuses("SignatureDoesNotMatch", elsewhere.describe_vpcs, status=403, message="eu-west-1")


@check
def a_clock_that_is_a_quarter_of_an_hour_off_is_refused(w):
    for minutes, taken in [(-14, True), (14, True), (-16, False), (16, False)]:
        skewed = client()
        now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
        real = botocore.auth.get_current_datetime
        botocore.auth.get_current_datetime = lambda remove_tzinfo=True: (
            now.replace(tzinfo=None) if remove_tzinfo else now
        )
        try:
            if taken:
                skewed.describe_vpcs()
            else:
                refuses("RequestExpired", skewed.describe_vpcs)
        finally:
            botocore.auth.get_current_datetime = real


@check
def a_body_that_was_changed_on_its_way_is_refused(w):
    tampered = client()

    def tamper(request, **_):
        # Of the same length: the header that tells it stays right.
        request.body = request.body.replace("=DescribeVpcs&", "=describevpcs&")

    tampered.meta.events.register("before-send.ec2", tamper)
    refuses("SignatureDoesNotMatch", tampered.describe_vpcs, status=403)


@check
def values_with_every_kind_of_character_are_signed_alike(w):
    text = "a b+c=d&e/f?g:h%20~*'()!ä€,;@"
    interface_id = w.new(Description=text)
    equal(w.describe(interface_id)["Description"], text)


@check
def a_url_that_is_signed_is_taken_until_it_is_changed(w):
    url = client().generate_presigned_url("describe_vpcs", ExpiresIn=60, HttpMethod="GET")
    equal(get(url), 200)
    equal(get(url.replace("DescribeVpcs", "DescribeSubnets")), 403)
