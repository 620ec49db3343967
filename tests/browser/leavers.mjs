// Measure H-7: whoever leaves is out at once. The company's directory says so by SCIM, as Entra ID words it.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { World, withPassword } from './world.mjs';

describe('leaving', () => {
  /** @type {World} */
  let world;
  let token;
  before(async () => {
    world = await World.start();
    token = randomBytes(32).toString('base64url');
    fs.writeFileSync(path.join(world.demo, 'scim.token'), token, { mode: 0o600 });
    // A host of the demo's certificate that nothing else uses.
    await world.edit((text) => `${text}\n[scim]\nhost = "api.localhost"\nissuer = "accounts"\ntoken_files = ["scim.token"]\n`);
  });
  after(async () => { await world?.end(); });

  const scim = (method, target, body, bearer = token) => world.ask(
    new URL(target, world.facts.ingress_url.replace('localhost', 'api.localhost')).href,
    { method, headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/scim+json' }, body: body && JSON.stringify(body) },
  );

  test('a person who is deactivated in the directory is out within a second, and back when activated', async () => {
    const url = world.facts.apps.projects.url;
    const ben = await world.browser('ben');
    await ben.page.goto(url);
    await withPassword(ben.page, world.facts.users.ben);
    await ben.page.waitForURL((it) => it.href.startsWith(url));
    const [cookie] = (await ben.cookies(url)).filter((it) => it.name === '__Host-masugata');
    const ask = () => world.ask(url, { device: 'laptop', headers: { cookie: `${cookie.name}=${cookie.value}` } });
    assert.equal((await ask()).status, 200);

    const found = await scim('GET', '/scim/v2/Users?filter=userName%20eq%20%22ben%22');
    assert.equal(found.status, 200, found.text);
    // An account that an administrator made is not the directory's yet; it takes it over by making it, as for somebody new.
    assert.equal(JSON.parse(found.text).totalResults, 0);
    const made = await scim('POST', '/scim/v2/Users', {
      schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'], externalId: '7c1e', userName: 'ben', displayName: 'Ben Franklin', active: true,
    });
    assert.equal(made.status, 201, made.text);
    const user = JSON.parse(made.text);
    assert.equal((await ask()).status, 200);
    const change = (active) => scim('PATCH', `/scim/v2/Users/${user.id}`, {
      schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'], Operations: [{ op: 'Replace', path: 'active', value: active }],
    });
    const patched = await change('False');
    assert.ok([200, 204].includes(patched.status), patched.text);
    // When the directory has its answer, it is done.
    assert.equal((await ask()).status, 401);
    const ended = await world.until('the record', () => world.about('session-ended'));
    assert.equal(ended.by, 'scim');
    assert.equal(world.about('account-disabled').principal, 'accounts/ben');
    await ben.page.goto(url);
    await ben.page.getByLabel('User name').fill('ben');
    await ben.page.getByLabel('Password', { exact: true }).fill(world.facts.users.ben.password);
    await ben.page.getByRole('button', { name: 'Continue with the password' }).click();
    await ben.page.getByRole('alert').waitFor();

    assert.ok([200, 204].includes((await change('True')).status));
    assert.equal((await ask()).status, 401, 'what had ended stays ended');
  });

  test('neither somebody else with a token nor the person can use that door', async () => {
    assert.equal((await scim('GET', '/scim/v2/Users', undefined, fs.readFileSync(world.facts.tokens.ada, 'utf8').trim())).status, 401);
    assert.equal((await scim('GET', '/scim/v2/Users', undefined, 'x')).status, 401);
    const app = await world.ask(world.facts.apps.projects.url, { device: 'laptop', headers: { authorization: `Bearer ${token}` } });
    assert.equal(app.status, 401);
    assert.ok(!JSON.stringify(world.records()).includes(token));
  });
});
