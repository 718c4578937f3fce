"""The conformance harness: sockets, a configuration file, the admin port. It knows nothing of how a proxy is built.

`from harness import *` brings a case file everything that it uses.
"""
import asyncio
import base64
import hashlib
import json
import logging
import os
import re
import signal
import socket
import ssl
import struct
import time

from .authz import Authz, check_response, option, reply
from .config import (T_FILE_LOG, T_HCM, T_HPO, T_ROUTER, Y, addr, cluster, config, filelog, ftype, hcm, http_filter, lbe,
                     listener, merge, router, simple)
from .context import T, Differs
from .diff import diff, plain
from .dns import NXDOMAIN, SERVFAIL, Dns
from .http1 import ClientConn, Closed, H1Stream, Msg, body_repr, build, chunk, hall, hget, read_response, resp
from .http2 import H2Client, H2Side, H2Up, UpStream
from .net import LOCAL_IP, free_port
from .normalise import UUID
from .registry import CASES, HERE, case, load_cases
from .tls import certs, cleanup_certs
from .traces import Collector, Names
from .upstream import Up, UpConn

# Broken connections are what these cases are about; asyncio's own reports of them are noise.
if not os.environ.get('CASE_TRACE'):
    logging.getLogger('asyncio').setLevel(logging.CRITICAL + 1)
