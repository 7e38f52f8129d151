import { pause } from '../../async/pause.ts';
import { FlatnetError } from '../../error.ts';
import type { Family, Ip } from '../../ip/address.ts';
import { type IcmpError, type IcmpMessage, IcmpSocket, waitForMessages } from '../../linux/icmp.ts';
import { commonFamilies, type Endpoint } from './endpoint.ts';

export type PingOptions = {
  /** Default: the first family that both ends have. */
  readonly family?: Family;
  readonly count: number;
  /** Bytes after the ICMP header. */
  readonly size: number;
  /** Milliseconds between two pings. */
  readonly interval: number;
  /** Milliseconds to wait for each reply. */
  readonly timeout: number;
  readonly signal?: AbortSignal;
};

export type PingReply = {
  readonly sequence: number;
  readonly to: Ip;
  readonly size: number;
  /** Round trip in milliseconds; undefined if there was no reply. */
  readonly rtt?: number;
  /** The ICMP or send error received instead. */
  readonly error?: string;
  /** The source address that the target saw; undefined if we cannot observe it, or nothing arrived. */
  readonly source?: Ip;
};

/**
 * Pings from one end to the other and observes the source address that arrives there. Yields each result as
 * soon as it is known.
 */
export async function* pingEndpoint(
  from: Endpoint,
  to: Endpoint,
  options: PingOptions,
): AsyncGenerator<PingReply> {
  const family = familyFor(from, to, options.family);
  const target = to.addresses[family];
  if (!from.netns || !target) throw noFamily(from, to, options.family);
  using sender = IcmpSocket.open({ family, netns: from.netns });
  using observer = to.netns ? IcmpSocket.open({ family, netns: to.netns }) : undefined;
  for (let n = 0; n < options.count; n++) {
    const start = performance.now();
    yield await once(n + 1, sender, observer, target, options);
    const rest = options.interval - (performance.now() - start);
    if (n + 1 < options.count && rest > 0) await pause(rest, options.signal);
    options.signal?.throwIfAborted();
  }
}

async function once(
  number: number,
  sender: IcmpSocket,
  observer: IcmpSocket | undefined,
  to: Ip,
  { size, timeout, signal }: PingOptions,
): Promise<PingReply> {
  const start = process.hrtime.bigint();
  let sequence: number;
  try {
    sequence = sender.send(to, size);
  } catch (error) {
    if (!(error instanceof FlatnetError)) throw error;
    return { sequence: number, to, size, error: error.message };
  }
  const mine = (message: IcmpMessage): boolean => message.id === sender.id && message.sequence === sequence;
  const sockets = observer ? [sender, observer] : [sender];
  const deadline = performance.now() + timeout;
  const result: { rtt?: number; error?: string; source?: Ip } = {};
  while (result.rtt === undefined && result.error === undefined) {
    for (const socket of sockets) {
      for (let message = socket.receive(); message; message = socket.receive()) {
        if (!mine(message)) continue;
        if (message.type === 'request') {
          if (socket === observer) result.source = message.from;
        } else if (socket !== sender) continue;
        else if (message.type === 'reply') result.rtt = Number(process.hrtime.bigint() - start) / 1e6;
        else result.error = errorText(message);
      }
    }
    const left = deadline - performance.now();
    if (left <= 0) break;
    if (result.rtt === undefined) await waitForMessages(sockets, left, signal);
  }
  return { sequence, to, size, ...result };
}

export function errorText(error: IcmpError): string {
  const mtu = error.mtu === undefined ? '' : `, MTU ${error.mtu}`;
  return `${error.type} from ${error.from}${mtu}`;
}

function familyFor(from: Endpoint, to: Endpoint, wanted: Family | undefined): Family {
  const families = commonFamilies(from, to);
  const family = wanted === undefined ? families[0] : families.find((family) => family === wanted);
  if (to.kind === 'address') {
    const own = Object.keys(to.addresses).map(Number)[0];
    if (own === 4 || own === 6) return own;
  }
  if (family === undefined) throw noFamily(from, to, wanted);
  return family;
}

function noFamily(from: Endpoint, to: Endpoint, wanted: Family | undefined): FlatnetError {
  if (!from.netns) {
    return new FlatnetError('is only an address: ping from a pod or a node', {
      code: 'USAGE',
      object: from.name,
    });
  }
  const both = `${from.name} and ${to.name}`;
  const text =
    wanted === undefined
      ? `${both} have no address family in common`
      : `${both} do not both have an IPv${wanted} address`;
  return new FlatnetError(text, { code: 'USAGE' });
}
