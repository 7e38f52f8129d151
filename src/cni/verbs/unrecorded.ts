import { linkDump } from '../../linux/link/link.ts';
import type { Problem } from '../../problem.ts';
import { OUR_ALIAS } from '../../state/ownership.ts';
import type { CniState } from '../state.ts';
import { findLink } from '../wiring/links.ts';
import { DOOMED } from '../wiring/sweep.ts';

/** Ports listed by name; the others by number. */
const LISTED = 4;

/** Warns of ports of our bridge that no record names: other plugins' pods, such as flannel's. */
export function unrecordedPorts({ link: socket, context, attachments }: CniState): readonly Problem[] {
  const bridge = findLink(socket, context.bridge);
  if (!bridge) return [];
  const ports = socket
    .dumpSync(linkDump({ kind: 'veth' }))
    .filter(({ master, group }) => master === bridge.index && group !== DOOMED)
    .filter(({ alias }) => !alias?.startsWith(`${OUR_ALIAS} `));
  const names = ports.map(({ name }) => name).filter((name) => attachments.onDevice(name).length === 0);
  if (names.length === 0) return [];
  const more = names.length > LISTED ? `, ${names.length - LISTED} more` : '';
  const list = `${names.slice(0, LISTED).join(', ')}${more}`;
  return [
    {
      id: 'pods-not-adopted',
      severity: 'warning',
      what: `ports of ${context.bridge} have no record: ${list}`,
      cause: 'other plugins have made them: their pods are not guarded',
      fix: 'flatnet takeover flannel, or recreate the pods',
    },
  ];
}
