"""Whether the Valkey server in this container answers: exit status 0. It says -LOADING while it reads its data."""

import os
import socket
import sys


def command(*words):
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


with socket.create_connection(("127.0.0.1", 6379), timeout=2) as server:
    server.sendall(command(b"AUTH", os.environb[b"REDIS_PASSWORD"]) + command(b"PING"))
    answer = b""
    while answer.count(b"\r\n") < 2:
        answer += server.recv(1024) or sys.exit("it closed the connection")
sys.exit(0 if answer.endswith(b"+PONG\r\n") else answer.decode())
