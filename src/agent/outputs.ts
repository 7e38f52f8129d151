import { join, resolve } from 'node:path';
import { Latest } from '../async/latest.ts';
import { untilDone } from '../async/until-done.ts';
import type { Network } from '../cluster/network.ts';
import { type LocalPod, type PerFamily, perFamily } from '../cluster/node.ts';
import { renderConfList, writeConfList } from '../cni/protocol/conflist.ts';
import { installPlugins, writeAgentFile } from '../cni/shim/install.ts';
import { setPodMtu } from '../cni/wiring/pod-end.ts';
import { messageOf } from '../error.ts';
import { familyOf } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import { readSubnetFile, writeSubnetFile } from '../ipam/subnet-file.ts';
import type { Log } from '../log.ts';
import { AGENT_SOCKET, type Paths } from './options.ts';

/** What `make shim` compiles. */
const SHIM = resolve(import.meta.dirname, '../../dist/flatnet-cni');

/** What the container runtime, its plugins and the pods are told. */
export type Output = {
  readonly network: Network;
  readonly subnets: readonly Cidr[];
  /** Bytes. */
  readonly mtu: number;
  /** The pods that run. */
  readonly pods: readonly LocalPod[];
};

/**
 * Writes what others on this node go by, and again when it changes; an older one never comes after a newer
 * one.
 */
export class Outputs implements AsyncDisposable {
  readonly #paths: Paths;
  readonly #log: Log;
  readonly #latest: Latest<Output>;

  constructor(paths: Paths, log: Log, signal: AbortSignal) {
    this.#paths = paths;
    this.#log = log;
    const tell = (output: Output, superseded: AbortSignal) => this.#tell(output, superseded);
    this.#latest = new Latest('tell the node about its network', tell, { log, signal });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#latest.idle();
  }

  /** Soon; what cannot be written is tried again until it can, or something newer is to be written. */
  write(output: Output): void {
    this.#latest.push(output);
  }

  async #tell(output: Output, superseded: AbortSignal): Promise<void> {
    const write = () => writeOutput(this.#paths, output);
    await untilDone('write the files of CNI', write, { signal: superseded, log: this.#log });
    this.#log.info({ subnets: output.subnets, mtu: output.mtu }, 'ready');
    await this.#followMtu(output, superseded);
  }

  /** Pods that run already get the MTU that new ones get; one that is just going away does not matter. */
  async #followMtu({ pods, mtu }: Output, superseded: AbortSignal): Promise<void> {
    for (const pod of pods) {
      if (pod.foreign) continue;
      if (superseded.aborted) return;
      const name = pod.name ?? pod.containerId;
      await setPodMtu(pod, mtu).then(
        (changed) => changed && this.#log.info({ pod: name, mtu }, 'MTU of a running pod set'),
        (error: unknown) =>
          this.#log.warn({ pod: name, error: messageOf(error) }, 'MTU of a running pod not set'),
      );
    }
  }
}

/**
 * Tells the container runtime that pods can come: subnet.env first, then the conflist, whose presence makes
 * the node ready.
 */
async function writeOutput(paths: Paths, { network, subnets, mtu }: Output): Promise<void> {
  // Blocks come and go with pods: nothing in the file would stay true.
  if (network.addresses === 'lease') {
    await writeSubnetFile(paths.subnetFile, {
      networks: perFamily((family) => network.pools[family] && [network.pools[family].cidr]),
      subnets: perFamily((family) => subnets.find((subnet) => familyOf(subnet) === family)),
      mtu,
      masquerade: network.masquerade.enabled,
    });
  }
  installPlugins(SHIM, paths.cniBin);
  const place = { socket: join(paths.run, AGENT_SOCKET), stateDir: paths.state };
  writeAgentFile(paths.cniBin, place);
  writeConfList(paths.cniConf, renderConfList(place, network.wiring));
}

/** The subnets this node had before, from subnet.env; none when the file can't be read. */
export async function previousSubnets(path: string, log: Log): Promise<PerFamily<Cidr>> {
  try {
    return (await readSubnetFile(path))?.subnets ?? {};
  } catch (error) {
    log.warn({ path, error: messageOf(error) }, 'the previous subnets are unknown');
    return {};
  }
}
