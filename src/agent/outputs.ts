import { join } from 'node:path';
import { Latest } from '../async/latest.ts';
import { untilDone } from '../async/until-done.ts';
import type { Network } from '../cluster/network.ts';
import { type LocalPod, type PerFamily, perFamily } from '../cluster/node.ts';
import { renderConfList, writeConfList } from '../cni/protocol/conflist.ts';
import { installPlugins, writeAgentFile } from '../cni/shim/install.ts';
import { setPodMtu } from '../cni/wiring/pod-end.ts';
import { messageOf } from '../error.ts';
import { INSTALLATION } from '../installation.ts';
import { familyOf } from '../ip/address.ts';
import type { Cidr } from '../ip/cidr.ts';
import { readSubnetFile, writeSubnetFile } from '../ipam/subnet-file.ts';
import type { Log } from '../log.ts';
import { AGENT_SOCKET, type Paths } from './options.ts';

/** What is written for the container runtime, its plugins and the pods. */
export type Output = {
  readonly network: Network;
  readonly subnets: readonly Cidr[];
  /** Bytes. */
  readonly mtu: number;
  /** The running pods. */
  readonly pods: readonly LocalPod[];
};

/**
 * Writes the files that other software on this node reads, and sets the MTU of running pods. Output is
 * written in order: an older one never follows a newer one.
 */
export class Outputs implements AsyncDisposable {
  readonly #paths: Paths;
  readonly #log: Log;
  readonly #latest: Latest<Output>;
  #last: Output | undefined;

  constructor(paths: Paths, log: Log, signal: AbortSignal) {
    this.#paths = paths;
    this.#log = log;
    const write = (output: Output, superseded: AbortSignal) => this.#write(output, superseded);
    this.#latest = new Latest('publish the network on this node', write, { log, signal });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#latest.idle();
  }

  /** Queues an output. A failed write is retried until it succeeds or a newer output replaces it. */
  write(output: Output): void {
    this.#last = output;
    this.#latest.push(output);
  }

  /** Queues the last output again, with the pods of now; nothing before there was one. */
  again(pods: readonly LocalPod[]): void {
    if (this.#last) this.write({ ...this.#last, pods });
  }

  async #write(output: Output, superseded: AbortSignal): Promise<void> {
    const write = () => writeOutput(this.#paths, output);
    await untilDone('write the CNI files', write, { signal: superseded, log: this.#log });
    this.#log.info({ subnets: output.subnets, mtu: output.mtu }, 'ready');
    await this.#followMtu(output, superseded);
  }

  /** Gives running pods the MTU that new ones get. Failures are only logged: the pod may be going away. */
  async #followMtu({ pods, mtu }: Output, superseded: AbortSignal): Promise<void> {
    for (const pod of pods) {
      if (pod.foreign) continue;
      if (superseded.aborted) return;
      const name = pod.name ?? pod.containerId;
      await setPodMtu(pod, mtu).then(
        (changed) => changed && this.#log.info({ pod: name, mtu }, 'set the MTU of a running pod'),
        (error: unknown) =>
          this.#log.warn({ pod: name, error: messageOf(error) }, 'cannot set the MTU of a running pod'),
      );
    }
  }
}

/**
 * Tells the container runtime that it can start pods: writes subnet.env first, and last the conflist, whose
 * presence makes the node ready.
 */
async function writeOutput(paths: Paths, { network, subnets, mtu }: Output): Promise<void> {
  // Blocks come and go with pods, so the file would be outdated at once.
  if (network.addresses === 'lease') {
    await writeSubnetFile(paths.subnetFile, {
      networks: perFamily((family) => network.pools[family] && [network.pools[family].cidr]),
      subnets: perFamily((family) => subnets.find((subnet) => familyOf(subnet) === family)),
      mtu,
      masquerade: network.masquerade.enabled,
    });
  }
  installPlugins(INSTALLATION.shim, paths.cniBin);
  const place = { socket: join(paths.run, AGENT_SOCKET), stateDir: paths.state };
  writeAgentFile(paths.cniBin, place);
  writeConfList(paths.cniConf, renderConfList(place));
}

/** The subnets this node had before, from subnet.env; none when the file can't be read. */
export async function previousSubnets(path: string, log: Log): Promise<PerFamily<Cidr>> {
  try {
    return (await readSubnetFile(path))?.subnets ?? {};
  } catch (error) {
    log.warn({ path, error: messageOf(error) }, 'cannot read the previous subnets');
    return {};
  }
}
