import { type Command, Option } from 'commander';
import { configuredBackend } from '../../backends/registry.ts';
import type { Network } from '../../cluster/network.ts';
import { FlatnetError } from '../../error.ts';
import type { Removed } from '../../ipam/blocks/forget-node.ts';
import { storeEndpoint } from '../../lab/machine/store.ts';
import { Lab, labFlag } from '../../lab/record/lab.ts';
import { SILENT } from '../../log.ts';
import { DEFAULT_PREFIX, openStore } from '../../store/open.ts';
import type { ResourceStore } from '../../store/ports/resources.ts';
import type { Store } from '../../store/ports/store.ts';
import { collect, labOption } from './commands.ts';

/** Selects the store a command uses: a lab's, or one by its address. */
export type StoreSelection = {
  readonly endpoint?: readonly string[];
  readonly prefix: string;
  readonly cacert?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly username?: string;
  readonly kubeconfig?: string;
  readonly namespace?: string;
  readonly lab?: string;
};

/** Arguments are visible to everybody on the machine. */
const PASSWORD = 'FLATNET_STORE_PASSWORD';

const DEFAULT_ENDPOINT = 'http://127.0.0.1:2379';

export function storeOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--endpoint <address>',
        `http://host:port, https://host:port or unix:/path; may be repeated (default: ${DEFAULT_ENDPOINT})`,
      ).argParser(collect((text) => text)),
    )
    .option('--prefix <prefix>', 'prefix of the network’s keys', DEFAULT_PREFIX)
    .option('--cacert <file>', 'PEM file with the CA of the store’s certificate')
    .option('--cert <file>', 'PEM file with the client certificate')
    .option('--key <file>', 'PEM file with the key of that certificate')
    .option('--username <name>', `etcd user, whose password is in the environment: ${PASSWORD}`)
    .option('--kubeconfig <file>', 'use the Kubernetes API as the store, as this kubeconfig says')
    .option('--namespace <name>', 'there: where the network’s ConfigMap is', 'kube-flannel')
    .addOption(labOption('use the store of this lab'));
}

/** Runs `work` on the store, then closes the connection. */
export async function withSelectedStore<T>(
  { endpoint, prefix, cacert, cert, key, username, kubeconfig, namespace, lab }: StoreSelection,
  work: (store: Store) => Promise<T>,
): Promise<T> {
  if (lab !== undefined && endpoint !== undefined) {
    throw new FlatnetError('conflicts with --endpoint', {
      code: 'USAGE',
      object: '--lab',
      fix: 'use one of them',
    });
  }
  const check = (network: Network): void => void configuredBackend(network);
  if (kubeconfig !== undefined) {
    if (endpoint !== undefined || lab !== undefined) {
      throw new FlatnetError('conflicts with --endpoint and --lab', {
        code: 'USAGE',
        object: '--kubeconfig',
      });
    }
    const { store } = await openStore({ kubernetes: { kubeconfig, namespace } }, SILENT, check);
    return work(store).finally(() => store.close());
  }
  const endpoints = lab === undefined ? (endpoint ?? [DEFAULT_ENDPOINT]) : [storeEndpoint(Lab.open(lab))];
  const tls = { caFile: cacert, certFile: cert, keyFile: key };
  const user = username === undefined ? {} : { username, password: process.env[PASSWORD] ?? '' };
  const { store } = await openStore({ endpoints, prefix, tls, ...user }, SILENT, check);
  try {
    return await work(store);
  } catch (error) {
    if (endpoint !== undefined || !(error instanceof FlatnetError) || error.code !== 'STORE_UNAVAILABLE') {
      throw error;
    }
    const fix =
      lab === undefined
        ? 'select a store: --lab LAB, or --endpoint ADDRESS'
        : `check that it is running: flatnet lab status${labFlag(lab)}`;
    throw new FlatnetError(error.message, { code: error.code, fix, cause: error });
  } finally {
    store.close();
  }
}

/** Warns on standard error if the resources in the store leave every node without BGP peers. */
export async function warnWithoutPeers(store: ResourceStore): Promise<void> {
  const all = await store.list(undefined, () => {});
  const isMeshOff = all.some(
    ({ resource }) => resource.kind === 'BGPConfiguration' && !resource.value.nodeToNodeMeshEnabled,
  );
  if (!isMeshOff || all.some(({ resource }) => resource.kind === 'BGPPeer')) return;
  process.stderr.write(
    'warning: nodeToNodeMeshEnabled is false and there is no BGPPeer: nodes exchange no routes\n',
  );
}

/** Describes what was released. */
export function removedText({ released, blocks, kept }: Removed): string {
  return [
    `released ${released.length} addresses and ${blocks.length} blocks`,
    ...(kept.length ? [`kept, because other nodes use addresses in them: ${kept.join(' ')}`] : []),
  ].join('\n');
}
