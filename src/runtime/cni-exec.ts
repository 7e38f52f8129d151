import { decodeResult, EMPTY_RESULT, type Result } from '../cni/protocol/result.ts';
import { atLeast } from '../cni/protocol/version.ts';
import { messageOf } from '../error.ts';
import {
  type Attachment,
  cachedAttachments,
  dropAttachment,
  readAttachment,
  writeAttachment,
} from './cni-cache.ts';
import { type ConfList, loadConfList, type PluginConf } from './conf-list.ts';
import { type Command, type ExecOptions, execPlugin } from './plugin-exec.ts';

/** Where a runtime finds networks and plugins, and keeps what it must remember for DEL. */
export type RuntimeOptions = ExecOptions & {
  /** `/etc/cni/net.d`: the first file by name is the network, as containerd has it. */
  readonly confDir: string;
  /** Used instead of what is in `confDir`, e.g. `LOOPBACK_NETWORK`. */
  readonly network?: ConfList;
  /** `/var/lib/cni`: results are kept below it in libcni's format. */
  readonly cacheDir: string;
};

/** One interface of one container. */
export type AttachmentOptions = RuntimeOptions & {
  readonly containerId: string;
  readonly ifName: string;
  /** Path of the container's network namespace; empty on DEL when it is gone. */
  readonly netns: string;
  /** CNI_ARGS, e.g. `{ K8S_POD_NAME: 'web-0', IgnoreUnknown: '1' }`. */
  readonly args?: Readonly<Record<string, string>>;
  /** By name, e.g. `{ portMappings: [...] }`; a plugin gets those its configuration declares. */
  readonly capabilities?: Readonly<Record<string, unknown>>;
  /** What every plugin finds below `args.cni` of its configuration, e.g. `{ labels: [{ key: 'app', value: 'web' }] }`. */
  readonly cniArgs?: Readonly<Record<string, unknown>>;
};

/**
 * Runs ADD along the network's plugins and remembers the result, as libcni does. On failure runs DEL, as runtimes do, and
 * throws the first error: FlatnetError code CNI whose cause is the plugin's error object.
 */
export async function addNetwork(options: AttachmentOptions, signal?: AbortSignal): Promise<Result> {
  const network = options.network ?? loadConfList(options.confDir);
  let result: unknown;
  try {
    for (const plugin of network.plugins) {
      result = await run('ADD', network, plugin, options, result, signal);
    }
  } catch (error) {
    await delNetwork({ ...options, network }).catch(() => undefined);
    throw error;
  }
  writeAttachment(options.cacheDir, network, options, result);
  return result === undefined ? EMPTY_RESULT : decodeResult(result, 'result');
}

/** Runs DEL along the plugins in reverse, with the configuration and result of the ADD where they are remembered. */
export async function delNetwork(options: AttachmentOptions, signal?: AbortSignal): Promise<void> {
  const configured = options.network ?? loadConfList(options.confDir);
  const cached = readAttachment(options.cacheDir, configured.name, options);
  const network = cached?.network ?? configured;
  const withRemembered = {
    ...options,
    args: options.args ?? cached?.args ?? {},
    capabilities: options.capabilities ?? cached?.capabilities ?? {},
  };
  const previous = atLeast(network.cniVersion, '0.4.0') ? cached?.result : undefined;
  for (const plugin of network.plugins.toReversed()) {
    await run('DEL', network, plugin, withRemembered, previous, signal);
  }
  dropAttachment(options.cacheDir, network.name, options);
}

/** Runs CHECK along the plugins. Does nothing before 0.4.0 or with `disableCheck`. */
export async function checkNetwork(options: AttachmentOptions, signal?: AbortSignal): Promise<void> {
  const configured = options.network ?? loadConfList(options.confDir);
  const cached = readAttachment(options.cacheDir, configured.name, options);
  const network = cached?.network ?? configured;
  if (network.disableCheck || !atLeast(network.cniVersion, '0.4.0')) return;
  for (const plugin of network.plugins) {
    await run('CHECK', network, plugin, options, cached?.result, signal);
  }
}

/**
 * DELs every remembered attachment of the network that is not valid, then runs GC with the valid ones. The caller keeps
 * ADD and DEL of this network away meanwhile, as the specification demands. Goes on after errors and throws them together.
 */
export async function gcNetwork(
  options: RuntimeOptions & { readonly valid: readonly Attachment[] },
  signal?: AbortSignal,
): Promise<void> {
  const network = options.network ?? loadConfList(options.confDir);
  const errors: unknown[] = [];
  const attempt = (work: Promise<unknown>): Promise<unknown> => work.catch((error) => errors.push(error));
  const isValid = (a: Attachment): boolean =>
    options.valid.some((b) => a.containerId === b.containerId && a.ifName === b.ifName);
  for (const stale of cachedAttachments(options.cacheDir, network.name)) {
    if (!isValid(stale)) await attempt(delNetwork({ ...options, ...stale, network }, signal));
  }
  if (atLeast(network.cniVersion, '1.1.0') && !network.disableGC) {
    const attachments = options.valid.map((a) => ({ containerID: a.containerId, ifname: a.ifName }));
    // libcni sends the list under the key of the specification and under the one it used before.
    const extra = { 'cni.dev/valid-attachments': attachments, 'cni.dev/attachments': attachments };
    for (const plugin of network.plugins) {
      await attempt(
        run('GC', network, { ...plugin, ...extra }, { ...options, ...NO_ATTACHMENT }, undefined, signal),
      );
    }
  }
  if (errors.length) throw new AggregateError(errors, errors.map(messageOf).join('; '));
}

/** Resolves when every plugin of the network can serve an ADD; throws the first one's error otherwise. */
export async function statusNetwork(options: RuntimeOptions, signal?: AbortSignal): Promise<void> {
  const network = options.network ?? loadConfList(options.confDir);
  if (!atLeast(network.cniVersion, '1.1.0')) return;
  for (const plugin of network.plugins) {
    await run('STATUS', network, plugin, { ...options, ...NO_ATTACHMENT }, undefined, signal);
  }
}

const NO_ATTACHMENT = { containerId: '', ifName: '', netns: '' };

async function run(
  command: Command,
  network: ConfList,
  plugin: PluginConf,
  options: AttachmentOptions,
  prevResult: unknown,
  signal: AbortSignal | undefined,
): Promise<unknown> {
  const runtimeConfig = supported(plugin, options.capabilities ?? {});
  const conf = {
    ...plugin,
    name: network.name,
    cniVersion: network.cniVersion,
    ...(Object.keys(runtimeConfig).length ? { runtimeConfig } : {}),
    ...(prevResult === undefined ? {} : { prevResult }),
    ...(options.cniArgs && { args: { cni: options.cniArgs } }),
  };
  const args = Object.entries(options.args ?? {}).map(([key, value]) => `${key}=${value}`);
  const env = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: options.containerId,
    CNI_NETNS: options.netns,
    CNI_IFNAME: options.ifName,
    CNI_ARGS: args.join(';'),
    CNI_PATH: options.binDirs.join(':'),
  };
  return execPlugin(plugin.type, env, JSON.stringify(conf), options, signal);
}

/** A plugin gets the capabilities it declares and the runtime has values for. */
function supported(plugin: PluginConf, values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const declared: object =
    typeof plugin.capabilities === 'object' && plugin.capabilities ? plugin.capabilities : {};
  const wanted = Object.entries(declared).flatMap(([name, on]) => (on === true ? [name] : []));
  return Object.fromEntries(wanted.filter((name) => name in values).map((name) => [name, values[name]]));
}
