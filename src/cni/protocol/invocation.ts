import { Fields } from '../../cluster/fields.ts';
import { messageOf } from '../../error.ts';
import { CniError, CODE } from './error.ts';
import { atLeast, isVersion, VERSIONS, type Version } from './version.ts';

export const COMMANDS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'] as const;
export type Command = (typeof COMMANDS)[number];

/** One validated plugin call: the environment and the configuration on stdin. */
export type Invocation = {
  readonly command: Exclude<Command, 'VERSION'>;
  /** Empty for GC and STATUS. */
  readonly containerId: string;
  readonly ifName: string;
  /** Path of the container's network namespace; may be empty on DEL. */
  readonly netns: string;
  /** CNI_ARGS, e.g. K8S_POD_NAME. */
  readonly args: ReadonlyMap<string, string>;
  /** CNI_ARGS, unparsed. */
  readonly argsText: string;
  readonly network: string;
  readonly version: Version;
  readonly conf: Fields;
};

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
/** The variables required by each command, in the order errors name them. */
const REQUIRED: readonly (readonly [name: string, commands: readonly Command[]])[] = [
  ['CNI_COMMAND', COMMANDS],
  ['CNI_CONTAINERID', ['ADD', 'DEL', 'CHECK']],
  ['CNI_NETNS', ['ADD', 'CHECK']],
  ['CNI_IFNAME', ['ADD', 'DEL', 'CHECK']],
  ['CNI_PATH', ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS']],
];
/** The version that introduced a command. */
const SINCE: Partial<Record<Command, Version>> = { CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' };
/** A pod's name becomes the alias of its link and part of what people read. */
const CONTROL = /\p{Cc}/u;
const KNOWN_ARGS = ['IgnoreUnknown', 'IP', 'MAC'];

type Env = Readonly<Record<string, string | undefined>>;

/** Returns the command if all variables it requires are set. Throws CniError 4 naming every missing one. */
export function readCommand(env: Env): Command {
  const command = COMMANDS.find((name) => name === env.CNI_COMMAND);
  if (env.CNI_COMMAND && !command) {
    throw new CniError(CODE.INVALID_ENVIRONMENT, `unknown CNI_COMMAND: ${env.CNI_COMMAND}`);
  }
  const missing = REQUIRED.filter(([name, by]) => (!command || by.includes(command)) && !env[name]);
  if (command && missing.length === 0) return command;
  const names = missing.map(([name]) => name);
  throw new CniError(CODE.INVALID_ENVIRONMENT, `required env variables [${names}] missing`);
}

/**
 * Reads and validates a call in the order and with the codes of the reference plugins. `command` comes from
 * `readCommand`.
 */
export function readInvocation(command: Invocation['command'], env: Env, stdin: string): Invocation {
  const conf = readConf(stdin);
  const network = readNetworkName(conf);
  const containerId = env.CNI_CONTAINERID ?? '';
  const ifName = env.CNI_IFNAME ?? '';
  if (command !== 'GC' && command !== 'STATUS') {
    checkContainerId(containerId);
    checkIfName(ifName);
  }
  const version = readVersion(conf);
  const since = SINCE[command];
  if (since && !atLeast(version, since)) {
    throw new CniError(CODE.INCOMPATIBLE_VERSION, `config version does not allow ${command}`);
  }
  return {
    command,
    containerId,
    ifName,
    netns: env.CNI_NETNS ?? '',
    // Malformed arguments must not block a DEL.
    args: command === 'ADD' || command === 'CHECK' ? readArgs(env.CNI_ARGS ?? '') : new Map(),
    argsText: env.CNI_ARGS ?? '',
    network,
    version,
    conf,
  };
}

/** The CNI version for an error about this input, however malformed it is; undefined if unknown. */
export function versionOf(stdin: string): string | undefined {
  try {
    const version = new Fields(JSON.parse(stdin)).string('cniVersion');
    return version !== undefined && isVersion(version) ? version : undefined;
  } catch {
    return undefined;
  }
}

function readConf(stdin: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(stdin);
  } catch (error) {
    throw new CniError(CODE.DECODING, `error unmarshall network config: ${messageOf(error)}`);
  }
  try {
    // Go decodes null into an empty configuration.
    return new Fields(value ?? {});
  } catch (error) {
    throw new CniError(CODE.DECODING, `error unmarshall network config: ${messageOf(error)}`);
  }
}

function readNetworkName(conf: Fields): string {
  const name = decoded(() => conf.string('name'));
  if (!name) throw new CniError(CODE.INVALID_CONFIG, 'missing network name');
  if (NAME.test(name)) return name;
  throw new CniError(CODE.INVALID_CONFIG, 'invalid characters found in network name', name);
}

function readVersion(conf: Fields): Version {
  const version = decoded(() => conf.string('cniVersion')) || '0.1.0';
  if (isVersion(version)) return version;
  const supported = VERSIONS.map((known) => JSON.stringify(known)).join(' ');
  throw new CniError(
    CODE.INCOMPATIBLE_VERSION,
    'incompatible CNI versions',
    `config is "${version}", plugin supports [${supported}]`,
  );
}

function checkContainerId(id: string): void {
  if (NAME.test(id)) return;
  throw new CniError(CODE.INVALID_ENVIRONMENT, 'invalid characters in containerID', id);
}

function checkIfName(name: string): void {
  const refuse = (text: string, details?: string): never => {
    throw new CniError(CODE.INVALID_ENVIRONMENT, text, details);
  };
  if (Buffer.byteLength(name) > 15) {
    refuse('interface name is too long', 'interface name should be less than 16 characters');
  }
  if (name === '.' || name === '..') refuse('interface name is . or ..');
  if (/[/:\s]/.test(name)) refuse('interface name contains / or : or whitespace characters');
  if (CONTROL.test(name)) refuse('interface name contains control characters');
}

/** `K=V;K=V`. An unknown key is an error unless IgnoreUnknown is set, as every Kubernetes runtime does. */
function readArgs(text: string): Map<string, string> {
  const args = new Map<string, string>();
  for (const pair of text === '' ? [] : text.split(';')) {
    const [key = '', value, ...more] = pair.split('=');
    if (value === undefined || more.length) {
      throw new CniError(CODE.INVALID_ENVIRONMENT, `ARGS: invalid pair "${pair}"`, 'CNI_ARGS is K=V;K=V');
    }
    if (CONTROL.test(pair)) {
      throw new CniError(CODE.INVALID_ENVIRONMENT, `ARGS: ${key} contains control characters`, 'CNI_ARGS');
    }
    args.set(key, value);
  }
  const ignore = ['1', 'true'].includes(args.get('IgnoreUnknown')?.toLowerCase() ?? '');
  const unknown = [...args.keys()].filter((key) => !KNOWN_ARGS.includes(key) && !key.startsWith('K8S_'));
  if (unknown.length && !ignore) {
    throw new CniError(CODE.INVALID_ENVIRONMENT, `ARGS: unknown args [${unknown}]`, 'CNI_ARGS');
  }
  return args;
}

/** As in Go, a value of the wrong type fails to decode. */
function decoded<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new CniError(CODE.DECODING, messageOf(error), '', error);
  }
}
