#!/usr/bin/env python3
"""Stands between a daemon and EC2, and keeps a record of what both said.

    proxy.py LISTEN_PORT EC2_URL RECORD.jsonl [--moto]

With --moto, what EC2 accepts is asked of moto, too, and the daemon gets moto's answer, with the
ids and addresses of EC2 in it. Prints `ready` when it listens on 127.0.0.1.
"""

import http.client
import http.server
import json
import sys
import threading
import urllib.parse

# A call that takes longer fails the test; the daemon itself gives up earlier.
LIMIT_SECONDS = 60

# What is of one connection only, or is computed anew. The host is part of what is signed.
NOT_FORWARDED = ("connection", "content-length", "transfer-encoding", "expect")


class Proxy(http.server.ThreadingHTTPServer):
    """What all connections share."""

    daemon_threads = True

    def __init__(self, port, ec2, record, mirror):
        super().__init__(("127.0.0.1", port), Connection)
        self.ec2 = urllib.parse.urlsplit(ec2).netloc
        self.record = open(record, "a", encoding="utf-8")
        self.mirror = mirror
        # One call at a time: the record is in the order in which EC2 saw the calls.
        self.lock = threading.Lock()

    def ask(self, headers, request):
        """Status and body of the answer, on record before they are sent."""
        with self.lock:
            status, answer = forward(self.ec2, headers, request)
            line = {"headers": dict(headers), "request": request, "status": status}
            line["answer"] = answer
            if self.mirror and status == 200:
                answer = self.mirror.ask(headers, request, answer, line)
            print(json.dumps(line), file=self.record, flush=True)
            return status, answer


class Connection(http.server.BaseHTTPRequestHandler):
    """One connection of the daemon's."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        status, answer = self.server.ask(self.headers, request)
        body = answer.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/xml;charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """What was said is on record."""


def forward(to, headers, request):
    connection = http.client.HTTPConnection(to, timeout=LIMIT_SECONDS)
    kept = {name: value for name, value in headers.items() if name.lower() not in NOT_FORWARDED}
    connection.request("POST", "/", request.encode(), kept)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def main(port, ec2, record, *options):
    mirror = None
    if "--moto" in options:
        from mirror import Mirror

        mirror = Mirror(ec2, forward)
    proxy = Proxy(int(port), ec2, record, mirror)
    print("ready", flush=True)
    proxy.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
