import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { LocalPod } from '../../../src/cluster/node.ts';
import type { WiringName } from '../../../src/cluster/wiring.ts';
import { loadAttachments } from '../../../src/cni/records/local-pod.ts';
import { createNetns, deleteNetns, netnsId } from '../../../src/linux/netns.ts';
import { Random } from '../../agent/random.ts';
import { eventually, Host, ip, leftovers, must, Pod } from '../host.ts';

// Records are damaged and pods change their own insides, in random order. Whatever happens, no pod gets an
// identity that is not its own, no running pod loses its network, and nothing in use is released.

const SEED = Number(process.env.SEED ?? Date.now() % 1e6);
const RUNS = 3;
const STEPS = 30;

/** A pod as the runtime knows it: what ADD gave it, and what has been lost since. */
type Model = {
  readonly id: string;
  readonly pod: Pod;
  readonly process: ChildProcess;
  readonly asks: boolean;
  readonly given: LocalPod;
  /** Whether both its record and its reservations, or what it asked for, may be gone. */
  isRecordLost: boolean;
  areReservationsLost: boolean;
  isCopyLost: boolean;
  /** The pod removed its interface. */
  isUnlinked: boolean;
};

class World implements AsyncDisposable {
  readonly random: Random;
  readonly wiring: WiringName;
  readonly pods: Model[] = [];
  readonly log: string[] = [];
  readonly others: string[] = [];
  host: Host;
  #count = 0;

  constructor(seed: number, wiring: WiringName) {
    this.random = new Random(seed);
    this.wiring = wiring;
    this.host = new Host({ wiring, context: { refusesSource: () => undefined } });
  }

  async add(): Promise<void> {
    const id = `p${this.#count++}`;
    const pod = new Pod();
    const process = spawn('ip', ['netns', 'exec', pod.name, 'sleep', '600'], { stdio: 'ignore' });
    const own = netnsId(pod.path);
    await eventually('a process of the pod runs', () => netnsOf(process.pid) === own);
    const asks = this.random.chance(0.4);
    const annotations = { 'cni.projectcalico.org/allowedSourcePrefixes': `["10.9.${this.#count}.0/24"]` };
    const conf = {
      args: { cni: { labels: [{ key: 'app', value: id }] } },
      runtimeConfig: {
        mac: `02:11:22:33:44:${(this.#count + 16).toString(16)}`,
        'io.kubernetes.cri.pod-annotations': annotations,
      },
    };
    await must(this.host, 'ADD', { pod, ...named(id), ...(asks && { conf }) });
    const given = this.host.pods.get(`${id} eth0`);
    assert.ok(given);
    const nothing = { isRecordLost: false, areReservationsLost: false, isCopyLost: false, isUnlinked: false };
    this.pods.push({ id, pod, process, asks, given, ...nothing });
  }

  record({ id }: Model): string {
    return join(this.host.stateDir, 'attachments', `cbr0:${id}:eth0:interface.json`);
  }

  reservations({ given }: Model): string[] {
    return given.addresses.map((address) => join(this.host.dataDir, 'cbr0', address));
  }

  /** One of the things that disks and people do to records. */
  damage(model: Model): void {
    const path = this.record(model);
    const { random } = this;
    model.isRecordLost = true;
    const size = existsSync(path) && !isFolder(path) ? readFileSync(path).length : 0;
    const ways: Record<string, () => void> = {
      'cut off': () => size > 0 && truncateSync(path, random.int(size)),
      'full of zeros': () => !isFolder(path) && writeFileSync(path, Buffer.alloc(300)),
      'valid JSON of something else': () =>
        !isFolder(path) && writeFileSync(path, random.pick(['{}', '[]', 'null', '"x"'])),
      'another pod’s': () => {
        const other = this.record(random.pick(this.pods));
        if (!isFolder(path) && existsSync(other) && !isFolder(other) && other !== path)
          writeFileSync(path, readFileSync(other));
        else rmSync(path, { recursive: true, force: true });
      },
      gone: () => rmSync(path, { recursive: true, force: true }),
      'a folder': () => {
        rmSync(path, { recursive: true, force: true });
        mkdirSync(path);
      },
    };
    const way = random.pick(Object.keys(ways));
    this.log.push(`the record of ${model.id} is ${way}`);
    ways[way]?.();
  }

  /** One of the things that a privileged pod does to its own network. */
  forge({ id, given, process }: Model): void {
    const { random } = this;
    const victim = random.pick(this.pods).given;
    const address = random.pick([...victim.addresses, '10.90.1.1', '10.90.1.200', 'fd00:90:1::99']);
    const bridge = ip(this.host.netns, 'link').find(({ ifname }) => ifname === 'cni0')?.address;
    const mac = random.pick([victim.mac ?? '', bridge ?? 'ee:ee:ee:ee:ee:ee', '02:99:00:00:00:01']);
    const length = address.includes(':') ? random.pick([64, 128]) : random.pick([8, 24, 32]);
    const acts: readonly (readonly string[])[] = [
      ['addr', 'add', `${address}/${length}`, 'dev', 'eth0'],
      ['addr', 'flush', 'dev', 'eth0'],
      ['link', 'set', 'eth0', 'address', mac],
      ['link', 'set', 'eth0', 'down'],
      ['link', 'set', 'eth0', 'name', 'other0'],
      ['link', 'set', 'other0', 'name', 'eth0'],
      ['neigh', 'add', given.addresses[0] ?? '', 'lladdr', mac, 'dev', 'eth0'],
    ];
    const act = random.pick(acts);
    this.log.push(`${id} does: ${act.join(' ')}`);
    // Some are refused.
    spawnSync('nsenter', [`--net=/proc/${process.pid}/ns/net`, 'ip', ...act]);
  }

  /** The pod's path comes to name another namespace, with an interface that looks like a victim's. */
  swap({ id, pod }: Model): void {
    const victim = this.random.pick(this.pods).given;
    this.log.push(`the path of ${id} names another namespace`);
    deleteNetns(pod.name);
    createNetns(pod.name);
    for (const act of [
      ['link', 'add', 'eth0', 'address', victim.mac ?? '', 'type', 'veth', 'peer', 'name', 'x'],
      ['addr', 'add', `${victim.addresses[0]}/24`, 'dev', 'eth0'],
    ])
      spawnSync('ip', ['-n', pod.name, ...act]);
  }

  unlink(model: Model): void {
    this.log.push(`${model.id} loses its interface`);
    model.isUnlinked = true;
    spawnSync('ip', ['-n', this.host.netns, 'link', 'del', model.given.hostDevice ?? '']);
  }

  loseReservations(model: Model): void {
    this.log.push(`the reservations of ${model.id} are lost`);
    model.areReservationsLost = true;
    for (const path of this.reservations(model)) rmSync(path, { force: true });
  }

  damageCopy(model: Model): void {
    const path = join(this.host.stateDir, 'requests', `cbr0:${model.id}:eth0:interface.json`);
    if (!existsSync(path)) return;
    this.log.push(`what ${model.id} asked for cannot be read`);
    model.isCopyLost = true;
    truncateSync(path, this.random.int(60));
  }

  /** The agent is restarted, if it is not only time for a collection. */
  async collect(): Promise<void> {
    if (this.random.chance(0.5)) {
      this.log.push('the agent is restarted');
      const { host, wiring } = this;
      await host.stop();
      const context = { refusesSource: () => undefined };
      this.host = new Host({ dir: host.dir, netns: host.netns, wiring, context });
      for (const pod of loadAttachments(host.stateDir))
        this.host.pods.set(`${pod.containerId} ${pod.ifName}`, pod);
    }
    this.log.push('collection');
    await this.host.service.collectGarbage();
    this.check();
  }

  check(): void {
    const { host } = this;
    const links = new Set(ip(host.netns, 'link').map(({ ifname }) => ifname));
    const macs = new Map(this.pods.map(({ given }) => [given.mac, given.containerId]));
    for (const known of host.pods.values()) {
      const model = this.pods.find(({ id }) => id === known.containerId);
      assert.ok(model, `${known.containerId} is a pod`);
      const { given, id } = model;
      const isOwn = known.addresses.every((address) => given.addresses.includes(address));
      assert.ok(isOwn, `${id} has ${known.addresses}, not ${given.addresses}`);
      if (!model.isCopyLost && !this.isAllLost(model)) assert.equal(known.mac, given.mac, `the MAC of ${id}`);
      const holder = macs.get(known.mac);
      assert.ok(holder === undefined || holder === id, `${id} has the MAC of ${holder}`);
      assert.equal(known.hostDevice, given.hostDevice);
    }
    for (const model of this.pods) {
      const { id, given } = model;
      if (model.isUnlinked) continue;
      assert.ok(links.has(given.hostDevice ?? ''), `${id} keeps its interface`);
      const known = host.pods.get(`${id} eth0`);
      if (this.isAllLost(model)) continue;
      assert.deepEqual(known?.addresses, given.addresses, `${id} keeps its addresses`);
      for (const path of this.reservations(model))
        assert.match(readFileSync(path, 'utf8'), new RegExp(`^${id}\r\n`));
      model.areReservationsLost = false;
      model.isRecordLost = false;
      if (model.isCopyLost) continue;
      assert.deepEqual([known?.allowedSources, known?.labels], [given.allowedSources, given.labels], id);
      const problems = host.service.problems.filter(({ what }) => what.includes(`default/${id} `));
      assert.deepEqual(problems, []);
    }
  }

  /** Nothing says any more which addresses it has; on the bridge, no route of the node does. */
  isAllLost({ isRecordLost, areReservationsLost }: Model): boolean {
    return this.wiring === 'bridge' && isRecordLost && areReservationsLost;
  }

  async step(): Promise<void> {
    const { random } = this;
    const model = random.pick(this.pods);
    const what = random.next();
    if (what < 0.3) return this.damage(model);
    if (what < 0.6) return this.forge(model);
    if (what < 0.65) return this.swap(model);
    if (what < 0.69) return this.unlink(model);
    if (what < 0.74) return this.loseReservations(model);
    if (what < 0.79) return this.damageCopy(model);
    if (what < 0.82 && this.pods.length < 7) return this.add();
    await this.collect();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { process, pod } of this.pods) {
      process.kill('SIGKILL');
      pod[Symbol.dispose]();
    }
    await this.host[Symbol.asyncDispose]();
  }
}

function named(id: string) {
  return { id, env: { CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${id}` } };
}

function netnsOf(pid: number | undefined): number | undefined {
  try {
    return netnsId(`/proc/${pid}/ns/net`);
  } catch {
    return undefined;
  }
}

function isFolder(path: string): boolean {
  try {
    readdirSync(path);
    return true;
  } catch {
    return false;
  }
}

for (const wiring of ['bridge', 'routed'] as const) {
  for (let run = 0; run < RUNS; run++) {
    const seed = SEED + run;
    test(`${wiring}: damaged records and forged interfaces (SEED=${seed})`, async () => {
      await using world = new World(seed, wiring);
      try {
        for (let i = 0; i < 4; i++) await world.add();
        for (let i = 0; i < STEPS; i++) await world.step();
        await world.collect();
        for (const { id, pod } of world.pods) await must(world.host, 'DEL', { pod, ...named(id) });
        await eventually('nothing is left', () => leftovers(world.host).length === 0);
        await world.host.service.collectGarbage();
        assert.deepEqual(world.host.service.problems, []);
      } catch (error) {
        console.error(world.log.join('\n'));
        throw error;
      }
    });
  }
}
