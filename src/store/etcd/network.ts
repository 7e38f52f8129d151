import { parseJson } from '../../cluster/json.ts';
import { type Network, networkToNetConf, readNetwork } from '../../cluster/network.ts';
import { FlatnetError, messageOf } from '../../error.ts';
import type { KeyValue, Kv } from '../kv/kv.ts';
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
}

/** Throws NOT_FOUND, CONFIG_INVALID. */
export function networkFrom(item: KeyValue | undefined, layout: Layout, check: CheckNetwork): Network {
  const object = layout.config;
  if (!item) {
    throw new FlatnetError('there is no network configuration', {
      code: 'NOT_FOUND',
      operation: 'store read',
      object,
      fix: 'write net-conf.json to that key',
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
