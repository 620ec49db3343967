// The gateway with OpenID providers that others have made: oidc-provider, which is certified, in a real browser; and Debian's
// glewlwyd, where it is installed, with the gateway's side played by hand.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startGlewlwyd } from './glewlwyd.mjs';
import { startProvider } from './provider.mjs';
import { PATIENCE, World } from './world.mjs';

const SECRET = 'a secret of forty characters or so, please';
const HAS_GLEWLWYD = fs.existsSync('/usr/bin/glewlwyd') && fs.existsSync('/usr/bin/sqlite3');

const heading = (page, name) => page.getByRole('heading', { level: 1, name }).waitFor();

/** What a provider is told of the gateway, and how it reaches it. */
function gateway(world, name) {
  const port = new URL(world.facts.sign_in_url).port;
  const login = `https://login.localhost:${port}`;
  return {
    callback: `${login}/callback/${name}`, signedOut: `${login}/signed-out`,
    backChannel: `https://api.localhost:${port}/backchannel-logout/${name}`,
    send: async (url, { method, headers, body } = {}) => {
      const answer = await world.ask(String(url), { method, headers: Object.fromEntries(new Headers(headers)), body: body?.toString() });
      return new Response(answer.status === 204 ? null : answer.text, { status: answer.status });
    },
  };
}

const app = (world, name, host, level, lines) => `
[[app]]
name = "${name}"
level = "${level}"
hosts = ["${host}.localhost"]
upstream.servers = ["http://${world.facts.app_address}"]
${lines}
`;

describe('a certified provider', () => {
  /** @type {World} */
  let world;
  let corp;
  let partner;
  let url;
  before(async () => {
    world = await World.start();
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const file = (name, text) => fs.writeFileSync(path.join(world.demo, name), text, { mode: 0o600 });
    file('corp.secret', `${SECRET}\n`);
    file('partner.key', privateKey.export({ format: 'pem', type: 'pkcs8' }));
    corp = await startProvider(gateway(world, 'corp'));
    partner = await startProvider({
      ...gateway(world, 'partner'), clientKey: { ...publicKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig', kid: 'gateway' }, lifetime: 15,
    });
    const issuer = (name, at, lines) => `
[[issuer]]
name = "${name}"
issuer = "${at}"
acr_multi_factor = ["mfa"]
acr_phishing_resistant = ["phr"]

[issuer.sign_in]
${lines}
`;
    await world.edit((text) => text
      .replace('host = "login.localhost"', 'host = "login.localhost"\nback_channel_host = "api.localhost"')
      .replace('# Browsers are led here', `${issuer('corp', corp.issuer, 'client_id = "with-secret"\nclient_secret_file = "corp.secret"\nlabel = "Corporation"')}
${issuer('partner', partner.issuer, 'client_id = "with-key"\nclient_key_file = "partner.key"\nasks = "essential-acr"\npushed = "required"\nlabel = "Partner & Co."\nemail_domains = ["partner.example"]')}
# Browsers are led here`)
      .replace('# The way out:', `${app(world, 'news', 'test', 'public', 'require = { multi_factor = false, issuers = ["corp"] }')}
${app(world, 'wiki', 'wiki', 'internal', 'require = { issuers = ["corp"] }')}
${app(world, 'vault', 'git', 'internal', 'require = { phishing_resistant = true, issuers = ["corp"] }')}
${app(world, 'chat', 'chat', 'internal', 'require = { issuers = ["partner"] }')}
# The way out:`));
    const port = new URL(world.facts.sign_in_url).port;
    url = (host, rest = '/') => `https://${host}.localhost:${port}${rest}`;
  });
  after(async () => {
    await world?.end();
    await Promise.all([corp?.end(), partner?.end()]);
  });

  /** At the provider. The address by which the browser came back is returned. */
  async function prove(page, provider, way, name) {
    await page.waitForURL((at) => at.origin === provider.issuer);
    if (name) await page.getByLabel('Name').fill(name);
    const back = page.waitForRequest((request) => new URL(request.url()).pathname.startsWith('/callback/'));
    await page.getByRole('button', { name: `Sign in with ${way}`, exact: true }).click();
    return new URL((await back).url());
  }
  const at = (page, address) => page.waitForURL((now) => now.href === address);

  test('a password opens what asks for no more; each step up leads back to where it was', async () => {
    const ada = await world.browser('ada');
    const { page } = ada;
    const asked = page.waitForRequest((request) => request.url().startsWith(corp.issuer));
    await page.goto(url('test', '/?a=1&b=%E3%81%82'));
    // Pushed: the browser carries a name of the question, and nothing of it.
    const question = new URL((await asked).url());
    assert.ok(question.searchParams.get('request_uri').startsWith('urn:ietf:params:oauth:request_uri:'));
    assert.deepEqual([...question.searchParams.keys()].sort(), ['client_id', 'request_uri']);
    const back = await prove(page, corp, 'password', 'ada');
    assert.equal(back.searchParams.get('iss'), corp.issuer, 'RFC 9207');
    await at(page, url('test', '/?a=1&b=%E3%81%82'));
    const first = world.about('sign-in');
    assert.deepEqual([first.outcome, first.principal, first.authentication.multi_factor], ['success', 'corp/ada', false]);

    await page.goto(url('wiki', '/?page=2#top'));
    await prove(page, corp, 'two factors', 'ada');
    await page.waitForURL((now) => now.href.startsWith(url('wiki', '/?page=2')));
    await page.goto(url('git', '/?x=y'));
    await prove(page, corp, 'passkey', 'ada');
    await at(page, url('git', '/?x=y'));
    const last = world.records().filter((line) => line.type === 'person' && line.outcome === 'success').at(-1);
    assert.equal(last.authentication.phishing_resistant, true);
    assert.match(await page.locator('body').innerText(), /ada/);
    const pushed = corp.seen.filter((it) => it.path === '/request');
    assert.equal(pushed.length, 3);
    assert.ok(pushed.every((it) => it.params.code_challenge_method === 'S256' && it.params.nonce && it.params.state));
    assert.deepEqual(pushed.map((it) => it.params.acr_values?.split(' ') ?? []), [[], ['mfa', 'phr'], ['phr']]);
    world.ada = ada;
  });

  test('a key in place of a secret, and essential claims', async () => {
    for (const [name, seat] of [['ben', 'ben'], ['ada', 'ada-elsewhere']]) {
      const { page } = world[seat] = await world.browser(seat);
      await page.goto(url('chat', '/?room=1'));
      await prove(page, partner, 'two factors', name);
      await at(page, url('chat', '/?room=1'));
      assert.equal(world.about('sign-in').principal, `partner/${name}`);
    }
    const pushed = partner.seen.find((it) => it.path === '/request');
    assert.deepEqual(JSON.parse(pushed.params.claims).id_token.acr, { essential: true, values: ['mfa', 'phr'] });
    assert.equal(pushed.params.acr_values, undefined);
    const token = partner.seen.find((it) => it.path === '/token');
    assert.equal(token.body.client_assertion_type, 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer');
    assert.equal(token.body.client_secret, undefined);
    // Seen at the end: it is asked again when its tokens are over.
    partner.disable('ben');
  });

  test('a provider that gives less than was asked for does not open the app', async () => {
    corp.moods.insists = false;
    const weak = await world.browser('weak');
    const { page } = weak;
    await page.goto(url('wiki'));
    await prove(page, corp, 'password', 'ben');
    await page.waitForURL((now) => now.hostname === 'login.localhost');
    await weak.picture('too-weak');
    await page.getByText('assurance-unmet').waitFor();
    assert.equal((await weak.cookies(url('wiki'))).filter((it) => it.name === '__Host-masugata').length, 0);
    const failed = await world.until('the record', () => world.records().findLast((line) => line.type === 'person' && line.outcome === 'failure'));
    assert.ok(failed.code);
    corp.moods.insists = true;
    await weak.close();
  });

  test('an answer in the name of another provider is refused', async () => {
    corp.moods.claimsToBe = partner.issuer;
    const mixed = await world.browser('mixed');
    const { page } = mixed;
    await page.goto(url('wiki'));
    const back = await prove(page, corp, 'two factors', 'ben');
    assert.equal(back.searchParams.get('iss'), partner.issuer);
    await page.getByRole('heading', { level: 1 }).waitFor();
    await mixed.picture('mixed-up');
    await page.getByText('answer-of-another-provider').waitFor();
    assert.equal((await mixed.cookies(url('wiki'))).filter((it) => it.name === '__Host-masugata').length, 0);
    await world.until('the record', () => world.about('sign-in').outcome === 'failure');
    corp.moods.claimsToBe = undefined;
    await mixed.close();
  });

  test('signing out here signs out there', async () => {
    const { page } = world.ada;
    await page.goto(url('login'));
    await heading(page, 'My page');
    await page.getByText('Corporation').waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.waitForURL((now) => now.origin === corp.issuer);
    await page.getByRole('button', { name: /yes/i }).click();
    await heading(page, 'You are signed out');
    await page.goto(url('wiki'));
    await page.waitForURL((now) => now.origin === corp.issuer);
    // Nobody is signed in there any more: a name is asked for.
    await prove(page, corp, 'two factors', 'ada');
    await at(page, url('wiki'));
  });

  test('signing out there closes apps here', async () => {
    const { page, context } = world.ada;
    const open = await context.newPage();
    await open.goto(url('wiki'));
    await page.goto(`${corp.issuer}/session/end`);
    await page.getByRole('button', { name: /yes/i }).click();
    const ended = await world.until('the end of the session', () => world.records().find((line) =>
      line.type === 'person' && /^session-ended$|^sign-out$/.test(line.event) && line.principal === 'corp/ada' && JSON.stringify(line).includes('provider')));
    assert.equal(ended.outcome, 'success');
    await open.reload();
    await open.waitForURL((now) => now.origin === corp.issuer);
    await world.ada.close();
    // A token that nobody signed ends nothing.
    const forged = await world.ask(url('api', '/backchannel-logout/corp'), {
      method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: 'logout_token=eyJhbGciOiJub25lIn0.e30.',
    });
    assert.equal(forged.status, 400);
    assert.equal((await world.ask(url('api'))).status, 404);
  });

  test('where several providers fit, people choose, or their address does', async () => {
    const chie = await world.browser('chie');
    const { page } = chie;
    await page.goto(url('projects'));
    await heading(page, 'Sign in');
    await page.getByRole('link', { name: 'Partner & Co.' }).waitFor();
    await chie.picture('chooser');
    await page.getByLabel('Your work e-mail address').fill('chie@nowhere.example');
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByRole('alert').or(page.getByText('No sign-in is known')).first().waitFor();
    // By address and not by the button: from a form, browsers follow to providers with https only, and this one has none.
    const known = new URL(page.url());
    known.searchParams.set('email', 'ada@partner.example');
    await page.goto(known.href);
    await prove(page, partner, 'two factors', 'ada');
    await at(page, url('projects'));
    await chie.close();
  });

  test('an account that is disabled there is out here, and only that one', async () => {
    // A provider is asked once a minute at most.
    const patience = 90_000 + PATIENCE;
    await world.until('the end', () => world.records().some((line) =>
      line.type === 'person' && line.event === 'session-ended' && line.principal === 'partner/ben'), patience);
    await world.until('a refresh', () => partner.seen.some((it) => it.body.grant_type === 'refresh_token' && it.status === 200), patience);
    await world.ben.page.reload();
    await world.ben.page.waitForURL((now) => now.origin === partner.issuer);
    await world['ada-elsewhere'].page.reload();
    await at(world['ada-elsewhere'].page, url('chat', '/?room=1'));
  });

  test('a provider that is down is told in words, and nobody is let in', async () => {
    await partner.end();
    const late = await world.browser('late');
    await late.page.goto(url('chat'));
    await late.page.getByRole('link', { name: /sign in again|try/i }).first().waitFor();
    assert.equal(new URL(late.page.url()).hostname, 'login.localhost');
    await late.picture('provider-down');
    await late.close();
    partner = undefined;
  });
});

/** As much of a browser as signing in needs. */
class Visitor {
  constructor(world) {
    this.world = world;
    this.jars = new Map();
  }

  async get(address) {
    const { host } = new URL(address);
    const jar = this.jars.get(host) ?? new Map();
    this.jars.set(host, jar);
    const answer = await this.world.ask(address, {
      device: 'laptop', headers: { 'sec-fetch-mode': 'navigate', accept: 'text/html', cookie: [...jar].map(([name, value]) => `${name}=${value}`).join('; ') },
    });
    for (const cookie of answer.headers['set-cookie'] ?? []) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie);
      jar.set(name, value);
    }
    return answer;
  }

  /** Until something else than a redirect comes, or a redirect elsewhere. */
  async follow(address) {
    let answer = await this.get(address);
    while (answer.status === 302 || answer.status === 303) {
      const next = new URL(answer.headers.location, address).href;
      if (!next.startsWith('https://')) return { next };
      address = next;
      answer = await this.get(next);
    }
    return { answer, address };
  }
}

describe('glewlwyd', { skip: HAS_GLEWLWYD ? false : 'not installed (Debian: glewlwyd, sqlite3)' }, () => {
  test('a person signs in, and the same answer counts once', async () => {
    const world = await World.start();
    let provider;
    try {
      const { callback, signedOut } = gateway(world, 'corp');
      provider = await startGlewlwyd({ directory: path.join(world.directory, 'glewlwyd'), callback, signedOut });
      fs.writeFileSync(path.join(world.demo, 'corp.secret'), `${provider.clientSecret}\n`, { mode: 0o600 });
      // It says nothing of factors in its tokens; so the company's word counts, as with many providers.
      await world.edit((text) => text
        .replace('# Browsers are led here', `[[issuer]]
name = "corp"
issuer = "${provider.issuer}"

[issuer.sign_in]
client_id = "${provider.clientId}"
client_secret_file = "corp.secret"

# Browsers are led here`)
        .replace('# The way out:', `${app(world, 'news', 'test', 'public', 'require = { multi_factor = false, issuers = ["corp"] }')}
# The way out:`));
      const port = new URL(world.facts.sign_in_url).port;
      const news = `https://test.localhost:${port}/?a=1`;
      const visitor = new Visitor(world);
      const { next } = await visitor.follow(news);
      assert.ok(next?.startsWith(provider.issuer), next ?? 'not led to the provider');
      const back = await provider.signIn(next);
      assert.ok(back.startsWith(callback), back);
      const { answer } = await visitor.follow(back);
      // Signed in, and known to the policies; it names no groups, so none of them opens the app.
      assert.match(answer.text, /no-permit/);
      const signIn = await world.until('the record', () => world.about('sign-in'));
      assert.equal(signIn.outcome, 'success', JSON.stringify(signIn));
      assert.equal(signIn.issuer, 'corp');
      // The same answer again is nobody's.
      const again = await visitor.follow(back);
      assert.match(again.answer.text, /attempt-unknown/);
    } finally {
      await world.end();
      await provider?.end();
    }
  });
});
