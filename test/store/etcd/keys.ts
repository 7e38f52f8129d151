import assert from 'node:assert/strict';
import { ClusterState } from '../../../src/store/etcd/cluster-state.ts';
import { Layout } from '../../../src/store/etcd/layout.ts';
import type { KeyValue, WatchEvent } from '../../../src/store/kv/kv.ts';
import type { ClusterView } from '../../../src/store/ports/feed.ts';

export const layout = new Layout('/net');

/** An in-memory store that produces watch events for its changes. */
export class Keys {
  readonly items = new Map<string, KeyValue>();
  revision = 1;

  put(key: string, value: string, lease = '7'): WatchEvent {
    const old = this.items.get(key);
    const modRevision = ++this.revision;
    const item = {
      key,
      value,
      lease,
      modRevision,
      createRevision: old?.createRevision ?? modRevision,
      version: (old?.version ?? 0) + 1,
    };
    this.items.set(key, item);
    return { type: 'put', item };
  }

  delete(key: string): WatchEvent {
    this.revision++;
    this.items.delete(key);
    return { type: 'delete', key };
  }
}

export function stateOf(keys: Keys, warnings: string[] = []): ClusterState {
  const state = new ClusterState(layout, (key, problem) => warnings.push(`${key}: ${problem}`));
  state.reset([...keys.items.values()], keys.revision);
  return state;
}

export function viewOf(state: ClusterState): ClusterView {
  return state.view() ?? assert.fail('no view');
}
