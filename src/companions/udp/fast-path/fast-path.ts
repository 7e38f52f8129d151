import { FlatnetError, messageOf } from '../../../error.ts';
import { type Link, linkDump, linkGet } from '../../../linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../../linux/netlink/socket.ts';
import { NETLINK_XFRM, xfrmPolicyCount } from '../../../linux/xfrm.ts';
import { type Endpoints, type Peers, Programs, programsAt, removePrograms, SIDES } from './programs.ts';

/** Milliseconds that peers are given to learn that this node unpacks nothing in the kernel any more. */
const LINGER = 5000;
/** Milliseconds after which what the kernel has refused is tried again. */
const RETRY = 30_000;
const IPSEC = 'there are IPsec policies';

export type FastPathSettings = Peers &
  Pick<Endpoints, 'local' | 'port'> & {
    /** The TUN device, and the interface that carries packets between nodes. */
    readonly device: string;
    readonly underlay: string;
  };

/**
 * Carries the ordinary packets inside the kernel, by programs for its virtual machine; the forwarder gets the
 * rest, and everything where the kernel cannot do it. The programs outlive the agent, and the forwarder.
 */
export class FastPath implements Disposable {
  #wanted: FastPathSettings | undefined;
  /** With what is built into them. */
  #programs: { readonly are: Programs; readonly for: Endpoints } | undefined;
  #isOn = false;
  #why: string | undefined = 'the node is not set up yet';
  /** When it was switched off while peers count on it; by the clock that does not jump. */
  #offSince: number | undefined;
  #retryAt = 0;
  /** Whether nothing of ours is attached anywhere. */
  #isClear = false;
  /** Whether an earlier agent's are attached, and it is not known yet what there should be. */
  #isInherited = false;
  /** By programs that were replaced. */
  #before = { sent: 0, received: 0 };

  constructor() {
    try {
      const sides = allLinks().flatMap(({ index }) => programsAt(index));
      this.#isOn = sides.includes('ingress');
      this.#isInherited = sides.length > 0;
      this.check();
    } catch (error) {
      this.#why = messageOf(error);
    }
  }

  /** Whether this node unpacks datagrams whose sums the sending kernel has left to it. */
  get isOn(): boolean {
    return this.#isOn;
  }

  /** Why the forwarder carries everything; undefined if it does not. */
  get whyNot(): string | undefined {
    return this.#why;
  }

  /** To how many nodes it sends. */
  get reach(): number {
    return new Set(this.#wanted?.routes.flatMap(({ node }) => node ?? [])).size;
  }

  /** Packets carried so far. */
  get carried(): { readonly sent: number; readonly received: number } {
    const { sent, received } = this.#programs?.are.carried ?? { sent: 0, received: 0 };
    return { sent: sent + this.#before.sent, received: received + this.#before.received };
  }

  /** `wanted`: what to carry, or why nothing. */
  follow(wanted: FastPathSettings | string): void {
    this.#isInherited = false;
    const former = this.#wanted;
    this.#wanted = typeof wanted === 'string' ? undefined : wanted;
    if (typeof wanted === 'string') this.#switchOff(wanted);
    else if (!former || !haveSamePlaces(former, wanted) || !this.#isRefused) this.#apply(wanted);
  }

  /** Puts back what is missing, and gives way to IPsec. To be called once a second or so, from the start. */
  check(): void {
    if (this.#isInherited && hasPolicies()) this.#switchOff(IPSEC);
    const isDone = this.#isRefused || (this.#programs?.are.areAttached && !hasPolicies());
    if (this.#wanted && !isDone) this.#apply(this.#wanted);
    if (this.#offSince === undefined || performance.now() - this.#offSince < LINGER) return;
    this.#offSince = undefined;
    this.#clear();
  }

  /** The programs stay. */
  [Symbol.dispose](): void {
    this.#forget();
  }

  /** By the kernel, a short while ago. */
  get #isRefused(): boolean {
    return this.#programs === undefined && performance.now() < this.#retryAt;
  }

  #apply(wanted: FastPathSettings): void {
    try {
      this.#tryToApply(wanted);
      this.#isOn = true;
      this.#why = undefined;
      this.#offSince = undefined;
    } catch (error) {
      // An interface that is made anew: nothing comes in or goes out by it before the next attempt.
      if (error instanceof FlatnetError && error.errno === 'ENODEV') return;
      this.#switchOff(messageOf(error));
    }
  }

  #tryToApply({ device, underlay, local, port, routes, senders }: FastPathSettings): void {
    // They would not see its packets, which would leave the node unencrypted.
    if (hasPolicies()) throw new Error(IPSEC);
    using netlink = NetlinkSocket.open(NETLINK_ROUTE);
    const below = netlink.getSync(linkGet(underlay));
    if (below.mac === undefined) throw new Error(`${underlay} is not an Ethernet`);
    const endpoints = {
      device: netlink.getSync(linkGet(device)).index,
      underlay: below.index,
      local,
      port,
    };
    const peers = { routes, senders };
    const isSame = JSON.stringify(this.#programs?.for) === JSON.stringify(endpoints);
    if (isSame && this.#programs?.are.areAttached && this.#programs.are.update(peers)) return;
    this.#isClear = false;
    const next = new Programs(endpoints, peers);
    this.#forget();
    this.#programs = { are: next, for: endpoints };
    // Of other interfaces, and of their former indices.
    removeAll(endpoints);
  }

  /** What peers send on the strength of what they know of this node is still unpacked for a while. */
  #switchOff(why: string): void {
    this.#why = why;
    this.#retryAt = performance.now() + RETRY;
    if (this.#isOn) this.#offSince = performance.now();
    this.#isOn = false;
    this.#isInherited = false;
    this.#forget();
    if (!this.#isClear) this.#clear();
  }

  #clear(): void {
    const sides = this.#offSince === undefined ? SIDES : (['egress'] as const);
    try {
      for (const { index } of allLinks()) removePrograms(index, sides);
      this.#isClear = sides === SIDES;
    } catch (error) {
      this.#why = `${this.#why}; what is there stays: ${messageOf(error)}`;
    }
  }

  #forget(): void {
    this.#before = this.carried;
    this.#programs?.are[Symbol.dispose]();
    this.#programs = undefined;
  }
}

/** Whether they differ in peers alone. */
function haveSamePlaces(one: FastPathSettings, other: FastPathSettings): boolean {
  return (['device', 'underlay', 'local', 'port'] as const).every((key) => one[key] === other[key]);
}

/** Removes all our programs in this network namespace, except at these two. */
export function removeAll(except?: Pick<Endpoints, 'device' | 'underlay'>): void {
  for (const { index } of allLinks()) {
    if (index !== except?.underlay) removePrograms(index, ['ingress']);
    if (index !== except?.device) removePrograms(index, ['egress']);
  }
}

/** Whether this network namespace has IPsec policies, where the kernel has IPsec. */
function hasPolicies(): boolean {
  let netlink: NetlinkSocket;
  try {
    netlink = NetlinkSocket.open(NETLINK_XFRM);
  } catch (error) {
    if (error instanceof FlatnetError && error.errno === 'EPROTONOSUPPORT') return false;
    throw error;
  }
  using open = netlink;
  return open.getSync(xfrmPolicyCount()) > 0;
}

function allLinks(): readonly Link[] {
  using netlink = NetlinkSocket.open(NETLINK_ROUTE);
  return netlink.dumpSync(linkDump());
}
