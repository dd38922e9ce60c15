"""The unmodified OceanStor driver of Delfin (SODA Foundation), for the tests in `../delfin.rs`.

Delfin watches storage: it reads everything that an array has and changes nothing. One JSON object on stdin says where the
array is; one on stdout has what each call of the driver answered, or its error. The driver speaks TLS only, so that TLS is
put in front of an array that is served without.
"""

import datetime
import json
import os
import socket
import ssl
import sys
import threading
import traceback
from urllib.parse import urlsplit

# Answers go to the real stdout; whatever a library prints goes to stderr.
ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from delfin.common import config  # noqa: E402,F401  (registers the options that the next one reads)
from delfin import cryptor  # noqa: E402
from delfin.drivers.huawei.oceanstor import oceanstor  # noqa: E402

CALLS = ["get_storage", "list_controllers", "list_storage_pools", "list_volumes", "list_disks", "list_ports",
         "list_storage_host_initiators", "list_storage_hosts", "list_storage_host_groups", "list_port_groups",
         "list_volume_groups", "list_masking_views", "list_filesystems", "list_qtrees", "list_quotas", "list_shares", "list_alerts"]


def certificate(path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "array")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256()))
    with open(path, "wb") as file:
        file.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                     serialization.NoEncryption()))
        file.write(made.public_bytes(serialization.Encoding.PEM))
    return path


def pour(source, sink):
    try:
        while some := source.recv(65536):
            sink.sendall(some)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def tls_in_front_of(address):
    """A TLS port that hands everything on; answers its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate("front.pem"))
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                outside = context.wrap_socket(listener.accept()[0], server_side=True)
            except OSError:
                continue
            inside = socket.create_connection(address)
            threading.Thread(target=pour, args=(outside, inside), daemon=True).start()
            threading.Thread(target=pour, args=(inside, outside), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()


def main():
    ask = json.load(sys.stdin)
    url = urlsplit(ask["url"])
    host, port = url.hostname, url.port
    if url.scheme == "http":
        host, port = tls_in_front_of((host, port))
    access = {"host": host, "port": port, "username": ask["user"], "password": cryptor.encode(ask["password"])}
    driver = oceanstor.OceanStorDriver(storage_id="served", rest=access, verify=False)
    answers = {}
    for call in CALLS:
        try:
            # Alerts are asked for by time; no limits are given.
            arguments = (None, None) if call == "list_alerts" else (None,)
            answers[call] = {"ok": getattr(driver, call)(*arguments)}
        except Exception as error:  # the test decides what an error means
            traceback.print_exc()
            answers[call] = {"error": "%s: %s" % (type(error).__name__, error)}
    driver.client.logout()
    print(json.dumps(answers, default=str), file=ANSWERS)
    # Threads of the libraries do not keep the process.
    os._exit(0)


main()
