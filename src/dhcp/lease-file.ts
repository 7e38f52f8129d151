import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Fields } from '../cluster/fields.ts';
import { messageOf } from '../error.ts';
import { namesIn } from '../if-there.ts';
import { type Ip, parseIp } from '../ip/address.ts';
import { type Cidr, parseCidr, parsePrefixed } from '../ip/cidr.ts';
import { type Mac, parseMac } from '../ip/mac.ts';
import type { Log } from '../log.ts';
import { replaceFile } from '../replace-file.ts';
import { sinceBoot } from './clock.ts';
import type { Lease } from './protocol/lease.ts';

/** A pod's lease as kept on disk: enough to go on with after a restart, or to give it back. */
export type LeaseRecord = {
  /** The attachment's: also what tells its client apart. */
  readonly id: string;
  /** Path and inode of the pod's namespace, the boot in which they count, and the interface there. */
  readonly netns: string;
  readonly netnsId: number;
  readonly bootId: string;
  readonly ifName: string;
  readonly mac: Mac;
  readonly lease: Lease;
  /** The routes that went with the address when the lease ended. Absent: the pod has its address. */
  readonly lost?: readonly LostRoute[];
  /** Who used the address when a server last gave a lost one back. */
  readonly holder?: Mac;
};

export type LostRoute = { readonly dst: Cidr; readonly via?: Ip; readonly scope?: number };

/** Files that cannot be read are named in the log, and removed: their leases end by themselves. */
export function readLeaseFiles(dir: string, log: Log): LeaseRecord[] {
  const names = namesIn(dir).filter((name) => name.endsWith('.json'));
  return names.flatMap((name) => {
    const file = join(dir, name);
    try {
      return [decodeLeaseRecord(readFileSync(file, 'utf8'))];
    } catch (error) {
      log.warn({ file, error: messageOf(error) }, 'a lease cannot be read');
      rmSync(file, { recursive: true, force: true });
      return [];
    }
  });
}

export function writeLeaseFile(dir: string, record: LeaseRecord): void {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  replaceFile(pathOf(dir, record.id), JSON.stringify(record), { mode: 0o600, flush: true });
}

export function removeLeaseFile(dir: string, id: string): void {
  rmSync(pathOf(dir, id), { force: true });
}

/** Reads what was written as JSON. Throws an error that says what is wrong. */
export function decodeLeaseRecord(text: string): LeaseRecord {
  const fields = new Fields(JSON.parse(text));
  const own = new Fields(fields.raw('lease'), 'lease');
  const number = (of: Fields, name: string) =>
    required(of, name, of.integer(name, 0, Number.MAX_SAFE_INTEGER));
  const string = (name: string) => required(fields, name, fields.string(name));
  const gateway = own.parsed('gateway', parseIp);
  const domain = own.string('domain');
  const holder = fields.parsed('holder', parseMac);
  const lost = fields.list('lost')?.map((each, i) => {
    const route = new Fields(each, `lost[${i}]`);
    const via = route.parsed('via', parseIp);
    const scope = route.integer('scope', 0, 255);
    return {
      dst: required(route, 'dst', route.parsed('dst', parseCidr)),
      ...(via !== undefined && { via }),
      ...(scope !== undefined && { scope }),
    };
  });
  return {
    id: string('id'),
    netns: string('netns'),
    netnsId: number(fields, 'netnsId'),
    bootId: string('bootId'),
    ifName: string('ifName'),
    mac: required(fields, 'mac', fields.parsed('mac', parseMac)),
    lease: {
      address: required(own, 'address', own.parsed('address', parsePrefixed)),
      ...(gateway !== undefined && { gateway }),
      dns: own.parsedList('dns', parseIp) ?? [],
      ...(domain !== undefined && { domain }),
      server: required(own, 'server', own.parsed('server', parseIp)),
      renewAt: sinceBoot(number(own, 'renewAt')),
      rebindAt: sinceBoot(number(own, 'rebindAt')),
      endsAt: sinceBoot(number(own, 'endsAt')),
    },
    ...(lost && { lost }),
    ...(holder !== undefined && { holder }),
  };
}

function required<T>(fields: Fields, name: string, value: T | undefined): T {
  if (value === undefined) throw fields.invalid(name, 'is missing');
  return value;
}

function pathOf(dir: string, id: string): string {
  return join(dir, `${encodeURIComponent(id)}.json`);
}
