import { decodeResult, EMPTY_RESULT, type Result } from '../cni/protocol/result.ts';
import { atLeast } from '../cni/protocol/version.ts';
import { dropAttachment, readAttachment, writeAttachment } from './cni-cache.ts';
import { type ConfList, loadConfList, type PluginConf } from './conf-list.ts';
import { type Command, type ExecOptions, execPlugin } from './plugin-exec.ts';

/** Where a runtime finds networks and plugins, and where it caches what DEL needs. */
export type RuntimeOptions = ExecOptions & {
  /** E.g. `/etc/cni/net.d`: the first file by name defines the network, as with containerd. */
  readonly confDir: string;
  /** Overrides `confDir`, e.g. `LOOPBACK_NETWORK`. */
  readonly network?: ConfList;
  /** E.g. `/var/lib/cni`: holds results in libcni's format. */
  readonly cacheDir: string;
};

/** One interface of one container. */
export type AttachmentOptions = RuntimeOptions & {
  readonly containerId: string;
  readonly ifName: string;
  /** Path of the container's network namespace; empty on DEL if the namespace no longer exists. */
  readonly netns: string;
  /** CNI_ARGS, e.g. `{ K8S_POD_NAME: 'web-0', IgnoreUnknown: '1' }`. */
  readonly args?: Readonly<Record<string, string>>;
  /** By name, e.g. `{ portMappings: [...] }`; a plugin gets those declared in its configuration. */
  readonly capabilities?: Readonly<Record<string, unknown>>;
  /**
   * Passed to every plugin under `args.cni` in its configuration, e.g. `{ labels: [{ key: 'app', value:
   * 'web' }] }`.
   */
  readonly cniArgs?: Readonly<Record<string, unknown>>;
};

/**
 * Runs ADD through the network's plugins and caches the result, as libcni does. On failure runs DEL, as
 * runtimes do, and throws the first error: FlatnetError code CNI, caused by the plugin's error object.
 */
export async function addNetwork(options: AttachmentOptions, signal?: AbortSignal): Promise<Result> {
  const network = options.network ?? loadConfList(options.confDir);
  let result: unknown;
  try {
    for (const plugin of network.plugins) {
      result = await runPlugin('ADD', network, plugin, options, result, signal);
    }
  } catch (error) {
    await delNetwork({ ...options, network }).catch(() => undefined);
    throw error;
  }
  writeAttachment(options.cacheDir, network, options, result);
  return result === undefined ? EMPTY_RESULT : decodeResult(result, 'result');
}

/**
 * Runs DEL through the plugins in reverse, with the configuration and result of the ADD if they are cached.
 */
export async function delNetwork(options: AttachmentOptions, signal?: AbortSignal): Promise<void> {
  const configured = options.network ?? loadConfList(options.confDir);
  const cached = readAttachment(options.cacheDir, configured.name, options);
  const network = cached?.network ?? configured;
  const withCached = {
    ...options,
    args: options.args ?? cached?.args ?? {},
    capabilities: options.capabilities ?? cached?.capabilities ?? {},
  };
  const previous = atLeast(network.cniVersion, '0.4.0') ? cached?.result : undefined;
  for (const plugin of network.plugins.toReversed()) {
    await runPlugin('DEL', network, plugin, withCached, previous, signal);
  }
  dropAttachment(options.cacheDir, network.name, options);
}

/**
 * Runs one plugin of the network for one attachment, with the capabilities it declares. Returns its output.
 */
export async function runPlugin(
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

/** Returns the capabilities that the plugin declares and the runtime has values for. */
function supported(plugin: PluginConf, values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const declared: object =
    typeof plugin.capabilities === 'object' && plugin.capabilities ? plugin.capabilities : {};
  const wanted = Object.entries(declared).flatMap(([name, on]) => (on === true ? [name] : []));
  return Object.fromEntries(
    wanted.filter((name) => Object.hasOwn(values, name)).map((name) => [name, values[name]]),
  );
}
