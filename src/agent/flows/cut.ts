import { EventEmitter } from 'node:events';
import { Latest } from '../../async/latest.ts';
import { untilDone } from '../../async/until-done.ts';
import { within } from '../../async/within.ts';
import type { LocalPod } from '../../cluster/node.ts';
import { FlatnetError } from '../../error.ts';
import type { Ip } from '../../ip/address.ts';
import { addressOf } from '../../ip/cidr.ts';
import { addressDump } from '../../linux/address.ts';
import type { Forwarded } from '../../linux/conntrack/forwarded.ts';
import { NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import type { Log } from '../../log.ts';
import type { Compiled } from '../../policy/compile/compile.ts';
import { tableOf } from '../../policy/compile/table.ts';
import { type Connection, isDenied } from '../../policy/compile/verdicts.ts';
import { losses } from '../../policy/flows/losses.ts';
import { hasPorts } from '../../policy/model/traffic.ts';
import { judgesConnections } from '../../policy/node/contributions.ts';
import { excerpt, type Problem, warning } from '../../problem.ts';
import type { Change } from '../../state/item.ts';
import type { Report } from '../../state/reporter.ts';
import { Crowds } from './crowds.ts';
import { endConnections } from './end.ts';
import { refuse, silencedPods } from './refuse.ts';

/** Milliseconds between two looks at the connections, of which there may be hundreds of thousands. */
const REST = 1000;
/** Milliseconds that a new pod waits for its predecessor's connections to be ended. */
const PATIENCE = 5000;

export type CutOptions = {
  /** Resolves once the kernel holds what is wanted of it. */
  readonly applied: () => Promise<Pick<Report, 'undone'>>;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** A path; by default the thread's own. */
  readonly netns?: string;
};

/**
 * Ends connections of this node's pods that a change of the policies no longer allows, and those of pods that
 * are gone, which would go on with whoever has the address next.
 */
export class Cut extends EventEmitter<{ looked: [] }> {
  readonly #options: CutOptions;
  readonly #looks: Latest;
  #verdicts: Compiled['verdicts'] | undefined;
  /** Where connections may have to be ended. */
  #due: ReadonlySet<Ip> = new Set();
  /** Where all have to be, and where they are being ended. */
  #left: ReadonlySet<Ip> = new Set();
  #leaving: ReadonlySet<Ip> = new Set();
  /** Why the last attempt failed. */
  #failure: string | undefined;
  readonly #crowds: Crowds;
  /** Whether it is known what agents before have left. */
  #isHeir = false;

  constructor(options: CutOptions) {
    super();
    // One for each pod that waits.
    this.setMaxListeners(0);
    this.#options = options;
    const { log, signal } = options;
    this.#crowds = new Crowds(log);
    const what = 'end connections that policies no longer allow';
    this.#looks = new Latest(
      what,
      async (_, superseded) => {
        const failed = (reason: string): void => {
          this.#failure = reason;
        };
        await untilDone(what, () => this.#look(), { signal: superseded, log, failed });
        this.#failure = undefined;
      },
      { log, signal, rest: REST },
    );
  }

  get problems(): readonly Problem[] {
    if (this.#failure === undefined) return this.#crowds.problems;
    const what = 'connections that policies no longer allow go on';
    return [
      ...this.#crowds.problems,
      warning('connections-not-ended', what, excerpt(this.#failure, 400), 'modprobe nf_conntrack_netlink'),
    ];
  }

  /** Undefined: nothing is denied, or nobody knows, or connections go on. */
  update(verdicts: Compiled['verdicts'] | undefined): void {
    if (verdicts === this.#verdicts) return;
    const lost = losses(this.#verdicts, verdicts);
    this.#verdicts = verdicts;
    if (lost.size === 0) return;
    this.#due = new Set([...this.#due, ...lost]);
    this.#looks.push();
  }

  /** The kernel may not have held what it should: whatever has passed meanwhile is established now. */
  repaired(changes: readonly Change[]): void {
    const isOfPolicies = ({ item }: Change): boolean => 'table' in item && item.table === tableOf(4).table;
    if (!this.#verdicts || !changes.some(isOfPolicies)) return;
    const { ingress, egress } = this.#verdicts;
    this.#due = new Set([...this.#due, ...ingress.pods.keys(), ...egress.pods.keys()]);
    this.#looks.push();
  }

  /** A pod is gone. */
  leave({ addresses }: Pick<LocalPod, 'addresses'>): void {
    this.#crowds.leave(addresses);
    this.#left = new Set([...this.#left, ...addresses]);
    this.#looks.push();
  }

  /**
   * Resolves to undefined once no connections are left of those who had a pod's addresses before it;
   * otherwise to the reason, for people.
   */
  async refusal({ addresses }: Pick<LocalPod, 'addresses'>): Promise<string | undefined> {
    const free = Promise.withResolvers<boolean>();
    const look = (): void => {
      if (!addresses.some((ip) => this.#left.has(ip) || this.#leaving.has(ip))) free.resolve(true);
    };
    this.on('looked', look);
    try {
      look();
      if (await within(PATIENCE, free.promise, false)) return undefined;
      const why = this.#failure === undefined ? '' : `: ${this.#failure}`;
      return `connections of the pod that had its address go on, still after ${PATIENCE} ms${why}`;
    } finally {
      this.off('looked', look);
    }
  }

  async #look(): Promise<void> {
    const due = this.#due;
    this.#due = new Set();
    this.#leaving = this.#left;
    this.#left = new Set();
    try {
      const { undone } = await this.#options.applied();
      await this.#end(due, this.#leaving);
      this.#leaving = new Set();
      // What the kernel refuses of one pod must not keep others' connections; this pod's may come anew.
      const missing = undone.find(({ owner }) => owner && judgesConnections(owner));
      if (missing) throw new FlatnetError(missing.reason, { code: 'NFTABLES' });
    } catch (error) {
      this.#due = new Set([...this.#due, ...due]);
      this.#left = new Set([...this.#left, ...this.#leaving]);
      throw error;
    } finally {
      this.#leaving = new Set();
      this.emit('looked');
    }
  }

  async #end(due: ReadonlySet<Ip>, left: ReadonlySet<Ip>): Promise<void> {
    const { netns, log } = this.#options;
    const verdicts = this.#verdicts;
    const own = await ownAddresses(netns);
    using socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns });
    const hasLeft = ({ source, destination }: Forwarded): boolean =>
      left.has(source) || left.has(destination);
    if (!this.#isHeir) this.#crowds.add({ silenced: await silencedPods(socket), forgotten: [] });
    this.#isHeir = true;
    const isDeniedOnly = (each: Forwarded): boolean => !hasLeft(each);
    const isNode = (ip: Ip): boolean => own.has(ip);
    const isPoliced = (ip: Ip): boolean =>
      verdicts !== undefined && (verdicts.ingress.pods.has(ip) || verdicts.egress.pods.has(ip));
    const count = await endConnections(
      new Set([...due, ...left]),
      (each) => hasLeft(each) || (verdicts !== undefined && isDenied(verdicts, connectionOf(each), isNode)),
      async (some) =>
        this.#crowds.add(await refuse(socket, some.filter(isDeniedOnly).map(connectionOf), isPoliced)),
      netns,
    );
    if (count > 0) log.info({ count }, 'ended connections that policies no longer allow');
  }
}

function connectionOf({ source, destination, family, protocol, port, icmp }: Forwarded): Connection {
  const isPort = port !== undefined && hasPorts(protocol);
  return { source, destination, flow: { family, protocol, ...(isPort && { port }), ...(icmp && { icmp }) } };
}

async function ownAddresses(netns: string | undefined): Promise<ReadonlySet<Ip>> {
  using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  return new Set((await socket.dump(addressDump())).map(({ address }) => addressOf(address)));
}
