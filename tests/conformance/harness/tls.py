"""Certificates, made once per run by the openssl program."""
import os
import shutil
import subprocess
import tempfile
import threading

_certdir = [None]
# Certificates are also made beside the event loop.
making = threading.RLock()


def certs():
    """Directory with ca, server (a.example,b.example), upstream and client certificates."""
    with making:
        if not _certdir[0]:
            _certdir[0] = _make_all()
        return _certdir[0]


def _make_all():
    d = tempfile.mkdtemp(prefix='nuncio_certs_')

    def run(*a):
        subprocess.run(a, check=True, cwd=d, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for ca in ('ca', 'otherca'):
        run('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', ca + '.key', '-out', ca + '.crt',
            '-days', '3650', '-subj', '/O=Suite/CN=' + ca)

    def leaf(name, subj, san, ca='ca'):
        open(os.path.join(d, name + '.ext'), 'w').write('subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' % san)
        run('openssl', 'req', '-newkey', 'rsa:2048', '-nodes', '-keyout', name + '.key', '-out', name + '.csr', '-subj', subj)
        run('openssl', 'x509', '-req', '-in', name + '.csr', '-CA', ca + '.crt', '-CAkey', ca + '.key', '-CAcreateserial',
            '-out', name + '.crt', '-days', '3650', '-extfile', name + '.ext')
    leaf('a', '/CN=a.example', 'DNS:a.example')
    leaf('b', '/CN=b.example', 'DNS:b.example,DNS:*.b.example')
    leaf('up', '/CN=up.example', 'DNS:up.example,DNS:*.svc.example')
    leaf('client', '/O=Suite/CN=client', 'URI:spiffe://suite/client,DNS:client.example')
    leaf('rogue', '/CN=rogue', 'DNS:rogue.example', 'otherca')
    return d


def cleanup_certs():
    if _certdir[0]:
        shutil.rmtree(_certdir[0], ignore_errors=True)

