// A real OpenID provider on loopback for `jupyter.py`: oidc-provider with its development sign-in pages.
// Access tokens are RFC 9068 JWTs for the one resource below; people's groups come from the table.
import { Provider } from 'oidc-provider';
import { generateKeyPairSync } from 'node:crypto';

const [port] = process.argv.slice(2);
const resource = 'https://apps.example.com';
const groups = { ada: ['employees', 'engineering'], eve: [] };
const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });

const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: { keys: [{ ...key, alg: 'ES256', use: 'sig', kid: 'interop' }] },
  clients: [{
    client_id: 'interop',
    token_endpoint_auth_method: 'none',
    application_type: 'native',
    redirect_uris: ['http://127.0.0.1:1/callback'],
    grant_types: ['authorization_code'],
    response_types: ['code'],
    id_token_signed_response_alg: 'ES256',
  }],
  cookies: { keys: ['only on loopback'] },
  pkce: { required: () => true },
  features: {
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: 'use', audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
  findAccount: (_context, id) => (id in groups ? { accountId: id, claims: () => ({ sub: id }) } : undefined),
  // The development pages take any password. What a provider that had asked for two factors would say:
  extraTokenClaims: (_context, token) => ({
    groups: groups[token.accountId], amr: ['pwd', 'otp', 'mfa'], auth_time: token.iat ?? Math.floor(Date.now() / 1000),
  }),
});

provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
