"""JupyterLab behind Masugata, with tokens from a real OpenID provider. See README.md; everything stays on loopback."""

import asyncio
import base64
import hashlib
import json
import os
import re
import secrets
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlparse

import requests
import websockets

HERE = Path(__file__).parent
RESOLVE = socket.getaddrinfo


def resolve(host, *rest, **more):
    """Curl and browsers know that *.localhost is this machine; the C library often does not."""
    return RESOLVE("127.0.0.1" if str(host).endswith(".localhost") else host, *rest, **more)


socket.getaddrinfo = resolve


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
        except (OSError, requests.RequestException):
            pass
        time.sleep(0.2)
    raise SystemExit(f"not in time: {what}")


def sign_in(issuer, user):
    """The authorization code flow with PKCE through the provider's own pages, as a browser would go."""
    browser = requests.Session()
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    question = {
        "client_id": "interop", "response_type": "code", "scope": "openid use", "prompt": "consent",
        "redirect_uri": "http://127.0.0.1:1/callback", "code_challenge": challenge, "code_challenge_method": "S256",
    }
    answer = browser.get(f"{issuer}/auth", params=question, allow_redirects=False)
    while True:
        where = urljoin(answer.url, answer.headers.get("location", "")) if answer.is_redirect else None
        if where and where.startswith(question["redirect_uri"]):
            code = parse_qs(urlparse(where).query)["code"][0]
            break
        if where:
            answer = browser.get(where, allow_redirects=False)
            continue
        answer.raise_for_status()
        form = re.search(r'action="([^"]+)"', answer.text)[1]
        prompt = re.search(r'name="prompt" value="([^"]+)"', answer.text)[1]
        answer = browser.post(
            urljoin(answer.url, form), data={"prompt": prompt, "login": user, "password": "any"}, allow_redirects=False
        )
    token = requests.post(f"{issuer}/token", data={
        "grant_type": "authorization_code", "code": code, "client_id": "interop",
        "redirect_uri": question["redirect_uri"], "code_verifier": verifier,
    })
    token.raise_for_status()
    return token.json()["access_token"]


async def execute(url, context, headers, code):
    """Runs a cell over the kernel's WebSocket; what it printed."""
    async with websockets.connect(url, ssl=context, additional_headers=headers, max_size=None) as kernel:
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "username": "", "session": "s", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        await kernel.send(json.dumps({
            "header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell", "buffers": [],
        }))
        printed = ""
        async for message in kernel:
            message = json.loads(message)
            if message["parent_header"].get("msg_id") != header["msg_id"]:
                continue
            if message["msg_type"] == "stream":
                printed += message["content"]["text"]
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return printed
    raise SystemExit("the kernel hung up")


def session(demo):
    """On the enrolled laptop, without a token."""
    laptop, session = demo["devices"]["laptop"], requests.Session()
    session.trust_env = False  # or a CA bundle of the machine's would win over ours
    session.verify, session.cert = demo["ca_cert"], (laptop["cert"], laptop["key"])
    return session


def expect(what, seen, wanted):
    print(f"{'ok  ' if seen == wanted else 'FAIL'} {what}: {seen}")
    if seen != wanted:
        raise SystemExit(1)


def drive(url, demo, issuer):
    """Everything a page of JupyterLab does, and what must not go through."""
    ada, laptop = session(demo), demo["devices"]["laptop"]
    expect("without a token", ada.get(f"{url}lab").status_code, 401)
    eve = {"Authorization": f"Bearer {sign_in(issuer, 'eve')}"}
    expect("somebody without a group", ada.get(f"{url}lab", headers=eve).json()["code"], "no-permit")
    token = f"Bearer {sign_in(issuer, 'ada')}"
    ada.headers["Authorization"] = token

    page = ada.get(f"{url}lab")
    expect("the page", (page.status_code, "JupyterLab" in page.text), (200, True))
    script = re.search(r'src="(/static/lab/[^"]+\.js[^"]*)"', page.text)[1]
    expect("its script", ada.get(urljoin(url, script)).status_code, 200)
    expect("a write without the XSRF cookie's twin", ada.post(f"{url}api/kernels", json={}).status_code, 403)
    ada.headers["X-XSRFToken"] = ada.cookies["_xsrf"]
    text = "x" * 3_000_000
    saved = ada.put(f"{url}api/contents/big.txt", json={"type": "file", "format": "text", "content": text})
    expect("a file of 3 MB", saved.status_code, 201)
    expect("read back", ada.get(f"{url}files/big.txt").text == text, True)
    expect("a range of it", ada.get(f"{url}files/big.txt", headers={"Range": "bytes=0-9"}).status_code in (200, 206), True)
    kernel = ada.post(f"{url}api/kernels", json={"name": "python3"})
    expect("a kernel", kernel.status_code, 201)
    kernel = kernel.json()["id"]

    context = ssl.create_default_context(cafile=demo["ca_cert"])
    context.load_cert_chain(laptop["cert"], laptop["key"])
    channel = url.replace("https:", "wss:") + f"api/kernels/{kernel}/channels"
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in ada.cookies)
    headers = {"Authorization": token, "Cookie": cookies, "Origin": url.rstrip("/")}
    printed = asyncio.run(execute(channel, context, headers, "print(6 * 7)"))
    expect("a cell", printed, "42\n")
    printed = asyncio.run(execute(channel, context, headers, "print('x' * 2_000_000)"))
    expect("a cell with much to say", len(printed), 2_000_001)
    try:
        asyncio.run(execute(channel, context, {**headers, **eve}, "print(1)"))
        expect("another person's WebSocket", "open", "refused")
    except websockets.InvalidStatus as refused:
        expect("another person's WebSocket", refused.response.status_code, 403)
    expect("the kernel's end", ada.delete(f"{url}api/kernels/{kernel}").status_code, 204)


def main():
    gateway = os.environ.get("MASUGATA", str(HERE.parent.parent / "target" / "debug" / "masugata"))
    processes = []

    def start(*command, **more):
        processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more))

    with tempfile.TemporaryDirectory() as directory:
        try:
            work = Path(directory)
            (work / "notebooks").mkdir()
            provider, lab, port, admin = (free_port() for _ in range(4))
            issuer = f"http://127.0.0.1:{provider}"
            start("node", str(HERE / "provider.mjs"), str(provider))
            start(
                sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={lab}",
                "--ServerApp.port_retries=0", f"--ServerApp.root_dir={work / 'notebooks'}",
                # The gateway says who may come; the cookie against forged requests stays.
                "--IdentityProvider.token=", '--ServerApp.local_hostnames=["jupyter.localhost"]',
                env={**os.environ, "HOME": directory},
            )
            start(gateway, "demo", "--dir", str(work / "demo"), "--port", str(port), "--admin-port", str(admin))
            until("the provider", lambda: requests.get(f"{issuer}/.well-known/openid-configuration").ok)
            until("JupyterLab", lambda: requests.get(f"http://127.0.0.1:{lab}/api").ok)
            until("the demo", lambda: requests.get(f"http://127.0.0.1:{admin}/readyz").ok)
            with open(work / "demo" / "masugata.toml", "a") as config:
                config.write(f'''
[[issuer]]
name = "interop"
issuer = "{issuer}"
audiences = ["https://apps.example.com"]
algorithms = ["ES256"]

[[app]]
name = "jupyter"
level = "internal"
hosts = ["jupyter.localhost"]
upgrades = true
upstream.servers = ["http://127.0.0.1:{lab}"]
''')
            demo = json.loads((work / "demo" / "demo.json").read_text())
            url = f"https://jupyter.localhost:{port}/"
            until("the reload", lambda: session(demo).get(url).status_code == 401)
            drive(url, demo, issuer)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()


if __name__ == "__main__":
    main()
