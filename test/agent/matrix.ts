import type { Family, Ip } from '../../src/ip/address.ts';
import { IcmpSocket, waitForMessages } from '../../src/linux/icmp.ts';

export type Endpoint = {
  readonly name: string;
  /** Path of its network namespace. */
  readonly netns: string;
  /** At most one per family. */
  readonly addresses: readonly Ip[];
};

const ROUND = 500;

/**
 * Reports which sources do not reach which targets, and whose address was translated; empty when every source
 * reaches every target. Unanswered pings are repeated for `patience` milliseconds.
 */
export async function unreached(
  family: Family,
  sources: readonly Endpoint[],
  targets: readonly Endpoint[],
  patience = 3000,
): Promise<string[]> {
  const deadline = performance.now() + patience;
  const sockets = new Map<string, IcmpSocket>();
  try {
    for (const { netns } of [...sources, ...targets]) {
      if (!sockets.has(netns)) sockets.set(netns, openUnlike(sockets, family, netns));
    }
    let pairs = sources.flatMap((from) =>
      targets.filter((to) => to.name !== from.name && addressOf(to, family)).map((to) => ({ from, to })),
    );
    for (;;) {
      const { left, translated } = await round(family, sockets, pairs);
      if (translated.length > 0) return translated;
      if (left.length === 0 || performance.now() > deadline) {
        return left.map(({ from, to }) => `${from.name} does not reach ${to.name} (IPv${family})`);
      }
      pairs = left;
    }
  } finally {
    for (const socket of sockets.values()) socket.close();
  }
}

/** Identifiers are random; they must differ, so that a target can tell the sources of requests apart. */
function openUnlike(others: ReadonlyMap<string, IcmpSocket>, family: Family, netns: string): IcmpSocket {
  for (;;) {
    const socket = IcmpSocket.open({ family, netns });
    if ([...others.values()].every(({ id }) => id !== socket.id)) return socket;
    socket.close();
  }
}

type Pair = { readonly from: Endpoint; readonly to: Endpoint };

async function round(
  family: Family,
  sockets: ReadonlyMap<string, IcmpSocket>,
  pairs: readonly Pair[],
): Promise<{ left: Pair[]; translated: string[] }> {
  const open = new Map<string, Pair>();
  const left: Pair[] = [];
  const translated: string[] = [];
  const all = [...sockets.values()];
  for (const pair of pairs) {
    const socket = sockets.get(pair.from.netns);
    const address = addressOf(pair.to, family);
    if (!socket || address === undefined) continue;
    try {
      open.set(`${socket.id} ${socket.send(address)}`, pair);
    } catch {
      left.push(pair); // no route yet
    }
  }
  const end = performance.now() + ROUND;
  const take = (socket: IcmpSocket): void => {
    for (let message = socket.receive(); message; message = socket.receive()) {
      const key = `${message.id} ${message.sequence}`;
      const pair = open.get(key);
      if (!pair) continue;
      const own = addressOf(pair.from, family);
      if (message.type === 'request' && sockets.get(pair.to.netns) === socket && own && message.from !== own)
        translated.push(`${pair.from.name} comes to ${pair.to.name} as ${message.from}`);
      if (message.type === 'reply' && sockets.get(pair.from.netns) === socket) open.delete(key);
    }
  };
  while (open.size > 0 && performance.now() < end) {
    for (const socket of await waitForMessages(all, end - performance.now())) take(socket);
  }
  return { left: [...left, ...open.values()], translated };
}

function addressOf({ addresses }: Endpoint, family: Family): Ip | undefined {
  return addresses.find((ip) => ip.includes(':') === (family === 6));
}
