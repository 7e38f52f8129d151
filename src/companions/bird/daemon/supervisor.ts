import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, rename, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { FlatnetError, messageOf } from '../../../error.ts';
import { killNow, waitForEnd } from '../../../linux/process.ts';
import type { Log } from '../../../log.ts';
import { sessionsCut } from '../configuration/cut.ts';
import { type DaemonStatus, type ProtocolStatus, readDaemon, readProtocols } from '../status/protocols.ts';
import { type BgpRoute, readRoutes } from '../status/routes.ts';
import type { BirdControl } from './control.ts';
import { adoptBird, BirdFiles, type Connected, hasPredecessor, runningBird, startBird } from './daemon.ts';
import { checkFile, installedVersion } from './program.ts';
import { endRecovery, latched, untilCalm } from './recovery.ts';

export type BirdOptions = {
  /** BIRD's files: configuration, control socket, pid, log. Made with mode 0700. */
  readonly folder: string;
  readonly log: Log;
  /** Default: `bird`, as PATH has it. */
  readonly program?: string;
  /** Path of the network namespace BIRD runs in; default: our own. */
  readonly netns?: string;
  /** Destinations of the routes in the kernel there that a BIRD made. */
  readonly kernelRoutes: () => Promise<readonly string[]>;
};

const LONGEST_PAUSE = 5000;
/** A BIRD that lived so long died of something new. */
const STEADY = 10_000;
const PULSE = 5000;
/** Why BIRD disables a protocol for good: another program had its port. */
const PORT_TAKEN = /No listening socket/;

/**
 * The node's BIRD. It runs from the first `apply` on and outlives this process: the next agent finds it at
 * its socket and takes it over. A BIRD that dies is started again at once, with a growing pause if it keeps
 * dying; one that does not answer is killed. BIRD gets no SIGTERM from here: it would say goodbye to its
 * peers, and they would drop this node's routes.
 */
export class Bird implements AsyncDisposable {
  readonly files: BirdFiles;
  readonly #options: BirdOptions;
  readonly #program: string;
  readonly #stopping = new AbortController();
  readonly #stopped = once(this.#stopping.signal, 'abort');
  #connected: Connected | undefined;
  #applied: string | undefined;
  /** What is to be in `files.config`, whoever else writes there. */
  #text: string | undefined;
  #trouble: string | undefined;
  #queue: Promise<unknown> = Promise.resolve();
  #supervision: Promise<void> | undefined;

  constructor(options: BirdOptions) {
    this.#options = options;
    this.#program = options.program ?? 'bird';
    this.files = new BirdFiles(options.folder);
  }

  /** Ends the supervision. BIRD runs on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    this.#connected?.control[Symbol.dispose]();
    await this.#supervision;
  }

  /**
   * Makes BIRD run with this configuration; returns whether anything was to do. Sessions it does not change
   * are not touched, unless only a restart of BIRD spares those an outage that it does change: see
   * `sessionsCut`. Throws BIRD with its own words for one that it does not take: the one before stays.
   */
  apply(text: string): Promise<boolean> {
    return this.#alone(async () => {
      const current = this.#current();
      if (text === this.#applied && current) return false;
      const adopted = current ? undefined : await adoptBird(this.files);
      if (adopted) this.#take(adopted);
      this.#applied = undefined;
      const next = await this.#writeNext(text);
      if (this.#connected) await this.#connected.control.request(`configure check "${next}"`);
      else {
        await installedVersion(this.#program);
        await checkFile(this.#program, next);
      }
      const ran = await this.#configured();
      const control = this.#connected?.control;
      const isCut = sessionsCut(ran ?? '', text).length > 0;
      // Before the file changes: the next agent would not see what is cut.
      if (control && isCut) await untilCalm(control, this.#stopping.signal);
      await rename(next, this.files.config);
      this.#text = text;
      if (!control) await this.#start();
      else if (isCut) await control.request('graceful restart');
      else await this.#configure(control);
      this.#applied = text;
      this.#supervision ??= this.#supervise(this.#connected);
      if (adopted) await this.#upgrade(adopted);
      return true;
    });
  }

  /** Why BIRD, once it ran, does not start again; undefined when it does. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  async daemon(): Promise<DaemonStatus> {
    return readDaemon(await this.#control().request('show status'));
  }

  async protocols(): Promise<ProtocolStatus[]> {
    return readProtocols(await this.#control().request('show protocols all'));
  }

  /** All that BIRD knows, or what one session brought. */
  async routes(session?: string): Promise<BgpRoute[]> {
    const from = session === undefined ? '' : ` protocol ${session}`;
    return readRoutes(await this.#control().request(`show route all${from}`));
  }

  /**
   * Runs every route from peers through the import filters again: after `tunl0` came to be, for without it
   * they were refused.
   */
  async reloadImports(): Promise<void> {
    await this.#control().request('reload in all');
  }

  /** Puts back at once what someone deleted from the kernel; BIRD by itself looks every 10 s. */
  async reinstall(): Promise<void> {
    await this.#control().request('reload out Kernel4');
    await this.#control().request('reload out Kernel6');
  }

  /** Another BIRD in the place of this one, without a packet lost. */
  async restart(): Promise<void> {
    await this.#restart(this.#control());
  }

  /**
   * Ends BIRD and the supervision. The kernel and the peers keep their routes: the kernel for good, peers for
   * the restart time.
   */
  async stop(): Promise<void> {
    const control = this.#connected?.control;
    this.#stopping.abort();
    await this.#supervision;
    const id = runningBird(this.files);
    if (!id) return;
    try {
      await control?.request('graceful restart');
    } catch (error) {
      this.#options.log.warn({ error: messageOf(error) }, 'BIRD does not stop by itself');
    }
    if (!control || !(await waitForEnd(id, 5000))) await killNow([id]);
    await this[Symbol.asyncDispose]();
  }

  /** A BIRD found running is replaced when another version was installed meanwhile. */
  async #upgrade({ control, version }: Connected): Promise<void> {
    const { log } = this.#options;
    try {
      const installed = await installedVersion(this.#program);
      if (installed === version) return;
      log.info({ version, installed }, 'another BIRD is installed: it takes over');
      await this.#restart(control);
    } catch (error) {
      log.warn({ error: messageOf(error) }, 'BIRD stays as it is');
    }
  }

  /** The connection, if BIRD has not ended since. */
  #current(): Connected | undefined {
    if (!this.#connected?.control.isOpen) this.#connected = undefined;
    return this.#connected;
  }

  async #restart(control: BirdControl): Promise<void> {
    await untilCalm(control, this.#stopping.signal);
    await control.request('graceful restart');
  }

  /** A BIRD that comes back from a restart goes on doing so. */
  async #configure(control: BirdControl): Promise<void> {
    const { recovering } = readDaemon(await control.request('show status'));
    await control.request(`configure "${recovering ? this.files.recovery : this.files.config}"`);
  }

  /** What BIRD was told last; undefined before its first configuration. */
  async #configured(): Promise<string | undefined> {
    if (!existsSync(this.files.config)) return undefined;
    return readFile(this.files.config, 'utf8');
  }

  #control(): BirdControl {
    if (this.#connected) return this.#connected.control;
    throw new FlatnetError('does not run', {
      code: 'BIRD',
      object: this.#program,
      fix: `see ${this.files.log}`,
    });
  }

  /** One at a time. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => undefined);
    return result;
  }

  async #supervise(first: Connected | undefined): Promise<void> {
    const { log } = this.#options;
    const { signal } = this.#stopping;
    let pause = 0;
    for (let connected: Connected | undefined = first; ; ) {
      const since = performance.now();
      if (connected) {
        await this.#untilClosed(connected.control);
        if (signal.aborted) return;
        log.warn({ pause }, 'BIRD is gone; it is started again');
      }
      pause = performance.now() - since > STEADY ? 0 : pause;
      await sleep(pause, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      pause = Math.min(Math.max(100, 2 * pause), LONGEST_PAUSE);
      connected = await this.#alone(() => this.#revive());
    }
  }

  async #start(): Promise<void> {
    const recover = hasPredecessor(this.files);
    if (recover) await this.#writeRecovery();
    this.#take(await startBird(this.#program, this.files, { netns: this.#options.netns, recover }));
  }

  /** What is to replace `files.config`; returns where it is. */
  async #writeNext(text: string): Promise<string> {
    const next = `${this.files.config}.new`;
    await writePrivately(this.files.folder, next, text);
    return next;
  }

  async #writeRecovery(): Promise<void> {
    const { config, recovery } = this.files;
    await writeFile(recovery, latched(config));
    try {
      await checkFile(this.#program, recovery);
    } catch (error) {
      // A BIRD may be built without OSPF.
      this.#options.log.warn({ error: messageOf(error) }, 'BIRD does not wait for peers that restart too');
      await writeFile(recovery, `include "${config}";\n`);
    }
  }

  /** From now on this is BIRD. */
  #take(connected: Connected): void {
    this.#connected = connected;
    this.#trouble = undefined;
    void this.#recover(connected.control).catch((error: unknown) => {
      this.#options.log.debug({ error: messageOf(error) }, 'BIRD ended, or we did, before its recovery');
    });
  }

  async #recover(control: BirdControl): Promise<void> {
    const ended = await endRecovery(control, this.#options.kernelRoutes, this.#stopping.signal);
    if (ended) await this.#alone(() => this.#configure(control));
  }

  async #revive(): Promise<Connected | undefined> {
    try {
      if (this.#current()) return this.#connected;
      const adopted = await adoptBird(this.files);
      if (adopted) this.#take(adopted);
      else {
        if (this.#text !== undefined) await rename(await this.#writeNext(this.#text), this.files.config);
        await this.#start();
      }
    } catch (error) {
      this.#trouble = `BIRD does not start: ${messageOf(error)}`;
      this.#options.log.error({ error: messageOf(error) }, 'BIRD does not start');
    }
    return this.#current();
  }

  /**
   * Until BIRD has ended, which closes the connection, or does not answer any more, which we close it for, or
   * the supervision ends.
   */
  async #untilClosed(control: BirdControl): Promise<void> {
    const pulse = setInterval(() => void enableAgain(control).catch(() => undefined), PULSE).unref();
    await Promise.race([control.closed, this.#stopped]);
    clearInterval(pulse);
  }
}

/** Sessions for which there was no port when they began: it may be free by now. */
async function enableAgain(control: BirdControl): Promise<void> {
  for (const { name, info } of readProtocols(await control.request('show protocols'))) {
    if (PORT_TAKEN.test(info)) await control.request(`enable ${name}`);
  }
}

/** The configuration holds passwords. */
async function writePrivately(folder: string, path: string, text: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const handle = await open(path, 'w', 0o600);
  try {
    await handle.chmod(0o600);
    await handle.writeFile(text);
  } finally {
    await handle.close();
  }
}
