import { FlatnetError, messageOf } from '../../error.ts';
import type { KeyValue } from '../kv/kv.ts';
import {
  type Affinity,
  type Block,
  DEFAULT_IPAM_CONFIG,
  type Handle,
  isAffinityState,
  type Snapshot,
  type Stored,
  type Version,
} from '../ports/blocks.ts';
import { decodeBlock, decodeConfig, decodeHandle } from './block-codec.ts';
import type { BlockKeys } from './block-keys.ts';

/** Decodes the keys of the plan, all read at one revision. */
export function snapshotOf(items: readonly KeyValue[], keys: BlockKeys): Snapshot {
  let config = DEFAULT_IPAM_CONFIG;
  const blocks: Stored<Block>[] = [];
  const affinities: Stored<Affinity>[] = [];
  const handles = new Map<string, Stored<Handle>>();
  const unreadableItems: { object: string; problem: string }[] = [];
  for (const item of items) {
    const parsed = keys.kindOf(item.key);
    const version = versionOf(item.modRevision);
    try {
      switch (parsed?.kind) {
        case undefined:
          throw new Error('is not a key of this plan');
        case 'block': {
          const value = decodeBlock(item.value);
          if (value.cidr !== parsed.cidr) throw new Error(`says it is block ${value.cidr}`);
          blocks.push({ value, version });
          break;
        }
        case 'handle':
          handles.set(parsed.id, { value: decodeHandle(item.value), version });
          break;
        case 'config':
          config = decodeConfig(item.value);
          break;
        case 'affinity': {
          const affinity = affinityFrom(keys, item);
          if (!affinity) throw new Error(`'${item.value}' is not an affinity state`);
          affinities.push(affinity);
        }
      }
    } catch (error) {
      unreadableItems.push({ object: item.key, problem: messageOf(error) });
    }
  }
  return { config, blocks, affinities, handles, unreadable: unreadableItems };
}

/** Undefined when the key or its value is not ours. */
export function affinityFrom(keys: BlockKeys, item: KeyValue): Stored<Affinity> | undefined {
  const parsed = keys.kindOf(item.key);
  const { value: state, modRevision } = item;
  if (parsed?.kind !== 'affinity' || !isAffinityState(state)) return undefined;
  const { node, cidr } = parsed;
  return { value: { node, cidr, state }, version: versionOf(modRevision) };
}

/** Throws CONFIG_INVALID naming the key. */
export function stored<T>(item: KeyValue, decode: (text: string) => T): Stored<T> {
  try {
    return { value: decode(item.value), version: versionOf(item.modRevision) };
  } catch (cause) {
    throw unreadable(item.key, messageOf(cause), cause);
  }
}

export function versionOf(revision: number): Version {
  return `${revision}` as Version;
}

export function unreadable(key: string, text: string, cause?: unknown): FlatnetError {
  return new FlatnetError(text, {
    code: 'CONFIG_INVALID',
    operation: 'read',
    object: key,
    fix: 'see flatnet ipam check',
    cause,
  });
}
