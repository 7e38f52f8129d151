import { FlatnetError } from '../error.ts';
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
  const hash = fnv64(seed, 2);
  const bytes = Uint8Array.from({ length: 6 }, (_, i) => Number((hash >> BigInt(56 - 8 * i)) & 0xffn));
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return macFromBytes(bytes);
}
