#!/usr/bin/env python3
"""Judges what a daemon and EC2 said to each other, as `proxy.py` has recorded it.

    recorded.py [--moto] RECORD.jsonl…

Every request and every answer is compared with the model of EC2, and every request must be signed
as AWS signs. With --moto, moto must have been asked and must have accepted what EC2 accepted, and
understood the same. Prints a line per mistake, then the number of accepted calls of each action.
"""

import collections
import json
import re
import sys

import model

# What a daemon does in the life of a node; without one of them, too little was judged.
ACTIONS = {
    "CreateNetworkInterface",
    "AttachNetworkInterface",
    "ModifyNetworkInterfaceAttribute",
    "AssignPrivateIpAddresses",
    "DescribeNetworkInterfaces",
    "DetachNetworkInterface",
    "DeleteNetworkInterface",
}

# Signature version 4 over the host and the body's type at least.
SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[A-Z0-9]{16,128})/\d{8}/us-west-2/ec2/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[a-z0-9;-]+), ?Signature=[0-9a-f]{64}"
)
FORM = "application/x-www-form-urlencoded"


def header_mistakes(headers):
    headers = {name.lower(): value for name, value in headers.items()}
    if not headers.get("content-type", "").startswith(FORM):
        yield f"content-type is {headers.get('content-type')!r}"
    signed = SIGNED.fullmatch(headers.get("authorization", ""))
    if not signed:
        yield f"authorization is {headers.get('authorization')!r}"
        return
    covered = signed["headers"].split(";")
    must = {"host", "x-amz-date"}
    if signed["key"].startswith("ASIA"):
        # Temporary credentials: without its token, the signature is worth nothing.
        must.add("x-amz-security-token")
    missing = [name for name in must if name not in covered or not headers.get(name)]
    if missing:
        yield f"the signature does not cover {', '.join(sorted(missing))}"


def moto_mistakes(action, call):
    """What moto made of a call that EC2 accepted."""
    if "moto" not in call:
        yield f"moto was not asked for {action}"
    elif call["moto"]["status"] != 200:
        yield f"moto refuses {call['moto']['request']}: {call['moto']['answer']}"
    for difference in call.get("differs", []):
        yield f"moto understood {action} otherwise: {difference}"


def call_mistakes(service, call):
    action, mistakes = model.request_mistakes(service, call["request"])
    mistakes = [f"request: {mistake}" for mistake in mistakes]
    mistakes += [f"request: {action}: {mistake}" for mistake in header_mistakes(call["headers"])]
    if action in service.operation_names:
        operation = service.operation_model(action)
        found = model.answer_mistakes(operation, call["status"], call["answer"])
        mistakes += [f"answer: {mistake}" for mistake in found]
    return action, mistakes


def main(arguments):
    records = [argument for argument in arguments if argument != "--moto"]
    service = model.service()
    accepted, mistakes = collections.Counter(), []
    for record in records:
        with open(record, encoding="utf-8") as lines:
            for line in lines:
                call = json.loads(line)
                action, found = call_mistakes(service, call)
                accepted[action] += call["status"] == 200
                mistakes += found
                if "--moto" in arguments and call["status"] == 200:
                    mistakes += moto_mistakes(action, call)
    missing = ACTIONS - {action for action, count in accepted.items() if count}
    mistakes += [f"{action} was never accepted: too little was judged" for action in missing]
    for mistake in sorted(set(mistakes)):
        print(f"FAILED: {mistake}")
    print(", ".join(f"{action}: {count}" for action, count in sorted(accepted.items())))
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
