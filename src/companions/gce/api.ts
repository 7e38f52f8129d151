import { randomUUID } from 'node:crypto';
import { Backoff } from '../../async/backoff.ts';
import { pause } from '../../async/pause.ts';
import { Fields } from '../../cluster/fields.ts';
import { parseForeignJson } from '../../cluster/json.ts';
import { FlatnetError } from '../../error.ts';
import { excerpt } from '../../problem.ts';
import { reasonOf } from '../cloud/reason.ts';
import { Credentials } from './credentials.ts';

const DEFAULT_ENDPOINT = 'https://compute.googleapis.com/compute/v1/';
/** Milliseconds. */
const PATIENCE = 15_000;
const FIRST_POLL = 200;
const LONGEST_POLL = 2000;
/** How often an operation is asked after: Google's take some seconds. */
const POLLS = 100;

export type Request = {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Below the API's version, such as `projects/P/global/routes`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: object;
  /** Whether there may be no such object; it is an error otherwise. */
  readonly mayBeAbsent?: true;
  /** The permission that it needs. */
  readonly permission: string;
};

/** The REST API of Compute Engine, as far as it is needed; gcloud's variable may move it. */
export class ComputeApi {
  readonly #credentials = new Credentials();
  readonly #signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** Throws CLOUD, for people. Undefined: there is no such object. */
  async ask(request: Request): Promise<Fields | undefined> {
    const { method, path, query = {}, body, mayBeAbsent, permission } = request;
    const url = new URL(path, process.env.CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE ?? DEFAULT_ENDPOINT);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const authorization = `Bearer ${await this.#credentials.token(this.#signal)}`;
    try {
      const answer = await fetch(url, {
        method,
        headers: { authorization, ...(body && { 'content-type': 'application/json' }) },
        ...(body && { body: JSON.stringify(body) }),
        signal: AbortSignal.any([this.#signal, AbortSignal.timeout(PATIENCE)]),
        redirect: 'error',
      });
      const text = await answer.text();
      if (answer.status === 404 && mayBeAbsent) return undefined;
      if (answer.ok) return new Fields(parseForeignJson(text));
      if (answer.status === 401) this.#credentials.forget();
      throw refusal(request, answer.status, text);
    } catch (error) {
      this.#signal.throwIfAborted();
      if (error instanceof FlatnetError) throw error;
      throw new FlatnetError(reasonOf(error), {
        code: 'CLOUD',
        operation: permission,
        object: path,
        cause: error,
      });
    }
  }

  /** Changes something, and waits until that is done. Undefined: there is no such object. */
  async change(project: string, request: Request): Promise<Fields | undefined> {
    // With it, a request that is repeated is carried out once.
    const started = await this.ask({ ...request, query: { ...request.query, requestId: randomUUID() } });
    const name = started?.string('name');
    let operation = started;
    const backoff = new Backoff({ first: FIRST_POLL, longest: LONGEST_POLL });
    for (let polls = 0; operation && operation.string('status') !== 'DONE'; polls++) {
      if (polls === POLLS) throw failed(request, 'is still not done');
      await pause(backoff.next(), this.#signal);
      this.#signal.throwIfAborted();
      const path = `projects/${project}/global/operations/${name}`;
      operation = await this.ask({ method: 'GET', path, permission: 'compute.globalOperations.get' });
    }
    const [error] = operation?.object('error')?.list('errors') ?? [];
    if (error === undefined) return operation;
    const fields = new Fields(error);
    throw failed(request, `${fields.string('code')}: ${excerpt(fields.string('message') ?? '', 300)}`);
  }
}

function failed({ permission, path }: Request, text: string): FlatnetError {
  return new FlatnetError(text, { code: 'CLOUD', operation: permission, object: path });
}

/** An error as Google's APIs describe it. */
function refusal({ permission, path }: Request, status: number, text: string): FlatnetError {
  const { message, reason } = describe(text);
  const parts = { code: 'CLOUD', operation: permission, object: path } as const;
  if (status === 429 || reason === 'rateLimitExceeded')
    return new FlatnetError('Compute Engine limits requests; trying again later', parts);
  const said = `status ${status}: ${excerpt(message, 300)}`;
  if (/scope/i.test(message) && status === 403) {
    const fix = 'give the instance the access scope compute-rw or cloud-platform';
    return new FlatnetError(said, { ...parts, fix });
  }
  if (status === 403) {
    const fix = `grant ${permission} to the instance’s service account, such as with roles/compute.networkAdmin`;
    return new FlatnetError(`is not allowed: ${said}`, { ...parts, fix });
  }
  return new FlatnetError(said, parts);
}

function describe(text: string): { readonly message: string; readonly reason: string } {
  try {
    const error = new Fields(parseForeignJson(text)).object('error');
    const [first] = error?.list('errors') ?? [];
    const reason = first === undefined ? '' : (new Fields(first).string('reason') ?? '');
    return { message: error?.string('message') ?? '', reason };
  } catch {
    return { message: text, reason: '' }; // not the API's own answer
  }
}
