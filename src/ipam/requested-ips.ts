import { Fields } from '../cluster/fields.ts';
import { FlatnetError } from '../error.ts';
import { type Ip, parseIp, unmapped } from '../ip/address.ts';
import { addressOf, parsePrefixed } from '../ip/cidr.ts';

/**
 * Returns the addresses a CNI call requests: `IP=` in CNI_ARGS, `args.cni.ips`, and the `ips` capability in
 * `runtimeConfig.ips`, combined without duplicates as host-local does. Each may carry a prefix length, which
 * is ignored; an empty one asks for nothing. `cniArgs` is the value of CNI_ARGS. Throws CONFIG_INVALID.
 */
export function requestedIps(conf: unknown, cniArgs = ''): readonly Ip[] {
  const fields = new Fields(conf);
  const lists = [fields.object('args')?.object('cni'), fields.object('runtimeConfig')];
  const listed = lists.flatMap((list) => list?.parsedList('ips', readIps) ?? []);
  return [...new Set([...fromArgs(cniArgs), ...listed.flat()])];
}

function fromArgs(cniArgs: string): Ip[] {
  // The last one wins, as in CNI's own parser.
  const pair = cniArgs.split(';').findLast((pair) => pair.startsWith('IP='));
  if (pair === undefined) return [];
  try {
    return readIps(pair.slice('IP='.length));
  } catch (error) {
    throw new FlatnetError(`'${pair}' is not an IP address`, {
      code: 'CONFIG_INVALID',
      object: 'CNI_ARGS',
      fix: 'write it as IP=10.244.1.7',
      cause: error,
    });
  }
}

function readIps(text: string): Ip[] {
  if (text === '') return [];
  return [unmapped(text.includes('/') ? addressOf(parsePrefixed(text)) : parseIp(text))];
}
