import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Authority, openssl } from '../pki.ts';
import { component } from './component.ts';
import { API_SERVER, listed, PODS, SERVICES, urlHost } from './networks.ts';
import { Service } from './service.ts';
import type { Switch } from './switch.ts';

const run = promisify(execFile);

/** Its number on the switch. */
const NUMBER = 10;

/** etcd, API server, controller-manager and scheduler, in a namespace that is also "outside". */
export class ControlPlane {
  readonly netns: string;
  readonly authority: Authority;
  readonly server: string;
  /** In the order of the families. */
  readonly addresses: readonly string[];
  readonly #folder: string;
  readonly #apiServer: Service;
  readonly #others: readonly Service[];
  readonly #etcd: Service;

  private constructor(network: Switch, netns: string) {
    const { families } = network;
    this.addresses = network.addresses(NUMBER);
    const [address = ''] = this.addresses;
    const folder = join(network.folder, 'control-plane');
    mkdirSync(folder, { recursive: true });
    this.netns = netns;
    this.server = `https://${urlHost(address)}:6443`;
    this.#folder = folder;
    this.authority = new Authority(folder);
    const { cert, key } = this.authority.server(address, ...families.map((family) => API_SERVER[family]));
    const [secret, accounts] = [join(folder, 'accounts.key'), join(folder, 'accounts.pub')];
    openssl('genrsa', '-out', secret, '2048');
    openssl('rsa', '-in', secret, '-pubout', '-out', accounts);
    const services = `--service-cluster-ip-range=${listed(families, SERVICES)}`;
    const kubelets = this.authority.client('kube-apiserver', 'system:masters');
    this.#etcd = this.#service('etcd', [
      '/usr/bin/etcd',
      `--data-dir=${join(folder, 'etcd')}`,
      '--unsafe-no-fsync',
    ]);
    this.#apiServer = this.#service('kube-apiserver', [
      component('kube-apiserver'),
      '--etcd-servers=http://127.0.0.1:2379',
      `--advertise-address=${address}`,
      // Its default is IPv4 alone.
      '--bind-address=::',
      `--tls-cert-file=${cert}`,
      `--tls-private-key-file=${key}`,
      `--client-ca-file=${this.authority.ca}`,
      `--kubelet-client-certificate=${kubelets.cert}`,
      `--kubelet-client-key=${kubelets.key}`,
      // Their names are in no DNS.
      '--kubelet-preferred-address-types=InternalIP',
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${accounts}`,
      `--service-account-signing-key-file=${secret}`,
      '--authorization-mode=Node,RBAC',
      '--enable-admission-plugins=NodeRestriction',
      '--allow-privileged',
      services,
    ]);
    const manager = this.kubeconfig('system:kube-controller-manager');
    const scheduler = this.kubeconfig('system:kube-scheduler');
    this.#others = [
      this.#service('kube-controller-manager', [
        component('kube-controller-manager'),
        ...credentials(manager),
        '--leader-elect=false',
        '--use-service-account-credentials',
        `--service-account-private-key-file=${secret}`,
        `--root-ca-file=${this.authority.ca}`,
        '--allocate-node-cidrs',
        `--cluster-cidr=${listed(families, PODS)}`,
        services,
      ]),
      this.#service('kube-scheduler', [
        component('kube-scheduler'),
        ...credentials(scheduler),
        '--leader-elect=false',
      ]),
    ];
  }

  /** `begun` gets it before anything of it runs. */
  static async start(network: Switch, begun: (plane: ControlPlane) => void): Promise<ControlPlane> {
    const plane = new ControlPlane(network, await network.connect('control', NUMBER));
    begun(plane);
    plane.#etcd.start();
    await plane.startApiServer();
    for (const service of plane.#others) service.start();
    return plane;
  }

  async startApiServer(): Promise<void> {
    this.#apiServer.start();
    await this.#apiServer.until(
      () => this.kubectl('get', '--raw', '/readyz').then(Boolean, () => false),
      180_000,
    );
  }

  async stopApiServer(): Promise<void> {
    await this.#apiServer.stop();
  }

  async stop(): Promise<void> {
    for (const service of [...this.#others, this.#apiServer, this.#etcd]) await service.stop();
  }

  /** Runs kubectl as an administrator, and returns what it prints. */
  async kubectl(...args: readonly string[]): Promise<string> {
    const admin = this.kubeconfig('admin', 'system:masters');
    return this.outside(component('kubectl'), `--kubeconfig=${admin}`, ...args);
  }

  /** Runs a program in the control plane's namespace, which has no part in the pod network. */
  async outside(...argv: readonly string[]): Promise<string> {
    const { stdout } = await run('ip', ['netns', 'exec', this.netns, ...argv], { maxBuffer: 1 << 26 });
    return stdout;
  }

  /** Applies objects as an administrator. */
  async apply(...objects: readonly object[]): Promise<void> {
    const file = join(this.#folder, 'apply.json');
    writeFileSync(file, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }));
    await this.kubectl('apply', '--server-side', '--force-conflicts', '-f', file);
  }

  /** A kubeconfig with a certificate for a user. */
  kubeconfig(user: string, ...groups: readonly string[]): string {
    const path = join(this.#folder, `${user.replaceAll(':', '-')}.kubeconfig`);
    if (existsSync(path)) return path;
    const { cert, key } = this.authority.client(user, ...groups);
    this.#writeKubeconfig(path, { 'client-certificate': cert, 'client-key': key });
    return path;
  }

  /** The same with a token of a service account. */
  async accountKubeconfig(namespace: string, account: string): Promise<string> {
    const path = join(this.#folder, `${account}.kubeconfig`);
    const token = await this.kubectl('create', 'token', account, '-n', namespace, '--duration=24h');
    this.#writeKubeconfig(path, { token: token.trim() }, namespace);
    return path;
  }

  #writeKubeconfig(path: string, user: object, namespace = 'default'): void {
    const cluster = { server: this.server, 'certificate-authority': this.authority.ca };
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'test',
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'test', namespace } }],
      clusters: [{ name: 'test', cluster }],
      users: [{ name: 'test', user }],
    };
    writeFileSync(path, JSON.stringify(config), { mode: 0o600 });
  }

  #service(name: string, argv: readonly string[]): Service {
    return new Service(['ip', 'netns', 'exec', this.netns, ...argv], join(this.#folder, `${name}.log`));
  }
}

function credentials(kubeconfig: string): readonly string[] {
  return ['kubeconfig', 'authentication-kubeconfig', 'authorization-kubeconfig'].map(
    (flag) => `--${flag}=${kubeconfig}`,
  );
}
