import { background } from '../../../async/background.ts';
import { Queue } from '../../../async/queue.ts';
import { FlatnetError, messageOf } from '../../../error.ts';
import { killNow, waitForEnd } from '../../../linux/process.ts';
import type { Log } from '../../../log.ts';
import { sessionsCut } from '../configuration/text.ts';
import { type DaemonStatus, type ProtocolStatus, readDaemon, readProtocols } from '../status/protocols.ts';
import { type BgpRoute, readRoutes } from '../status/routes.ts';
import type { BirdControl } from './control.ts';
import { BirdFiles } from './files.ts';
import { adoptBird, type Connected, hasPredecessor, runningBird, startBird } from './process.ts';
import { checkFile, installedVersion } from './program.ts';
import { endRecovery, latched, untilCalm } from './recovery.ts';
import { supervise } from './supervision.ts';

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

/**
 * The node's BIRD. It runs from the first `apply` on and outlives this process: the next agent finds it at
 * its socket and takes it over. A BIRD that dies is started again; one that does not answer is killed. BIRD
 * gets no SIGTERM from here: it would say goodbye to its peers, and they would drop this node's routes.
 */
export class Bird implements AsyncDisposable {
  readonly files: BirdFiles;
  readonly #options: BirdOptions;
  readonly #program: string;
  readonly #stopping = new AbortController();
  /** What changes BIRD or its files, one at a time. */
  readonly #queue = new Queue();
  #connected: Connected | undefined;
  #applied: string | undefined;
  /** What is to be in `files.config`, whoever else writes there. */
  #text: string | undefined;
  #trouble: string | undefined;
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
   * Makes BIRD run with this configuration; returns whether there was anything to do. Sessions it does not
   * change are not touched, unless only a restart of BIRD spares those it does change an outage: see
   * `sessionsCut`. Throws BIRD, in BIRD's own words, for a configuration that BIRD rejects: the one before
   * stays.
   */
  apply(text: string): Promise<boolean> {
    return this.#queue.run(async () => {
      const current = this.#current();
      if (text === this.#applied && current) return false;
      const adopted = current ? undefined : await adoptBird(this.files);
      if (adopted) this.#take(adopted);
      this.#applied = undefined;
      const next = await this.files.propose(text);
      if (this.#connected) await this.#connected.control.request(`configure check "${next}"`);
      else {
        await installedVersion(this.#program);
        await checkFile(this.#program, next);
      }
      const ran = await this.files.readConfig();
      const control = this.#connected?.control;
      const isCut = sessionsCut(ran ?? '', text).length > 0;
      // Before the file changes: the next agent would not see what is cut.
      if (control && isCut) await untilCalm(control, this.#stopping.signal);
      await this.files.accept(next);
      this.#text = text;
      if (!control) await this.#start();
      else if (isCut) await control.request('graceful restart');
      else await this.#configure(control);
      this.#applied = text;
      this.#supervise();
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
   * Runs every route from peers through the import filters again: once `tunl0` is there, for without it they
   * were refused.
   */
  async reloadImports(): Promise<void> {
    await this.#control().request('reload in all');
  }

  /** Puts back at once what someone deleted from the kernel; by itself BIRD looks every 10 s. */
  async reinstall(): Promise<void> {
    await this.#control().request('reload out Kernel4');
    await this.#control().request('reload out Kernel6');
  }

  /** Another BIRD in the place of this one, without a packet lost. */
  async restart(): Promise<void> {
    await this.#restart(this.#control());
  }

  /**
   * Ends BIRD and the supervision. The kernel keeps its routes for good, and the peers theirs for the restart
   * time.
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

  /** A BIRD found running is replaced when another version has been installed meanwhile. */
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

  /** The connection, unless BIRD has ended since. */
  #current(): Connected | undefined {
    if (!this.#connected?.control.isOpen) this.#connected = undefined;
    return this.#connected;
  }

  #control(): BirdControl {
    if (this.#connected) return this.#connected.control;
    throw new FlatnetError('does not run', {
      code: 'BIRD',
      object: this.#program,
      fix: `see ${this.files.log}`,
    });
  }

  async #restart(control: BirdControl): Promise<void> {
    await untilCalm(control, this.#stopping.signal);
    await control.request('graceful restart');
  }

  /** A BIRD that is coming back from a restart goes on doing so. */
  async #configure(control: BirdControl): Promise<void> {
    const { recovering } = readDaemon(await control.request('show status'));
    await control.request(`configure "${recovering ? this.files.recovery : this.files.config}"`);
  }

  #supervise(): void {
    if (this.#supervision) return;
    const { log } = this.#options;
    const { signal } = this.#stopping;
    const revive = (): Promise<Connected | undefined> => this.#queue.run(() => this.#revive());
    this.#supervision = supervise(this.#connected, { revive, log, signal });
    background('supervise BIRD', this.#supervision, log, signal);
  }

  async #start(): Promise<void> {
    const recover = hasPredecessor(this.files);
    if (recover) await this.#writeRecovery();
    this.#take(await startBird(this.#program, this.files, { netns: this.#options.netns, recover }));
  }

  async #writeRecovery(): Promise<void> {
    const { config, recovery } = this.files;
    await this.files.writeRecovery(latched(config));
    try {
      await checkFile(this.#program, recovery);
    } catch (error) {
      // A BIRD may be built without OSPF.
      this.#options.log.warn({ error: messageOf(error) }, 'BIRD does not wait for peers that restart too');
      await this.files.writeRecovery(`include "${config}";\n`);
    }
  }

  /** From now on this is BIRD. */
  #take(connected: Connected): void {
    this.#connected = connected;
    this.#trouble = undefined;
    this.#recover(connected.control).catch((error: unknown) => {
      this.#options.log.debug({ error: messageOf(error) }, 'BIRD ended, or we did, before its recovery');
    });
  }

  async #recover(control: BirdControl): Promise<void> {
    const ended = await endRecovery(control, this.#options.kernelRoutes, this.#stopping.signal);
    if (ended) await this.#queue.run(() => this.#configure(control));
  }

  async #revive(): Promise<Connected | undefined> {
    try {
      if (this.#current()) return this.#connected;
      const adopted = await adoptBird(this.files);
      if (adopted) this.#take(adopted);
      else {
        if (this.#text !== undefined) await this.files.accept(await this.files.propose(this.#text));
        await this.#start();
      }
    } catch (error) {
      this.#trouble = `BIRD does not start: ${messageOf(error)}`;
      this.#options.log.error({ error: messageOf(error) }, 'BIRD does not start');
    }
    return this.#current();
  }
}
