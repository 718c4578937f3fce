"""Ports and addresses of this machine."""
import fcntl
import random
import socket
import struct

# Below the kernel's ephemeral range, so that an outgoing socket cannot take a port between choice and bind.
PORT_LOW, PORT_HIGH = 11000, 32000
_next_port = [None]


def free_port():
    """A TCP port on which nothing listens; the same one is not given out twice in a row of 21,000."""
    if _next_port[0] is None:
        _next_port[0] = random.randrange(PORT_LOW, PORT_HIGH)
    for _ in range(5000):
        p = _next_port[0]
        _next_port[0] = p + 1 if p + 1 < PORT_HIGH else PORT_LOW
        with socket.socket() as s:
            try:
                s.bind(('127.0.0.1', p))
                return p
            except OSError:
                continue
    raise RuntimeError('no free port')


def _local_ip():
    for _, n in socket.if_nameindex():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            try:
                siocgifaddr = 0x8915
                ip = socket.inet_ntoa(fcntl.ioctl(s.fileno(), siocgifaddr, struct.pack('256s', n.encode()[:15]))[20:24])
                if not ip.startswith('127.'):
                    return ip
            except OSError:
                pass
    return '127.0.0.1'


# The first non-loopback IPv4 address: Envoy puts it into x-forwarded-for in place of a loopback peer.
LOCAL_IP = _local_ip()
