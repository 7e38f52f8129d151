import { parseJson } from '../../cluster/json.ts';
import { type Network, networkToNetConf, readNetwork } from '../../cluster/network.ts';
import { FlatnetError, messageOf } from '../../error.ts';
import type { KeyValue, Kv } from '../kv/kv.ts';
import type { NetworkStore } from '../ports/network.ts';
import type { Layout } from './layout.ts';

/** flannel's `config` key: net-conf.json. */
export class EtcdNetwork implements NetworkStore {
  readonly #kv: Kv;
  readonly #layout: Layout;

  constructor(kv: Kv, layout: Layout) {
    this.#kv = kv;
    this.#layout = layout;
  }

  async read(): Promise<Network> {
    return networkFrom(await this.#kv.get(this.#layout.config), this.#layout);
  }

  async write(network: Network): Promise<void> {
    await this.#kv.put(this.#layout.config, networkToNetConf(network));
  }
}

/** Throws NOT_FOUND, CONFIG_INVALID. */
export function networkFrom(item: KeyValue | undefined, layout: Layout): Network {
  if (item) return readNetwork(configOf(item));
  throw new FlatnetError('there is no network configuration', {
    code: 'NOT_FOUND',
    operation: 'store read',
    object: layout.config,
    fix: 'write net-conf.json to that key',
  });
}

function configOf({ key, value }: KeyValue): unknown {
  try {
    return parseJson(value);
  } catch (cause) {
    throw new FlatnetError(messageOf(cause), { code: 'CONFIG_INVALID', object: key, cause });
  }
}
