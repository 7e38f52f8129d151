import { isDeepStrictEqual } from 'node:util';
import { configuredBackend } from '../../backends/registry.ts';
import { refuseSharedPort } from '../../backends/succession.ts';
import { parseForeignJson } from '../../cluster/json.ts';
import { type Network, readNetwork, refuseOverlap } from '../../cluster/network.ts';
import { type Change, migrationWarning, networkChanges } from '../../cluster/network-change.ts';
import { parseNetworkFile } from '../../cluster/network-file.ts';
import { FlatnetError } from '../../error.ts';
import { cidrOf } from '../../ip/cidr.ts';
import { checkNetwork } from '../../lab/network.ts';
import { Lab } from '../../lab/record/lab.ts';
import type { ResourceStore } from '../../store/ports/resources.ts';
import type { Store } from '../../store/ports/store.ts';
import { inFile, warnUnknownKeys } from './network.ts';
import { readText } from './read-text.ts';
import { type StoreSelection, withSelectedStore } from './store.ts';

export type Applied = {
  readonly outcome: 'created' | 'configured' | 'unchanged';
  readonly dryRun: boolean;
  readonly changes: readonly Change[];
};

/**
 * Writes the configuration in the file to the selected store, unless `dryRun`. A lab's own record of it
 * follows. Throws CONFIG_INVALID naming file and field; STORE_CONFLICT when someone else changes it
 * meanwhile.
 */
export async function applyNetwork(
  selection: StoreSelection,
  file: string,
  dryRun: boolean,
): Promise<Applied> {
  const filename = file === '-' ? 'standard input' : file;
  const value = parseNetworkFile(readText(file, 'CONFIG_INVALID'), filename);
  const named = <T>(work: () => T): T => inFile(filename, work);
  const network = named(() => checked(value));
  warnUnknownKeys(value);
  if (selection.lab === undefined) return withSelectedStore(selection, write);
  return Lab.change(selection.lab, async (lab) => {
    named(() => {
      checkNetwork(network, lab.nodes.length);
      refuseOtherUnderlay(lab, network);
    });
    const applied = await withSelectedStore(selection, write);
    if (!dryRun) lab.update({ network: value });
    return applied;
  });

  async function write(store: Store): Promise<Applied> {
    const stored = await store.network.text();
    const taken = await takenNetworks(store.resources);
    named(() => refuseTaken(network, taken));
    if (stored && isDeepStrictEqual(written(stored.value), value)) {
      return { outcome: 'unchanged', dryRun, changes: [] };
    }
    const before = stored && readable(stored.value);
    if (before) named(() => refuseSharedPort(before, network));
    const changes = networkChanges(before, network);
    const warning = migrationWarning(changes);
    if (warning !== undefined) process.stderr.write(`warning: ${warning}\n`);
    if (!dryRun) await store.network.replace(stored, `${JSON.stringify(value, null, 2)}\n`);
    return { outcome: stored ? 'configured' : 'created', dryRun, changes };
  }
}

/** Throws CONFIG_INVALID where the lab's nodes would need another network between them. */
function refuseOtherUnderlay({ network: { wiring, physical } }: Lab, network: Network): void {
  if ((physical === undefined) === (network.physical === undefined)) return;
  throw new FlatnetError(`this lab was made for ${wiring}, whose underlay is another one`, {
    code: 'CONFIG_INVALID',
    object: 'wiring',
    fix: `start another lab: flatnet lab up --wiring ${network.wiring} --lab NAME`,
  });
}

/** Throws CONFIG_INVALID for a network that no node could use. */
function checked(value: unknown): Network {
  const network = readNetwork(value);
  configuredBackend(network);
  refuseOverlap(network, 'a network of services', network.serviceNetworks ?? []);
  return network;
}

type Taken = { readonly use: string; readonly cidrs: Parameters<typeof refuseOverlap>[2] };

/** What the store knows of networks that are not the pods': services, and the nodes' own addresses. */
async function takenNetworks(resources: ResourceStore): Promise<Taken[]> {
  const [applied, { nodes }] = await Promise.all([
    resources.list('BGPConfiguration', () => {}),
    resources.occupied(),
  ]);
  const services = applied.flatMap(({ resource }) =>
    resource.kind === 'BGPConfiguration' ? resource.value.serviceCidrs : [],
  );
  const own = nodes.map(({ name, addresses }) => ({
    use: `the address of node ${name}`,
    cidrs: Object.values(addresses).map((ip) => cidrOf(ip, ip.includes(':') ? 128 : 32)),
  }));
  return [{ use: 'a network of services', cidrs: services }, ...own];
}

function refuseTaken(network: Network, taken: readonly Taken[]): void {
  for (const { use, cidrs } of taken) refuseOverlap(network, use, cidrs);
}

/** Undefined for a configuration that no node could read, which may be replaced by any other. */
function readable(text: string): Network | undefined {
  try {
    return checked(parseForeignJson(text));
  } catch {
    return undefined;
  }
}

function written(text: string): unknown {
  try {
    return parseForeignJson(text);
  } catch {
    return undefined;
  }
}
