import { parseJson } from '../../cluster/json.ts';
import { type Network, networkToNetConf, readNetwork } from '../../cluster/network.ts';
import { FlatnetError, messageOf } from '../../error.ts';
import type { KeyValue, Kv } from '../kv/kv.ts';
import type { Stored, Version } from '../ports/blocks.ts';
import type { CheckNetwork, NetworkStore } from '../ports/network.ts';
import type { Layout } from './layout.ts';

/** flannel's `config` key: net-conf.json. */
export class EtcdNetwork implements NetworkStore {
  readonly #kv: Kv;
  readonly #layout: Layout;
  readonly #check: CheckNetwork;

  constructor(kv: Kv, layout: Layout, check: CheckNetwork) {
    this.#kv = kv;
    this.#layout = layout;
    this.#check = check;
  }

  async read(): Promise<Network> {
    return networkFrom(await this.#kv.get(this.#layout.config), this.#layout, this.#check);
  }

  async write(network: Network): Promise<void> {
    await this.#kv.put(this.#layout.config, networkToNetConf(network));
  }

  async text(): Promise<Stored<string> | undefined> {
    const item = await this.#kv.get(this.#layout.config);
    return item && { value: item.value, version: `${item.modRevision}` as Version };
  }

  async replace(read: Stored<string> | undefined, text: string): Promise<void> {
    decodeNetwork(text, this.#check);
    const key = this.#layout.config;
    const { succeeded } = await this.#kv.txn({
      compare: [{ key, target: 'modRevision', equals: Number(read?.version ?? 0) }],
      success: [{ op: 'put', key, value: text }],
    });
    if (succeeded) return;
    throw new FlatnetError('has been changed by someone else', {
      code: 'STORE_CONFLICT',
      operation: 'store write',
      object: key,
      fix: 'read it again, and try again',
    });
  }
}

/** Throws NOT_FOUND, CONFIG_INVALID. */
export function networkFrom(item: KeyValue | undefined, layout: Layout, check: CheckNetwork): Network {
  const object = layout.config;
  if (!item) {
    throw new FlatnetError('there is no network configuration', {
      code: 'NOT_FOUND',
      operation: 'store read',
      object,
      fix: 'write it: flatnet config apply -f net-conf.json',
    });
  }
  try {
    return decodeNetwork(item.value, check);
  } catch (cause) {
    if (cause instanceof FlatnetError) throw cause;
    throw new FlatnetError(messageOf(cause), { code: 'CONFIG_INVALID', object, cause });
  }
}

/** Throws CONFIG_INVALID naming the field; SyntaxError. */
export function decodeNetwork(text: string, check: CheckNetwork): Network {
  const network = readNetwork(parseJson(text));
  check(network);
  return network;
}
