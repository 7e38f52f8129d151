import { Fields } from '../cluster/fields.ts';
import { FlatnetError } from '../error.ts';
import { type Ip, parseIp, unmapped } from '../ip/address.ts';
import { addressOf, parsePrefixed } from '../ip/cidr.ts';

/**
 * The addresses a CNI call asks for: `IP=` of CNI_ARGS, `args.cni.ips`, and the `ips` capability in
 * `runtimeConfig.ips`, all together without duplicates, as host-local takes them. Each may carry a prefix
 * length, which is ignored. `cniArgs` is the variable's value. Throws CONFIG_INVALID.
 */
export function requestedIps(conf: unknown, cniArgs = ''): readonly Ip[] {
  const fields = new Fields(conf);
  const lists = [fields.object('args')?.object('cni'), fields.object('runtimeConfig')];
  const listed = lists.flatMap((list) => list?.parsedList('ips', readIp) ?? []);
  return [...new Set([...fromArgs(cniArgs), ...listed])];
}

function fromArgs(cniArgs: string): Ip[] {
  // The last of several wins, as in CNI's own reader.
  const pair = cniArgs.split(';').findLast((pair) => pair.startsWith('IP='));
  if (pair === undefined) return [];
  try {
    return [readIp(pair.slice('IP='.length))];
  } catch (error) {
    throw new FlatnetError(`'${pair}' names no IP address`, {
      code: 'CONFIG_INVALID',
      object: 'CNI_ARGS',
      fix: 'write it as IP=10.244.1.7',
      cause: error,
    });
  }
}

function readIp(text: string): Ip {
  return unmapped(text.includes('/') ? addressOf(parsePrefixed(text)) : parseIp(text));
}
