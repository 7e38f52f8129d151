import { background } from '../../../async/background.ts';
import { Queue } from '../../../async/queue.ts';
import { FlatnetError, messageOf } from '../../../error.ts';
import type { Log } from '../../../log.ts';
import { sessionsCut } from '../configuration/text.ts';
import { type DaemonStatus, type ProtocolStatus, readDaemon, readProtocols } from '../status/protocols.ts';
import { type BgpRoute, readRoutes } from '../status/routes.ts';
import type { BirdControl } from './control.ts';
import { BirdFiles } from './files.ts';
import type { BirdHost } from './host.ts';
import { hostOf } from './hosts.ts';
import type { Listener } from './others.ts';
import { adoptBird, birdEnds, type Connected, dismissBird, hasPredecessor, startBird } from './process.ts';
import { checkFile, installedVersion } from './program.ts';
import { endRecovery, latched, untilCalm } from './recovery.ts';
import { supervise } from './supervision.ts';

export type BirdOptions = {
  /** BIRD's files: configuration, control socket, pid, log. Created with mode 0700. */
  readonly folder: string;
  readonly log: Log;
  /** Default: `bird`, from PATH. */
  readonly program?: string;
  /** Path of the network namespace BIRD runs in; default: our own. */
  readonly netns?: string;
  /** The socket of the `bird-holder` that runs it; default: it runs beside this process. */
  readonly holder?: string | undefined;
  /** Returns the destinations of BIRD's routes in that namespace's kernel. */
  readonly kernelRoutes: () => Promise<readonly string[]>;
};

/**
 * The node's BIRD. It runs from the first `apply` on and outlives this process: the next agent finds it
 * through its socket and takes it over. A BIRD that dies is restarted; one that does not answer is killed. It
 * never gets SIGTERM from here: it would close its sessions with a Cease, and its peers would drop this
 * node's routes.
 */
export class Bird implements AsyncDisposable {
  readonly files: BirdFiles;
  readonly #options: BirdOptions;
  readonly #program: string;
  readonly #host: BirdHost;
  readonly #stopping = new AbortController();
  /** Serialises changes to BIRD and its files. */
  readonly #queue = new Queue();
  #connected: Connected | undefined;
  #applied: string | undefined;
  /** The intended contents of `files.config`, in case something else writes there. */
  #text: string | undefined;
  /** Whether a BIRD of another folder was ended, whose routes are to be taken over. */
  #orphaned = false;
  #startFailure: string | undefined;
  #supervision: Promise<void> | undefined;

  constructor(options: BirdOptions) {
    this.#options = options;
    this.#program = options.program ?? 'bird';
    this.files = new BirdFiles(options.folder);
    const { netns, holder } = options;
    this.#host = hostOf(this.files, { program: this.#program, netns, holder });
  }

  /** Ends the supervision. BIRD keeps running. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    this.#connected?.control[Symbol.dispose]();
    await this.#supervision;
  }

  /**
   * Makes BIRD run with this configuration; returns whether there was anything to do. Unchanged sessions stay
   * untouched, unless BIRD must restart to spare the changed ones an outage: see `sessionsCut`. Throws BIRD
   * with BIRD's own message for a configuration that BIRD rejects, and the previous one stays in effect.
   */
  apply(text: string): Promise<boolean> {
    return this.#queue.run(async () => {
      const current = this.#current();
      if (text === this.#applied && current) return false;
      const adopted = current ? undefined : await this.#adopt();
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
      // Wait before the file changes: the next agent could no longer tell which sessions are cut.
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

  /** Returns the other programs that listen on BGP's port; none while BIRD does not run. */
  otherListeners(port: number): readonly Listener[] {
    return this.#host.otherListeners(port);
  }

  /** Why BIRD does not start again after it has run; undefined when it does. */
  get trouble(): string | undefined {
    return this.#startFailure;
  }

  async daemon(): Promise<DaemonStatus> {
    return readDaemon(await this.#control().request('show status'));
  }

  async protocols(): Promise<ProtocolStatus[]> {
    return readProtocols(await this.#control().request('show protocols all'));
  }

  /** Returns all of BIRD's routes, or those of one session. */
  async routes(session?: string): Promise<BgpRoute[]> {
    const from = session === undefined ? '' : ` protocol ${session}`;
    return readRoutes(await this.#control().request(`show route all${from}`));
  }

  /** Returns the routes from peers whose next hop BIRD cannot resolve. */
  async unreachable(): Promise<BgpRoute[]> {
    const command = 'show route primary all where dest = RTD_UNREACHABLE && source = RTS_BGP';
    return readRoutes(await this.#control().request(command));
  }

  /**
   * Runs all routes from peers through the import filters again. Needed once `tunl0` exists: without it they
   * were refused.
   */
  async reloadImports(): Promise<void> {
    await this.#control().request('reload in all');
  }

  /** Reinstalls deleted kernel routes at once; on its own, BIRD scans every 10 s. */
  async reinstall(): Promise<void> {
    await this.#control().request('reload out Kernel4');
    await this.#control().request('reload out Kernel6');
  }

  /** Replaces this BIRD by a new one without packet loss. */
  async restart(): Promise<void> {
    await this.#restart(this.#control());
  }

  /**
   * Ends BIRD and the supervision. The kernel keeps BIRD's routes indefinitely, and the peers keep theirs for
   * the restart time.
   */
  async stop(): Promise<void> {
    const control = this.#connected?.control;
    this.#stopping.abort();
    await this.#supervision;
    if (!(await this.#host.runs())) return;
    try {
      await control?.request('graceful restart');
    } catch (error) {
      this.#options.log.warn({ error: messageOf(error) }, 'BIRD does not stop on request; killing it');
    }
    if (!control || !(await birdEnds(this.#host, 5000))) await this.#host.kill();
    await this[Symbol.asyncDispose]();
  }

  /** Replaces an adopted BIRD when a different version has been installed meanwhile. */
  async #upgrade({ control, version }: Connected): Promise<void> {
    const { log } = this.#options;
    try {
      const installed = await this.#host.nextVersion();
      if (installed === undefined || installed === version) return;
      log.info({ version, installed }, 'a different version of BIRD is installed; restarting BIRD');
      await this.#restart(control);
    } catch (error) {
      log.warn({ error: messageOf(error) }, 'cannot upgrade BIRD; keeping the running one');
    }
  }

  /** The connection, unless BIRD has exited since. */
  #current(): Connected | undefined {
    if (!this.#connected?.control.isOpen) this.#connected = undefined;
    return this.#connected;
  }

  #control(): BirdControl {
    if (this.#connected) return this.#connected.control;
    throw new FlatnetError('is not running', {
      code: 'BIRD',
      object: this.#program,
      fix: `see ${this.files.log}`,
    });
  }

  async #restart(control: BirdControl): Promise<void> {
    await untilCalm(control, this.#stopping.signal);
    await control.request('graceful restart');
  }

  /** Reconfigures BIRD. One that is recovering from a restart continues to do so. */
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

  /** Takes over the running BIRD, and ends any other of ours in this network namespace. */
  async #adopt(): Promise<Connected | undefined> {
    const adopted = await adoptBird(this.files, this.#host);
    const dismissed = adopted === undefined && (await dismissBird(this.files));
    if ((await this.#host.endOthers()) || dismissed) {
      this.#options.log.warn(
        { folder: this.files.folder },
        'ended a BIRD that an agent had started elsewhere',
      );
      this.#orphaned = true;
    }
    if (adopted) this.#take(adopted);
    return adopted;
  }

  async #start(): Promise<void> {
    const recover = this.#orphaned || hasPredecessor(this.files);
    this.#orphaned = false;
    if (recover) await this.#writeRecovery();
    this.#take(await startBird(this.#host, this.files, { recover }));
  }

  async #writeRecovery(): Promise<void> {
    const { config, recovery } = this.files;
    await this.files.writeRecovery(latched(config));
    try {
      await checkFile(this.#program, recovery);
    } catch (error) {
      // BIRD may be built without OSPF.
      this.#options.log.warn(
        { error: messageOf(error) },
        'BIRD cannot wait for peers that restart at the same time',
      );
      await this.files.writeRecovery(`include "${config}";\n`);
    }
  }

  /** Adopts a connection as the current BIRD. */
  #take(connected: Connected): void {
    this.#connected = connected;
    this.#startFailure = undefined;
    this.#recover(connected.control).catch((error: unknown) => {
      this.#options.log.debug(
        { error: messageOf(error) },
        'BIRD or the agent ended before the recovery was complete',
      );
    });
  }

  async #recover(control: BirdControl): Promise<void> {
    const ended = await endRecovery(control, this.#options.kernelRoutes, this.#stopping.signal);
    if (ended) await this.#queue.run(() => this.#configure(control));
  }

  async #revive(): Promise<Connected | undefined> {
    try {
      if (this.#current()) return this.#connected;
      if (!(await this.#adopt())) {
        if (this.#text !== undefined) await this.files.accept(await this.files.propose(this.#text));
        await this.#start();
      }
    } catch (error) {
      this.#startFailure = `BIRD does not start: ${messageOf(error)}`;
      this.#options.log.error({ error: messageOf(error) }, 'BIRD does not start');
    }
    return this.#current();
  }
}
