import { messageOf } from '../../error.ts';
import {
  DEFAULT_CONFIG,
  decodeBlock,
  decodeConfig,
  decodeHandle,
  type Handle,
  type IpamConfig,
} from '../../store/etcd/block-codec.ts';
import type { IpamKeys } from '../../store/etcd/block-keys.ts';
import type { KeyValue, Kv } from '../../store/kv/kv.ts';
import type { Block } from './block.ts';
import { type Affinity, affinityFrom } from './records.ts';

/** All that the store has of the plan, at one revision. */
export type Snapshot = {
  readonly config: IpamConfig;
  /** By key. */
  readonly blocks: ReadonlyMap<string, Block>;
  readonly affinities: readonly Affinity[];
  /** By handle. */
  readonly handles: ReadonlyMap<string, Handle>;
  /** Keys that are not ours, or whose value cannot be read. */
  readonly unreadable: readonly { readonly key: string; readonly problem: string }[];
};

export async function readSnapshot(kv: Kv, keys: IpamKeys): Promise<Snapshot> {
  return decodeSnapshot((await kv.list(keys.root)).items, keys);
}

export function decodeSnapshot(items: readonly KeyValue[], keys: IpamKeys): Snapshot {
  let config = DEFAULT_CONFIG;
  const blocks = new Map<string, Block>();
  const affinities: Affinity[] = [];
  const handles = new Map<string, Handle>();
  const unreadable: { key: string; problem: string }[] = [];
  for (const item of items) {
    const { key, value } = item;
    const about = keys.kindOf(key);
    try {
      if (about?.kind === 'block') blocks.set(key, decodeBlock(value));
      else if (about?.kind === 'handle') handles.set(about.id, decodeHandle(value));
      else if (about?.kind === 'config') config = decodeConfig(value);
      else {
        const affinity = affinityFrom(keys, item);
        if (affinity) affinities.push(affinity);
        else unreadable.push({ key, problem: about ? `'${value}' is no state` : 'is no key of this plan' });
      }
    } catch (error) {
      unreadable.push({ key, problem: messageOf(error) });
    }
  }
  return { config, blocks, affinities, handles, unreadable };
}
