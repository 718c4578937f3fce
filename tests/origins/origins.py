"""The origins: how each is started on a port of ours, and how its log is read.

Every one serves /probe with 200 and the body `probe-body`, logs `STATUS REQUEST-LINE` (or can be read as such), and
keeps its connections alive.
"""
import json
import os
import shutil
import subprocess

PROBE = 'probe-body'


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, 'w') as f:
        f.write(text)
    return path


class Origin:
    """One program: `commands(folder, port, backend)` gives the argvs to run, the first of which listens."""

    def __init__(self, name, program, commands, log='access.log', parse=None, needs_backend=False):
        self.name, self.program, self.commands, self.log, self.needs_backend = name, program, commands, log, needs_backend
        self.parse = parse or request_lines

    def installed(self):
        return shutil.which(self.program) or shutil.which(self.program, path='/usr/sbin:/usr/bin')


def request_lines(text):
    """[(method, path)] from lines `STATUS METHOD TARGET …`; what is no request line comes out as it is."""
    out = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 3 and words[0].isdigit():
            target = words[2]
            if not target.startswith('/'):      # absolute, or an authority and a path
                target = '/' + target.split('://', 1)[-1].partition('/')[2]
            out.append((words[1], target))
        elif len(words) > 1 and words[0].isdigit():
            out.append(('?', ' '.join(words[1:])))
    return out


def caddy_lines(text):
    entries = [json.loads(l) for l in text.splitlines() if l.startswith('{')]
    return [(e['request']['method'], e['request']['uri']) for e in entries if 'request' in e]


def nginx(folder, port, backend):
    temp = ' '.join('%s_temp_path %s/%s;' % (n, folder, n) for n in ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'))
    conf = write(folder, 'nginx.conf', '''daemon off; worker_processes 1; error_log %s/error.log; pid %s/pid; user root;
events {} http { %s log_format x '$status $request'; access_log %s/access.log x; keepalive_requests 100000; root %s/www;
server { listen 127.0.0.1:%d; } }''' % (folder, folder, temp, folder, folder, port))
    return [['nginx', '-p', folder, '-c', conf]]


def apache(folder, port, backend):
    conf = write(folder, 'apache.conf', '''ServerRoot /usr/lib/apache2
ServerName a.example
LoadModule mpm_event_module modules/mod_mpm_event.so
LoadModule authz_core_module modules/mod_authz_core.so
PidFile %s/pid
Mutex file:%s
Listen 127.0.0.1:%d
User www-data
Group www-data
DocumentRoot %s/www
ErrorLog %s/error.log
LogFormat "%%>s %%r" x
CustomLog %s/access.log x
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 30
''' % (folder, folder, port, folder, folder, folder))
    return [['apache2', '-DFOREGROUND', '-f', conf]]


def lighttpd(folder, port, backend):
    conf = write(folder, 'lighttpd.conf', '''server.modules = ("mod_accesslog")
server.document-root = "%s/www"
server.bind = "127.0.0.1"
server.port = %d
server.errorlog = "%s/error.log"
accesslog.filename = "%s/access.log"
accesslog.format = "%%s %%r"
server.max-keep-alive-requests = 10000
''' % (folder, port, folder, folder))
    return [['lighttpd', '-D', '-f', conf]]


def haproxy(folder, port, backend):
    conf = write(folder, 'haproxy.cfg', '''global
  log stdout format raw local0
defaults
  mode http
  log global
  option dontlognull
  timeout client 30s
  timeout connect 5s
  timeout server 30s
  log-format "%%ST %%HM %%HU %%HV"
frontend f
  bind 127.0.0.1:%d
  http-request return status 200 content-type text/plain string "%s" if { path /probe }
  http-request return status 404
''' % (port, PROBE))
    return [['haproxy', '-db', '-f', conf]]


def caddy(folder, port, backend):
    conf = write(folder, 'Caddyfile', '''{
  admin off
  auto_https off
}
http://:%d {
  bind 127.0.0.1
  root * %s/www
  file_server
  log {
    output file %s/access.log
    format json
  }
}
''' % (port, folder, folder))
    return [['caddy', 'run', '--adapter', 'caddyfile', '--config', conf]]


def h2o(folder, port, backend):
    conf = write(folder, 'h2o.conf', '''user: root
listen: {host: 127.0.0.1, port: %d}
error-log: %s/error.log
access-log: {path: %s/access.log, format: "%%s %%r"}
hosts: {default: {paths: {"/": {file.dir: %s/www}}}}
''' % (port, folder, folder, folder))
    return [['h2o', '-m', 'worker', '-c', conf]]


def varnish(folder, port, backend):
    vcl = write(folder, 'default.vcl', '''vcl 4.1;
backend b { .host = "127.0.0.1"; .port = "%d"; }
sub vcl_recv { return (pass); }
''' % backend)
    return [['varnishd', '-F', '-n', folder + '/v', '-j', 'none', '-a', '127.0.0.1:%d' % port, '-f', vcl, '-s', 'malloc,16m'],
            ['varnishncsa', '-n', folder + '/v', '-t', '10', '-F', '%s %r', '-w', folder + '/access.log']]


def trafficserver(folder, port, backend):
    conf = folder + '/etc'
    for d in ('etc', 'run', 'cache'):
        os.mkdir(folder + '/' + d)
    write(folder, 'runroot.yaml', ''.join('%s: %s\n' % kv for kv in {
        'prefix': '/usr', 'exec_prefix': '/usr', 'bindir': '/usr/bin', 'sbindir': '/usr/sbin', 'sysconfdir': conf, 'datadir': folder + '/cache',
        'includedir': '/usr/include', 'libdir': '/usr/lib/trafficserver', 'libexecdir': '/usr/lib/trafficserver/modules', 'localstatedir': folder + '/run',
        'runtimedir': folder + '/run', 'logdir': folder, 'cachedir': folder + '/cache', 'mandir': '/usr/share/man', 'infodir': '/usr/share/info'}.items()))
    for name in ('storage.config', 'plugin.config', 'ip_allow.yaml'):
        shutil.copy('/etc/trafficserver/' + name, conf)
    write(conf, 'records.config', '''CONFIG proxy.config.http.server_ports STRING %d:ip-in=127.0.0.1
CONFIG proxy.config.url_remap.remap_required INT 1
CONFIG proxy.config.url_remap.pristine_host_hdr INT 1
CONFIG proxy.config.http.cache.http INT 0
CONFIG proxy.config.admin.user_id STRING #-1
CONFIG proxy.config.log.logging_enabled INT 3
CONFIG proxy.config.log.max_secs_per_buffer INT 1
CONFIG proxy.config.log.logfile_dir STRING %s
''' % (port, folder))
    write(conf, 'remap.config', 'map / http://127.0.0.1:%d/\n' % backend)
    write(conf, 'logging.yaml', "logging:\n  formats:\n  - {name: x, format: '%<pssc> %<cqhm> %<cquuc>'}\n  logs:\n  - {filename: access, format: x, mode: ascii}\n")
    return [['traffic_server', '--run-root=' + folder]]


ORIGINS = [Origin('nginx', 'nginx', nginx), Origin('apache', 'apache2', apache), Origin('lighttpd', 'lighttpd', lighttpd),
           Origin('haproxy', 'haproxy', haproxy, log='output'), Origin('caddy', 'caddy', caddy, parse=caddy_lines), Origin('h2o', 'h2o', h2o),
           Origin('varnish', 'varnishd', varnish, needs_backend=True), Origin('trafficserver', 'traffic_server', trafficserver, needs_backend=True)]
PACKAGES = ['nginx', 'apache2', 'lighttpd', 'haproxy', 'caddy', 'h2o', 'varnish', 'trafficserver']
