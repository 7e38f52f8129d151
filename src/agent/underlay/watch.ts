import { isDeepStrictEqual } from 'node:util';
import { Latest } from '../../async/latest.ts';
import { Queue } from '../../async/queue.ts';
import type { Node, Underlay } from '../../cluster/node.ts';
import { FlatnetError, messageOf } from '../../error.ts';
import { familyOf, type Ip, isLinkLocal } from '../../ip/address.ts';
import { addressOf, lengthOf } from '../../ip/cidr.ts';
import type { MonitorEvent } from '../../linux/event.ts';
import { Monitor } from '../../linux/monitor.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { type Route, RTPROT_BIRD, RTPROT_KERNEL, routeGet } from '../../linux/route.ts';
import type { Log } from '../../log.ts';
import { OUR_PROTOCOLS } from '../../state/ownership.ts';
import { chooseUnderlay, isPodDevice, readInterfaces, type UnderlayWish, withoutGaps } from './choice.ts';
import { type DeviceMtu, PeerWays } from './path-mtu.ts';

/** Milliseconds in which events gather: an address that is replaced is gone for a moment. */
const GATHER = 20;
/**
 * The same in a large cluster, where a look takes long: three times as long as the last one took, up to this.
 */
const LONGEST_GATHER = 200;
/**
 * Milliseconds between looks for what makes no event: an MTU that a router announces, a route of another
 * routing daemon.
 */
const INTERVAL = 60_000;
/** Milliseconds after a look that failed. */
const AFTER_FAILURE = 1000;

export type UnderlayWatchOptions = {
  readonly wish: UnderlayWish;
  /** This node's name: the others are its peers. */
  readonly node: string;
  readonly log: Log;
  readonly found: (underlay: Underlay) => void;
};

/**
 * Finds the underlay and the MTU of the ways to the peers, again whenever a link, an address, a rule or a
 * route of the node changes, and tells `found` when either changed. What is gone for a moment changes
 * nothing: the interface keeps what it carried, a peer without a route counts with its last one, and a peer
 * that left counts until the next regular look.
 */
export class UnderlayWatch implements Disposable {
  readonly #options: UnderlayWatchOptions;
  readonly #netlink = NetlinkSocket.open(NETLINK_ROUTE);
  readonly #ways = new PeerWays();
  readonly #queue = new Queue();
  #mtus: ReadonlyMap<number, DeviceMtu> = new Map();
  /** As it was read, before the ways to the peers count. */
  #chosen: Underlay | undefined;
  #told: Underlay | undefined;
  #complaint = '';
  #gather = GATHER;

  constructor(options: UnderlayWatchOptions) {
    this.#options = options;
  }

  [Symbol.dispose](): void {
    this.#netlink.close();
  }

  /**
   * Looks, and from then on again after every change, until the signal aborts. Throws what keeps it from
   * looking the first time.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { log } = this.#options;
    const monitor = Monitor.open({ signal, objects: ['link', 'address', 'route', 'rule'] });
    await this.#queue.run(() => this.#look());
    // One look answers for all events that came while the last one was under way.
    const looks = new Latest('look at the underlay', () => this.#lookAgain(() => looks.push()), {
      log,
      signal,
      gather: () => this.#gather,
    });
    const timer = setInterval(() => {
      this.#ways.forget();
      looks.push();
    }, INTERVAL);
    try {
      await monitor.run((event) => {
        if (matters(event)) looks.push();
      });
    } finally {
      clearInterval(timer);
      await looks.idle();
    }
  }

  /**
   * The nodes of the cluster. When it resolves, `found` has been told what the ways to the new ones change.
   */
  async setPeers(nodes: readonly Node[]): Promise<void> {
    const added = this.#ways.setPeers(nodes, this.#options.node);
    if (added.length === 0) return;
    await this.#queue.run(async () => {
      // The first look asks for all.
      if (!this.#chosen) return;
      await this.#ask(added, this.#chosen);
      this.#tell(this.#chosen);
    });
  }

  async #lookAgain(later: () => void): Promise<void> {
    const begin = performance.now();
    try {
      await this.#queue.run(() => this.#look());
      this.#gather = Math.min(Math.max(GATHER, 3 * (performance.now() - begin)), LONGEST_GATHER);
    } catch (error) {
      this.#complain(messageOf(error));
      this.#gather = AFTER_FAILURE;
      later();
    }
  }

  async #look(): Promise<void> {
    const interfaces = await readInterfaces(this.#netlink);
    try {
      this.#chosen = withoutGaps(chooseUnderlay(interfaces, this.#options.wish), this.#chosen);
    } catch (error) {
      this.#complain(messageOf(error));
      return;
    }
    this.#complaint = '';
    this.#mtus = interfaces.mtus;
    await this.#ask(this.#ways.peers, this.#chosen);
    this.#tell(this.#chosen);
  }

  /**
   * Where the kernel would send packets from this node's own address, as tunnels do. Without an answer
   * the last one holds.
   */
  async #ask(peers: readonly Ip[], { addresses }: Underlay): Promise<void> {
    const questions = peers.map((peer) => {
      const from = addresses[familyOf(peer)];
      return routeGet(peer, { ...(from !== undefined && { from }), fibMatch: true });
    });
    for (const [i, answer] of (await this.#netlink.getAll(questions)).entries()) {
      const peer = peers[i];
      if (peer !== undefined) this.#ways.learn(peer, answer instanceof FlatnetError ? undefined : answer);
    }
  }

  #tell(chosen: Underlay): void {
    const least = this.#ways.narrowest(this.#mtus);
    const narrow = least && least.mtu < chosen.mtu ? least : undefined;
    const underlay = narrow ? { ...chosen, pathMtu: narrow.mtu } : chosen;
    if (isDeepStrictEqual(underlay, this.#told)) return;
    this.#told = underlay;
    this.#options.log.info({ underlay, narrowest: narrow?.peer }, 'underlay');
    this.#options.found(underlay);
  }

  #complain(reason: string): void {
    if (reason !== this.#complaint) this.#options.log.warn({ reason }, 'no underlay');
    this.#complaint = reason;
  }
}

/** Routes to pods, which come and go by the thousand. */
const TO_PODS: ReadonlySet<number | undefined> = new Set([...OUR_PROTOCOLS, RTPROT_BIRD]);

function matters(event: MonitorEvent): boolean {
  if (event.type === 'overflow') return true;
  if (event.type === 'miss') return false;
  switch (event.object) {
    case 'link':
      return !isPodDevice(event.value.name);
    case 'address':
      return !isLinkLocal(addressOf(event.value.address));
    case 'route':
      return lengthOf(event.value.dst) === 0 || !(TO_PODS.has(event.value.protocol) || isUsual(event.value));
    default:
      return event.object === 'rule';
  }
}

/** The kernel adds them with every address, of pod devices too. */
function isUsual({ protocol, type, dst }: Route): boolean {
  return protocol === RTPROT_KERNEL && (type !== 'unicast' || isLinkLocal(addressOf(dst)));
}
