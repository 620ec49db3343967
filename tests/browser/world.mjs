// A demo gateway of its own, and a real Chromium with a device certificate in front of it. Everything stays on loopback.
import { spawn, execFileSync } from 'node:child_process';
import { createHmac, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as https from 'node:https';
import * as os from 'node:os';
import * as path from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const PROGRAM = process.env.MASUGATA ?? path.join(HERE, '../../target/debug/masugata');
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
/** Generous: a loaded machine is not a defect. */
export const PATIENCE = Number(process.env.PATIENCE ?? 60_000);

export class World {
  /** Starts the demo; `edit` may change its configuration before anybody comes. */
  static async start(edit) {
    const world = new World();
    world.browsers = [];
    world.directory = fs.mkdtempSync(path.join(os.tmpdir(), 'masugata-browser-'));
    world.demo = path.join(world.directory, 'demo');
    for (let tries = 1; ; tries += 1) {
      try {
        await world.run();
        break;
      } catch (error) {
        // Another demo on this machine has just taken a port that was free.
        if (tries === 5 || !/Address already in use/.test(error.message)) throw error;
      }
    }
    if (edit) await world.edit(edit);
    return world;
  }

  async run() {
    const environment = { ...process.env };
    for (const name of ['SSL_CERT_FILE', 'SSL_CERT_DIR', 'NODE_EXTRA_CA_CERTS']) delete environment[name];
    this.process = spawn(PROGRAM, ['demo', '--dir', this.demo, '--port', '0', '--admin-port', '0'], {
      stdio: ['ignore', 'pipe', 'pipe'], env: environment,
    });
    this.said = '';
    this.process.stderr.on('data', (text) => { this.said += text; });
    await new Promise((resolve, reject) => {
      this.process.once('exit', (code) => reject(new Error(`the demo ended with ${code}: ${this.said}`)));
      this.process.stdout.on('data', (text) => {
        this.said += text;
        if (/^ready/m.test(this.said)) resolve();
      });
    });
    this.facts = JSON.parse(fs.readFileSync(path.join(this.demo, 'demo.json'), 'utf8'));
    this.ca = fs.readFileSync(this.facts.ca_cert);
  }

  /** Changes the configuration and waits until it is in force. */
  async edit(change) {
    const before = this.records().filter((line) => line.operation === 'reloaded').length;
    const text = fs.readFileSync(this.facts.config, 'utf8');
    const changed = change(text);
    if (changed === text) throw new Error('the edit changed nothing');
    fs.writeFileSync(this.facts.config, changed);
    await this.until('the new configuration', () =>
      this.records().filter((line) => line.operation === 'reloaded').length > before);
  }

  /** What is on record, as far as lines are whole. */
  records() {
    const text = fs.readFileSync(this.facts.audit_log, 'utf8');
    return text.split('\n').slice(0, -1).map((line) => JSON.parse(line));
  }

  /** The last line about a person of that kind. */
  about(event) {
    return this.records().filter((line) => line.type === 'person' && line.event === event).at(-1);
  }

  async until(what, happened, patience = PATIENCE) {
    const deadline = Date.now() + patience;
    for (;;) {
      const result = await happened();
      if (result) return result;
      if (Date.now() > deadline) throw new Error(`not in time: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  masugata(...arguments_) {
    return execFileSync(PROGRAM, [...arguments_, '-c', this.facts.config], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  }

  /** One request without a browser. Without `device` no certificate is shown. */
  ask(url, { device, method = 'GET', headers = {}, body } = {}) {
    const place = new URL(url);
    const shown = device === undefined ? {} : {
      cert: fs.readFileSync(this.facts.devices[device].cert), key: fs.readFileSync(this.facts.devices[device].key),
    };
    return new Promise((resolve, reject) => {
      const request = https.request(place, {
        method, headers, ca: this.ca, ...shown, agent: false, lookup: (_name, options, done) =>
          options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4),
      }, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (more) => { text += more; });
        response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }));
      });
      request.on('error', reject);
      request.end(body);
    });
  }

  /** A Chromium with the certificate of `device` (none: without), its own profile, in one language and size. */
  async browser(name, { device = 'laptop', language = 'en', width = 1100, dark = false } = {}) {
    const home = path.join(this.directory, name);
    const store = path.join(home, '.pki', 'nssdb');
    fs.mkdirSync(store, { recursive: true });
    const nss = (program, ...rest) => execFileSync(program, [...rest, '-d', `sql:${store}`], { stdio: 'pipe' });
    nss('certutil', '-N', '--empty-password');
    nss('certutil', '-A', '-n', 'demo', '-t', 'C,,', '-i', this.facts.ca_cert);
    if (device) {
      const { cert, key } = this.facts.devices[device];
      const bundle = path.join(home, 'device.p12');
      execFileSync('openssl', ['pkcs12', '-export', '-in', cert, '-inkey', key, '-out', bundle, '-passout', 'pass:demo', '-name', device], { stdio: 'pipe' });
      nss('pk12util', '-i', bundle, '-W', 'demo');
    }
    // What a company's device management says: this certificate, without asking. Seen by this browser only.
    const policies = path.join(home, 'policies', 'managed');
    fs.mkdirSync(policies, { recursive: true });
    fs.writeFileSync(path.join(policies, 'masugata.json'), JSON.stringify({
      AutoSelectCertificateForUrls: [JSON.stringify({ pattern: '*', filter: {} })],
    }));
    const wrapper = path.join(home, 'chromium');
    fs.mkdirSync('/etc/chromium', { recursive: true });
    fs.writeFileSync(wrapper, `#!/bin/sh\nexec unshare --mount sh -c 'mount --bind ${home} /etc/chromium && exec ${CHROMIUM} "$@"' sh "$@"\n`, { mode: 0o755 });
    const context = await chromium.launchPersistentContext(path.join(home, 'profile'), {
      executablePath: wrapper, headless: true, chromiumSandbox: false, locale: language, colorScheme: dark ? 'dark' : 'light',
      viewport: { width, height: 900 }, env: { ...process.env, HOME: home },
      args: ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run', '--disable-quic',
        '--host-resolver-rules=MAP *.localhost 127.0.0.1, MAP localhost 127.0.0.1'],
    });
    context.setDefaultTimeout(PATIENCE);
    const browser = new Browser(this, context);
    this.browsers.push(browser);
    return browser;
  }

  async stop() {
    this.process.removeAllListeners('exit');
    this.process.kill('SIGTERM');
    if (this.process.exitCode === null) await once(this.process, 'exit');
  }

  async end() {
    await this.stop();
    await Promise.all(this.browsers.map((browser) => browser.close()));
    fs.rmSync(this.directory, { recursive: true, force: true, maxRetries: 20 });
  }
}

export class Browser {
  constructor(world, context) {
    this.world = world;
    this.context = context;
    this.page = context.pages()[0];
    /** Requests that would have left the machine, and what the pages' own policy forbade. There should be none of either. */
    this.complaints = [];
    context.on('request', (request) => {
      const { protocol, hostname } = new URL(request.url());
      const here = hostname === 'localhost' || hostname === '127.0.0.1' || hostname.endsWith('.localhost');
      if (/^(https?|wss?):$/.test(protocol) && !here) this.complaints.push(`asked for ${request.url()}`);
    });
    context.on('console', (message) => {
      if (/content security policy/i.test(message.text())) this.complaints.push(message.text());
    });
    context.on('weberror', (error) => this.complaints.push(String(error.error())));
  }

  /** A security key or platform authenticator that verifies its user. */
  async authenticator(page = this.page) {
    const session = await this.context.newCDPSession(page);
    await session.send('WebAuthn.enable', { enableUI: false });
    const { authenticatorId } = await session.send('WebAuthn.addVirtualAuthenticator', {
      options: {
        protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true,
        automaticPresenceSimulation: true,
      },
    });
    return { session, authenticatorId };
  }

  async cookies(url) {
    return this.context.cookies(url);
  }

  async close() {
    await this.context.close();
  }

  /** A picture, where somebody wants to look: SCREENSHOTS=directory. */
  async picture(name, page = this.page) {
    if (process.env.SCREENSHOTS) await page.screenshot({ path: path.join(process.env.SCREENSHOTS, `${name}.png`), fullPage: true });
  }
}

/** RFC 6238: six digits, SHA-1, thirty seconds, as authenticator apps have it. */
export function code(secret, at = Date.now()) {
  const bits = [...secret.replace(/=+$/, '')].map((c) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(at / 30_000)));
  const digest = createHmac('sha1', key).update(counter).digest();
  const offset = digest[19] & 15;
  return String((digest.readUInt32BE(offset) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

export function thumbprint(file) {
  return new X509Certificate(fs.readFileSync(file)).fingerprint256.replaceAll(':', '').toLowerCase();
}

/** On the built-in provider's page; a code counts once, so that a second sign-in within its time needs the next one. */
export async function withPassword(page, user, { now = Date.now() } = {}) {
  await page.getByLabel('User name').fill(user.user);
  await page.getByLabel('Password', { exact: true }).fill(user.password);
  await page.getByRole('button', { name: 'Continue with the password' }).click();
  await page.getByLabel('Code').fill(code(user.totp_secret, now));
  await page.getByRole('button', { name: 'Continue', exact: true }).click();
}
