import { checkPools } from '../cluster/calico/change.ts';
import { poolsOf } from '../cluster/calico/decode.ts';
import { type Document, titleOf } from '../cluster/calico/document.ts';
import type { Network } from '../cluster/network.ts';
import { codeOf } from '../error.ts';
import { applySteps } from '../store/policies/apply.ts';
import type { NetworkStore } from '../store/ports/network.ts';
import { newCommand } from './shared/commands.ts';
import { print } from './shared/output.ts';
import { doneText, each, fileOption, objectsOf, policyObjectsOf } from './shared/resource-file.ts';
import { type StoreSelection, storeOptions, warnWithoutPeers, withSelectedStore } from './shared/store.ts';

export const command = storeOptions(
  newCommand(
    'Write resources of projectcalico.org/v3 to the store: IPPool, IPReservation, BGPConfiguration, BGPPeer, BGPFilter, Node; and network policies, with Namespaces, Tiers and network sets. All are checked before the first is written. A resource with a resourceVersion is written only if it has not changed since.',
    [
      'flatnet apply -f pools.yaml',
      'flatnet apply -f policies.yaml --lab demo',
      'flatnet get ippool -o yaml --lab demo | flatnet apply -f - --lab demo',
    ],
  ),
)
  .addOption(fileOption('YAML or JSON, any number of documents').makeOptionMandatory())
  .option('--json', 'print JSON')
  .action(async ({ file, json, ...store }: StoreSelection & { file: string[]; json?: boolean }) => {
    const { documents, policies } = objectsOf(file);
    const done = await withSelectedStore(store, async (selected) => {
      const { network, resources } = selected;
      const pools = poolsOf(documents);
      if (pools.length > 0) checkPools(pools, await resources.occupied());
      const written = documents.map((document) => ({
        title: titleOf(document),
        run: () => resources.apply(document),
      }));
      const ofPolicies = policies.length > 0 ? await applySteps(policyObjectsOf(selected), policies) : [];
      const outcomes = await each([...written, ...ofPolicies]);
      if (documents.length > 0) await warnWithoutPeers(resources);
      await warnOfUnusedPools(documents, network);
      if (policies.length > 0) await warnOfUnusedPolicies(network);
      return outcomes;
    });
    print(done, json, doneText);
  });

/** Warns on standard error about pools in a network whose pods get their addresses otherwise. */
async function warnOfUnusedPools(documents: readonly Document[], store: NetworkStore): Promise<void> {
  if (!documents.some(({ kind }) => kind === 'IPPool')) return;
  const network = await networkIn(store);
  if (network?.addresses !== 'lease') return;
  process.stderr.write(
    'warning: this network does not use IPPools: pods get addresses of their node’s lease (addresses: lease)\n',
  );
}

/** Warns on standard error about policies that nobody enforces. */
async function warnOfUnusedPolicies(store: NetworkStore): Promise<void> {
  const network = await networkIn(store);
  if (network && !network.policy)
    process.stderr.write(
      'warning: this network does not enforce policies: its configuration lacks policy: true\n',
    );
}

async function networkIn(store: NetworkStore): Promise<Network | undefined> {
  try {
    return await store.read();
  } catch (error) {
    if (['NOT_FOUND', 'CONFIG_INVALID'].includes(codeOf(error) ?? '')) return undefined;
    throw error;
  }
}
