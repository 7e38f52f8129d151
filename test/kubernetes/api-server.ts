import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, cpSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import { join } from 'node:path';
import { after } from 'node:test';
import type { Access } from '../../src/kubernetes/access/access.ts';
import { kubeconfigAccess } from '../../src/kubernetes/access/kubeconfig-access.ts';
import { type ClientOptions, KubernetesClient } from '../../src/kubernetes/api/client.ts';
import type { ResourceType } from '../../src/kubernetes/api/resource.ts';
import { eventually, freePort, type ServerProcess, startEtcd, temporaryFolder } from '../store/servers.ts';
import { component, NO_KUBERNETES } from './nodes/component.ts';
import { Authority, openssl } from './pki.ts';

/** Why tests against a real API server are skipped; false when they run. */
export const NO_API_SERVER = NO_KUBERNETES;

/** What things of a test end with: a test's context, or `forSuite()`. */
type Life = { readonly after: (end: () => unknown) => void };

/** To be called in `describe`, for what its tests share: ends after them, last things first. */
export function forSuite(): Life {
  const ends: (() => unknown)[] = [];
  after(async () => {
    for (const end of ends.reverse()) await end();
  });
  return { after: (end) => void ends.push(end) };
}

const ADMIN = 'token-of-admin';

type EtcdAnswer = {
  readonly header?: { readonly revision?: string };
  readonly kvs?: readonly { readonly value: string }[];
};

const base64 = (text: string): string => Buffer.from(text).toString('base64');

export type ApiServerOptions = {
  /** `--name=value`, added to the default ones. */
  readonly flags?: readonly string[];
};

/** A real kube-apiserver with an etcd of its own, on loopback. Both end with the test. */
export class ApiServer {
  readonly folder: string;
  readonly etcd: ServerProcess;
  readonly port: number;
  /** Signs its certificate and its users'. */
  authority: Authority;
  /** The file that clients trust. */
  readonly ca: string;
  readonly #flags: readonly string[];
  #certificate: { readonly cert: string; readonly key: string };
  #process: ChildProcess | undefined;
  #kubeconfigs = 0;

  private constructor(folder: string, etcd: ServerProcess, port: number, flags: readonly string[]) {
    this.folder = folder;
    this.etcd = etcd;
    this.port = port;
    this.#flags = flags;
    this.authority = new Authority(folder);
    this.ca = join(folder, 'trusted.crt');
    copyFileSync(this.authority.ca, this.ca);
    this.#certificate = this.authority.server();
    openssl('genrsa', '-out', join(folder, 'sa.key'), '2048');
    writeFileSync(join(folder, 'tokens.csv'), `${ADMIN},admin,1,system:masters\n`);
  }

  static async start(t: Life, { flags = [] }: ApiServerOptions = {}): Promise<ApiServer> {
    const folder = temporaryFolder();
    const etcd = await startEtcd(['--unsafe-no-fsync']);
    const server = new ApiServer(folder, etcd, await freePort(), flags);
    t.after(async () => {
      await server.kill();
      await etcd.stop();
      rmSync(folder, { recursive: true, force: true });
    });
    await server.launch();
    return server;
  }

  get url(): string {
    return `https://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    if (this.#process?.pid === undefined) throw new Error('the API server does not run');
    return this.#process.pid;
  }

  /** A client for as long as the test takes; an administrator's by default. */
  client(t: Life, options: Partial<ClientOptions> = {}): KubernetesClient {
    const client = new KubernetesClient({ access: this.access(), ...options });
    t.after(() => client.close());
    return client;
  }

  /** Access with a token, an administrator's by default, possibly through a relay. */
  access(token = ADMIN, server = this.url): Access {
    return kubeconfigAccess({
      cluster: { server, ca: { file: this.ca } },
      user: { token: { text: token } },
      namespace: 'default',
    });
  }

  /** Writes a kubeconfig with a token, an administrator's by default; returns its path. */
  kubeconfig(token = ADMIN): string {
    const path = join(this.folder, `${++this.#kubeconfigs}.kubeconfig`);
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'test',
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
      clusters: [{ name: 'test', cluster: { server: this.url, 'certificate-authority': this.ca } }],
      users: [{ name: 'test', user: { token } }],
    };
    writeFileSync(path, JSON.stringify(config), { mode: 0o600 });
    return path;
  }

  /** Starts it, on the same address and data, and waits until it is ready. */
  async launch(certificate = this.#certificate): Promise<void> {
    this.#certificate = certificate;
    const key = join(this.folder, 'sa.key');
    const log = openSync(join(this.folder, 'apiserver.log'), 'a');
    const child = spawn(
      // It ends with the test even if that is killed.
      'setpriv',
      [
        '--pdeathsig=KILL',
        component('kube-apiserver'),
        `--etcd-servers=${this.etcd.endpoint}`,
        '--etcd-compaction-interval=0',
        '--bind-address=127.0.0.1',
        '--advertise-address=127.0.0.1',
        `--secure-port=${this.port}`,
        `--tls-cert-file=${certificate.cert}`,
        `--tls-private-key-file=${certificate.key}`,
        `--client-ca-file=${this.authority.ca}`,
        `--token-auth-file=${join(this.folder, 'tokens.csv')}`,
        '--authorization-mode=RBAC',
        '--service-account-issuer=https://kubernetes.default.svc',
        `--service-account-key-file=${key}`,
        `--service-account-signing-key-file=${key}`,
        '--service-cluster-ip-range=10.96.0.0/16',
        '--endpoint-reconciler-type=none',
        // No controller creates the accounts that it wants to see in pods.
        '--disable-admission-plugins=ServiceAccount',
        ...this.#flags,
      ],
      { stdio: ['ignore', 'ignore', log] },
    );
    this.#process = child;
    const ready = async (): Promise<boolean> => {
      if (child.exitCode !== null) throw new Error(`the API server failed: ${this.log().slice(-2000)}`);
      return this.#isReady();
    };
    await eventually(ready, 180_000);
  }

  /** Ends it with a signal, and waits until it is gone. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
  }

  /** Freezes it, or lets it go on. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#process?.kill(signal);
  }

  /** Starts it with a certificate of another authority, which clients find in the same file. */
  async replaceAuthority(authority: Authority): Promise<void> {
    this.authority = authority;
    await this.launch(authority.server());
    copyFileSync(authority.ca, this.ca);
  }

  /** Does `work`, and then puts etcd's data back as they were. */
  async restoring(work: () => Promise<void>): Promise<void> {
    const [data, backup] = [this.etcd.data, join(this.folder, 'backup')];
    await this.etcd.kill('SIGTERM');
    cpSync(data, backup, { recursive: true });
    await this.etcd.restart();
    await work();
    await this.kill();
    await this.etcd.kill('SIGKILL');
    rmSync(data, { recursive: true });
    cpSync(backup, data, { recursive: true });
    await this.etcd.restart();
    await this.launch();
  }

  /** Removes the history before the newest revision. */
  async compact(): Promise<void> {
    const { header } = await this.#askEtcd('range', { key: base64('/'), count_only: true });
    await this.#askEtcd('compaction', { revision: header?.revision, physical: true });
  }

  /** Changes what etcd holds of a custom resource, which is JSON, behind the server's back. */
  async rewrite(key: string, change: (stored: string) => string): Promise<void> {
    const { kvs: [found] = [] } = await this.#askEtcd('range', { key: base64(key) });
    if (!found) throw new Error(`etcd has no ${key}`);
    const value = change(Buffer.from(found.value, 'base64').toString());
    await this.#askEtcd('put', { key: base64(key), value: base64(value) });
  }

  async #askEtcd(what: string, body: object): Promise<EtcdAnswer> {
    const url = new URL(`/v3/kv/${what}`, this.etcd.endpoint);
    const answer = await fetch(url, { method: 'POST', body: JSON.stringify(body) });
    return (await answer.json()) as EtcdAnswer;
  }

  log(): string {
    return readFileSync(join(this.folder, 'apiserver.log'), 'utf8');
  }

  #isReady(): Promise<boolean> {
    return new Promise((resolve) => {
      const request = https.get(
        `${this.url}/readyz`,
        { rejectUnauthorized: false, agent: false, timeout: 2000 },
        (response) => {
          response.resume();
          resolve(response.statusCode === 200);
        },
      );
      request.on('timeout', () => request.destroy());
      request.on('error', () => resolve(false));
    });
  }
}

const core = (plural: string, kind: string, namespaced = true): ResourceType => ({
  group: '',
  version: 'v1',
  plural,
  kind,
  namespaced,
});

export const NODES = core('nodes', 'Node', false);
export const NAMESPACES = core('namespaces', 'Namespace', false);
export const CONFIG_MAPS = core('configmaps', 'ConfigMap');
export const SECRETS = core('secrets', 'Secret');
export const SERVICE_ACCOUNTS = core('serviceaccounts', 'ServiceAccount');
export const PODS = core('pods', 'Pod');

const rbac = (plural: string, kind: string): ResourceType => ({
  group: 'rbac.authorization.k8s.io',
  version: 'v1',
  plural,
  kind,
  namespaced: false,
});

export const CRDS: ResourceType = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  plural: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
};

export const CLUSTER_ROLES = rbac('clusterroles', 'ClusterRole');
export const CLUSTER_ROLE_BINDINGS = rbac('clusterrolebindings', 'ClusterRoleBinding');
