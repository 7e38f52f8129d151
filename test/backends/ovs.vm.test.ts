import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { test } from 'node:test';
import { addressOf } from '../../src/ip/cidr.ts';
import { NO_KERNEL } from '../state/namespace.ts';
import { type Plan, selfOf } from './cluster.ts';
import { Testbed } from './testbed.ts';

/** An Open vSwitch with the kernel's datapath in a namespace, which must end before the namespace does. */
class OpenVswitch implements Disposable {
  readonly #bed: Testbed;
  readonly #where: string;
  readonly #folder = mkdtempSync('/tmp/flatnet-ovs-');

  constructor(bed: Testbed, where: string) {
    this.#bed = bed;
    this.#where = where;
    execFileSync('modprobe', ['openvswitch']);
    const database = `${this.#folder}/conf.db`;
    execFileSync('ovsdb-tool', ['create', database, '/usr/share/openvswitch/vswitch.ovsschema']);
    this.#start('ovsdb-server', `--remote=punix:${this.#folder}/db.sock`, database);
    this.configure('--no-wait', 'init');
    this.#start('ovs-vswitchd', `unix:${this.#folder}/db.sock`);
  }

  /** Like `ovs-vsctl …`. */
  configure(...words: readonly string[]): void {
    this.#bed.run(this.#where, 'ovs-vsctl', `--db=unix:${this.#folder}/db.sock`, '--timeout=60', ...words);
  }

  [Symbol.dispose](): void {
    for (const name of ['ovs-vswitchd', 'ovsdb-server']) {
      try {
        execFileSync('pkill', ['-F', `${this.#folder}/${name}.pid`]);
      } catch {
        // It has ended.
      }
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #start(program: string, ...words: readonly string[]): void {
    const files = ['pidfile', 'log-file'].map(
      (what) => `--${what}=${this.#folder}/${program}.${what === 'pidfile' ? 'pid' : 'log'}`,
    );
    const control = `--unixctl=${this.#folder}/${program}.ctl`;
    this.#bed.run(this.#where, program, '--detach', '--no-chdir', ...files, control, ...words);
  }
}

/**
 * Node 1 is not ours: an Open vSwitch with one tunnel port to node 0, and the routes that a person would set.
 */
const CASES = [
  { backend: { Type: 'vxlan-md', VNI: 9 }, port: 'type=vxlan', options: ['options:key=9'] },
  { backend: { Type: 'gre', Key: 7 }, port: 'type=gre', options: ['options:key=7'] },
] as const;

for (const { backend, port, options } of CASES) {
  test(`an Open vSwitch as the other node: ${JSON.stringify(backend)}`, {
    skip: NO_KERNEL,
    timeout: 300_000,
  }, async () => {
    const plan: Plan = { size: 2, families: [4], backend, networks: 1, wiring: 'routed' };
    using bed = new Testbed(plan);
    await bed.up([0]);
    using ovs = new OpenVswitch(bed, 'node1');
    const [ours, theirs] = [selfOf(plan, 0), selfOf(plan, 1)];
    const [subnet, own] = [ours.node.subnets[0], theirs.node.subnets[0]];
    assert.ok(subnet && own);
    const { VtepMAC: mac } = ours.node.backend.data[4] as { VtepMAC: string };
    const { VtepMAC: ownMac } = theirs.node.backend.data[4] as { VtepMAC: string };
    ovs.configure('add-br', 'br0', '--', 'set', 'bridge', 'br0', `other-config:hwaddr="${ownMac}"`);
    const remote = `options:remote_ip=${ours.underlay.addresses[4]}`;
    ovs.configure('add-port', 'br0', 'tunnel', '--', 'set', 'interface', 'tunnel', port, remote, ...options);
    bed.run('node1', 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv4.conf.cali0.proxy_arp=1');
    bed.batch(
      'node1',
      `link set br0 up mtu ${bed.mtu}`,
      `address add ${addressOf(own)}/32 dev br0`,
      `neigh add ${addressOf(subnet)} lladdr ${mac} nud permanent dev br0`,
      `route add ${subnet} via ${addressOf(subnet)} dev br0 onlink`,
      'link set cali0 up',
      `route add ${bed.addressOf(1, 4)}/32 dev cali0`,
    );
    for (const size of [undefined, bed.mtu]) {
      assert.ok(bed.ping(0, 1, 4, size), `${size ?? 84} bytes from our pod`);
      assert.ok(bed.ping(1, 0, 4, size), `${size ?? 84} bytes from its pod`);
    }
    assert.deepEqual(bed.sourcesSeen(0, 4), new Set([bed.addressOf(1, 4)]));
    assert.deepEqual(bed.sourcesSeen(1, 4), new Set([bed.addressOf(0, 4)]));
  });
}
