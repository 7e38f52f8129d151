import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { readNetwork } from '../../src/cluster/network.ts';
import type { Node, Self } from '../../src/cluster/node.ts';
import { NO_RESOURCES } from '../../src/cluster/resources.ts';
import { Companions } from '../../src/companions/companions.ts';
import { COMPANIONS } from '../../src/companions/registry.ts';
import { parseIp } from '../../src/ip/address.ts';
import { parseCidr } from '../../src/ip/cidr.ts';
import { SILENT } from '../../src/log.ts';
import { tunnelMacsOf } from '../backends/tunnel-macs.ts';

/** The companion of a node in a cloud, as one agent after another runs it. */
export class CloudNode {
  readonly node: Node;
  /** How often its agents have looked at the cloud’s routes, to the end. */
  looks = 0;
  readonly #backend: string;
  readonly #folder = mkdtempSync(join(tmpdir(), 'flatnet-cloud-'));
  #companions: Companions | undefined;
  #stop = new AbortController();

  constructor(t: TestContext, backend: string, n: number, ip: string) {
    this.#backend = backend;
    this.node = {
      name: `node${n}`,
      labels: {},
      addresses: { 4: parseIp(ip) },
      subnets: [parseCidr(`10.244.${n}.0/24`)],
      backend: { type: backend, data: {} },
    };
    t.after(async () => {
      await this.stop();
      rmSync(this.#folder, { recursive: true });
    });
  }

  async start(): Promise<Companions> {
    await this.stop();
    this.#stop = new AbortController();
    this.#companions = new Companions(
      {
        node: this.node.name,
        paths: { run: join(this.#folder, 'run'), state: join(this.#folder, 'state') },
        secrets: '',
        assigner: {} as never,
        log: { ...SILENT, debug: () => void this.looks++ },
        signal: this.#stop.signal,
      },
      COMPANIONS.filter(({ backend }) => backend === this.#backend),
    );
    await this.#companions.use(this.#backend);
    return this.#companions;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#companions?.[Symbol.asyncDispose]();
    this.#companions = undefined;
  }

  /** Tells it of the cluster. */
  tell(
    peers: readonly Node[],
    backend: object = {},
    { isMember = true, isComplete = true, subnets = this.node.subnets } = {},
  ): void {
    const Network = '10.244.0.0/16';
    const network = readNetwork({ Network, Backend: { Type: this.#backend, ...backend } });
    const node = { ...this.node, subnets };
    const underlay = { dev: 'eth0', mtu: 1500, addresses: node.addresses, onLink: [] };
    const self: Self = { node, underlay, tunnelMacs: tunnelMacsOf(node.name) };
    const facts = { network, nodes: [node, ...peers], resources: NO_RESOURCES };
    this.#companions?.learn({ ...facts, labels: {}, isMember });
    this.#companions?.update({ ...facts, self, isComplete });
  }
}
