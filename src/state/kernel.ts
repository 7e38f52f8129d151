import { FlatnetError } from '../error.ts';
import { FAMILIES } from '../ip/address.ts';
import { addressDump } from '../linux/address.ts';
import { fdbDump, fdbReplace } from '../linux/fdb.ts';
import { linkDump } from '../linux/link/link.ts';
import { NUD_REACHABLE, neighbourDump, neighbourReplace } from '../linux/neighbour.ts';
import type { Request } from '../linux/netlink/message.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../linux/netlink/socket.ts';
import { routeDump } from '../linux/route.ts';
import { ruleDump } from '../linux/rule.ts';
import { type Change, deviceOf, isFallback } from './diff.ts';
import type { FdbItem, Item, KernelState, LinkItem, NeighbourItem } from './item.ts';
import { keyOf } from './key.ts';
import type { Resolve } from './miss.ts';
import { Nftables } from './nftables.ts';
import { addressItem, fdbItem, linkItem, neighbourItem, routeItem, ruleItem } from './observe.ts';
import { blockedBy, type LinkFacts } from './order.ts';
import { OUR_ALIAS, OUR_PROTOCOLS } from './ownership.ts';
import { detour, requestsOf } from './requests.ts';
import { Sysctls } from './sysctls.ts';

/** So few requests take less time than the way through the thread pool and back. */
const AT_ONCE = 64;

export type Failure = { readonly change: Change; readonly error: Error };
export type Waiting = { readonly change: Change; readonly reason: string };

/** What became of some changes. `waiting`: could not be tried, as the device they need is absent or down. */
export type Outcome = {
  readonly done: readonly Change[];
  readonly failed: readonly Failure[];
  readonly waiting: readonly Waiting[];
};

/** The kernel of one network namespace, read and changed as items. */
export class Kernel implements Disposable {
  readonly nftables: Nftables;
  readonly #socket: NetlinkSocket;
  /** Apart, as misses are answered in the midst of a run. */
  readonly #answers: NetlinkSocket;
  readonly #sysctls: Sysctls;
  #links = new Map<string, LinkItem & { readonly index: number }>();
  #names = new Map<number, string>();

  private constructor(netns: string | number | undefined) {
    this.#socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
    this.#answers = NetlinkSocket.open(NETLINK_ROUTE, { netns });
    this.nftables = new Nftables(netns);
    this.#sysctls = new Sysctls(netns);
  }

  /** Throws SYSCALL, and NOT_FOUND when there is no such namespace. */
  static open(netns?: string | number): Kernel {
    return new Kernel(netns);
  }

  /** Notifications of changes made here carry it. */
  get portId(): number {
    return this.#socket.portId;
  }

  /** The links as last read, by name. */
  get links(): ReadonlyMap<string, LinkItem & { readonly index: number }> {
    return this.#links;
  }

  /** The name of a link as last read. */
  readonly nameOf = (index: number): string | undefined => this.#names.get(index);

  /**
   * What the kernel holds of what concerns us: all links; addresses, neighbours and FDB entries on the links we want;
   * routes and rules that are ours or in a wanted slot; wanted sysctls; our nftables tables.
   */
  async read(desired: KernelState): Promise<KernelState> {
    const state = new Map<string, Item>();
    const put = (item: Item | undefined): void => {
      if (!item) return;
      let key = keyOf(item);
      // A second route or FDB entry in one slot, by `append`: nobody wants it under this key.
      while (state.has(key)) key = `${key} again`;
      state.set(key, item);
    };
    await this.refreshLinks();
    for (const { index: _index, ...link } of this.#links.values()) put(link);
    const wanted = wantedLinks(desired);
    for (const address of await this.#socket.dump(addressDump())) {
      const item = addressItem(address, this.nameOf);
      if (item && (wanted.has(item.dev) || desired.has(keyOf(item)))) put(item);
    }
    for (const family of FAMILIES) {
      for (const route of await this.#socket.dump(routeDump({ family }))) {
        const item = routeItem(route, this.nameOf);
        if (OUR_PROTOCOLS.has(item.protocol) || desired.has(keyOf(item))) put(item);
      }
      for (const rule of await this.#socket.dump(ruleDump(family))) {
        const item = ruleItem(rule);
        if (item && (OUR_PROTOCOLS.has(item.protocol) || desired.has(keyOf(item)))) put(item);
      }
    }
    for (const [name, { entries }] of wanted) {
      const dev = this.#links.get(name)?.index;
      if (dev === undefined || entries !== 'ours') continue;
      const neighbours = await this.#socket.dump(neighbourDump({ dev }));
      for (const neighbour of neighbours) put(neighbourItem(neighbour, this.nameOf));
      for (const fdb of await this.#socket.dump(fdbDump(dev))) put(fdbItem(fdb, this.nameOf));
    }
    this.#sysctls.read(desired).forEach(put);
    (await this.nftables.read(desired)).forEach(put);
    return state;
  }

  /** Makes the changes, phase after phase. One that fails does not stop the rest. */
  async apply(phases: readonly (readonly Change[])[]): Promise<Outcome> {
    const outcome = { done: [] as Change[], failed: [] as Failure[], waiting: [] as Waiting[] };
    /** Links that have to wait; a device of that name may be there and be somebody else's. */
    const withheld = new Set<string>();
    /** What could not be done: a device that was not made is not set up either, and the first reason is the one. */
    const undone = new Set<string>();
    if (phases.some((phase) => phase.some(isLink))) await this.refreshLinks();
    for (const phase of phases) {
      const ready: Change[] = [];
      const links = this.#facts();
      for (const change of phase) {
        const { item } = change;
        if (undone.has(keyOf(item))) continue;
        const dev = deviceOf(item) ?? '';
        const reason = withheld.has(dev) ? `device ${dev} is not there yet` : blockedBy(change, links);
        if (reason === undefined) ready.push(change);
        else {
          outcome.waiting.push({ change, reason });
          undone.add(keyOf(item));
          if (item.kind === 'link') withheld.add(item.name);
        }
      }
      const errors = await this.#applyPhase(ready);
      for (const [i, change] of ready.entries()) {
        const error = errors[i];
        if (error) {
          outcome.failed.push({ change, error });
          undone.add(keyOf(change.item));
        } else outcome.done.push(change);
      }
      if (ready.some(isLink)) await this.refreshLinks();
    }
    return outcome;
  }

  /** Writes entries that age: the kernel asks for them again while they are used. */
  async answer(items: readonly (NeighbourItem | FdbItem)[]): Promise<void> {
    const requests = items.flatMap((item): Request[] => {
      const dev = this.#links.get(item.dev)?.index;
      if (dev === undefined) return [];
      const state = NUD_REACHABLE;
      if (item.kind === 'fdb') return [fdbReplace({ dev, mac: item.mac, dst: item.dst, state })];
      return [neighbourReplace({ dev, ip: item.ip, mac: item.mac, state })];
    });
    await this.#answers.execute(requests);
  }

  /** Sets right the answers given before to which `resolve` has another one now. */
  async correctAnswers(resolve: Resolve): Promise<void> {
    const wrong: (NeighbourItem | FdbItem)[] = [];
    for (const { name, index, link, alias } of this.#links.values()) {
      if (link.type !== 'vxlan' || !link.onDemand || !alias?.startsWith(OUR_ALIAS)) continue;
      for (const { ip, mac } of await this.#answers.dump(neighbourDump({ dev: index }))) {
        const answer = resolve({ ip });
        const right = answer.find((item) => item.kind === 'neighbour');
        if (mac !== undefined && right && right.mac !== mac) wrong.push(...answer);
      }
      for (const { mac, dst } of await this.#answers.dump(fdbDump(index))) {
        const right = resolve({ mac }).find((item) => item.kind === 'fdb' && item.dev === name);
        if (dst !== undefined && right?.kind === 'fdb' && right.dst !== dst) wrong.push(right);
      }
    }
    if (wrong.length > 0) await this.answer(wrong);
  }

  async refreshLinks(): Promise<void> {
    const dumped = await this.#socket.dump(linkDump());
    this.#names = new Map(dumped.map(({ index, name }) => [index, name]));
    this.#links = new Map(
      dumped.map((link) => [link.name, { ...linkItem(link, this.nameOf), index: link.index }]),
    );
  }

  close(): void {
    this.#socket.close();
    this.#answers.close();
    this.nftables.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #facts(): Map<string, LinkFacts> {
    return new Map(
      [...this.#links].map(([name, { up, link, alias }]) => [
        name,
        { up, type: link.type, ...(alias !== undefined && { alias }) },
      ]),
    );
  }

  async #applyPhase(changes: readonly Change[]): Promise<(Error | undefined)[]> {
    const index = (name: string): number => {
      const link = this.#links.get(name);
      if (link) return link.index;
      throw new FlatnetError('there is no such device', { code: 'NOT_FOUND', object: name });
    };
    const errors = await this.#execute(changes, (change) => requestsOf(change, index));
    for (const [i, change] of changes.entries()) {
      const { action, item } = change;
      const requests = errors[i] && action !== 'delete' && detour(change, errnoOf(errors[i]), index);
      if (requests) [errors[i]] = await this.#execute([change], () => requests);
      if (item.kind === 'nft') errors[i] = await this.nftables.apply(action, item);
      if (item.kind === 'sysctl') errors[i] = this.#sysctls.write(item);
    }
    return errors;
  }

  /** Sends the requests of all changes at once; the first error of each, if any. */
  async #execute(
    changes: readonly Change[],
    requestsOfOne: (change: Change) => Request[],
  ): Promise<(Error | undefined)[]> {
    const errors = new Array<Error | undefined>(changes.length).fill(undefined);
    const requests: { readonly owner: number; readonly request: Request }[] = [];
    for (const [owner, change] of changes.entries()) {
      try {
        for (const request of requestsOfOne(change)) requests.push({ owner, request });
      } catch (error) {
        errors[owner] = error instanceof Error ? error : new Error(String(error));
      }
    }
    const all = requests.map(({ request }) => request);
    const answers =
      all.length <= AT_ONCE ? this.#socket.executeAllSync(all) : await this.#socket.executeAll(all);
    for (const [i, { owner }] of requests.entries()) {
      const change = changes[owner];
      const error = answers[i];
      if (change && error && !isFine(change, error)) errors[owner] ??= explained(change, error);
    }
    return errors;
  }
}

/** What was to go and is not there, is gone. */
const GONE = new Set(['ENOENT', 'ESRCH', 'ENODEV', 'EADDRNOTAVAIL']);

function isFine({ action, item }: Change, error: FlatnetError): boolean {
  if (action === 'delete') return GONE.has(error.errno ?? '');
  // The module that had to be loaded for it brought it along.
  if (item.kind === 'link' && isFallback(item.link) && error.errno === 'EEXIST') return true;
  return item.kind === 'rule' && (error.errno === 'EEXIST' || error.errno === 'ENOENT');
}

/** To the name of a kind of link whose module it has not, the kernel says no more than EOPNOTSUPP. */
function explained({ action, item }: Change, error: FlatnetError): FlatnetError {
  if (item.kind !== 'link' || action === 'change' || error.errno !== 'EOPNOTSUPP') return error;
  const kind = item.link.type;
  return new FlatnetError(`this kernel has no ${kind} devices`, {
    code: 'KERNEL_FEATURE',
    operation: 'link add',
    object: item.name,
    errno: error.errno,
    fix: `load the module ${kind}; minimal kernels have it in a package of extra modules`,
    cause: error,
  });
}

function errnoOf(error: Error | undefined): string | undefined {
  return error instanceof FlatnetError ? error.errno : undefined;
}

function isLink({ item }: Change): boolean {
  return item.kind === 'link';
}

/** The links of the desired state that we make. */
function wantedLinks(desired: KernelState): Map<string, LinkItem> {
  const links = new Map<string, LinkItem>();
  for (const item of desired.values()) {
    if (item.kind === 'link' && item.link.type !== 'existing') links.set(item.name, item);
  }
  return links;
}
