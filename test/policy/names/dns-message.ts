import type { Ip } from '../../../src/ip/address.ts';
import { ipToBytes } from '../../../src/ip/address.ts';

export type WrittenRecord = { readonly owner: string; readonly ttl?: number } & (
  | { readonly ip: Ip }
  | { readonly alias: string }
  | { readonly type: number; readonly data: Uint8Array }
);

export type Written = {
  readonly id?: number;
  /** Default: a response without error. */
  readonly flags?: number;
  readonly question: string;
  readonly records: readonly WrittenRecord[];
  /** Whether names are shortened by pointers to what was written before. */
  readonly isCompressed?: boolean;
};

/** Writes a DNS message with one question of type A. */
export function dnsMessage({
  id = 7,
  flags = 0x8180,
  question,
  records,
  isCompressed = true,
}: Written): Buffer {
  const bytes: number[] = [];
  const written = new Map<string, number>();
  const short = (value: number): void => void bytes.push((value >> 8) & 0xff, value & 0xff);
  const name = (text: string): void => {
    for (let rest = text; rest !== ''; rest = rest.split('.').slice(1).join('.')) {
      const at = written.get(rest);
      if (isCompressed && at !== undefined) {
        short(0xc000 | at);
        return;
      }
      if (bytes.length < 0x4000) written.set(rest, bytes.length);
      const label = Buffer.from(rest.split('.')[0] ?? '', 'latin1');
      bytes.push(label.length, ...label);
    }
    bytes.push(0);
  };
  for (const value of [id, flags, 1, records.length, 0, 0]) short(value);
  name(question);
  short(1);
  short(1);
  for (const record of records) {
    name(record.owner);
    short('ip' in record ? (record.ip.includes(':') ? 28 : 1) : 'alias' in record ? 5 : record.type);
    short(1);
    short((record.ttl ?? 300) >>> 16);
    short((record.ttl ?? 300) & 0xffff);
    const at = bytes.length;
    short(0);
    if ('ip' in record) bytes.push(...ipToBytes(record.ip));
    else if ('alias' in record) name(record.alias);
    else bytes.push(...record.data);
    const length = bytes.length - at - 2;
    bytes[at] = length >> 8;
    bytes[at + 1] = length & 0xff;
  }
  return Buffer.from(bytes);
}
