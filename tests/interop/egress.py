"""Real programs on their way out through Masugata, set up as `masugata setup` says. See README.md; everything stays on loopback."""

import argparse
import base64
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.request
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
CURL = os.environ.get("CURL", "curl")
CHROMIUM = os.environ.get("CHROMIUM", "chromium")
FIREFOX = os.environ.get("FIREFOX", "firefox-esr")
MASUGATA = os.environ.get("MASUGATA", str(HERE.parent.parent / "target" / "debug" / "masugata"))
NAMES = ["www.cloud.test", "git.cloud.test", "pypi.cloud.test", "npm.cloud.test", "deb.cloud.test", "www.elsewhere.test"]
PLAIN_NAMES = ["deb80.cloud.test", "www80.cloud.test"]
# What other CAs and proxies this machine knows is not what is tried here.
AMBIENT = re.compile(r".*(_PROXY|_CA_BUNDLE|_CAINFO|_CERT|_CERTS|_CERT_FILE|_CERT_DIR|_CERTS_FILE|_ROOTS_FILE_PATH)$", re.I)
FAILED = []


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, happened, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if result := happened():
                return result
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"not in time: {what}")


def expect(what, seen, wanted):
    good = wanted(seen) if callable(wanted) else seen == wanted
    print(f"{'ok  ' if good else 'FAIL'} {what}: {seen}", flush=True)
    if not good:
        FAILED.append(what)


def skip(what, why):
    print(f"skip {what}: {why}", flush=True)


# The Internet: one server for all names, with TLS and without.


class Sites(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer(b"")

    def do_POST(self):
        self.answer(self.body())

    def body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def answer(self, body):
        self.server.seen.append((self.headers.get("Host", ""), self.command, self.path))
        kind = self.headers.get("Host", "").split(".")[0]
        path, _, query = self.path.partition("?")
        if self.headers.get("Upgrade", "").lower() == "websocket":
            return self.websocket()
        if kind == "git":
            return self.git(path, query, body)
        file = self.server.root / kind.removesuffix("80") / path.strip("/")
        if file.is_dir():
            file = file / "index.html"
        if not file.is_file():
            return self.say(404, "text/plain", b"no such file\n")
        types = {".html": "text/html", ".json": "application/json", "": "application/json"}
        self.say(200, types.get(file.suffix, "application/octet-stream"), file.read_bytes())

    def say(self, status, kind, content):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def git(self, path, query, body):
        variables = {
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(self.server.root / "git"), "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command, "REMOTE_USER": "ada",
            "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        said = subprocess.run(["git", "http-backend"], input=body, env=variables, capture_output=True).stdout
        head, _, content = said.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.say(int(fields.get("Status", "200").split()[0]), fields.get("Content-Type", "text/plain"), content)

    def websocket(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_response(101)
        for name, value in [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)]:
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        while head := self.rfile.read(2):
            size = head[1] & 127
            if size > 125:
                size = struct.unpack("!H" if size == 126 else "!Q", self.rfile.read(2 if size == 126 else 8))[0]
            mask = self.rfile.read(4)
            content = bytes(byte ^ mask[index % 4] for index, byte in enumerate(self.rfile.read(size)))
            length = bytes([size]) if size < 126 else b"\x7e" + struct.pack("!H", size)
            self.wfile.write(bytes([head[0]]) + length + content)
            if head[0] & 15 == 8:
                return


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, root, context=None):
        super().__init__(("127.0.0.1", 0), Sites)
        self.root, self.seen, self.connections = root, [], 0
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]

    def verify_request(self, *_):
        self.connections += 1
        return True

    def handle_error(self, *_):
        pass  # clients that do not believe us, or go


def authority(work):
    """A CA for the sites, of which the gateway knows nothing, and a certificate for all names."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=work)
    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    openssl(*new, "-subj", "/CN=Internet CA", "-keyout", "internet.key", "-out", "internet.pem",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
    names = ",".join(f"DNS:{name}" for name in NAMES)
    openssl(*new, "-subj", "/CN=sites", "-keyout", "sites.key", "-out", "sites.pem", "-CA", "internet.pem", "-CAkey",
            "internet.key", "-addext", f"subjectAltName={names}", "-addext", "basicConstraints=critical,CA:FALSE",
            "-addext", "extendedKeyUsage=serverAuth")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(work / "sites.pem", work / "sites.key")
    return context


def content(root):
    """A page, a repository, and the same parcel for pip, npm and apt."""
    for name, text in [("www", "the page"), ("trap", "past the gateway")]:
        (root / name).mkdir(parents=True)
        (root / name / "index.html").write_text(f"<!doctype html><title>{text}</title><p>{text}</p>")
    bare = root / "git" / "parcel.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", bare], check=True)
    subprocess.run(["git", "-C", bare, "config", "http.receivepack", "true"], check=True)

    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("interop_parcel.py", "WORDS = 'it came through'\n")
        archive.writestr("interop_parcel-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: interop-parcel\nVersion: 1.0\n")
        archive.writestr("interop_parcel-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("interop_parcel-1.0.dist-info/RECORD", "")
    index = root / "pypi" / "simple" / "interop-parcel"
    index.mkdir(parents=True)
    file = "interop_parcel-1.0-py3-none-any.whl"
    (index / file).write_bytes(wheel.getvalue())
    (index / "index.html").write_text(f'<!doctype html><a href="{file}">{file}</a>')

    package = {"name": "interop-parcel", "version": "1.0.0", "main": "index.js"}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in [("package.json", json.dumps(package)), ("index.js", "module.exports = 'it came through';\n")]:
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    tree = root / "npm"
    tree.mkdir()
    (tree / "interop-parcel-1.0.0.tgz").write_bytes(packed.getvalue())
    sum = base64.b64encode(hashlib.sha512(packed.getvalue()).digest()).decode()
    dist = {"tarball": "https://npm.cloud.test/interop-parcel-1.0.0.tgz", "integrity": f"sha512-{sum}"}
    (tree / "interop-parcel").write_text(json.dumps({
        "name": "interop-parcel", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {**package, "dist": dist}},
    }))

    tree, build = root / "deb", root / "build"
    (build / "DEBIAN").mkdir(parents=True)
    tree.mkdir()
    (build / "DEBIAN" / "control").write_text(
        "Package: interop-parcel\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@cloud.test>\nDescription: none\n"
    )
    subprocess.run(["dpkg-deb", "--build", build, tree / "parcel.deb"], check=True, capture_output=True)
    deb = (tree / "parcel.deb").read_bytes()
    packages = (
        (build / "DEBIAN" / "control").read_text()
        + f"Filename: ./parcel.deb\nSize: {len(deb)}\nSHA256: {hashlib.sha256(deb).hexdigest()}\n\n"
    )
    (tree / "Packages").write_text(packages)
    sums = f" {hashlib.sha256(packages.encode()).hexdigest()} {len(packages)} Packages\n"
    (tree / "Release").write_text(f"Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n{sums}")


# The gateway, and the devices of one person.


class World:
    def __init__(self, work):
        self.work, self.processes = work, []
        self.home, self.etc, root = work / "home", work / "etc", work / "sites"
        for directory in (self.home, self.etc):
            directory.mkdir()
        self.environment = {name: value for name, value in os.environ.items() if not AMBIENT.match(name) and not name.startswith("PIP_")}
        self.environment["HOME"] = str(self.home)
        content(root)
        context = authority(work)
        self.internet = str(work / "internet.pem")
        self.sites, self.plain, self.trap = Server(root, context), Server(root), Server(root, context)
        self.port, self.egress, self.admin = free_port(), free_port(), free_port()
        self.demo()
        self.local = f"127.0.0.1:{free_port()}"
        device = f"{self.etc}/device"
        self.start("connect.log", "connect", "--gateway", f"proxy.localhost:{self.egress}", "--listen", self.local,
                   "--ca", f"{self.etc}/ca.pem", "--cert", f"{device}.pem", "--key", f"{device}.key")
        until("the local proxy", lambda: "ready: " in (work / "connect.log").read_text())

    def start(self, log, *arguments):
        process = subprocess.Popen(
            [MASUGATA, *arguments], stdout=open(self.work / log, "w"), stderr=subprocess.STDOUT, env=self.environment
        )
        self.processes.append(process)
        return process

    def demo(self):
        directory = self.work / "demo"
        self.gateway = self.start("demo.log", "demo", "--dir", str(directory), "--port", str(self.port),
                                  "--admin-port", str(self.admin), "--egress-port", str(self.egress))
        ready = f"http://127.0.0.1:{self.admin}/readyz"
        until("the demo", lambda: urllib.request.urlopen(ready).status == 200)
        laptop = json.loads((directory / "demo.json").read_text())["devices"]["ada-laptop"]
        shutil.copy(laptop["cert"], self.etc / "device.pem")
        shutil.copy(laptop["key"], self.etc / "device.key")
        shutil.copy(directory / "ca.pem", self.etc / "ca.pem")
        self.record = directory / "audit.jsonl"
        self.config = directory / "masugata.toml"
        (directory / "sharing.txt").write_text("sharing.unapproved.test\n")
        more = '[[egress.feed]]\nname = "sharing"\nfile = "sharing.txt"\nformat = "plain"\ncategories = ["file-sharing"]\n'
        hosts = [(name, self.sites.port) for name in NAMES + ["sharing.unapproved.test"]]
        for name, port in hosts + [(name, self.plain.port) for name in PLAIN_NAMES]:
            more += (
                f'\n[[egress.address]]\nhost = "{name}"\naddresses = ["127.0.0.1:{port}"]\n'
                f'\n[[egress.reach]]\nhosts = ["{name}"]\nranges = ["127.0.0.1/32"]\nports = [{port}]\n'
            )
        with open(self.config, "a") as config:
            config.write(more)
        os.kill(self.gateway.pid, signal.SIGHUP)
        until("the sites", lambda: self.curl("https://www.cloud.test/", self.by_hand()).returncode == 0)

    def by_hand(self):
        etc = self.etc
        return ["-x", f"https://proxy.localhost:{self.egress}", "--proxy-cacert", f"{etc}/ca.pem", "--proxy-cert",
                f"{etc}/device.pem", "--proxy-key", f"{etc}/device.key"]

    def curl(self, url, more=(), program=CURL):
        return self.run(program, "-qsS", "-m", "30", "--cacert", self.internet, *more, url)

    def run(self, *command, **more):
        variables = {**self.environment, **more.pop("env", {})}
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, **more)

    def setup(self, client):
        """The files that `masugata setup` prints for a client, with the paths and the port of this machine."""
        said = self.run(MASUGATA, "setup", client, "-c", str(self.config), "--language", "en")
        if said.returncode:
            raise SystemExit(said.stderr)
        text = said.stdout.replace("/etc/masugata", str(self.etc)).replace("127.0.0.1:3128", self.local)
        return dict(re.findall(r"^--- (\S+).*\n((?:.+\n)+)", text, re.M))

    def decisions(self, host):
        """What is on record about a host: `permitted`, or why it was not, oldest first."""
        records = [json.loads(line) for line in self.record.read_text().splitlines(keepends=True) if line.endswith("\n")]
        found = []
        for record in records:
            if record["type"] == "decision" and record.get("destination", {}).get("host") == host:
                found.append(record.get("code") or record["decision"])
        return found

    def last(self, host, wanted):
        """The last decision about a host, which may take a moment to be on record."""
        for _ in range(50):
            if self.decisions(host)[-1:] == [wanted]:
                break
            time.sleep(0.1)
        return "".join(self.decisions(host)[-1:])

    def end(self):
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            process.wait()


def last_line(text):
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else ""


def line_with(text, *words):
    for line in text.splitlines():
        if all(word in line for word in words):
            return line.strip()
    return f"no line with {words}: {last_line(text)}"


# The programs


def try_curl(world):
    print(f"---- {world.run(CURL, '--version').stdout.splitlines()[0][:40]}")
    (world.home / ".curlrc").write_text(world.setup("curl")["~/.curlrc"])

    def curl(*arguments):
        return world.run(CURL, "-sS", "-m", "30", "--cacert", world.internet, *arguments)

    ways = [("HTTP/1.1", [])]
    if "--proxy-http2" in world.run(CURL, "--help", "proxy").stdout:
        ways.append(("HTTP/2", ["--proxy-http2"]))
    else:
        skip("curl over HTTP/2", "this curl has no --proxy-http2; name another with CURL=…")
    for way, more in ways:
        opened = curl(*more, "-v", "https://www.cloud.test/")
        expect(f"curl {way}, approved", opened.stdout[-15:], lambda text: "the page" in text)
        if more:
            expect(f"curl {way}, negotiated", line_with(opened.stderr, "HTTP/2 negotiated"), "* CONNECT tunnel: HTTP/2 negotiated")
        for name, host, reason in [
            ("unapproved", "files.unapproved.test", "no-permit"), ("a threat", "c2.threat.test", "forbidden"),
            ("a private address", "rebind.cloud.test", "destination-prohibited"),
        ]:
            refused = curl(*more, f"https://{host}/")
            # Over HTTP/2 curl does not say which status it was.
            says = "Failure when receiving" if more else "403"
            expect(f"curl {way}, {name}", last_line(refused.stderr), lambda text: says in text)
            expect(f"curl {way}, {name}, on record", world.last(host, reason), reason)
        plain = curl(*more, "http://www80.cloud.test/")
        expect(f"curl {way}, plain HTTP", plain.stdout[-16:], lambda text: "the page" in text)
        refused = curl(*more, "-i", "-H", "Accept: application/json", "http://files.unapproved.test/")
        expect(f"curl {way}, plain HTTP, unapproved", line_with(refused.stdout.lower(), "proxy-status"),
               lambda text: "masugata; error=" in text)
        password(world, curl, way, more)


def password(world, curl, way, more):
    """The shared laptop, with and without a password."""
    laptop = json.loads((world.work / "demo" / "demo.json").read_text())["devices"]["laptop"]
    shown = ["--proxy-cert", laptop["cert"], "--proxy-key", laptop["key"]]
    asked = curl(*more, *shown, "https://www.cloud.test/")
    says = "Failure when receiving" if more else "407"
    expect(f"curl {way}, nobody's laptop", last_line(asked.stderr), lambda text: says in text)
    made = world.run(MASUGATA, "proxy-password", "-c", str(world.config), "--device", "laptop-1", "--certificate",
                     laptop["cert"], "--user", "demo/ben", "--group", "employees")
    # Over HTTP/2 curl looks at the first challenge alone, which is Bearer.
    for basic in [["--proxy-basic"], *([] if more else [["--proxy-anyauth"]])]:
        opened = curl(*more, *shown, *basic, "-U", f"ben:{made.stdout.strip()}", "https://www.cloud.test/")
        expect(f"curl {way} {basic[0]}, with a password", opened.stdout[-16:] or last_line(opened.stderr),
               lambda text: "the page" in text)


def try_git(world):
    print(f"---- {world.run('git', '--version').stdout.strip()}")
    names = "[user]\n\tname = Ada\n\temail = ada@cloud.test\n"
    printed = world.setup("git")["~/.gitconfig"]
    local = f"[http]\n\tproxy = http://{world.local}\n"
    tree = world.work / "git"
    for way, text in [("by itself", printed), ("masugata connect", local)]:
        (world.home / ".gitconfig").write_text(text + f"\tsslCAInfo = {world.internet}\n" + names)
        tree.mkdir()
        cloned = world.run("git", "clone", "https://git.cloud.test/parcel.git", cwd=tree)
        expect(f"git, {way}, clone", (cloned.returncode, last_line(cloned.stderr)), lambda seen: seen[0] == 0)
        work = tree / "parcel"
        # More than is sent in one piece.
        (work / way.replace(" ", "-")).write_bytes(os.urandom(3_000_000))
        world.run("git", "add", ".", cwd=work)
        world.run("git", "commit", "-qm", way, cwd=work)
        pushed = world.run("git", "push", "origin", "HEAD:main", cwd=work)
        expect(f"git, {way}, push of 3 MB", (pushed.returncode, last_line(pushed.stderr)), lambda seen: seen[0] == 0)
        refused = world.run("git", "clone", "https://git.unapproved.test/parcel.git", "refused", cwd=tree)
        expect(f"git, {way}, unapproved", last_line(refused.stderr), lambda text: "403" in text)
        shutil.rmtree(tree)


def try_pip(world):
    print(f"---- {world.run(sys.executable, '-m', 'pip', '--version').stdout.split(' from')[0]}")
    (world.home / "pip.conf").write_text(world.setup("pip")["pip.conf"])
    where = {"PIP_CONFIG_FILE": str(world.home / "pip.conf"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def install(host, target):
        return world.run(sys.executable, "-m", "pip", "install", "--no-cache-dir", "--retries", "1", "--target",
                         str(world.work / target), "--cert", world.internet, "--index-url", f"https://{host}/simple/",
                         "interop-parcel", env=where)

    done = install("pypi.cloud.test", "pip-good")
    expect("pip, approved", last_line(done.stdout), "Successfully installed interop-parcel-1.0")
    refused = install("pypi.unapproved.test", "pip-bad")
    expect("pip, unapproved", re.findall("Tunnel connection failed: [^']+", refused.stdout + refused.stderr)[:1],
           ["Tunnel connection failed: 403 Forbidden"])


def try_npm(world):
    print(f"---- npm {world.run('npm', '--version').stdout.strip()}")
    printed = world.setup("npm")[".npmrc"]

    def install(host):
        (world.home / ".npmrc").write_text(f"{printed}registry=https://{host}/\ncafile={world.internet}\nfetch-retries=0\n")
        tree = world.work / f"npm-{host}"
        tree.mkdir()
        (tree / "package.json").write_text('{"name": "interop", "private": true}')
        return world.run("npm", "install", "--no-audit", "--no-fund", "interop-parcel", cwd=tree)

    done = install("npm.cloud.test")
    expect("npm, approved", last_line(done.stdout), lambda text: text.startswith("added 1 package"))
    refused = install("npm.unapproved.test")
    expect("npm, unapproved", line_with(refused.stderr, "403"), lambda text: "403" in text and "no line" not in text)


def try_apt(world):
    print(f"---- {world.run('apt-get', '--version').stdout.splitlines()[0]}")
    tree = world.work / "apt"
    for directory in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"):
        (tree / directory).mkdir(parents=True)
    (tree / "status").touch()
    configuration = tree / "apt.conf"
    configuration.write_text(
        world.setup("apt")["/etc/apt/apt.conf.d/90masugata"]
        + f'Dir::Etc "{tree}/etc";\nDir::State "{tree}/state";\nDir::Cache "{tree}/cache";\nDir::State::status "{tree}/status";\n'
        + f'Dir::Etc::sourcelist "{tree}/sources.list";\nDir::Etc::sourceparts "-";\nAPT::Sandbox::User "root";\n'
        + f'Acquire::https::CAInfo "{world.internet}";\nAcquire::Retries "0";\nAcquire::Languages "none";\n'
    )

    def apt(source, *command):
        (tree / "sources.list").write_text(f"deb [trusted=yes] {source} ./\n")
        return world.run("apt-get", *command, env={"APT_CONFIG": str(configuration), "LC_ALL": "C"})

    for source in ("https://deb.cloud.test", "http://deb80.cloud.test"):
        updated = apt(source, "update")
        expect(f"apt update, {source}", (updated.returncode, line_with(updated.stdout, "Get:", "Packages")), lambda seen: seen[0] == 0 and seen[1][:4] == "Get:")
        done = apt(source, "install", "--download-only", "-y", "interop-parcel")
        expect(f"apt install --download-only, {source}", line_with(done.stdout, "Get:1"), lambda text: "no line" not in text)
        shutil.rmtree(tree / "cache")
        (tree / "cache" / "archives" / "partial").mkdir(parents=True)
    for source in ("https://deb.unapproved.test", "http://deb80.unapproved.test"):
        refused = apt(source, "update")
        expect(f"apt update, {source}", line_with(refused.stdout + refused.stderr, "403")[:60],
               lambda text: "no line" not in text)


def try_docker(world):
    if not shutil.which("docker") or world.run("docker", "info").returncode:
        return skip("docker", "no engine runs here; the daemon's proxy settings are not tried")
    skip("docker", "an engine runs here, and is not reconfigured: `masugata setup docker` is not tried")


# Browsers


def wrapped(world, name, program, directory, files):
    """A program for which a directory of the system has other files, which nobody else sees."""
    script = world.work / f"{name}-wrapped"
    shutil.copytree(directory, world.work / f"{name}-files", dirs_exist_ok=True)
    shutil.copytree(files, world.work / f"{name}-files", dirs_exist_ok=True)
    root = "" if os.geteuid() == 0 else "--map-root-user "
    script.write_text(
        f"#!/bin/sh\nexec unshare --mount {root}sh -c 'mount --bind {world.work}/{name}-files {directory} && "
        f'exec {shutil.which(program)} "$@"\' sh "$@"\n'
    )
    script.chmod(0o755)
    return str(script)


def certificates(world, database):
    """The device's certificate and what is believed, in a store as browsers have it."""
    database.mkdir(parents=True)
    store = f"sql:{database}"

    def nss(*command):
        done = world.run(*command)
        if done.returncode:
            raise SystemExit(f"{command[0]}: {done.stderr}")

    nss("certutil", "-N", "-d", store, "--empty-password")
    for name, file in [("gateway", world.etc / "ca.pem"), ("internet", world.internet)]:
        nss("certutil", "-A", "-d", store, "-n", name, "-t", "C,,", "-i", str(file))
    bundle = str(world.work / "device.p12")
    nss("openssl", "pkcs12", "-export", "-in", f"{world.etc}/device.pem", "-inkey", f"{world.etc}/device.key", "-out", bundle,
        "-passout", "pass:interop", "-name", "device")
    nss("pk12util", "-i", bundle, "-d", store, "-W", "interop")


SOCKET = """url => new Promise(done => {
    const socket = new WebSocket(url)
    socket.onopen = () => socket.send("x".repeat(3000))
    socket.onmessage = message => { done(`echo of ${message.data.length}`); socket.close() }
    socket.onerror = () => done("error")
    setTimeout(() => done("nothing"), 15000)
})"""


def goto(page, url):
    """Status and title, or the browser's word for what went wrong."""
    from playwright.sync_api import Error
    for _ in range(3):
        try:
            answer = page.goto(url, timeout=30_000)
            return answer.status, page.title()
        except Error as error:
            # The page of the failure before comes late.
            if "interrupted by another navigation" not in str(error):
                return re.search(r"ERR_\w+|$", str(error))[0] or str(error)
            page.wait_for_load_state()
    return "interrupted"


class Browser:
    """Chromium with the policies that the instructions say, or with a PAC file of its own."""

    def __init__(self, world, playwright, name, policies=None, language="en", more=()):
        certificates(world, world.work / name / ".pki" / "nssdb")
        program = CHROMIUM
        if policies:
            directory = world.work / f"{name}-etc" / "policies" / "managed"
            directory.mkdir(parents=True)
            (directory / "masugata.json").write_text(policies)
            program = wrapped(world, name, CHROMIUM, "/etc/chromium", world.work / f"{name}-etc")
        # Past the gateway everybody meets the trap, but for what is agreed to be direct.
        rules = ", ".join(
            [f"MAP {suffix} 127.0.0.1:{world.trap.port}" for suffix in ("*.cloud.test", "*.unapproved.test", "*.threat.test")]
            + [f"MAP www.elsewhere.test 127.0.0.1:{world.sites.port}"]
        )
        self.context = playwright.chromium.launch_persistent_context(
            world.work / name / "profile", headless=True, locale=language, executable_path=shutil.which(program) or program,
            env={**world.environment, "HOME": str(world.work / name)},
            args=["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
                  f"--host-resolver-rules={rules}", *more],
        )
        self.page = self.context.pages[0]

    def close(self):
        self.context.close()


def scope(world, browser, name):
    """The agreed scope, by the browser's own engine."""
    page = browser.page
    expect(f"{name}, approved", goto(page, "https://www.cloud.test/"), (200, "the page"))
    expect(f"{name}, approved, on record", world.last("www.cloud.test", "permitted"), "permitted")
    expect(f"{name}, WebSocket with TLS", page.evaluate(SOCKET, "wss://www.cloud.test/socket"), "echo of 3000")
    expect(f"{name}, plain HTTP", goto(page, "http://www80.cloud.test/"), (200, "the page"))
    expect(f"{name}, WebSocket without TLS", page.evaluate(SOCKET, "ws://www80.cloud.test/socket"), "echo of 3000")
    expect(f"{name}, unapproved", goto(page, "https://files.unapproved.test/"), "ERR_TUNNEL_CONNECTION_FAILED")
    expect(f"{name}, unapproved, on record", world.last("files.unapproved.test", "no-permit"), "no-permit")
    expect(f"{name}, a threat", goto(page, "https://c2.threat.test/"), "ERR_TUNNEL_CONNECTION_FAILED")
    expect(f"{name}, elsewhere, direct", goto(page, "https://www.elsewhere.test/"), (200, "the page"))
    expect(f"{name}, elsewhere, not on record", world.decisions("www.elsewhere.test"), [])
    expect(f"{name}, past the gateway", world.trap.connections, 0)


def try_chromium(world, shots):
    from playwright.sync_api import sync_playwright

    print(f"---- {world.run(CHROMIUM, '--version').stdout.strip()}")
    printed = world.setup("chrome")
    policies = next(text for name, text in printed.items() if name.endswith(".json"))
    # "Add your apps' hosts", it says; without them the browser asks, and nobody is there to answer.
    policies = json.loads(policies)
    policies["AutoSelectCertificateForUrls"].append(json.dumps({"pattern": "https://localhost", "filter": {}}))
    policies = json.dumps(policies)
    with sync_playwright() as playwright:
        browser = Browser(world, playwright, "chromium", policies=policies)
        page = browser.page
        goto(page, "chrome://policy/")
        rows = [row for row in page.evaluate(POLICIES) if not row.endswith(": Not set.")]
        expect("Chromium's own view of the policies", rows, [f"{name}: OK" for name in sorted(json.loads(policies))])
        scope(world, browser, "Chromium")
        # The gateway's apps are reached without the proxy, and need the certificate all the same.
        app = goto(page, f"https://localhost:{world.port}/")
        expect("Chromium, an app of the gateway, direct", app, lambda seen: seen[0] == 401)
        expect("Chromium, an app of the gateway, not at the proxy", world.decisions("localhost"), [])
        why(world, page)
        browser.close()
        for language in ("en", "ja"):
            browser = Browser(world, playwright, f"why-{language}", policies=policies, language=language)
            pictures(world, browser.page, language, shots)
            browser.close()

        pac = world.curl(f"https://pac.localhost:{world.port}/staff.pac", ["--cacert", f"{world.etc}/ca.pem"]).stdout
        local = re.sub(r"HTTPS proxy\.localhost:\d+", f"PROXY {world.local}", pac)
        given = "data:application/x-ns-proxy-autoconfig;base64," + base64.b64encode(local.encode()).decode()
        browser = Browser(world, playwright, "local", more=[f"--proxy-pac-url={given}"])
        scope(world, browser, "Chromium by masugata connect")
        browser.close()


def why(world, page):
    """The page that shows a device its refusals, and the form on it."""
    url = f"https://why.localhost:{world.port}/"
    expect("Chromium, a reason is needed", goto(page, "https://sharing.unapproved.test/"), "ERR_TUNNEL_CONNECTION_FAILED")
    expect("Chromium, why.localhost", goto(page, url), lambda seen: seen[0] == 200)
    text = page.inner_text("body")
    expect("Chromium, its own refusals", [host for host in ("files.unapproved.test", "c2.threat.test", "sharing.unapproved.test")
                                          if host in text], lambda seen: len(seen) == 3)
    page.fill("textarea", "Figures of the quarter for the auditors")
    page.click("button")
    expect("Chromium, the reason is taken", page.url, url)
    goto(page, "https://sharing.unapproved.test/")
    expect("Chromium, the reason opens the site", world.last("sharing.unapproved.test", "permitted"), "permitted")


def pictures(world, page, language, shots):
    goto(page, "https://files.unapproved.test/")
    goto(page, "https://sharing2.unapproved.test/")
    goto(page, f"https://why.localhost:{world.port}/")
    for width in (390, 1100):
        page.set_viewport_size({"width": width, "height": 844})
        wide = page.evaluate("document.documentElement.scrollWidth")
        expect(f"why page, {language}, {width} px wide, no wider", wide, width)
        if shots:
            page.screenshot(path=f"{shots}/why-{language}-{width}.png", full_page=True)


class Marionette:
    """Firefox, by its own remote control."""

    def __init__(self, world, name, policies, more=""):
        profile, files = world.work / name, world.work / f"{name}-etc"
        certificates(world, profile)
        files.mkdir()
        (files / "policies.json").write_text(policies)
        port = free_port()
        (profile / "user.js").write_text(
            f'user_pref("marionette.port", {port});\nuser_pref("app.update.enabled", false);\n'
            'user_pref("datareporting.policy.dataSubmissionEnabled", false);\n' + more
        )
        where = Path(os.path.realpath(shutil.which(FIREFOX))).parent / "distribution"
        if not where.is_dir():
            where = Path("/usr/lib/firefox-esr/distribution")
        program = wrapped(world, name, FIREFOX, os.path.realpath(where), files)
        self.process = subprocess.Popen(
            [program, "--headless", "--marionette", "--no-remote", "--profile", str(profile)], env=world.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )
        self.number, self.socket = 0, until("Firefox", lambda: socket.create_connection(("127.0.0.1", port)))
        self.socket.settimeout(90)
        self.stream = self.socket.makefile("rb")
        self.read()
        self.ask("WebDriver:NewSession")
        self.ask("WebDriver:SetTimeouts", pageLoad=30_000, script=30_000)

    def read(self):
        size = b""
        while (byte := self.stream.read(1)) != b":":
            size += byte
        return json.loads(self.stream.read(int(size)))

    def ask(self, command, **parameters):
        self.number += 1
        message = json.dumps([0, self.number, command, parameters]).encode()
        self.socket.sendall(str(len(message)).encode() + b":" + message)
        _, _, error, result = self.read()
        return error["message"] if error else result

    def goto(self, url):
        """The title, or Firefox's word for what went wrong."""
        said = self.ask("WebDriver:Navigate", url=url)
        if isinstance(said, str):
            found = re.search(r"about:\w+\?e=(\w+)", said)
            return found[1] if found else said
        return self.ask("WebDriver:GetTitle")["value"]

    def evaluate(self, function, argument):
        script = f"const done = arguments[arguments.length - 1]; ({function})(arguments[0]).then(done, done)"
        said = self.ask("WebDriver:ExecuteAsyncScript", script=script, args=[argument])
        return said if isinstance(said, str) else said["value"]

    def close(self):
        self.ask("Marionette:Quit", flags=["eForceQuit"])
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def try_firefox(world):
    if not shutil.which(FIREFOX):
        return skip("Firefox", f"there is no {FIREFOX}; name another with FIREFOX=…")
    print(f"---- {world.run(FIREFOX, '--version').stdout.strip()}")
    policies = world.setup("firefox")["distribution/policies.json"]
    for way, text in [("by itself", policies), ("masugata connect", None)]:
        if text is None:
            pac = world.curl(f"https://pac.localhost:{world.port}/staff.pac", ["--cacert", f"{world.etc}/ca.pem"]).stdout
            pac = re.sub(r"HTTPS proxy\.localhost:\d+", f"PROXY {world.local}", pac)
            given = json.loads(policies)
            given["policies"]["Proxy"]["AutoConfigURL"] = (
                "data:application/x-ns-proxy-autoconfig;base64," + base64.b64encode(pac.encode()).decode()
            )
            text = json.dumps(given)
        firefox = Marionette(world, f"firefox-{way.replace(' ', '-')}", text)
        before = len(world.decisions("www.cloud.test"))
        expect(f"Firefox, {way}, approved", firefox.goto("https://www.cloud.test/"), "the page")
        until("a record", lambda: len(world.decisions("www.cloud.test")) > before)
        expect(f"Firefox, {way}, WebSocket with TLS", firefox.evaluate(SOCKET, "wss://www.cloud.test/socket"), "echo of 3000")
        expect(f"Firefox, {way}, plain HTTP", firefox.goto("http://www80.cloud.test/"), "the page")
        expect(f"Firefox, {way}, WebSocket without TLS", firefox.evaluate(SOCKET, "ws://www80.cloud.test/socket"), "echo of 3000")
        expect(f"Firefox, {way}, unapproved", firefox.goto("https://files.unapproved.test/"), lambda seen: "proxy" in seen.lower())
        expect(f"Firefox, {way}, elsewhere, direct", firefox.goto("https://www.elsewhere.test/"), "dnsNotFound")
        expect(f"Firefox, {way}, why.localhost", firefox.goto(f"https://why.localhost:{world.port}/"), lambda seen: "?" in seen)
        firefox.close()


POLICIES = """() => {
    const deep = root => [...root.querySelectorAll("*")].flatMap(node => [node, ...(node.shadowRoot ? deep(node.shadowRoot) : [])])
    return deep(document).filter(node => node.matches("policy-row, .policy-data"))
        .map(row => row.shadowRoot || row)
        .map(row => [row.querySelector(".name"), row.querySelector(".messages, .status")])
        .filter(pair => pair[0] && pair[0].textContent.trim())
        .map(pair => pair.map(node => node ? node.textContent.trim() : "?").join(": "))
}"""


def try_unreachable(world):
    """The last one: the gateway goes away."""
    from playwright.sync_api import sync_playwright

    printed = world.setup("chrome")
    policies = next(text for name, text in printed.items() if name.endswith(".json"))
    with sync_playwright() as playwright:
        browser = Browser(world, playwright, "open", policies=policies)
        expect("Chromium, before", goto(browser.page, "https://www.cloud.test/"), (200, "the page"))
        world.gateway.terminate()
        world.gateway.wait()
        expect("Chromium, the gateway is away", goto(browser.page, "https://www.cloud.test/?again"), "ERR_PROXY_CONNECTION_FAILED")
        browser.close()
        browser = Browser(world, playwright, "late", policies=policies)
        for url in ("https://www.cloud.test/", "https://www.elsewhere.test/"):
            expect(f"Chromium started without PAC file, {url}", goto(browser.page, url), "ERR_MANDATORY_PROXY_CONFIGURATION_FAILED")
        browser.close()
    refused = world.run(CURL, "-qsSi", "-x", f"http://{world.local}", "https://www.cloud.test/")
    expect("masugata connect, the gateway is away", last_line(refused.stderr), lambda text: "502" in text)
    expect("past the gateway", world.trap.connections, 0)


TRIES = {
    "curl": try_curl, "git": try_git, "pip": try_pip, "npm": try_npm, "apt": try_apt, "docker": try_docker,
    "chromium": try_chromium, "firefox": try_firefox, "unreachable": try_unreachable,
}


def missing(wanted):
    needed = {"openssl", CURL, "git", "npm", "apt-get", "dpkg-deb"}
    if wanted & {"chromium", "unreachable", "firefox"}:
        needed |= {"certutil", "pk12util", "unshare"}
    if wanted & {"chromium", "unreachable"}:
        needed.add(CHROMIUM)
        try:
            import playwright.sync_api  # noqa: F401
        except ImportError:
            yield "playwright, a Python package (`pip install playwright`; its browsers are not needed)"
    yield from sorted(program for program in needed if not shutil.which(program))
    if not Path(MASUGATA).is_file():
        yield f"{MASUGATA} (`cargo build -p masugata`)"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", nargs="*", help=f"only these of: {', '.join(TRIES)}")
    parser.add_argument("--screenshots", metavar="DIRECTORY", help="keep pictures of the why page there")
    arguments = parser.parse_args()
    wanted = arguments.client or list(TRIES)
    lacks = list(missing(set(wanted)))
    for name in lacks:
        print(f"missing: {name}", file=sys.stderr)
    if lacks or not set(wanted) <= set(TRIES):
        raise SystemExit(2)
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory))
        try:
            for name in TRIES:
                if name in wanted:
                    more = (arguments.screenshots,) if name == "chromium" else ()
                    TRIES[name](world, *more)
        finally:
            world.end()
    print(f"{len(FAILED)} failed" if FAILED else "all good")
    raise SystemExit(bool(FAILED))


if __name__ == "__main__":
    main()
