import { readFile } from 'node:fs/promises';
import { pause } from '../../async/pause.ts';
import { parseJson } from '../../cluster/json.ts';
import { type Network, networkToNetConf, readNetwork } from '../../cluster/network.ts';
import { codeOf, FlatnetError, ioError, messageOf } from '../../error.ts';
import type { KubernetesClient } from '../../kubernetes/api/client.ts';
import { asJson, type KubernetesObject } from '../../kubernetes/api/object.ts';
import { change, getIfAny } from '../../kubernetes/change.ts';
import { Informer } from '../../kubernetes/informer/informer.ts';
import type { Log } from '../../log.ts';
import type { Stored, Version } from '../ports/blocks.ts';
import type { CheckNetwork, NetworkStore } from '../ports/network.ts';
import { CONFIG_MAPS } from './kinds.ts';

/** flannel's ConfigMap, and the key of net-conf.json in it. */
export const DEFAULT_CONFIG_MAP = 'kube-flannel-cfg';
const KEY = 'net-conf.json';
/** Makes every write a change, even one of the same text: the version that it replaced. */
const REPLACES = 'flatnet.dev/replaces';
/** Milliseconds between looks at a mounted file, which the kubelet brings up to date within a minute. */
const LOOK = 2000;

export type NetworkSource = {
  readonly client: KubernetesClient;
  readonly log: Log;
  readonly check: CheckNetwork;
  readonly namespace: string;
  readonly configMap: string;
  /** Read instead of the ConfigMap: that is mounted there. */
  readonly file: string | undefined;
};

/** net-conf.json in flannel's ConfigMap, or in the file where that is mounted. */
export class KubernetesNetwork implements NetworkStore {
  readonly #source: NetworkSource;
  #following: Informer<string> | undefined;

  constructor(source: NetworkSource) {
    this.#source = source;
  }

  /** How messages name it. */
  get title(): string {
    const { namespace, configMap, file } = this.#source;
    return file ?? `ConfigMap ${namespace}/${configMap}, ${KEY}`;
  }

  async read(): Promise<Network> {
    const { file } = this.#source;
    const text = file === undefined ? (await this.text())?.value : await readIfAny(file);
    if (text !== undefined) return this.decode(text);
    throw new FlatnetError('there is no network configuration', {
      code: 'NOT_FOUND',
      operation: 'store read',
      object: this.title,
      fix:
        file === undefined
          ? 'write it: flatnet config apply -f net-conf.json, or kubectl apply the ConfigMap'
          : `mount the ConfigMap ${this.#source.configMap} there`,
    });
  }

  /** Throws CONFIG_INVALID naming the field. */
  decode(text: string): Network {
    try {
      const network = readNetwork(parseJson(text));
      this.#source.check(network);
      return network;
    } catch (cause) {
      if (cause instanceof FlatnetError) throw cause;
      throw new FlatnetError(messageOf(cause), { code: 'CONFIG_INVALID', object: this.title, cause });
    }
  }

  async write(network: Network): Promise<void> {
    const text = networkToNetConf(network);
    await change(this.#source.client, CONFIG_MAPS, this.#at, (current) => this.#object(current, text));
  }

  async text(): Promise<Stored<string> | undefined> {
    const object = await getIfAny(this.#source.client, CONFIG_MAPS, this.#at);
    const text = object && textOf(object);
    if (text === undefined) return undefined;
    return { value: text, version: (object?.metadata.resourceVersion ?? '') as Version };
  }

  async replace(read: Stored<string> | undefined, text: string): Promise<void> {
    this.decode(text);
    const { client } = this.#source;
    try {
      const current = await getIfAny(client, CONFIG_MAPS, this.#at);
      const isSame = read
        ? current?.metadata.resourceVersion === read.version
        : !current || textOf(current) === undefined;
      if (!isSame) throw this.#conflict();
      const next = this.#object(current, text);
      await (current ? client.replace(CONFIG_MAPS, next) : client.create(CONFIG_MAPS, next));
    } catch (error) {
      const code = codeOf(error);
      throw code === 'STORE_EXISTS' || code === 'STORE_CONFLICT' ? this.#conflict() : error;
    }
  }

  /** Why the configuration may be out of date. */
  get problem(): { readonly since: Date; readonly reason: string } | undefined {
    return this.#following?.problem;
  }

  /** Yields the text now and after every change, undefined if there is none, until `signal` aborts. */
  async *follow(signal: AbortSignal): AsyncGenerator<string | undefined> {
    const { client, log, namespace, configMap, file } = this.#source;
    if (file !== undefined) {
      yield* followFile(file, log, signal);
      return;
    }
    const informer = new Informer({
      client,
      resource: CONFIG_MAPS,
      namespace,
      fieldSelector: `metadata.name=${configMap}`,
      reduce: textOf,
      log,
    });
    this.#following = informer;
    for await (const _ of informer.events(signal)) yield [...informer.objects.values()][0];
  }

  get #at() {
    const { namespace, configMap: name } = this.#source;
    return { namespace, name };
  }

  #object(current: KubernetesObject | undefined, text: string): KubernetesObject {
    const annotations = {
      ...current?.metadata.annotations,
      ...(current && { [REPLACES]: current.metadata.resourceVersion ?? '' }),
    };
    const metadata = { ...(current?.metadata ?? this.#at), annotations };
    return { ...current, metadata, data: { ...asJson(current?.data), [KEY]: text } };
  }

  #conflict(): FlatnetError {
    return new FlatnetError('has been changed by someone else', {
      code: 'STORE_CONFLICT',
      operation: 'store write',
      object: this.title,
      fix: 'read it again, and try again',
    });
  }
}

function textOf(object: KubernetesObject): string | undefined {
  const text = asJson(object.data)[KEY];
  return typeof text === 'string' ? text : undefined;
}

async function readIfAny(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw ioError('read', file, error);
  }
}

async function* followFile(file: string, log: Log, signal: AbortSignal): AsyncGenerator<string | undefined> {
  let last: { readonly text: string | undefined } | undefined;
  let failure = '';
  do {
    try {
      const text = await readIfAny(file);
      failure = '';
      if (!last || last.text !== text) yield text;
      last = { text };
    } catch (error) {
      if (messageOf(error) !== failure) log.warn({ file, reason: messageOf(error) }, 'cannot be read');
      failure = messageOf(error);
    }
  } while (await pause(LOOK, signal));
}
