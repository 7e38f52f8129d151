import { createSign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Fields } from '../../cluster/fields.ts';
import { parseForeignJson } from '../../cluster/json.ts';
import { FlatnetError } from '../../error.ts';
import { reasonOf } from '../cloud/reason.ts';
import { readMetadata } from './metadata.ts';

const SCOPE = 'https://www.googleapis.com/auth/compute';
/** Seconds for which a signed request for a token is valid, and before its end, when another token is got. */
const ASSERTION = 3600;
const MARGIN = 60;
/** Milliseconds. */
const PATIENCE = 10_000;

type Token = { readonly text: string; readonly expires: number };

/**
 * Google's application default credentials: the key file that GOOGLE_APPLICATION_CREDENTIALS names, or the
 * instance's service account.
 */
export class Credentials {
  #token: Token | undefined;

  /** A token that is valid for a while. Throws CLOUD. */
  async token(signal: AbortSignal): Promise<string> {
    if (this.#token && this.#token.expires - MARGIN > Date.now() / 1000) return this.#token.text;
    const file = process.env.GOOGLE_APPLICATION_CREDENTIALS;
    const answer = file ? await exchangeKey(file, signal) : await fromMetadata(signal);
    this.#token = readToken(answer, file ?? 'the metadata server');
    return this.#token.text;
  }

  /** The service has refused it. */
  forget(): void {
    this.#token = undefined;
  }
}

function fromMetadata(signal: AbortSignal): Promise<string> {
  return readMetadata('instance/service-accounts/default/token', signal);
}

/** RFC 7523: a token in exchange for a statement that is signed with the account's key. */
async function exchangeKey(file: string, signal: AbortSignal): Promise<string> {
  try {
    const fields = new Fields(parseForeignJson(readFileSync(file, 'utf8')));
    const type = fields.string('type');
    if (type !== 'service_account')
      throw new Error(`is of type '${type}'; only service_account is supported`);
    const [issuer, key, uri] = ['client_email', 'private_key', 'token_uri'].map((name) => {
      const value = fields.string(name);
      if (!value) throw new Error(`lacks ${name}`);
      return value;
    }) as [string, string, string];
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: issuer, scope: SCOPE, aud: uri, iat: now, exp: now + ASSERTION };
    const body = new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
      assertion: signed({ alg: 'RS256', typ: 'JWT' }, claims, key),
    });
    const within = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]);
    const answer = await fetch(uri, { method: 'POST', body, signal: within, redirect: 'error' });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${uri} answers with status ${answer.status}: ${reasonIn(text)}`);
    return text;
  } catch (error) {
    signal.throwIfAborted();
    throw new FlatnetError(reasonOf(error), {
      code: 'CLOUD',
      operation: 'get a token',
      object: file,
      fix: 'set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account, or leave it unset to use the instance’s',
      cause: error,
    });
  }
}

/** RFC 7515, 3.1. */
function signed(header: object, claims: object, key: string): string {
  const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');
  const text = `${encode(header)}.${encode(claims)}`;
  return `${text}.${createSign('RSA-SHA256').update(text).sign(key, 'base64url')}`;
}

function readToken(text: string, object: string): Token {
  const fields = new Fields(parseForeignJson(text));
  const token = fields.string('access_token');
  if (!token) throw new FlatnetError('gives no access_token', { code: 'CLOUD', object });
  return { text: token, expires: Date.now() / 1000 + (fields.integer('expires_in', 0, 1e9) ?? 0) };
}

function reasonIn(text: string): string {
  try {
    const fields = new Fields(parseForeignJson(text));
    return fields.string('error_description') ?? fields.string('error') ?? '';
  } catch {
    return ''; // a proxy's page, perhaps
  }
}
