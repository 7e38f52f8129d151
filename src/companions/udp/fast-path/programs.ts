import { closeSync } from 'node:fs';
import { type Ip, ipToBytes } from '../../../ip/address.ts';
import { addressOf, type Cidr, lengthOf } from '../../../ip/cidr.ts';
import { BpfMap, type MapShape } from '../../../linux/bpf/map.ts';
import { idOf, loadProgram } from '../../../linux/bpf/program.ts';
import { attach, attachedAt, detach, eachNamed, type Place, type Side } from '../../../linux/bpf/tcx.ts';
import { egressProgram } from './egress.ts';
import { ingressProgram } from './ingress.ts';

/** By which our programs are known: another agent's are replaced. */
const NAMES: Record<Side, string> = { ingress: 'flatnet_udp_in', egress: 'flatnet_udp_out' };
export const SIDES = ['ingress', 'egress'] as const;
/** Entries of a map; room for as many again and more before there must be a larger one. */
const LEAST = 1024;
const SPARE = 4;
const ROUTES = { type: 'lpm-trie', name: 'flatnet_routes', keySize: 8, valueSize: 4 } as const;
const SENDERS = { type: 'hash', name: 'flatnet_senders', keySize: 4, valueSize: 1 } as const;
const COUNTER = {
  type: 'per-cpu array',
  name: 'flatnet_carried',
  keySize: 4,
  valueSize: 8,
  capacity: 1,
} as const;
/** Its only key. */
const ONE = Buffer.alloc(4);

/** What is built into the programs. */
export type Endpoints = {
  /** Interface indices: of the TUN device, and of the underlay. */
  readonly device: number;
  readonly underlay: number;
  /** Of this node on the underlay, IPv4. */
  readonly local: Ip;
  readonly port: number;
};

/** What they look up. IPv4 only. */
export type Peers = {
  /** Without a node: the forwarder's, also inside of another's subnet. */
  readonly routes: readonly { readonly subnet: Cidr; readonly node: Ip | undefined }[];
  readonly senders: readonly Ip[];
};

/**
 * The programs of one node with their maps: one sees what the TUN device sends, the other what the underlay
 * receives. They stay attached when this object is disposed of.
 */
export class Programs implements Disposable {
  readonly #routes: Table<Cidr>;
  readonly #senders: Table<Ip>;
  readonly #counters: Record<Side, BpfMap>;
  readonly #loaded: { readonly place: Place; readonly fd: number; readonly id: number }[] = [];
  readonly #owned: DisposableStack;

  /** Loads them and attaches them in the place of former ones, without a gap. Throws SYSCALL. */
  constructor(endpoints: Endpoints, peers: Peers) {
    const { device, underlay } = endpoints;
    using owned = new DisposableStack();
    this.#routes = owned.use(new Table(ROUTES, peers.routes.length, keyOf));
    this.#senders = owned.use(new Table(SENDERS, peers.senders.length, ipToBytes));
    this.#counters = { ingress: owned.use(new BpfMap(COUNTER)), egress: owned.use(new BpfMap(COUNTER)) };
    this.update(peers);
    const maps = { routes: this.#routes, senders: this.#senders };
    const { ingress, egress } = this.#counters;
    const load = (place: Place, instructions: Buffer): void => {
      const fd = owned.adopt(loadProgram(NAMES[place.side], instructions), closeSync);
      this.#loaded.push({ place, fd, id: idOf(fd) });
    };
    // What arrives can be unpacked before anybody is told.
    load({ dev: underlay, side: 'ingress' }, ingressProgram({ ...endpoints, ...maps, counter: ingress }));
    load({ dev: device, side: 'egress' }, egressProgram({ ...endpoints, ...maps, counter: egress }));
    for (const { place, fd } of this.#loaded) putInPlace(place, fd);
    this.#owned = owned.move();
  }

  /** Brings the maps up to date. Returns false if they are too small: there must be others. */
  update({ routes, senders }: Peers): boolean {
    const nodes = new Map(routes.map(({ subnet, node }) => [subnet, node]));
    const members = new Map(senders.map((ip) => [ip, undefined]));
    return this.#routes.replace(nodes) && this.#senders.replace(members);
  }

  /** Whether they still are where they were put. */
  get areAttached(): boolean {
    return this.#loaded.every(({ place, id }) => {
      try {
        return attachedAt(place).includes(id);
      } catch {
        return false; // the interface is gone
      }
    });
  }

  /** Packets carried so far. */
  get carried(): { readonly sent: number; readonly received: number } {
    const total = (map: BpfMap): number => {
      const values = map.get(ONE);
      let sum = 0n;
      for (let at = 0; at < values.length; at += 8) sum += values.readBigUInt64LE(at);
      return Number(sum);
    };
    return { sent: total(this.#counters.egress), received: total(this.#counters.ingress) };
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

/** The sides on which an interface has programs of ours, whichever agent's. */
export function programsAt(dev: number): readonly Side[] {
  return SIDES.filter((side) => {
    let has = false;
    eachNamed({ dev, side }, NAMES[side], () => {
      has = true;
    });
    return has;
  });
}

/** Detaches programs of ours, whichever agent's. */
export function removePrograms(dev: number, sides: readonly Side[] = SIDES): void {
  for (const side of sides) eachNamed({ dev, side }, NAMES[side], (fd) => detach({ dev, side }, fd));
}

function putInPlace(place: Place, fd: number): void {
  let isThere = false;
  eachNamed(place, NAMES[place.side], (former) => {
    if (isThere) detach(place, former);
    else attach(place, fd, former);
    isThere = true;
  });
  if (!isThere) attach(place, fd);
}

/** Of a trie. */
function keyOf(subnet: Cidr): Buffer {
  const key = Buffer.alloc(ROUTES.keySize);
  key.writeUInt32LE(lengthOf(subnet));
  key.set(ipToBytes(addressOf(subnet)), 4);
  return key;
}

/** A map in the kernel, and what it holds: of thousands of entries, only the changed ones are encoded. */
class Table<Key extends string> extends BpfMap {
  readonly #encode: (key: Key) => Uint8Array;
  readonly #none: Buffer;
  #entries: ReadonlyMap<Key, Ip | undefined> = new Map();

  /** Empty, with room for `count` entries and more. */
  constructor(shape: Omit<MapShape, 'capacity'>, count: number, encode: (key: Key) => Uint8Array) {
    super({ ...shape, capacity: Math.max(LEAST, SPARE * count) });
    this.#encode = encode;
    this.#none = Buffer.alloc(shape.valueSize);
  }

  /** Returns false if there are too many. New entries come before old ones go. */
  replace(entries: ReadonlyMap<Key, Ip | undefined>): boolean {
    const former = this.#entries;
    const added = [...entries.keys()].filter((key) => !former.has(key));
    if (former.size + added.length > this.capacity) return false;
    for (const [key, value] of entries)
      if (!former.has(key) || former.get(key) !== value)
        this.set(this.#encode(key), value === undefined ? this.#none : ipToBytes(value));
    for (const key of former.keys()) if (!entries.has(key)) this.delete(this.#encode(key));
    this.#entries = entries;
    return true;
  }
}
