import type { ServerResponse } from 'node:http';
import { deleteAnswer, type Header, rangeAnswer, transactionAnswer } from './answers.ts';
import { etcdError, malformed } from './errors.ts';
import type { LeaseClock } from './lease-clock.ts';
import type { Machine } from './machine.ts';
import type { Message } from './message.ts';
import { readDelete, readPut, readRange, readTransaction, readWatch } from './requests.ts';
import type { WatchHub } from './watch-hub.ts';

/** The etcd release whose API this implements in part. */
const VERSION = { etcdserver: '3.4.23', etcdcluster: '3.4.0' };

export type Handler = (message: Message) => object;
export type Api = {
  /** POST handlers by path. */
  readonly post: ReadonlyMap<string, Handler>;
  /** GET handlers by path. */
  readonly get: ReadonlyMap<string, () => object>;
  /** Takes over the response to `/v3/watch`. */
  readonly watch: (message: Message, response: ServerResponse) => void;
};

export type Parts = {
  readonly machine: Machine;
  readonly clock: LeaseClock;
  readonly hub: WatchHub;
  readonly header: () => Header;
  /** Size of the file in bytes. */
  readonly size: () => number;
};

/** Returns the embedded server's handlers: as much of etcd's v3 JSON gateway as flatnet needs. */
export function createApi({ machine, clock, hub, header, size }: Parts): Api {
  const revoke: Handler = (message) => {
    clock.revoke(message.int('ID'));
    return { header: header() };
  };
  const timeToLive: Handler = (message) => {
    const id = message.int('ID');
    const time = clock.timeToLive(id);
    const leased = time && message.flag('keys') ? machine.leased(id) : [];
    return {
      header: header(),
      ID: id,
      TTL: time ? String(time.remaining) : '-1',
      grantedTTL: time && String(time.granted),
      keys: leased.length ? leased.map(({ key }) => Buffer.from(key).toString('base64')) : undefined,
    };
  };
  const leases: Handler = () => ({ header: header(), leases: clock.ids().map((ID) => ({ ID })) });
  const post: Record<string, Handler> = {
    '/v3/kv/range': (message) => {
      const request = readRange(message);
      return rangeAnswer(header(), machine.range(request), request);
    },
    '/v3/kv/put': (message) => {
      machine.put(readPut(message));
      return { header: header() };
    },
    '/v3/kv/deleterange': (message) => {
      const deleted = machine.delete(readDelete(message));
      return deleteAnswer(header(), deleted);
    },
    '/v3/kv/txn': (message) => {
      const request = readTransaction(message);
      const result = machine.txn(request);
      const operations = result.succeeded ? request.success : request.failure;
      const ranges = operations.map((operation) =>
        operation.type === 'range' ? operation.range : undefined,
      );
      return transactionAnswer(header(), result, ranges);
    },
    '/v3/kv/compaction': (message) => {
      machine.compact(message.number('revision'));
      return { header: header() };
    },
    '/v3/lease/grant': (message) => {
      const { id, ttl } = clock.grant(message.int('ID'), message.number('TTL'));
      return { header: header(), ID: id, TTL: String(ttl) };
    },
    '/v3/lease/keepalive': (message) => {
      const ID = message.int('ID');
      const ttl = clock.keepAlive(ID);
      return { result: { header: header(), ID, TTL: ttl ? String(ttl) : undefined } };
    },
    // etcd serves these four under both names.
    '/v3/lease/revoke': revoke,
    '/v3/kv/lease/revoke': revoke,
    '/v3/lease/timetolive': timeToLive,
    '/v3/kv/lease/timetolive': timeToLive,
    '/v3/lease/leases': leases,
    '/v3/kv/lease/leases': leases,
    '/v3/auth/authenticate': () => {
      throw etcdError('authDisabled');
    },
    '/v3/maintenance/status': () => ({
      header: header(),
      version: VERSION.etcdserver,
      dbSize: String(size()),
    }),
  };
  return {
    post: new Map(Object.entries(post)),
    get: new Map<string, () => object>([
      ['/health', () => ({ health: 'true' })],
      ['/version', () => VERSION],
    ]),
    watch: (message, response) => {
      const create = message.child('create_request');
      if (!create) throw malformed('create_request is missing');
      hub.add(readWatch(create), response);
    },
  };
}
