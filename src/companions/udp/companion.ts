import { existsSync, readFileSync, rmSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import packageJson from '../../../package.json' with { type: 'json' };
import { Backoff } from '../../async/backoff.ts';
import { keepUp } from '../../async/keep-up.ts';
import { Latest } from '../../async/latest.ts';
import { pause } from '../../async/pause.ts';
import { poll } from '../../async/poll.ts';
import { Queue } from '../../async/queue.ts';
import { untilDone } from '../../async/until-done.ts';
import { UDP_DEVICE, type UdpFacts, type UdpOptions, udp } from '../../backends/udp.ts';
import { Fields } from '../../cluster/fields.ts';
import type { Network } from '../../cluster/network.ts';
import { NO_RESOURCES } from '../../cluster/resources.ts';
import { FlatnetError, messageOf } from '../../error.ts';
import { INSTALLATION } from '../../installation.ts';
import { FAMILIES } from '../../ip/address.ts';
import { linkDelete } from '../../linux/link/change.ts';
import { linkDump } from '../../linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { isAlive, type ProcessId, spawnDetached, terminate, waitForEnd } from '../../linux/process.ts';
import { replaceFile } from '../../replace-file.ts';
import { OUR_ALIAS } from '../../state/ownership.ts';
import type { ClusterFacts, Companion, CompanionContext, CompanionKind, SettledFacts } from '../companion.ts';
import { FastPath, removeAll } from './fast-path/fast-path.ts';
import { UdpFiles } from './files.ts';
import { give, type Order } from './orders.ts';
import { fastPathSettings, firstSettings, settingsOf } from './own-settings.ts';
import { settingsText, type UdpSettings } from './settings.ts';

/** Milliseconds. */
const STARTED_WITHIN = 10_000;
const ENDED_WITHIN = 2000;
const PULSE = 100;
/** Between two looks at the programs in the kernel. */
const CHECK = 500;
/** Uptime in milliseconds after which a crash counts as unrelated to the previous one. */
const STEADY = 10_000;

type Wanted = {
  readonly settings: UdpSettings;
  /** Known before this node's own part is: for a forwarder that is not there yet. */
  readonly isFirst: boolean;
};

/**
 * The companion of backend `udp`: a process that carries packets between the TUN device and the other nodes.
 * It outlives the agent; the next one adopts it, and replaces it if it is of another version.
 */
export const udpCompanion: CompanionKind<UdpCompanion> = {
  start: async (context) => {
    await mkdir(context.folders.run, { recursive: true, mode: 0o700 });
    return new UdpCompanion(context);
  },
  end: async ({ folders }) => {
    const files = new UdpFiles(folders.run);
    await terminate(files.all(), ENDED_WITHIN);
    await deleteDevice();
    removeAll();
    await rm(folders.run, { recursive: true, force: true });
  },
};

export class UdpCompanion implements Companion<UdpFacts> {
  readonly #context: CompanionContext;
  readonly #files: UdpFiles;
  readonly #stopping = new AbortController();
  readonly #settings: Latest<Wanted>;
  /** Only one process is started at a time. */
  readonly #starts = new Queue();
  readonly #fastPath = new FastPath();
  readonly #checks: Promise<void>;
  #facts: UdpFacts = { fastPath: this.#fastPath.isOn };
  #id: ProcessId | undefined;
  /** What that process has been told. */
  #told = '';
  #problem: string | undefined = 'the udp forwarder has not started yet';
  #supervision: Promise<void> | undefined;
  /** Whether this node's own addresses are known. */
  #isUpdated = false;

  constructor(context: CompanionContext) {
    const signal = AbortSignal.any([context.signal, this.#stopping.signal]);
    this.#context = { ...context, signal };
    this.#files = new UdpFiles(context.folders.run);
    this.#settings = new Latest('apply the udp settings', (wanted) => this.#apply(wanted), this.#context);
    this.#checks = keepUp('check the fast path', () => this.#checkFastPath(signal), this.#context);
    // Of an earlier agent: nothing else is said of it if the network has another backend by now.
    if (!existsSync(this.#files.settings)) return;
    this.#id = this.#files.process()?.id;
    this.#supervise();
  }

  /** The process goes on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    await this.#supervision;
    await this.#checks;
    await this.#starts.run(async () => {});
    this.#fastPath[Symbol.dispose]();
  }

  get facts(): UdpFacts {
    return this.#facts;
  }

  get problem(): string | undefined {
    return this.#problem;
  }

  get counters(): Readonly<Record<string, number>> {
    const counters = this.#files.readCounters();
    const { sent, received } = this.#fastPath.carried;
    return { ...counters, sent: (counters.sent ?? 0) + sent, received: (counters.received ?? 0) + received };
  }

  get carrier(): string {
    const { whyNot, reach } = this.#fastPath;
    if (whyNot !== undefined) return `the forwarder (${whyNot})`;
    const nodes = `${reach} ${reach === 1 ? 'node' : 'nodes'}`;
    return `programs in the kernel to ${nodes}, where routes lead by the underlay; otherwise the forwarder`;
  }

  /**
   * Starts the forwarder before this node's own part is computed: the device that it makes is a part of that,
   * so that peers hear of the backend only when it can receive.
   */
  learn({ network, nodes }: ClusterFacts): void {
    if (this.#isUpdated) return;
    const families = FAMILIES.filter((family) => network.pools[family]);
    const others = nodes.filter(({ name }) => name !== this.#context.node);
    this.#settings.push({ settings: firstSettings(families, others, optionsOf(network)), isFirst: true });
  }

  update({ self, nodes, network }: SettledFacts): void {
    this.#isUpdated = true;
    const options = optionsOf(network);
    const settings = settingsOf(self, nodes, options);
    this.#settings.push({ settings, isFirst: false });
    const wanted = fastPathSettings(settings, self, nodes, options);
    this.#useFastPath((path) => path.follow(wanted));
  }

  deviceChanged({ name }: { readonly name: string }): void {
    if (name === UDP_DEVICE) this.#useFastPath((path) => path.check());
  }

  /** Nothing that goes wrong with it keeps the forwarder from carrying packets. */
  #useFastPath(use: (path: FastPath) => void): void {
    try {
      use(this.#fastPath);
    } catch (error) {
      this.#context.log.warn({ error: messageOf(error) }, 'the fast path is not as it should be');
    }
    const { isOn } = this.#fastPath;
    if (isOn === this.#facts.fastPath) return;
    this.#facts = { fastPath: isOn };
    this.#context.changed();
  }

  /** Also while a forwarder that has died does not start. */
  async #checkFastPath(signal: AbortSignal): Promise<void> {
    while (await pause(CHECK, signal)) this.#useFastPath((path) => path.check());
  }

  #apply(wanted: Wanted): Promise<void> {
    const { log, signal } = this.#context;
    return untilDone('apply the udp settings', () => this.#tryToApply(wanted), {
      signal,
      log,
      failed: (reason) => {
        this.#problem = reason;
      },
    });
  }

  async #tryToApply({ settings, isFirst }: Wanted): Promise<void> {
    const found = this.#files.process();
    const isOwn = found?.isHere && found.version === packageJson.version;
    const text = settingsText(settings);
    // One that an earlier agent has left knows more, of whatever version it is.
    if (!isFirst || !found?.isHere || !existsSync(this.#files.settings))
      replaceFile(this.#files.settings, text, { mode: 0o600 });
    if (!isOwn) await this.#starts.run(() => this.#start());
    else {
      if (this.#id?.pid !== found.id.pid) await this.#dismiss(found.id);
      this.#id = found.id;
      if (!isFirst && this.#told !== text) this.#order(found.id, 'change');
      this.#problem = undefined;
    }
    if (!isFirst) this.#told = text;
    this.#supervise();
  }

  /** One that has just died needs none: the next one reads the settings at its start. */
  #order({ pid }: ProcessId, order: Order): void {
    try {
      give(this.#files.orders(pid), order);
    } catch (error) {
      this.#context.log.debug({ pid, order, error: messageOf(error) }, 'the udp forwarder takes no orders');
    }
  }

  /** Starts a process, which relieves the one that runs. Throws if it does not carry packets. */
  async #start(): Promise<void> {
    if (this.#files.process() === undefined) rmSync(this.#files.running, { force: true });
    rmSync(this.#files.log, { force: true });
    const id = await spawnDetached(forwarderFor(this.#files.folder), { logFile: this.#files.log, env: {} });
    const carries = async (): Promise<boolean | undefined> =>
      this.#files.process()?.id.pid === id.pid || (isAlive(id) ? undefined : false);
    if (!(await poll(carries, { every: 10, patience: STARTED_WITHIN }))) {
      await terminate([id], ENDED_WITHIN);
      throw this.#failure();
    }
    this.#id = id;
    this.#problem = undefined;
    await this.#dismiss(id);
  }

  /**
   * Ends all but one. Others have given it everything, or are of an earlier agent that died while it started
   * another.
   */
  async #dismiss(remaining: ProcessId): Promise<void> {
    for (const id of this.#files.all()) {
      if (id.pid === remaining.pid) continue;
      this.#order(id, 'stop');
      if (!(await waitForEnd(id, ENDED_WITHIN))) await terminate([id], ENDED_WITHIN);
      rmSync(this.#files.orders(id.pid), { force: true });
    }
  }

  #failure(): FlatnetError {
    const lines = readFileSync(this.#files.log, 'utf8').trim().split('\n');
    return new FlatnetError(`does not start: ${lines.at(-1)}`, {
      code: 'INTERNAL',
      object: 'the udp forwarder',
      fix: `it needs the module tun, in a container the device /dev/net/tun, and no other program's device named ${UDP_DEVICE}; see ${this.#files.log}`,
    });
  }

  #supervise(): void {
    const { log, signal } = this.#context;
    this.#supervision ??= this.#watch(signal).catch((error: unknown) => {
      if (!signal.aborted) log.error({ error: messageOf(error) }, 'the udp forwarder is not supervised');
    });
  }

  /** Starts it again when it has died: at once, and later with growing pauses. */
  async #watch(signal: AbortSignal): Promise<void> {
    const { log } = this.#context;
    const backoff = new Backoff();
    for (let since = performance.now(); await pause(PULSE, signal); ) {
      if (this.#id && isAlive(this.#id)) continue;
      if (performance.now() - since > STEADY) backoff.reset();
      else if (!(await pause(backoff.next(), signal))) return;
      await this.#starts.run(async () => {
        if (signal.aborted || (this.#id && isAlive(this.#id))) return;
        log.warn({}, 'the udp forwarder has died; starting it again');
        try {
          await this.#start();
        } catch (error) {
          this.#problem = messageOf(error);
          log.error({ error: this.#problem }, 'the udp forwarder does not start');
        }
      });
      since = performance.now();
    }
  }
}

/**
 * The program in C, or in TypeScript where that was not built. `FLATNET_UDP_FORWARDER=typescript` is for
 * tests.
 */
function forwarderFor(folder: string): readonly string[] {
  const { program, udpForwarder } = INSTALLATION;
  const isNative = process.env.FLATNET_UDP_FORWARDER !== 'typescript' && existsSync(udpForwarder);
  return isNative ? [udpForwarder, folder, packageJson.version] : [program, 'udp-forwarder', folder];
}

function optionsOf({ backend }: Network): UdpOptions {
  return udp.options(new Fields(backend.options, 'Backend'), NO_RESOURCES);
}

async function deleteDevice(): Promise<void> {
  using netlink = NetlinkSocket.open(NETLINK_ROUTE);
  const links = await netlink.dump(linkDump({ kind: 'tun' }));
  const own = links.find(({ name, alias }) => name === UDP_DEVICE && alias?.startsWith(OUR_ALIAS));
  if (own) await netlink.execute([linkDelete(own.index)]);
}
