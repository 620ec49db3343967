// A certified OpenID provider (oidc-provider) on loopback, with people of its own and two clients: one with a secret, one with
// a key. Its sign-in page asks for a name and for how the person proved it, because that is what the gateway must believe.
import { createServer } from 'node:http';
import { once } from 'node:events';
import Provider, { interactionPolicy } from 'oidc-provider';
import { generateKeyPairSync } from 'node:crypto';

/** What each way of signing in says of itself. */
const WAYS = { password: { acr: 'pwd', amr: ['pwd'] }, 'two factors': { acr: 'mfa', amr: ['pwd', 'otp', 'mfa'] }, passkey: { acr: 'phr', amr: ['hwk', 'user', 'mfa'] } };
/** In order of strength. */
const LEVELS = Object.values(WAYS).map((way) => way.acr);
const PEOPLE = { ada: ['employees', 'finance'], ben: ['employees', 'engineering'] };

/** Like most products, it also asks again where `acr_values` names nothing that the session has (oidc-provider by itself does so
 * for essential claims only). */
function policy(moods) {
  const prompts = interactionPolicy.base();
  prompts.get('login').checks.add(new interactionPolicy.Check('acr_values', 'more is asked for', ({ oidc }) =>
    moods.insists && Boolean(oidc.params.acr_values) && !oidc.params.acr_values.split(' ').includes(oidc.session.acr)));
  return prompts;
}

/** `callback`, `signedOut` and `backChannel` are the gateway's; `clientKey` is a public JWK; `send` is a fetch that reaches the
 * gateway; `lifetime` is that of tokens, in seconds. */
export async function startProvider({ callback, signedOut, backChannel, clientKey, send, lifetime = 3600 }) {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
  const common = {
    redirect_uris: [callback], post_logout_redirect_uris: [signedOut], grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'], id_token_signed_response_alg: 'ES256',
    ...(backChannel ? { backchannel_logout_uri: backChannel, backchannel_logout_session_required: true } : {}),
  };
  const disabled = new Set();
  const moods = { insists: true, claimsToBe: undefined };
  const provider = new Provider(issuer, {
    jwks: { keys: [{ ...key, alg: 'ES256', use: 'sig', kid: 'one' }] },
    clients: [
      { ...common, client_id: 'with-secret', client_secret: 'a secret of forty characters or so, please', token_endpoint_auth_method: 'client_secret_basic' },
      ...(clientKey ? [{ ...common, client_id: 'with-key', token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256', jwks: { keys: [clientKey] } }] : []),
    ],
    cookies: { keys: ['only on loopback'] },
    acrValues: LEVELS,
    claims: { openid: ['sub', 'groups'], profile: ['name'], email: ['email', 'email_verified'], acr: null, amr: null, auth_time: null, sid: null, iss: null },
    conformIdTokenClaims: false,
    features: {
      devInteractions: { enabled: false }, backchannelLogout: { enabled: true }, claimsParameter: { enabled: true },
      pushedAuthorizationRequests: { enabled: true }, rpInitiatedLogout: { enabled: true },
    },
    findAccount: (_context, id) => (id in PEOPLE && !disabled.has(id)
      ? { accountId: id, claims: () => ({ sub: id, name: id, email: `${id}@corp.example`, email_verified: true, groups: PEOPLE[id] }) } : undefined),
    interactions: { policy: policy(moods), url: (_context, interaction) => `/interaction/${interaction.uid}` },
    issueRefreshToken: async (_context, client) => client.grantTypeAllowed('refresh_token'),
    ttl: { IdToken: lifetime, AccessToken: lifetime, RefreshToken: 86_400, Session: 86_400, Grant: 86_400, Interaction: 600 },
    fetch: (url, options) => (send ?? fetch)(url, options),
  });
  provider.on('server_error', (_context, error) => console.error(error));
  /** What came to the pushed-request and token endpoints, for those who want to know how the gateway spoke. */
  const seen = [];
  provider.use(async (context, next) => {
    await next();
    const location = context.response.get('location');
    if (moods.claimsToBe && location?.startsWith(callback)) {
      const changed = new URL(location);
      changed.searchParams.set('iss', moods.claimsToBe);
      context.response.set('location', changed.href);
    }
    if (context.method === 'POST') seen.push({ path: context.path, status: context.status, params: { ...context.oidc?.params }, body: { ...context.oidc?.body } });
  });
  const answer = provider.callback();
  server.on('request', async (request, response) => {
    if (!request.url.startsWith('/interaction/')) return answer(request, response);
    try {
      const details = await provider.interactionDetails(request, response);
      if (request.method !== 'POST' && details.prompt.name === 'login') {
        response.setHeader('content-type', 'text/html; charset=utf-8');
        const ways = Object.keys(WAYS).map((way) => `<button name="way" value="${way}">Sign in with ${way}</button>`).join(' ');
        return response.end(`<!doctype html><title>Provider</title><form method="post"><label>Name <input name="login"></label> ${ways}</form>`);
      }
      let text = '';
      for await (const part of request) text += part;
      const form = new URLSearchParams(text);
      const accountId = details.session?.accountId ?? form.get('login');
      const grant = new provider.Grant({ accountId, clientId: details.params.client_id });
      grant.addOIDCScope(details.params.scope);
      grant.addOIDCClaims(['acr', 'amr', 'auth_time', 'groups', 'sid']);
      const grantId = await grant.save();
      const way = WAYS[form.get('way')];
      const login = details.prompt.name === 'login' ? { login: { accountId, ...way, remember: true } } : {};
      await provider.interactionFinished(request, response, { ...login, consent: { grantId } }, { mergeWithLastSubmission: true });
    } catch (error) {
      response.statusCode = 500;
      response.end(String(error));
    }
  });
  return {
    issuer, seen, moods, disable: (name) => disabled.add(name),
    end: async () => { server.closeAllConnections(); server.close(); await once(server, 'close'); },
  };
}
