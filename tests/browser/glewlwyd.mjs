// Debian's glewlwyd on loopback, an OpenID provider of other makers: set up by its own API, signed in to by its own API too,
// because what is tried here is what it says to the gateway.
import { execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { createServer } from 'node:net';
import * as path from 'node:path';

const CLIENT = 'gateway';
// Letters and hyphens only: it takes what stands in `Authorization: Basic` as it is, and not as RFC 6749 §2.3.1 encodes it.
const SECRET = 'another-secret-of-forty-characters-please';

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Cookies and JSON, and no redirect is followed. */
class Visitor {
  constructor(origin) {
    this.origin = origin;
    this.jar = new Map();
  }

  async ask(method, target, body) {
    const response = await fetch(new URL(target, this.origin), {
      method, redirect: 'manual', body: body && JSON.stringify(body),
      headers: { 'content-type': 'application/json', cookie: [...this.jar].map(([name, value]) => `${name}=${value}`).join('; ') },
    });
    for (const cookie of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie);
      this.jar.set(name, value);
    }
    return response;
  }

  async must(method, target, body) {
    const response = await this.ask(method, target, body);
    if (!response.ok) throw new Error(`${method} ${target}: ${response.status} ${await response.text()}`);
    return response;
  }
}

export async function startGlewlwyd({ directory, callback, signedOut }) {
  fs.mkdirSync(directory, { recursive: true });
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const schema = '/usr/share/doc/glewlwyd/database/init.sqlite3.sql.gz';
  execFileSync('sh', ['-c', `zcat ${schema} | sqlite3 ${path.join(directory, 'glewlwyd.db')}`]);
  const usual = fs.readFileSync('/etc/glewlwyd/glewlwyd.conf', 'utf8');
  const configuration = usual
    .replace(/^port=.*$/m, `port=${port}`)
    .replace(/^external_url=.*$/m, `external_url="${origin}"`)
    .replace(/^log_file=.*$/m, `log_file="${path.join(directory, 'log')}"`)
    .replace(/^@include.*$/m, `database =\n{\n  type = "sqlite3";\n  path = "${path.join(directory, 'glewlwyd.db')}";\n};`);
  const file = path.join(directory, 'glewlwyd.conf');
  fs.writeFileSync(file, `bind_address="127.0.0.1"\n${configuration}`);
  const process_ = spawn('glewlwyd', ['--config-file', file], { stdio: 'ignore' });
  const admin = new Visitor(origin);
  for (let tries = 0; ; tries += 1) {
    try {
      await admin.must('POST', '/api/auth/', { username: 'admin', password: 'password' });
      break;
    } catch (error) {
      if (tries > 200) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  // Otherwise its `amr` says nothing of the password.
  await admin.must('PUT', '/api/scope/openid', {
    name: 'openid', display_name: 'Open ID', description: 'Sign in', password_enabled: true, password_max_age: 3600, scheme: {}, scheme_required: {},
  });
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const pem = (key, type) => key.export({ format: 'pem', type });
  await admin.must('POST', '/api/mod/plugin/', {
    module: 'oidc', name: 'oidc', display_name: 'OpenID', order_rank: 0,
    parameters: {
      iss: `${origin}/api/oidc`, 'subject-type': 'public', 'jwt-type': 'ecdsa', 'jwt-key-size': '256',
      key: pem(privateKey, 'pkcs8'), cert: pem(publicKey, 'spki'), 'jwks-show': true, 'x5c': [],
      'access-token-duration': 3600, 'refresh-token-duration': 86400, 'code-duration': 600, 'code-revoke-replayed': true,
      'refresh-token-rolling': true, 'refresh-token-one-use': 'always', 'client-refresh-token-one-use-parameter': '',
      'auth-type-code-enabled': true, 'auth-type-token-enabled': false, 'auth-type-id-token-enabled': false,
      'auth-type-none-enabled': false, 'auth-type-password-enabled': false, 'auth-type-client-enabled': false,
      'auth-type-device-enabled': false, 'auth-type-refresh-enabled': true, 'pkce-allowed': true, 'pkce-method-plain-allowed': false,
      'pkce-required': true, 'scope': [{ name: 'openid', 'refresh-token-rolling': true }], 'name-claim': 'on-demand', 'name-claim-scope': ['openid'],
      'email-claim': 'on-demand', 'email-claim-scope': ['openid'], 'scope-claim': 'no', 'claims': [], 'request-parameter-allow': false,
      'session-management-allowed': true, 'session-cookie-name': 'GLEWLWYD2_OIDC_SID', 'session-cookie-expiration': 86400, 'back-channel-logout-allowed': true, 'front-channel-logout-allowed': false,
      'oauth-par-allowed': true, 'oauth-par-required': false, 'oauth-par-request_uri-prefix': 'urn:ietf:params:oauth:request_uri:', 'oauth-par-duration': 90,
      'client-pubkey-parameter': 'pubkey', 'client-jwks-parameter': 'jwks', 'client-jwks_uri-parameter': 'jwks_uri',
    },
  });
  await admin.must('POST', '/api/client/?source=database', {
    client_id: CLIENT, name: 'Gateway', confidential: true, enabled: true, password: SECRET, client_secret: SECRET,
    redirect_uri: [callback], post_logout_redirect_uri: signedOut, authorization_type: ['code', 'refresh_token'],
    token_endpoint_auth_method: ['client_secret_basic'], scope: ['openid'],
  });
  await admin.must('POST', '/api/user/?source=database', { username: 'ada', name: 'Ada', email: 'ada@corp.example', password: 'a password of hers', enabled: true, scope: ['openid', 'g_profile'] });
  return {
    issuer: `${origin}/api/oidc`, clientId: CLIENT, clientSecret: SECRET,
    /** What a person does at the provider between being sent there and being sent back; returns the way back. */
    async signIn(url) {
      const person = new Visitor(origin);
      await person.must('POST', '/api/auth/', { username: 'ada', password: 'a password of hers' });
      await person.must('PUT', `/api/auth/grant/${CLIENT}`, { scope: 'openid' });
      const way = new URL(url);
      way.searchParams.set('g_continue', '');
      const response = await person.ask('GET', way.href);
      return response.headers.get('location') ?? `${response.status} ${await response.text()}`;
    },
    async end() {
      process_.kill('SIGTERM');
      if (process_.exitCode === null) await once(process_, 'exit');
    },
  };
}
