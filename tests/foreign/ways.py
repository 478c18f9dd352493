#!/usr/bin/env python3
"""Stands between a daemon and servers, as companies' networks do.

    ways.py proxy ADDRESS PORT RECORD [USER:PASSWORD]
    ways.py secret-proxy ADDRESS PORT RECORD CERTIFICATES
    ways.py tls ADDRESS PORT SERVER CERTIFICATES
    ways.py sts ADDRESS PORT KEY_ID SECRET CERTIFICATES

The proxy takes CONNECT and whole addresses, and notes each server that it was asked for; with a user it
refuses whoever does not name it. The secret one is spoken to encrypted, as in `tls`. With `tls`, what comes encrypted goes on to SERVER in plain text, and
the certificate that signed the key is written to CERTIFICATES. `sts` answers every call, in the same way
encrypted, with the credentials of a role, and adds to CERTIFICATES. All print `ready` when they listen.
"""

import asyncio
import base64
import datetime
import ipaddress
import ssl
import sys
import tempfile
import urllib.parse


async def pipe(reader, writer):
    try:
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        pass
    finally:
        writer.close()


async def join(reader, writer, host, port, first=b""):
    to_reader, to_writer = await asyncio.open_connection(host, port)
    to_writer.write(first)
    await asyncio.gather(pipe(reader, to_writer), pipe(to_reader, writer))


async def listen(handle, address, port, context=None):
    server = await asyncio.start_server(handle, address, int(port), ssl=context)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


async def secret_proxy(address, port, record, certificates):
    await proxy(address, port, record, None, trusted(address, certificates))


async def proxy(address, port, record, user=None, context=None):
    named = user and b"basic " + base64.b64encode(user.encode())
    notes = open(record, "a", encoding="utf-8")

    async def handle(reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            writer.close()
            return
        line, rest = head.split(b"\r\n", 1)
        method, target, _ = line.decode().split(" ")
        fields = [field.split(b":", 1) for field in rest.split(b"\r\n") if b":" in field]
        who = {name.strip().lower(): value.strip() for name, value in fields}
        said = who.get(b"proxy-authorization", b"")
        if named and b"basic " + said[6:] != named:
            print("REFUSED", target, file=notes, flush=True)
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        if method == "CONNECT":
            print(method, target, file=notes, flush=True)
            host, _, of_server = target.rpartition(":")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await join(reader, writer, host, int(of_server))
        else:
            url = urllib.parse.urlsplit(target)
            print(method, url.netloc, file=notes, flush=True)
            await join(reader, writer, url.hostname, url.port or 80, line + b"\r\n" + rest)

    await listen(handle, address, port, context)


ROLE = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{}</AccessKeyId>
<SecretAccessKey>{}</SecretAccessKey><SessionToken>a session</SessionToken>
<Expiration>{}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""


async def sts(address, port, key, secret, certificates):
    context = trusted(address, certificates)

    async def handle(reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            writer.close()
            return
        sizes = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        asked = urllib.parse.parse_qs((await reader.readexactly(int(sizes[0]))).decode())
        right = asked["Action"] == ["AssumeRoleWithWebIdentity"] and asked["WebIdentityToken"] == ["of a pod"]
        end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
        body = ROLE.format(key, secret, end.strftime("%Y-%m-%dT%H:%M:%SZ")).encode()
        status = b"200 OK" if right else b"403 Forbidden"
        writer.write(b"HTTP/1.1 %s\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        await writer.drain()
        writer.close()

    await listen(handle, address, port, context)


def trusted(address, certificates):
    """What a server of a company encrypts with; adds whom to trust for it to a file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        authority, own = identity(address)
        file.write(own)
        file.flush()
        context.load_cert_chain(file.name)
    with open(certificates, "ab") as file:
        file.write(authority)
    return context


async def tls(address, port, server, certificates):
    url = urllib.parse.urlsplit(server)
    context = trusted(address, certificates)

    async def handle(reader, writer):
        await join(reader, writer, url.hostname, url.port or 80)

    await listen(handle, address, port, context)


def identity(address):
    """The certificate of an authority, and key and certificate of a server, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def certificate(name, of, by, signer, extension):
        called = lambda it: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, it)])
        now = datetime.datetime.now(datetime.timezone.utc)
        day = datetime.timedelta(days=1)
        made = x509.CertificateBuilder(called(by), called(name), of.public_key())
        made = made.serial_number(x509.random_serial_number())
        made = made.not_valid_before(now - day).not_valid_after(now + day)
        made = made.add_extension(extension, critical=False).sign(signer, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM)

    authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    is_authority = x509.BasicConstraints(ca=True, path_length=None)
    named = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    key = own.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return (
        certificate("a company", authority, "a company", authority, is_authority),
        key + certificate("ec2", own, "a company", authority, named),
    )


if __name__ == "__main__":
    ways = {"proxy": proxy, "secret-proxy": secret_proxy, "tls": tls, "sts": sts}
    asyncio.run(ways[sys.argv[1]](*sys.argv[2:]))
