import { isDeepStrictEqual } from 'node:util';
import { Latest } from '../../async/latest.ts';
import { aborted } from '../../async/pause.ts';
import { Queue } from '../../async/queue.ts';
import type { Host } from '../../cluster/host.ts';
import type { Node, Underlay } from '../../cluster/node.ts';
import { codeOf, FlatnetError, messageOf } from '../../error.ts';
import { familyOf, type Ip, isLinkLocal } from '../../ip/address.ts';
import { addressOf, lengthOf } from '../../ip/cidr.ts';
import type { MonitorEvent } from '../../linux/event.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import type { Route } from '../../linux/route.ts';
import { routeGets } from '../../linux/route-lookup.ts';
import { RTPROT_BIRD, RTPROT_KERNEL } from '../../linux/route-protocol.ts';
import { readSysctl } from '../../linux/sysctl.ts';
import type { Log } from '../../log.ts';
import type { Problem } from '../../problem.ts';
import { OUR_PROTOCOLS } from '../../state/ownership.ts';
import {
  chooseUnderlay,
  isPodDevice,
  lostAddresses,
  readInterfaces,
  type UnderlayRequest,
  withoutGaps,
} from './choice.ts';
import { type DeviceMtu, PeerPaths } from './path-mtu.ts';

/** Batching window for events, in milliseconds: an address being replaced disappears briefly. */
const GATHER = 20;
/**
 * Upper limit of the window in a large cluster, where scans are slow: it grows to three times the last scan's
 * duration.
 */
const LONGEST_GATHER = 200;
/**
 * Interval between scans, in milliseconds, for changes that raise no event: an MTU announced by a router, a
 * route of another routing daemon.
 */
const INTERVAL = 60_000;
/** Retry delay after a failed scan, in milliseconds. */
const AFTER_FAILURE = 1000;

export type UnderlayWatchOptions = {
  readonly request: UnderlayRequest;
  /** This node's name: the others are its peers. */
  readonly node: string;
  readonly log: Log;
  readonly onChange: (underlay: Underlay) => void;
  /** Called before `onChange`, and whenever something else on the host has changed. */
  readonly onHost: (host: Host) => void;
  /** No underlay can be chosen. */
  readonly onFailure: (reason: string) => void;
};

/**
 * Finds the underlay and the MTU of the paths to the peers, rescans whenever a link, address, rule or route
 * of the node changes, and calls `onChange` when the result changed. Brief gaps change nothing: an interface
 * keeps its addresses, a peer without a route keeps its last one, and a peer that left counts until the next
 * periodic scan.
 */
export class UnderlayWatch implements Disposable {
  readonly #options: UnderlayWatchOptions;
  readonly #netlink = NetlinkSocket.open(NETLINK_ROUTE);
  readonly #paths = new PeerPaths();
  readonly #queue = new Queue();
  #mtus: ReadonlyMap<number, DeviceMtu> = new Map();
  /** As read, before the paths to the peers are considered. */
  #chosen: Underlay | undefined;
  #reported: Underlay | undefined;
  #host: Host | undefined;
  #lastWarning = '';
  #problems: readonly Problem[] = [];
  #gather = GATHER;
  /** One scan covers all events that arrived during the previous one. */
  #scans: Latest | undefined;

  constructor(options: UnderlayWatchOptions) {
    this.#options = options;
  }

  /** What is wrong with the underlay since the last scan. */
  get problems(): readonly Problem[] {
    return this.#problems;
  }

  [Symbol.dispose](): void {
    this.#netlink.close();
  }

  /**
   * Scans now and, if `notice` is called with the kernel's notifications from now on, after every change,
   * until the signal aborts. Throws when the first scan fails.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { log } = this.#options;
    const scans: Latest = new Latest('scan the underlay', () => this.#rescan(() => scans.push()), {
      log,
      signal,
      gather: () => this.#gather,
    });
    this.#scans = scans;
    await this.#queue.run(() => this.#scan());
    const timer = setInterval(() => {
      this.#paths.forget();
      scans.push();
    }, INTERVAL);
    try {
      await aborted(signal);
    } finally {
      clearInterval(timer);
      await scans.idle();
    }
  }

  /** Takes a notification of the kernel's. */
  notice(event: MonitorEvent): void {
    if (matters(event)) this.#scans?.push();
  }

  /** Sets the cluster's nodes. Resolves once `onChange` has seen the effect of the paths to the new ones. */
  async setPeers(nodes: readonly Node[]): Promise<void> {
    const added = this.#paths.setPeers(nodes, this.#options.node);
    if (added.length === 0) return;
    await this.#queue.run(async () => {
      // The first scan queries all peers.
      if (!this.#chosen) return;
      await this.#queryRoutes(added, this.#chosen);
      this.#report(this.#chosen);
    });
  }

  async #rescan(later: () => void): Promise<void> {
    const begin = performance.now();
    try {
      await this.#queue.run(() => this.#scan());
      this.#gather = Math.min(Math.max(GATHER, 3 * (performance.now() - begin)), LONGEST_GATHER);
    } catch (error) {
      this.#warnOnce(messageOf(error));
      this.#gather = AFTER_FAILURE;
      later();
    }
  }

  async #scan(): Promise<void> {
    const interfaces = await readInterfaces(this.#netlink);
    if (!isDeepStrictEqual(interfaces.host, this.#host)) {
      this.#host = interfaces.host;
      this.#options.onHost(interfaces.host);
    }
    try {
      const now = chooseUnderlay(interfaces, this.#options.request);
      this.#chosen = withoutGaps(now, this.#chosen);
      this.#problems = lostAddresses(now, this.#chosen, isIpv6Disabled());
    } catch (error) {
      this.#warnOnce(messageOf(error));
      const what = 'no interface leads to the peers';
      // Without a first one, the node is not ready for the same reason.
      this.#problems = this.#chosen
        ? [{ id: 'underlay-lost', severity: 'error', what, cause: messageOf(error) }]
        : [];
      this.#options.onFailure(messageOf(error));
      return;
    }
    this.#lastWarning = '';
    this.#mtus = interfaces.mtus;
    await this.#queryRoutes(this.#paths.peers, this.#chosen);
    this.#report(this.#chosen);
  }

  /**
   * Looks up the kernel's routes for packets sent from this node's own address, as tunnels send them. Without
   * an answer the last route is kept.
   */
  async #queryRoutes(peers: readonly Ip[], { addresses }: Underlay): Promise<void> {
    const questions = routeGets(peers, (peer) => {
      const from = addresses[familyOf(peer)];
      return { ...(from !== undefined && { from }), fibMatch: true };
    });
    for (const [i, answer] of (await this.#netlink.getAll(questions)).entries()) {
      const peer = peers[i];
      if (peer !== undefined) this.#paths.learn(peer, answer instanceof FlatnetError ? undefined : answer);
    }
  }

  #report(chosen: Underlay): void {
    const least = this.#paths.narrowest(this.#mtus);
    const narrow = least && least.mtu < chosen.mtu ? least : undefined;
    const underlay = narrow ? { ...chosen, pathMtu: narrow.mtu } : chosen;
    if (isDeepStrictEqual(underlay, this.#reported)) return;
    this.#reported = underlay;
    this.#options.log.info({ underlay, narrowest: narrow?.peer }, 'underlay');
    this.#options.onChange(underlay);
  }

  #warnOnce(reason: string): void {
    if (reason !== this.#lastWarning) this.#options.log.warn({ reason }, 'no underlay');
    this.#lastWarning = reason;
  }
}

/** A kernel without IPv6 lacks the setting. */
function isIpv6Disabled(): boolean {
  try {
    return readSysctl('net/ipv6/conf/all/disable_ipv6') === '1';
  } catch (error) {
    if (codeOf(error) === 'NOT_FOUND') return false;
    throw error;
  }
}

/** Protocols of routes to pods, which change by the thousand. */
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
      return (
        lengthOf(event.value.dst) === 0 || !(TO_PODS.has(event.value.protocol) || isAutomatic(event.value))
      );
    default:
      return event.object === 'rule';
  }
}

/** Whether the kernel added the route along with an address, which it does for pod devices too. */
function isAutomatic({ protocol, type, dst }: Route): boolean {
  return protocol === RTPROT_KERNEL && (type !== 'unicast' || isLinkLocal(addressOf(dst)));
}
