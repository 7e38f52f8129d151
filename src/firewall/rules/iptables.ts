import { CT_STATE_NEW, type Packet, type Writing } from './packet.ts';

const XT_CONNTRACK_STATE = 1;

/**
 * Returns whether an iptables extension (`-m NAME`) matches the first packet of a connection. Covers the
 * extensions that nearly every FORWARD chain uses; undefined for all others. `info`: the extension's own
 * struct.
 */
export function iptablesMatch(
  { written }: Packet,
  name: string,
  revision: number,
  info: Buffer,
): boolean | undefined {
  if (name === 'comment') return true;
  // struct xt_mark_mtinfo1: mark, mask, invert. The packet's mark is 0.
  if (name === 'mark' && !written.has('mark') && revision === 1 && info.length >= 9) {
    return (info.readUInt32LE(0) === 0) !== (info.readUInt8(8) !== 0);
  }
  // struct xt_conntrack_mtinfo2 and 3: addresses, ports and expiry are followed by the match flags, the
  // invert flags and the states.
  if (name === 'conntrack' && !written.has('tracking') && revision >= 2 && info.length >= 152) {
    const compared = info.readUInt16LE(146);
    const inverted = info.readUInt16LE(148);
    const states = info.readUInt16LE(150);
    if ((compared & XT_CONNTRACK_STATE) === 0) return undefined;
    const holds = ((states & CT_STATE_NEW) !== 0) !== ((inverted & XT_CONNTRACK_STATE) !== 0);
    return holds && compared !== XT_CONNTRACK_STATE ? undefined : holds;
  }
  return undefined;
}

/** Targets (`-j NAME`), by what they write. */
const WRITERS: ReadonlyMap<string, readonly Writing[]> = new Map<string, readonly Writing[]>([
  ['MARK', ['mark']],
  ['CONNMARK', ['mark', 'ct mark']],
  ['CT', ['tracking']],
  ['NOTRACK', ['tracking']],
]);

/** Records what a target of iptables writes on the packet. */
export function iptablesTarget({ written }: Packet, name: string): void {
  for (const each of WRITERS.get(name) ?? []) written.add(each);
}
