// A teleworker's first days, in a real browser: first link, passkey, app, step-up, sign-out, password and code, lockout; and
// what somebody meets who has stolen a cookie.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { World, code, withPassword } from './world.mjs';

const login = (world) => new URL(world.facts.sign_in_url).origin;

/** A browser may offer the passkey by itself before anybody presses a button. */
async function withPasskey(page) {
  const button = page.getByRole('button', { name: 'Sign in with a passkey' });
  const begun = page.url();
  await button.click({ timeout: 10_000 }).catch((error) => {
    if (page.url() === begun) throw error;
  });
}

const heading = (page, name) => page.getByRole('heading', { level: 1, name }).waitFor();

describe('signing in', () => {
  /** @type {World} */
  let world;
  before(async () => { world = await World.start(); });
  after(async () => { await world?.end(); });

  test('a first link leads to a passkey, recovery codes and an app', async () => {
    const ada = await world.browser('ada');
    const { page } = ada;
    await ada.authenticator();
    await page.goto(world.facts.users.ada.link);
    await heading(page, 'Welcome');
    await ada.picture('welcome');
    await page.getByRole('button', { name: 'Create a passkey' }).click();
    await heading(page, 'Keep these recovery codes');
    assert.equal(await page.getByRole('listitem').count() >= 10, true);
    await ada.picture('codes');
    await page.getByRole('button', { name: 'I have kept them' }).click();
    await heading(page, 'You are ready');

    await page.goto(world.facts.apps.payroll.url);
    await withPasskey(page);
    await page.waitForURL((url) => url.href.startsWith(world.facts.apps.payroll.url));
    assert.match(await page.locator('body').innerText(), /ada/i);
    const signIn = world.about('sign-in');
    assert.equal(signIn.outcome, 'success');
    assert.equal(signIn.principal, 'accounts/ada');
    assert.ok(signIn.authentication.phishing_resistant);

    // No password, no code, no provider in between: another app opens at once.
    await page.goto(world.facts.apps.projects.url);
    assert.equal(new URL(page.url()).host, new URL(world.facts.apps.projects.url).host);

    const cookies = await ada.context.cookies();
    for (const cookie of cookies.filter((it) => it.name.startsWith('__Host-masugata'))) {
      assert.ok(cookie.secure && cookie.httpOnly && cookie.path === '/' && !cookie.domain.startsWith('.'), JSON.stringify(cookie));
      assert.notEqual(cookie.sameSite, 'None');
    }

    // The link was for once.
    const other = await world.browser('other');
    await other.page.goto(world.facts.users.ada.link);
    await other.page.getByRole('alert').waitFor();
    await other.picture('used-link');
    assert.equal(await other.page.getByRole('button', { name: 'Create a passkey' }).count(), 0);
    await other.close();
    world.ada = ada;
  });

  test('my page shows apps, the device, sessions and passkeys', async () => {
    const { page } = world.ada;
    await page.goto(`${login(world)}/`);
    await heading(page, 'My page');
    for (const name of ['My applications', 'This device', 'Where you are signed in', 'How you sign in']) {
      await page.getByRole('heading', { name }).waitFor();
    }
    await page.getByRole('link', { name: 'payroll' }).first().waitFor();
    await world.ada.picture('my-page');
    await page.getByRole('link', { name: 'Manage passkeys and passwords' }).click();
    await heading(page, 'How you sign in');
    await world.ada.picture('factors');
  });

  test('a stolen cookie opens nothing, and ends what it was stolen from', async () => {
    const ben = await world.browser('ben');
    await ben.page.goto(world.facts.apps.projects.url);
    await withPassword(ben.page, world.facts.users.ben);
    await ben.page.waitForURL((url) => url.href.startsWith(world.facts.apps.projects.url));
    const [cookie] = (await ben.cookies(world.facts.apps.projects.url)).filter((it) => it.name === '__Host-masugata');
    const headers = { cookie: `${cookie.name}=${cookie.value}` };
    const url = world.facts.apps.projects.url;
    assert.equal((await world.ask(url, { device: 'laptop', headers })).status, 200, 'the same device');
    // Without a certificate there is not even a connection.
    await assert.rejects(world.ask(url, { headers }));
    const stolen = await world.ask(url, { device: 'ada-laptop', headers });
    assert.equal(stolen.status, 401);
    assert.match(stolen.text, /credential-not-bound/);
    await world.until('the alert', () => world.about('session-stolen'));
    assert.equal(world.about('session-stolen').alert, true);
    assert.equal((await world.ask(url, { device: 'laptop', headers })).status, 401, 'over for the owner, too');
    await ben.page.reload();
    await ben.page.getByRole('button', { name: 'Sign in with a passkey' }).waitFor();
    await ben.close();
  });

  test('an app that wants a passkey is refused to a password, and opened with one', async () => {
    await world.edit((text) => text.replace('max_authentication_age = "8h"', 'max_authentication_age = "8h"\nphishing_resistant = true'));
    const { page } = world.ada;
    await page.goto(world.facts.apps.payroll.url);
    await page.waitForURL((url) => url.href.startsWith(world.facts.apps.payroll.url));

    const chie = await world.browser('chie');
    await chie.page.goto(world.facts.apps.projects.url);
    await withPassword(chie.page, world.facts.users.chie);
    await chie.page.waitForURL((url) => url.href.startsWith(world.facts.apps.projects.url));
    await chie.page.goto(world.facts.apps.payroll.url);
    // Taken to where more can be shown; a password is not offered as if it were enough.
    await chie.page.waitForURL((url) => url.origin === login(world));
    await chie.picture('step-up');
    const program = await world.ask(world.facts.apps.payroll.url, { device: 'laptop', headers: { authorization: 'Bearer x' } });
    assert.equal(program.status, 401);
    await chie.close();
  });

  test('signing out closes every app at once', async () => {
    const { page, context } = world.ada;
    const second = await context.newPage();
    await second.goto(world.facts.apps.projects.url);
    await page.goto(`${login(world)}/`);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await heading(page, 'You are signed out');
    await world.ada.picture('signed-out');
    await second.reload();
    await second.waitForURL((url) => url.origin === login(world));
    await world.until('the record', () => world.about('sign-out'));
    await second.close();
  });

  test('wrong codes are counted, and the wait is told', async () => {
    const thief = await world.browser('thief');
    const { page } = thief;
    await page.goto(world.facts.apps.projects.url);
    let locked = false;
    for (let tries = 0; tries < 15 && !locked; tries += 1) {
      await page.getByLabel('User name').fill('chie');
      await page.getByLabel('Password', { exact: true }).fill(`wrong password number ${tries}`);
      await page.getByRole('button', { name: 'Continue with the password' }).click();
      const said = await page.getByRole('alert').first().innerText();
      locked = /minute|second/.test(said);
    }
    assert.ok(locked, 'the wait is told');
    await thief.picture('locked');
    await thief.close();
    await world.until('the failures', () => world.records().some((line) => line.type === 'person' && line.event === 'sign-in' && line.outcome === 'failure'));
    // Not for the owner on another device.
    const chie = await world.browser('chie-elsewhere', { device: 'ada-laptop' });
    await chie.page.goto(world.facts.apps.projects.url);
    await withPassword(chie.page, world.facts.users.chie, { now: Date.now() + 30_000 });
    await chie.page.waitForURL((url) => url.href.startsWith(world.facts.apps.projects.url));
    await chie.close();
  });

  test('a restart signs nobody out, a disabled account is out at once', async () => {
    const browser = await world.browser('again');
    await browser.page.goto(world.facts.apps.projects.url);
    await withPassword(browser.page, world.facts.users.ben, { now: Date.now() + 30_000 });
    await browser.page.waitForURL((url) => url.href.startsWith(world.facts.apps.projects.url));
    const [cookie] = (await browser.cookies(world.facts.apps.projects.url)).filter((it) => it.name === '__Host-masugata');
    const headers = { cookie: `${cookie.name}=${cookie.value}` };
    world.masugata('user', 'disable', 'ben');
    const begun = Date.now();
    await world.until('the end', async () => (await world.ask(world.facts.apps.projects.url, { device: 'laptop', headers })).status !== 200);
    assert.ok(Date.now() - begun < 5_000);
    await browser.close();
  });

  test('no secret is on record, and nobody edited it', async () => {
    const text = JSON.stringify(world.records());
    for (const user of Object.values(world.facts.users)) {
      for (const secret of [user.password, user.totp_secret, user.link?.split('#')[1]].filter(Boolean)) assert.ok(!text.includes(secret));
    }
    await world.ada?.close();
    await world.stop();
  });

  test('no page asked anybody else for anything, or did what its own policy forbids', () => {
    assert.deepEqual(world.browsers.flatMap((browser) => browser.complaints), []);
  });
});

/** An app with a form; it keeps what it was sent. */
async function formApp() {
  const sent = [];
  const server = createServer(async (request, response) => {
    let body = '';
    request.setEncoding('utf8');
    for await (const part of request) body += part;
    response.setHeader('content-type', 'text/html; charset=utf-8');
    if (request.method === 'POST') {
      sent.push({ url: request.url, type: request.headers['content-type'], body, cookie: request.headers.cookie });
      return response.end('<!doctype html><title>Thanks</title><h1>Received</h1>');
    }
    return response.end(`<!doctype html><title>Form</title><h1>Form</h1>
      <form method="post" action="/send?draft=1" ${request.url.includes('parts') ? 'enctype="multipart/form-data"' : ''}>
      <label>Title <input name="title"></label><label>Text <textarea name="text"></textarea></label>
      <input type="hidden" name="tag" value="1"><input type="hidden" name="tag" value="&quot;2&quot; &amp; <3>"><button>Send</button></form>`);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { sent, address: `127.0.0.1:${server.address().port}`, end: () => { server.closeAllConnections(); server.close(); } };
}

describe('more of it', () => {
  /** @type {World} */
  let world;
  let forms;
  let formsUrl;
  const people = {};
  before(async () => {
    forms = await formApp();
    world = await World.start((text) => text
      .replace('max_authentication_age = "8h"', 'max_authentication_age = "8h"\nphishing_resistant = true')
      .replace('# The way out:', `[[app]]\nname = "forms"\nlevel = "public"\nhosts = ["wiki.localhost"]\nrequire.multi_factor = false
upstream.servers = ["http://${forms.address}"]\n\n# The way out:`));
    formsUrl = new URL(world.facts.apps.portal.url.replace('localhost', 'wiki.localhost')).href;
    for (const name of ['dora', 'emi']) {
      people[name] = { user: name, link: /https:\S+/.exec(world.masugata('user', 'add', name, '--group', 'employees'))[0] };
    }
  });
  after(async () => { await world?.end(); forms?.end(); });

  const arrive = (page, url) => page.waitForURL((now) => now.href === url);
  async function nameAndPassword(page, user) {
    await page.getByLabel('User name').fill(user.user);
    await page.getByLabel('Password', { exact: true }).fill(user.password);
    await page.getByRole('button', { name: 'Continue with the password' }).click();
  }
  /** With a first link. `app` sets up a code app, too. */
  async function choosePassword(browser, user, app) {
    const { page } = browser;
    await page.goto(user.link);
    await heading(page, 'Welcome');
    await page.getByText('Use a password instead').click();
    await page.getByLabel('New password').fill(user.password);
    if (app) {
      await page.getByText('Add a code app').click();
      const picture = page.getByRole('img', { name: 'Picture to scan' });
      await picture.waitFor();
      assert.ok((await picture.boundingBox()).width > 150);
      await browser.picture('code-app');
      user.totp_secret = (await page.locator('dt', { hasText: 'Or type this key' }).locator('+ dd').innerText()).replace(/\s/g, '');
      await page.getByLabel('Code', { exact: true }).fill(code(user.totp_secret));
    }
    await page.getByRole('button', { name: 'Set the password' }).click();
    await heading(page, 'Keep these recovery codes');
    user.codes = await page.getByRole('list', { name: 'Recovery codes' }).getByRole('listitem').allInnerTexts();
    await page.getByRole('button', { name: 'I have kept them' }).click();
    await heading(page, 'You are ready');
  }
  async function signOut(context) {
    const page = await context.newPage();
    await page.goto(`${login(world)}/`);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await heading(page, 'You are signed out');
    await page.close();
  }

  test('a short password with a code app, its key typed from the page; then a recovery code in its place, once', async () => {
    const dora = Object.assign(people.dora, { password: 'Tr7#kq9Z' });
    const browser = await world.browser('dora');
    const { page, context } = browser;
    await choosePassword(browser, dora, true);
    const { url } = world.facts.apps.projects;
    await page.goto(url);
    await withPassword(page, dora, { now: Date.now() + 30_000 });
    await arrive(page, url);
    assert.equal(world.about('sign-in').authentication.multi_factor, true);

    for (const works of [true, false]) {
      await signOut(context);
      await page.goto(url);
      await nameAndPassword(page, dora);
      await page.getByRole('link', { name: 'Use a recovery code instead' }).click();
      await page.getByLabel('Recovery code').fill(dora.codes[0]);
      await page.getByRole('button', { name: 'Continue', exact: true }).click();
      if (works) await arrive(page, url);
      else await page.getByRole('alert').waitFor();
      if (!works) break;
    }
    await browser.picture('used-recovery-code');
    await browser.close();
  });

  test('what was typed when the session had ended reaches the app exactly, once', async () => {
    const emi = Object.assign(people.emi, { password: 'four rivers under a tin bridge' });
    const browser = await world.browser('emi');
    const { page, context } = browser;
    await choosePassword(browser, emi, false);
    const title = '見積書「第2版」 & "<b>+%20%"';
    const text = ' 一行目\n\n  third line\n御中\n';
    for (const [kind, type] of [['', 'application/x-www-form-urlencoded'], ['parts', 'multipart/form-data']]) {
      const url = `${formsUrl}?${kind}`;
      await page.goto(url);
      if (new URL(page.url()).hostname === 'login.localhost') await nameAndPassword(page, emi);
      await page.getByRole('heading', { name: 'Form' }).waitFor();
      await page.getByLabel('Title').fill(title);
      await page.getByLabel('Text').fill(text);
      await signOut(context);
      await page.getByRole('button', { name: 'Send' }).click();
      await heading(page, 'Sign in, then send again');
      if (!kind) await browser.picture('kept-form');
      const opened = context.waitForEvent('page');
      await page.getByRole('link', { name: 'Sign in (opens a new tab)' }).click();
      const tab = await opened;
      await nameAndPassword(tab, emi);
      await heading(tab, 'You are signed in');
      if (!kind) await browser.picture('signed-in-elsewhere', tab);
      await page.getByText('You can send now').waitFor();
      await tab.close();
      await page.getByRole('button', { name: 'Send again' }).click();
      await page.getByRole('heading', { name: 'Received' }).waitFor();
      const { length } = forms.sent;
      const sent = forms.sent.pop();
      assert.equal(length, 1, 'nothing came before it was sent again');
      assert.equal(sent.url, '/send?draft=1');
      assert.ok(sent.type.startsWith(type), sent.type);
      assert.ok(!sent.cookie?.includes('masugata'), 'no cookie of ours');
      const entries = [...await new Response(sent.body, { headers: { 'content-type': sent.type } }).formData()];
      assert.deepEqual(entries, [['title', title], ['text', text.replaceAll('\n', '\r\n')], ['tag', '1'], ['tag', '"2" & <3>']]);
    }
    await browser.close();
  });

  test('with the keyboard alone, and in either language', async () => {
    const browser = await world.browser('keys');
    const { page } = browser;
    await page.goto(formsUrl);
    await page.getByRole('link', { name: '日本語' }).click();
    await heading(page, 'サインイン');
    assert.equal(await page.locator('html').getAttribute('lang'), 'ja');
    await page.getByRole('link', { name: 'English' }).click();
    await heading(page, 'Sign in');
    const focus = async (id) => {
      for (let steps = 0; steps < 20; steps += 1) {
        await page.keyboard.press('Tab');
        if (await page.evaluate(() => document.activeElement?.id) === id) return;
      }
      assert.fail(`no way to #${id} with the keyboard`);
    };
    await focus('name');
    await page.keyboard.type('emi');
    await focus('password');
    await page.keyboard.type(people.emi.password);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Form' }).waitFor();
    await browser.close();
  });

  test('a passkey signs nothing for a page of another host', async () => {
    const ada = world.ada = await world.browser('ada');
    const { page } = ada;
    const { session, authenticatorId } = await ada.authenticator();
    // What touches the key when it is asked; without, pages wait, and a password can be typed.
    const touch = world.touch = (enabled) => session.send('WebAuthn.setAutomaticPresenceSimulation', { authenticatorId, enabled });
    await page.goto(world.facts.users.ada.link);
    await page.getByRole('button', { name: 'Create a passkey' }).click();
    await page.getByRole('button', { name: 'I have kept them' }).click();
    await heading(page, 'You are ready');
    await touch(false);
    await page.goto(world.facts.apps.projects.url);
    await withPassword(page, world.facts.users.ada);
    await arrive(page, world.facts.apps.projects.url);
    await touch(true);
    for (const id of ['login.localhost', 'localhost', undefined]) {
      const got = await page.evaluate(async (rpId) => {
        const publicKey = { challenge: new Uint8Array(32), rpId, userVerification: 'required', timeout: 2_000 };
        try {
          return (await navigator.credentials.get({ publicKey })).id;
        } catch (error) {
          return error.name;
        }
      }, id);
      assert.match(got, /^(SecurityError|NotAllowedError)$/, String(id));
    }
  });

  test('a step up leads back to where it was, with its query', async () => {
    const { page } = world.ada;
    const url = `${world.facts.apps.payroll.url}?month=3&q=%E7%B5%A6%E4%B8%8E%20%2B`;
    await page.goto(url);
    await withPasskey(page);
    await arrive(page, url);
    const done = world.about('step-up');
    assert.equal(done.authentication.phishing_resistant, true);
    await world.ada.picture('after-step-up');
  });

  test('my page ends the session of another browser', async () => {
    const other = await world.browser('other', { device: 'ada-laptop' });
    await other.page.goto(world.facts.apps.projects.url);
    await withPassword(other.page, world.facts.users.ada, { now: Date.now() + 30_000 });
    await arrive(other.page, world.facts.apps.projects.url);
    const { page } = world.ada;
    await page.goto(`${login(world)}/`);
    await page.getByRole('button', { name: /^End the sign-in on/ }).first().click();
    await page.getByText('That sign-in was ended.').waitFor();
    await world.ada.picture('session-ended');
    await other.page.reload();
    await other.page.waitForURL((now) => now.origin === login(world));
    // This one goes on.
    await page.goto(world.facts.apps.projects.url);
    await arrive(page, world.facts.apps.projects.url);
    await other.close();
  });

  test('no page asked anybody else for anything, or did what its own policy forbids', () => {
    assert.deepEqual(world.browsers.flatMap((browser) => browser.complaints), []);
  });
});
