"""Compares requests and answers of EC2 with the service model that botocore ships.

Clients drop elements silently that the model does not know, and servers ignore parameters: what is
wrong here is seen by nobody else.
"""

import datetime
import re
import urllib.parse
import xml.etree.ElementTree as ElementTree

import botocore.session
import botocore.validate

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"

# Parameters that every action has, and that the model of none has.
COMMON = ("Action", "Version")

# EC2 has more of these than a client of last month knows.
GROWING = ("InstanceType",)


class Stranger(ValueError):
    """Something that the model does not know, or of another type."""


def service():
    """The model of EC2."""
    return botocore.session.get_session().get_service_model("ec2")


def answer_mistakes(operation, status, body):
    """What in an answer differs from the model of its operation; an empty list is good."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        return [f"{operation.name}: not XML: {error}"]
    if status != 200:
        return refusal_mistakes(operation.name, root)
    mistakes = []
    if root.tag != f"{{{NAMESPACE}}}{operation.name}Response":
        mistakes.append(f"{operation.name}: the root is {root.tag}")
    if root.findtext(f"{{{NAMESPACE}}}requestId") is None:
        mistakes.append(f"{operation.name}: no requestId")
    shape = operation.output_shape
    # Void actions carry `return`, which no model has.
    inner = [element for element in root if local(element) not in ("requestId", "return")]
    if shape is None:
        return mistakes + [f"{operation.name}/{local(element)}: unknown" for element in inner]
    return mistakes + structure_mistakes(shape, inner, operation.name)


def refusal_mistakes(name, root):
    """What in an error differs from its documented form."""
    error = root.find("Errors/Error")
    if root.tag != "Response" or error is None or not root.findtext("RequestID"):
        return [f"{name}: no error, or no RequestID: {ElementTree.tostring(root)}"]
    return [f"{name}: no {part}" for part in ("Code", "Message") if not error.findtext(part)]


def structure_mistakes(shape, elements, path):
    by_name = {
        member.serialization.get("name", name): member for name, member in shape.members.items()
    }
    required = {
        shape.members[name].serialization.get("name", name) for name in shape.required_members
    }
    names = [local(element) for element in elements]
    mistakes = [f"{path}/{name}: missing" for name in sorted(required - set(names))]
    twice = sorted({name for name in names if names.count(name) > 1})
    mistakes += [f"{path}/{name}: twice" for name in twice]
    for element, name in zip(elements, names):
        if name in by_name:
            mistakes += element_mistakes(by_name[name], element, f"{path}/{name}")
        else:
            mistakes.append(f"{path}/{name}: unknown")
    return mistakes


def element_mistakes(shape, element, path):
    if shape.type_name == "structure":
        return structure_mistakes(shape, list(element), path)
    if shape.type_name == "list":
        mistakes = [f"{path}/{local(it)}: no item" for it in element if local(it) != "item"]
        for item in element:
            mistakes += element_mistakes(shape.member, item, path)
        return mistakes
    if len(element):
        return [f"{path}: elements where a value is expected"]
    try:
        scalar(shape, element.text or "")
    except ValueError as error:
        return [f"{path}: {error}"]
    return []


def scalar(shape, text):
    """A value of the type that the model wants."""
    if shape.type_name in ("integer", "long"):
        return int(text)
    if shape.type_name in ("double", "float"):
        return float(text)
    if shape.type_name == "boolean":
        if text not in ("true", "false"):
            raise Stranger(f"{text!r} is no boolean")
        return text == "true"
    if shape.type_name == "timestamp":
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", text):
            raise Stranger(f"{text!r} is no timestamp")
        return datetime.datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")
    if shape.type_name == "string":
        if shape.enum and shape.name not in GROWING and text not in shape.enum:
            raise Stranger(f"{text!r} is no {shape.name}")
        return text
    raise Stranger(f"a {shape.type_name} is not expected in EC2's protocol")


def request_mistakes(model, body):
    """The action of a request, and what in it differs from the model."""
    try:
        pairs = urllib.parse.parse_qsl(body, keep_blank_values=True, strict_parsing=True)
    except ValueError as error:
        return "", [f"{body!r} is no form: {error}"]
    names = [name for name, _ in pairs]
    fields = dict(pairs)
    action = fields.get("Action", "")
    if action not in model.operation_names:
        return action, [f"{action!r} is no action of EC2"]
    mistakes = [f"{action}: {name} is given twice" for name in set(names) if names.count(name) > 1]
    if fields.get("Version") != model.api_version:
        mistakes.append(f"{action}: version {fields.get('Version')!r}")
    tree = {}
    for name, value in pairs:
        if name not in COMMON:
            node = tree
            for part in name.split("."):
                node = node.setdefault(part, {})
            node[None] = value
    shape = model.operation_model(action).input_shape
    try:
        parameters = parameter(shape, tree, action)
    except ValueError as error:
        return action, [*mistakes, str(error)]
    # Required members and ranges: what botocore checks before it sends.
    report = botocore.validate.ParamValidator().validate(parameters, shape)
    if report.has_errors():
        mistakes.append(f"{action}: {report.generate_report()}")
    return action, mistakes


def wire_name(name, shape):
    """The name of a member in a request: the plural of the API is not that of the wire."""
    serialization = shape.serialization
    if "queryName" in serialization:
        return serialization["queryName"]
    name = serialization.get("name", name)
    return name[0].upper() + name[1:]


def parameter(shape, tree, path):
    """What a client was told that sent this tree of names."""
    if shape.type_name == "structure":
        by_name = {wire_name(name, member): name for name, member in shape.members.items()}
        strangers = [part for part in tree if part not in by_name]
        if strangers:
            raise Stranger(f"{path}: unknown parameter {strangers[0] or 'value'}")
        return {
            by_name[part]: parameter(shape.members[by_name[part]], inner, f"{path}.{part}")
            for part, inner in tree.items()
        }
    if shape.type_name == "list":
        numbers = [str(number) for number in range(1, len(tree) + 1)]
        if sorted(map(str, tree)) != sorted(numbers):
            raise Stranger(f"{path}: members {list(tree)} are not numbered from 1")
        return [parameter(shape.member, tree[n], f"{path}.{n}") for n in numbers]
    if list(tree) != [None]:
        raise Stranger(f"{path}: parts {list(tree)} where a value is expected")
    try:
        return scalar(shape, tree[None])
    except ValueError as error:
        raise Stranger(f"{path}: {error}") from None


def local(element):
    """An element's name without its namespace."""
    return element.tag.rsplit("}", 1)[-1]
