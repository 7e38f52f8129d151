import { type Network, networkToNetConf } from './network.ts';

/** A setting that differs; absent where it is not set. */
export type Change = { readonly key: string; readonly before?: unknown; readonly after?: unknown };

/**
 * Returns what differs between two configurations, defaults included, by the path of each setting, such as
 * `Backend.Type`. `before`: undefined when there was none.
 */
export function networkChanges(before: Network | undefined, after: Network): Change[] {
  const old = before ? settingsOf(before) : new Map<string, Setting>();
  const now = settingsOf(after);
  return [...new Set([...old.keys(), ...now.keys()])].flatMap((name): Change[] => {
    const [was, is] = [old.get(name), now.get(name)];
    if (JSON.stringify(was?.value) === JSON.stringify(is?.value)) return [];
    const key = is?.key ?? was?.key ?? name;
    return [{ key, ...(was && { before: was.value }), ...(is && { after: is.value }) }];
  });
}

/** Returns why running pods do not take part in these changes; undefined if they do. */
export function migrationWarning(changes: readonly Change[]): string | undefined {
  const fixed = changes.filter(({ key, before }) => before !== undefined && FIXED.test(key));
  if (fixed.length === 0) return undefined;
  const keys = fixed.map(({ key }) => key).join(', ');
  return `running pods keep what they have, so the change of ${keys} reaches them only once they are recreated`;
}

/** What a pod gets when it is created. */
const FIXED = /^(addresses|wiring|(macvlan|ipvlan)\..*|(IPv6)?Network)$/;

type Setting = { readonly key: string; readonly value: unknown };

/** By path in lower case: keys match case-insensitively. */
function settingsOf(network: Network): Map<string, Setting> {
  return new Map(
    flat('', JSON.parse(networkToNetConf(network))).map((each) => [each.key.toLowerCase(), each]),
  );
}

function flat(key: string, value: unknown): Setting[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [{ key, value }];
  return Object.entries(value).flatMap(([name, each]) => flat(key ? `${key}.${name}` : name, each));
}
