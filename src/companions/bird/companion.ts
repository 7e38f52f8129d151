import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { untilDone } from '../../agent/retry.ts';
import { messageOf } from '../../error.ts';
import { FAMILIES, familyOf } from '../../ip/address.ts';
import { Monitor } from '../../linux/monitor.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { RT_TABLE_MAIN, RTPROT_BIRD, routeDump } from '../../linux/route.ts';
import type { Log } from '../../log.ts';
import type { BgpFacts } from './configuration/facts.ts';
import { type BirdConfig, birdConfig } from './configuration/render.ts';
import { Bird } from './daemon/supervisor.ts';
import { readSecrets, type Secrets } from './secrets.ts';
import type { Bgp } from './status/status.ts';

/** Milliseconds in which lost routes gather: a link that goes down takes all of its own at once. */
const GATHER = 100;
/**
 * Milliseconds. BIRD 2.0 sleeps over work it has just made for itself, for as long as 3 s or until anything else happens (its io_loop looks
 * whether there are events before it runs what makes some): what it has to tell a peer that came up waits so long. Any command wakes it.
 */
const WAKE = 200;
/** Milliseconds between looks at the passwords' files. A Secret that is mounted anew, or a mode, is not told of in the same way everywhere. */
const SECRETS = 5000;

export type BgpSpeakerOptions = {
  /** BIRD's files. */
  readonly folder: string;
  /** Passwords, as files. */
  readonly secrets: string;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Why BGP does not run, or undefined when it does. */
  readonly onProblem: (reason: string | undefined) => void;
};

/** This node's BGP: its facts in, a running BIRD with the configuration that follows from them out. */
export class BgpSpeaker implements AsyncDisposable {
  readonly #options: BgpSpeakerOptions;
  readonly #bird: Bird;
  #facts: Omit<BgpFacts, 'secrets'> | undefined;
  #secrets: Secrets | undefined;
  #config: BirdConfig | undefined;
  #warnings: readonly string[] = [];
  #working: Promise<void> = Promise.resolve();

  constructor(options: BgpSpeakerOptions) {
    this.#options = options;
    this.#bird = new Bird({ folder: options.folder, log: options.log, kernelRoutes: routesOfBird });
    options.onProblem('BIRD is not configured yet');
    void this.#watchRoutes();
    void this.#keepAwake();
    void this.#watchSecrets();
  }

  /** Ends the supervision; BIRD runs on, and the next agent takes it over. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#bird[Symbol.asyncDispose]();
  }

  /** What runs now, for `flatnet bgp`; undefined before the first configuration. */
  get running(): Bgp | undefined {
    return this.#config && { bird: this.#bird, config: { ...this.#config, warnings: this.warnings } };
  }

  /** What is configured and cannot be, and why BIRD does not run. */
  get warnings(): readonly string[] {
    const { trouble } = this.#bird;
    return trouble === undefined ? this.#warnings : [trouble, ...this.#warnings];
  }

  /** BIRD follows; when it does not take the configuration, the one before stays and this one is tried again. */
  update(facts: Omit<BgpFacts, 'secrets'>): void {
    this.#facts = facts;
    this.#secrets = readSecrets(this.#options.secrets, facts.resources);
    const { secrets, warnings } = this.#secrets;
    const config = birdConfig({ ...facts, secrets }, this.#bird.files.log);
    this.#warn([...warnings, ...config.warnings]);
    const isNew = config.text !== this.#config?.text;
    // Also with the same text: what a session is there for may be another.
    this.#config = config;
    if (!isNew) return;
    this.#working = this.#working.then(() => this.#apply(config));
  }

  /** `tunl0` is new: routes that were refused without it are looked at again. */
  deviceMade(): void {
    if (!this.#config) return;
    this.#working = this.#working.then(() => this.#try('reload routes', () => this.#bird.reloadImports()));
  }

  async #apply(config: BirdConfig): Promise<void> {
    const { log, signal, onProblem } = this.#options;
    const work = async (): Promise<void> => {
      // A newer one is waiting behind this one.
      if (this.#config?.text !== config.text) return;
      if (await this.#bird.apply(config.text))
        log.info({ sessions: config.sessions.length }, 'BIRD configured');
      onProblem(undefined);
    };
    try {
      await untilDone('configure BIRD', work, { signal, log, failed: onProblem });
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /** BIRD itself looks at the kernel every few seconds only; who deletes a route of BIRD's should not have it gone for long. */
  async #watchRoutes(): Promise<void> {
    const { signal, log } = this.#options;
    let gathering = false;
    const monitor = Monitor.open({ signal, objects: ['route', 'address', 'link'] });
    try {
      await monitor.run((event) => {
        const lost =
          event.type === 'overflow' ||
          (event.type === 'del' && event.object === 'route' && event.value.protocol === RTPROT_BIRD) ||
          // With the last IPv4 address of a device its routes go, and the kernel tells of none (fib_disable_ip).
          (event.type === 'del' && event.object === 'address' && familyOf(event.value.address) === 4) ||
          // The same when it goes down; they can be put back when it is up again.
          (event.type === 'new' && event.object === 'link' && event.value.kind === 'ipip' && event.value.up);
        if (!lost || gathering || !this.#config) return;
        gathering = true;
        void sleep(GATHER)
          .then(() => this.#try('put routes back', () => this.#bird.reinstall()))
          .finally(() => {
            gathering = false;
          });
      });
    } catch (error) {
      log.warn({ error: messageOf(error) }, 'routes of BIRD are no longer watched');
    }
  }

  /** A password written later, mended or changed counts without anything else happening. */
  async #watchSecrets(): Promise<void> {
    const { secrets: folder, signal } = this.#options;
    while (!signal.aborted) {
      await sleep(SECRETS, undefined, { signal }).catch(() => undefined);
      if (signal.aborted || !this.#facts) continue;
      const now = readSecrets(folder, this.#facts.resources);
      if (!isDeepStrictEqual(now, this.#secrets)) this.update(this.#facts);
    }
  }

  async #keepAwake(): Promise<void> {
    const { signal } = this.#options;
    while (!signal.aborted) {
      await sleep(WAKE, undefined, { signal }).catch(() => undefined);
      if (this.#config) await this.#try('wake', () => this.#bird.daemon());
    }
  }

  /** For what BIRD does anyway, only later. */
  async #try(what: string, work: () => Promise<unknown>): Promise<void> {
    if (this.#options.signal.aborted) return;
    await work().catch((error: unknown) => {
      this.#options.log.debug({ what, error: messageOf(error) }, 'BIRD was not reached');
    });
  }

  #warn(warnings: readonly string[]): void {
    if (isDeepStrictEqual(warnings, this.#warnings)) return;
    if (warnings.length > 0) this.#options.log.warn({ warnings }, 'BGP is not whole');
    this.#warnings = warnings;
  }
}

async function routesOfBird(): Promise<string[]> {
  using netlink = NetlinkSocket.open(NETLINK_ROUTE);
  const filter = { table: RT_TABLE_MAIN, protocol: RTPROT_BIRD };
  const found: string[] = [];
  for (const family of FAMILIES)
    for (const { dst } of await netlink.dump(routeDump({ family, ...filter }))) found.push(dst);
  return found;
}
