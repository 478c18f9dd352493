"""Checks that an EC2 endpoint behaves as AWS's does, through AWS's own Python client.

A check is a function; its name is a sentence. It asserts only what AWS documents or what was seen
on AWS: texts that nobody has seen are not compared.
"""
