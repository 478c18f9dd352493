"""A judge that finds nothing is worth nothing: mistakes on purpose, each of which must be found."""

import unittest

import model

SERVICE = model.service()

CREATE = (
    "Action=CreateNetworkInterface&Version=2016-11-15&SubnetId=subnet-1&SecurityGroupId.1=sg-1"
    "&SecondaryPrivateIpAddressCount=2&TagSpecification.1.ResourceType=network-interface"
    "&TagSpecification.1.Tag.1.Key=k&TagSpecification.1.Tag.1.Value="
)
ATTACHED = (
    '<AttachNetworkInterfaceResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
    "<requestId>r</requestId><attachmentId>a</attachmentId><networkCardIndex>0</networkCardIndex>"
    "</AttachNetworkInterfaceResponse>"
)
REFUSED = (
    "<Response><Errors><Error><Code>C</Code><Message>M</Message></Error></Errors>"
    "<RequestID>r</RequestID></Response>"
)


class Requests(unittest.TestCase):
    def mistakes(self, old="", new=""):
        self.assertIn(old, CREATE)
        return model.request_mistakes(SERVICE, CREATE.replace(old, new))[1]

    def test_a_request_of_the_model_has_none(self):
        self.assertEqual(self.mistakes(), [])

    def test_every_mistake_is_found(self):
        for old, new in [
            ("SecurityGroupId.1", "SecurityGroupIds.1"),
            ("SecurityGroupId.1", "SecurityGroupId.2"),
            ("SecurityGroupId.1", "SecurityGroupId"),
            ("Tag.1.Key", "Tags.1.Key"),
            ("&SubnetId=subnet-1", ""),
            ("Count=2", "Count=two"),
            ("Type=network-interface", "Type=interface"),
            ("2016-11-15", "2016-11-16"),
            ("Action=Create", "Action=Make"),
            ("&SubnetId=subnet-1", "&SubnetId=subnet-1&SubnetId=subnet-1"),
        ]:
            with self.subTest(new):
                self.assertEqual(len(self.mistakes(old, new)), 1)


class Answers(unittest.TestCase):
    def mistakes(self, text, old="", new="", status=200):
        self.assertIn(old, text)
        operation = SERVICE.operation_model("AttachNetworkInterface")
        return model.answer_mistakes(operation, status, text.replace(old, new, 1))

    def test_answers_of_the_model_have_none(self):
        self.assertEqual(self.mistakes(ATTACHED), [])
        self.assertEqual(self.mistakes(REFUSED, status=400), [])

    def test_every_mistake_is_found(self):
        for text, old, new, status in [
            (ATTACHED, "<requestId>r</requestId>", "", 200),
            (ATTACHED, "<requestId>r</requestId>", "<requestId>r</requestId><x/>", 200),
            (ATTACHED, ">0<", ">none<", 200),
            (ATTACHED, ">0<", "><x/><", 200),
            (ATTACHED, "2016-11-15", "2016-09-15", 200),
            (ATTACHED, "</attachmentId>", "</attachmentId><attachmentId/>", 200),
            (ATTACHED, "</AttachNetworkInterfaceResponse>", "", 200),
            (REFUSED, "<Code>C</Code>", "", 400),
            (REFUSED, "<RequestID>r</RequestID>", "", 400),
            (REFUSED, "<Errors>", "<Errors><Error/>", 400),
        ]:
            with self.subTest(new or old):
                self.assertTrue(self.mistakes(text, old, new, status))


if __name__ == "__main__":
    unittest.main()
