import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { PhysicalWiring } from '../../src/cluster/wiring.ts';
import type { LabStatus } from '../../src/lab/inspect/status.ts';
import { storeEndpoint } from '../../src/lab/machine/store.ts';
import { Lab } from '../../src/lab/record/lab.ts';
import { LABS } from '../../src/lab/record/paths.ts';
import { type IpEntry, ip, pings } from '../cni/host.ts';
import { flatnet, TestLab } from './host.ts';

const NODES = { node1: ['172.30.0.11', 'fd77::11'], node2: ['172.30.0.12', 'fd77::12'] } as const;
/** Behind the router. */
const OUTSIDE = ['172.30.255.1', 'fd77:0:0:ff::1'];

/**
 * A lab of two nodes whose pods are on the nodes' own network: everybody reaches everybody, in both families.
 */
export async function podsBesideNodes(t: TestContext, wiring: PhysicalWiring): Promise<PhysicalLab> {
  const lab = new TestLab(t, 'w');
  await lab.ok('up', '--wiring', wiring, '--nodes', '2', '--network', '172.30.0.0/17,fd77::/64');
  for (const [pod, node] of [
    ['a', 'node1'],
    ['b', 'node1'],
    ['c', 'node2'],
  ] as const) {
    await lab.ok('pod', 'create', pod, '--node', node);
  }
  const physical = new PhysicalLab(lab, wiring);
  await physical.works('at first');
  return physical;
}

export class PhysicalLab {
  readonly lab: TestLab;
  readonly shim: string;
  readonly #wiring: PhysicalWiring;

  constructor(lab: TestLab, wiring: PhysicalWiring) {
    this.lab = lab;
    this.#wiring = wiring;
    this.shim = `flannel-${wiring}`;
  }

  node(name: string): string {
    return `${this.lab.name}-${name}`;
  }

  pod(name: string): string {
    return `${this.lab.name}.default.${name}`;
  }

  /** Nodes and pods reach pods, pods reach nodes and the outside, and nobody complains. */
  async works(when: string): Promise<void> {
    await this.lab.ok('matrix');
    for (const pod of ['a', 'c']) {
      for (const address of [...Object.values(NODES).flat(), ...OUTSIDE])
        assert.ok(pings(this.pod(pod), address, 5), `${when}: ${pod} reaches ${address}`);
    }
    const { problems } = await this.lab.json<LabStatus>('status');
    assert.deepEqual(problems, [], when);
  }

  /** The node's routes and neighbours of the shim; none without it. */
  onShim(node: string): string[] {
    if (!ip(this.node(node), 'link').some(({ ifname }) => ifname === this.shim)) return [];
    const show = (...args: string[]): IpEntry[] => ip(this.node(node), ...args, 'dev', this.shim);
    return [
      ...show('route', 'show'),
      ...show('-6', 'route', 'show', 'proto', '111'),
      ...show('neigh', 'show', 'nud', 'permanent'),
    ]
      .map(({ dst }) => dst)
      .sort();
  }

  /**
   * Changes the part of the configuration that is about the wiring; undefined removes a key. Not as the lab's
   * own: it would refuse what its nodes do not have.
   */
  async configure(changes: Readonly<Record<string, string | undefined>>): Promise<void> {
    const { stdout } = await flatnet('config', 'get', '-o', 'json', '--lab', this.lab.name);
    const conf = JSON.parse(stdout);
    const file = join(LABS, this.lab.name, 'changed.json');
    writeFileSync(file, JSON.stringify({ ...conf, [this.#wiring]: { ...conf[this.#wiring], ...changes } }));
    const endpoint = storeEndpoint(Lab.open(this.lab.name));
    const { status, stderr } = await flatnet('config', 'apply', '-f', file, '--endpoint', endpoint);
    assert.equal(status, 0, stderr);
  }

  run(node: string, command: string): void {
    execFileSync('ip', ['-n', this.node(node), ...command.split(' ')]);
  }
}
