import { FlatnetError } from '../error.ts';
import type { Mac } from '../ip/mac.ts';
import type { Host } from './host.ts';
import type { Underlay } from './node.ts';
import type { Physical } from './physical.ts';

/** The interface whose network pods share. */
export type Parent = {
  readonly dev: string;
  /** Bytes. */
  readonly mtu: number;
  readonly mac: Mac;
};

/**
 * The interface that pods share: the configured one, or else the underlay. Throws CONFIG_INVALID naming the
 * field if no pods can be attached to it.
 */
export function chooseParent(
  { wiring, mode, parent }: Physical,
  underlay: Underlay,
  { interfaces = [] }: Pick<Host, 'interfaces'>,
): Parent {
  const dev = parent ?? underlay.dev;
  const choice = `name an interface that the node has for itself in ${wiring}.parent`;
  const wrong = (text: string, fix = choice) =>
    new FlatnetError(text, { code: 'CONFIG_INVALID', object: `${wiring}.parent`, fix });
  const found = interfaces.find(({ name }) => name === dev);
  if (!found) {
    const names = interfaces.map(({ name }) => name).join(', ');
    throw wrong(`this node has no interface ${dev}`, names ? `choose one of ${names}` : choice);
  }
  const { mtu, mac, master } = found;
  if (master !== undefined) {
    throw wrong(`${dev} is a port of ${master}, which takes all that ${dev} receives`, `try ${master}`);
  }
  if (mac === undefined) throw wrong(`${dev} is not an Ethernet interface`);
  if (mode === 'passthru' && dev === underlay.dev) {
    throw wrong(`in mode passthru, a pod would take ${dev} from the node, which reaches the others by it`);
  }
  // Linux gives all ipvlan devices of a parent the mode of the last one (ipvlan_set_port_mode).
  const other = interfaces.find((each) => each.ipvlan?.parent === dev && each.ipvlan.mode !== mode);
  if (wiring === 'ipvlan' && other) {
    throw wrong(
      `${other.name} has mode ${other.ipvlan?.mode} on ${dev}, and would get ${mode}`,
      `remove it, set ipvlan.mode to ${other.ipvlan?.mode}, or ${choice}`,
    );
  }
  return { dev, mtu, mac };
}
