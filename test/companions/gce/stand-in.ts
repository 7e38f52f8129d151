import assert from 'node:assert/strict';
import { createVerify, generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { withNetns } from '../../../src/linux/netns.ts';
import { faultsOf, methodOf } from './shapes.ts';

const PREFIX = 'https://www.googleapis.com/compute/v1/';
export const NETWORK = 'projects/host-project/global/networks/vpc';

export type Instance = {
  readonly name: string;
  readonly ip: string;
  readonly publicIp?: string;
  canIpForward: boolean;
};
export type Route = {
  readonly name: string;
  readonly network: string;
  readonly destRange: string;
  readonly nextHopInstance?: string;
  readonly nextHopGateway?: string;
};
export type Refusal = {
  readonly status: number;
  readonly reason: string;
  readonly message: string;
  readonly id?: string;
};

/**
 * Compute Engine, its metadata server and Google's token service, in little. Every request is checked
 * against the discovery document; `faults` lists what was wrong. A change takes effect when its operation is
 * asked for.
 */
export class Google implements AsyncDisposable {
  readonly routes: Route[] = [];
  readonly instances: Instance[] = [];
  /** The instance that the metadata server speaks for, unless it is asked from the address of another. */
  here: Instance | undefined;
  refusal: Refusal | undefined;
  /** What the next operation ends with. */
  operationError: { readonly code: string; readonly message: string } | undefined;
  readonly faults: string[] = [];
  readonly methods: string[] = [];
  /** How tokens were asked for. */
  readonly tokens: string[] = [];
  pageSize = 2;
  /** Called before each request is carried out, with its method. */
  before: ((id: string) => void) | undefined;
  /** The next token is valid no more when it is used. */
  revokeNext = false;
  readonly #ids = new WeakMap<Route, string>();
  #lastId = 4_000_000_000_000_000_000n;
  readonly #operations = new Map<string, () => void>();
  readonly #keys = generateKeyPairSync('rsa', { modulusLength: 2048 });
  readonly #server: Server;
  readonly #valid = new Set<string>();
  readonly #elsewhere: Server[] = [];
  #port = 0;

  private constructor() {
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  /** `api`: the address at which it is to be served in a namespace (`serveIn`). */
  static async start(api?: string): Promise<Google> {
    const google = new Google();
    google.#server.listen(0, '127.0.0.1');
    await once(google.#server, 'listening');
    google.#port = (google.#server.address() as AddressInfo).port;
    const host = `127.0.0.1:${google.#port}`;
    if (!api) process.env.GCE_METADATA_HOST = host;
    process.env.CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE = `http://${api ?? host}/compute/v1/`;
    return google;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    delete process.env.GCE_METADATA_HOST;
    delete process.env.CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE;
    for (const server of [this.#server, ...this.#elsewhere]) {
      server.closeAllConnections();
      server.close();
    }
  }

  /**
   * Serves the same in a namespace, at port 80 of any of its addresses: metadata is where instances expect
   * it.
   */
  serveIn(netns: string): void {
    const server = createServer((...call) => this.#server.emit('request', ...call));
    withNetns(netns, () => void server.listen(80));
    this.#elsewhere.push(server);
  }

  /** A service account's key file, as Google's console gives it. */
  get keyFile(): object {
    return {
      type: 'service_account',
      project_id: 'node-project',
      private_key: this.#keys.privateKey.export({ type: 'pkcs8', format: 'pem' }),
      client_email: 'nodes@node-project.iam.gserviceaccount.com',
      token_uri: `http://127.0.0.1:${this.#port}/token`,
    };
  }

  run(name: string, ip: string, publicIp?: string): Instance {
    const instance = { name, ip, canIpForward: true, ...(publicIp !== undefined && { publicIp }) };
    this.instances.push(instance);
    return instance;
  }

  /** As routes name it. */
  link({ name }: Instance): string {
    return `${PREFIX}projects/node-project/zones/europe-west1-b/instances/${name}`;
  }

  /** What the network's router does: addresses of instances that forward packets, by network. */
  get forwarding(): ReadonlyMap<string, string> {
    return new Map(
      this.routes.flatMap(({ destRange, nextHopInstance }) => {
        const to = this.instances.find((each) => nextHopInstance === this.link(each));
        return to?.canIpForward ? [[destRange, to.ip] as const] : [];
      }),
    );
  }

  /** Where the routes to a network lead. */
  targets(to: string): readonly (string | undefined)[] {
    return this.routes
      .filter(({ destRange }) => destRange === to)
      .map(({ nextHopInstance, nextHopGateway }) => (nextHopInstance ?? nextHopGateway)?.split('/').at(-1));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString();
    const url = new URL(request.url ?? '/', 'http://google');
    if (url.pathname === '/token') this.#giveToken(body, response);
    else if (url.pathname.startsWith('/computeMetadata/v1/')) this.#tell(url, request, response);
    else this.#compute(url, request, body, response);
  }

  #tell({ pathname }: URL, { headers, socket }: IncomingMessage, response: ServerResponse): void {
    const here = this.instances.find(({ ip }) => socket.remoteAddress?.endsWith(`:${ip}`)) ?? this.here;
    const answers: Record<string, string> = {
      'project/project-id': 'node-project',
      'instance/zone': 'projects/123456/zones/europe-west1-b',
      'instance/name': here?.name ?? '',
    };
    const path = pathname.slice('/computeMetadata/v1/'.length);
    response.setHeader('Metadata-Flavor', 'Google');
    if (headers['metadata-flavor'] !== 'Google') response.writeHead(403).end();
    else if (path === 'instance/service-accounts/default/token') response.end(this.#newToken('metadata'));
    else if (answers[path]) response.end(answers[path]);
    else response.writeHead(404).end();
  }

  /** RFC 7523. */
  #giveToken(body: string, response: ServerResponse): void {
    const form = new URLSearchParams(body);
    assert.equal(form.get('grant_type'), 'urn:ietf:params:oauth:grant-type:jwt-bearer');
    const [header = '', claims = '', signature = ''] = form.get('assertion')?.split('.') ?? [];
    const decode = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString());
    assert.deepEqual(decode(header), { alg: 'RS256', typ: 'JWT' });
    const { iss, aud, scope, iat, exp } = decode(claims);
    const isSigned = createVerify('RSA-SHA256')
      .update(`${header}.${claims}`)
      .verify(this.#keys.publicKey, signature, 'base64url');
    const isGood =
      isSigned &&
      iss === 'nodes@node-project.iam.gserviceaccount.com' &&
      aud === `http://127.0.0.1:${this.#port}/token` &&
      scope === 'https://www.googleapis.com/auth/compute' &&
      Math.abs(iat - Date.now() / 1000) < 60 &&
      exp - iat <= 3600;
    if (isGood) response.end(this.#newToken('key file'));
    else response.writeHead(400).end('{"error":"invalid_grant","error_description":"as the test has it"}');
  }

  #newToken(how: string): string {
    this.tokens.push(how);
    const token = `token-${this.tokens.length}`;
    if (!this.revokeNext) this.#valid.add(`Bearer ${token}`);
    this.revokeNext = false;
    return JSON.stringify({ access_token: token, expires_in: 3599, token_type: 'Bearer' });
  }

  #compute(
    url: URL,
    { method = '', headers }: IncomingMessage,
    text: string,
    response: ServerResponse,
  ): void {
    const refuse = (status: number, message: string, reason = 'invalid'): void => {
      const error = { code: status, message, errors: [{ message, domain: 'global', reason }] };
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ error }));
    };
    const found = methodOf(method, url.pathname.slice('/compute/v1/'.length));
    const sent: unknown = text === '' ? undefined : JSON.parse(text);
    const faults = found ? faultsOf(found.method, url.searchParams, sent) : [`${method} ${url.pathname}`];
    this.faults.push(...faults);
    const id = found?.method.id ?? '';
    this.methods.push(id);
    this.before?.(id);
    const { refusal } = this;
    if (!found || faults.length > 0) refuse(400, faults.join());
    else if (!this.#valid.has(headers.authorization ?? '')) refuse(401, 'no such token', 'authError');
    else if (refusal && (refusal.id ?? id) === id) refuse(refusal.status, refusal.message, refusal.reason);
    else {
      const result = this.#perform(id, found.parameters, url.searchParams, sent as Route);
      if (result === undefined) refuse(404, 'not found', 'notFound');
      else response.end(JSON.stringify(result));
    }
  }

  #perform(
    id: string,
    { project = '', instance = '', route = '', operation = '' }: Readonly<Record<string, string>>,
    query: URLSearchParams,
    sent: Route,
  ): object | undefined {
    if (id === 'compute.instances.get') {
      const found = this.instances.find(({ name }) => name === instance);
      const accessConfigs = found?.publicIp === undefined ? [] : [{ natIP: found.publicIp }];
      const nic = { network: `${PREFIX}${NETWORK}`, networkIP: found?.ip, name: 'nic0', accessConfigs };
      const networkInterfaces = [nic];
      return found && { name: found.name, canIpForward: found.canIpForward, networkInterfaces };
    }
    if (id === 'compute.globalOperations.get') return this.#finish(operation);
    assert.equal(project, 'host-project', 'routes are of the network’s project');
    if (id === 'compute.routes.list') {
      const from = Number(query.get('pageToken') ?? 0);
      const end = from + this.pageSize;
      const items = this.routes.slice(from, end).map((each) => ({ ...each, id: this.#idOf(each) }));
      return {
        kind: 'compute#routeList',
        items,
        ...(end < this.routes.length && { nextPageToken: `${end}` }),
      };
    }
    if (id === 'compute.routes.delete') {
      const found = this.routes.find((each) => each.name === route || this.#idOf(each) === route);
      return found && this.#begin(() => this.routes.splice(this.routes.indexOf(found), 1));
    }
    const { name, network, nextHopInstance } = sent;
    const error = { code: 'RESOURCE_ALREADY_EXISTS', message: `The resource '${name}' already exists` };
    if (this.routes.some((each) => each.name === name))
      return { name, status: 'DONE', error: { errors: [error] } };
    const stored = {
      ...sent,
      network: `${PREFIX}${network}`,
      nextHopInstance: `${PREFIX}${nextHopInstance}`,
    };
    return this.#begin(() => this.routes.push(stored));
  }

  #idOf(route: Route): string {
    const id = this.#ids.get(route) ?? `${++this.#lastId}`;
    this.#ids.set(route, id);
    return id;
  }

  #begin(effect: () => void): object {
    const name = `operation-${this.#operations.size + 1}-abc`;
    this.#operations.set(name, effect);
    return { kind: 'compute#operation', name, status: 'RUNNING' };
  }

  #finish(name: string): object | undefined {
    const effect = this.#operations.get(name);
    const { operationError: failure } = this;
    if (failure) return { name, status: 'DONE', error: { errors: [failure] } };
    effect?.();
    return effect && { name, status: 'DONE' };
  }
}
