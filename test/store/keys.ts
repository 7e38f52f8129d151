import type { KeyValue, WatchEvent } from '../../src/store/kv.ts';

/** A store in memory that makes the events of its changes. */
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
