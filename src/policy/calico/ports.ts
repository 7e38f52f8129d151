import type { Fields } from '../../cluster/fields.ts';
import type { PortRange } from '../../cluster/port-range.ts';
import type { Ports } from '../model/traffic.ts';

/** Reads a list of ports: numbers, ranges like `80:90`, and names. Undefined if empty or absent. */
export function readPorts(fields: Fields, name: string): Ports | undefined {
  const list = (fields.list(name) ?? []).map((value, i) => {
    const port = portOf(value);
    if (port !== undefined) return port;
    throw fields.invalid(
      `${name}[${i}]`,
      'must be a port from 0 to 65535, a range like 80:90, or the name of a port',
    );
  });
  if (list.length === 0) return undefined;
  return {
    ranges: list.filter((each) => typeof each !== 'string'),
    names: list.filter((each) => typeof each === 'string'),
  };
}

function portOf(value: unknown): PortRange | string | undefined {
  if (typeof value !== 'number' && typeof value !== 'string') return undefined;
  const [, from, to = from] = /^(\d{1,5})(?::(\d{1,5}))?$/.exec(`${value}`) ?? [];
  if (from === undefined)
    return typeof value === 'string' && /^[a-zA-Z0-9_.-]{1,128}$/.test(value) && !/^[\d.-]+$/.test(value)
      ? value
      : undefined;
  const [first, last] = [Number(from), Number(to)];
  return first <= last && last <= 65535 ? { first, last } : undefined;
}
