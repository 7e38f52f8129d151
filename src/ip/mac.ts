import { FlatnetError } from '../error.ts';
import { type Ip, ipFromBytes } from './address.ts';
import { fnv64 } from './fnv.ts';

/** A 48-bit hardware address as canonical text, lower case with colons: `12:c6:65:89:b4:e3`. */
export type Mac = string & { readonly __mac: true };

/** Throws ADDRESS_INVALID. Accepts upper case and dashes. */
export function parseMac(text: string): Mac {
  if (!/^[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}$/.test(text)) {
    throw new FlatnetError(`'${text}' is not a MAC address`, {
      code: 'ADDRESS_INVALID',
      fix: 'write six hexadecimal bytes, e.g. 12:c6:65:89:b4:e3',
    });
  }
  return text.toLowerCase().replaceAll('-', ':') as Mac;
}

/** Whether a MAC can be one interface's: neither a group's nor zero. */
export function isUnicast(mac: Mac): boolean {
  const bytes = macToBytes(mac);
  return ((bytes[0] ?? 0) & 1) === 0 && bytes.some((byte) => byte !== 0);
}

export function macToBytes(mac: Mac): Uint8Array {
  const bytes = new Uint8Array(6);
  for (let i = 0; i < 6; i++) bytes[i] = Number.parseInt(mac.slice(3 * i, 3 * i + 2), 16);
  return bytes;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

export function macFromBytes(bytes: Uint8Array): Mac {
  let text = HEX[bytes[0] ?? 0] ?? '';
  for (let i = 1; i < 6; i++) text += `:${HEX[bytes[i] ?? 0]}`;
  return text as Mac;
}

/**
 * Derives a locally administered unicast MAC from a seed, the same on every machine: the first 46 bits of the
 * seed's hash, with two rounds so that short seeds spread. For MACs that neither udev nor a restart may
 * change.
 */
export function macFromSeed(seed: string): Mac {
  const { high, low } = fnv64(seed, 2);
  const first = ((high >>> 24) & 0xfc) | 0x02;
  return macFromBytes(Uint8Array.of(first, high >>> 16, high >>> 8, high, low >>> 24, low >>> 16));
}

/** The link-local address that a kernel derives from an interface's MAC (RFC 4291, appendix A). */
export function linkLocalOf(mac: Mac): Ip {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = macToBytes(mac);
  return ipFromBytes(Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f));
}
