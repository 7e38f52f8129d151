import { Fields } from '../cluster/fields.ts';
import { type Ip, ofFamily, parseIp } from '../ip/address.ts';
import type { StoreOptions } from '../store/open.ts';

/** The agent's configuration; everything else comes from the store and the kernel. */
export type AgentOptions = {
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly store: StoreOptions;
  /** Underlay interface by name or by one of its addresses; default: that of the default route. */
  readonly iface?: string;
  /** The address published to peers that cannot reach the interface's own address (1:1 NAT). */
  readonly publicIp?: Ip;
  readonly publicIpv6?: Ip;
  /** Where health and metrics are served; nowhere by default. */
  readonly health?: HealthAddress;
  /**
   * Whether the network's configuration may name commands that this agent runs as root (backend `extension`):
   * whoever may write there could do anything on this node.
   */
  readonly allowExtension?: true;
  readonly paths: Paths;
  readonly logLevel: string;
};

export type HealthAddress = { readonly ip: Ip; readonly port: number };

export type Paths = {
  /** Socket and lock; gone after a reboot. */
  readonly run: string;
  /** The last view of the cluster, attachments, DELs recorded while the agent was down; survives a reboot. */
  readonly state: string;
  /** flannel's contract with CNI plugins. */
  readonly subnetFile: string;
  readonly cniConf: string;
  readonly cniBin: string;
  /** host-local's data, one directory per network. */
  readonly cniData: string;
  /** The socket of a `bird-holder`, which runs BIRD in a container of its own. Default: the agent runs it. */
  readonly birdHolder?: string;
};

export const DEFAULT_PATHS = {
  run: '/run/flatnet',
  state: '/var/lib/flatnet',
  subnetFile: '/run/flannel/subnet.env',
  cniConf: '/etc/cni/net.d',
  cniBin: '/opt/cni/bin',
  cniData: '/var/lib/cni/networks',
} as const satisfies Paths;

/** The agent's unix socket below `paths.run`. */
export const AGENT_SOCKET = 'agent.sock';

/** From the most to the least talkative. */
export const LOG_LEVELS: readonly string[] = ['debug', 'info', 'warn', 'error'];

/**
 * Reads the agent's configuration file (a parsed object). An unknown key is an error, also one that a newer
 * release would know: ignoring it would run the agent other than configured. A key that a release wrote into
 * files stays known. Throws CONFIG_INVALID naming the field.
 */
export function readAgentOptions(value: unknown): AgentOptions {
  const fields = new Fields(value);
  const options = optionsFrom(fields);
  fields.refuseUnread();
  return options;
}

function optionsFrom(fields: Fields): AgentOptions {
  const paths = fields.object('paths') ?? new Fields({}, 'paths');
  const node = fields.string('node');
  if (!node) throw fields.invalid('node', 'is missing: set it to this node’s name');
  const iface = fields.string('iface');
  const publicIp = fields.parsed('publicIp', (text) => ofFamily(4, parseIp(text)));
  const publicIpv6 = fields.parsed('publicIpv6', (text) => ofFamily(6, parseIp(text)));
  const health = readHealth(fields.object('health') ?? new Fields({}, 'health'));
  const birdHolder = paths.string('birdHolder');
  const path = (name: keyof typeof DEFAULT_PATHS): string => paths.string(name) ?? DEFAULT_PATHS[name];
  return {
    node,
    labels: labels(fields),
    store: readStore(fields.object('store') ?? new Fields({}, 'store')),
    ...(iface ? { iface } : {}),
    ...(publicIp ? { publicIp } : {}),
    ...(publicIpv6 ? { publicIpv6 } : {}),
    ...(health && { health }),
    ...(fields.boolean('allowExtension') && { allowExtension: true }),
    paths: {
      run: path('run'),
      state: path('state'),
      subnetFile: path('subnetFile'),
      cniConf: path('cniConf'),
      cniBin: path('cniBin'),
      cniData: path('cniData'),
      ...(birdHolder ? { birdHolder } : {}),
    },
    logLevel: logLevel(fields),
  };
}

/** As flannel's `--healthz-port`, 0 means none. */
function readHealth(fields: Fields): HealthAddress | undefined {
  const ip = fields.parsed('ip', parseIp) ?? parseIp('127.0.0.1');
  const port = fields.integer('port', 0, 65_535) ?? 0;
  return port === 0 ? undefined : { ip, port };
}

function readStore(fields: Fields): StoreOptions {
  const kubernetes = fields.object('kubernetes');
  if (kubernetes) return readKubernetes(fields, kubernetes);
  const tls = fields.object('tls');
  return {
    endpoints: fields.parsedList('endpoints', String) ?? ['http://127.0.0.1:2379'],
    prefix: fields.string('prefix'),
    leaseTtl: fields.integer('leaseTtl', 5, 10 * 365 * 86400),
    tls: tls && {
      caFile: tls.string('caFile'),
      certFile: tls.string('certFile'),
      keyFile: tls.string('keyFile'),
    },
    username: fields.string('username'),
    password: fields.string('password'),
  };
}

function readKubernetes(store: Fields, fields: Fields): StoreOptions {
  const other = ['endpoints', 'prefix', 'leaseTtl', 'tls', 'username', 'password'].find((key) =>
    store.has(key),
  );
  if (other !== undefined) throw store.invalid(other, 'is etcd’s: leave out either it or kubernetes');
  return {
    kubernetes: {
      kubeconfig: fields.string('kubeconfig'),
      context: fields.string('context'),
      annotationPrefix: fields.string('annotationPrefix'),
      networkFile: fields.string('networkFile'),
      configMap: fields.string('configMap'),
      namespace: fields.string('namespace'),
      setNetworkUnavailable: fields.boolean('setNetworkUnavailable'),
    },
  };
}

function logLevel(fields: Fields): string {
  const level = fields.string('logLevel') ?? 'info';
  if (LOG_LEVELS.includes(level)) return level;
  throw fields.invalid('logLevel', `'${level}' is not a level; use one of ${LOG_LEVELS.join(', ')}`);
}

function labels(fields: Fields): Record<string, string> {
  const value = fields.raw('labels') ?? {};
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw fields.invalid('labels', 'must be an object of strings');
  }
  return Object.fromEntries(Object.entries(value).map(([key, text]) => [key, String(text)]));
}
